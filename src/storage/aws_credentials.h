// The keys that this process signs requests to AWS with, from wherever AWS's tools would take them: one chain for S3,
// REST catalogs and Kafka.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/http.h"
#include "storage/aws_key_services.h"
#include "storage/aws_profile.h"
#include "storage/aws_signature.h"

namespace k2::storage {

struct AwsOptions {
  std::string profile;  // empty: AWS_PROFILE, else "default". One that is named here goes before the environment's keys
  AwsRole role;         // where it has an ARN: assumed with the keys that are found
  std::string region;   // of STS; empty: AWS_REGION, AWS_DEFAULT_REGION, the profile's
};

// Safe to share between threads.
class AwsCredentials {
 public:
  explicit AwsCredentials(AwsOptions options, std::shared_ptr<net::HttpClient> http,
                          Environment environment = ProcessEnvironment);

  // In this order, the first that there is: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; web identity
  // (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN); the profile; the agent of ECS or EKS; the instance's metadata. Keys
  // that end are renewed five minutes before, or at 80 % of a shorter life, and the old ones serve meanwhile; those of
  // files when the files change. No access key: there are none anywhere. Errors: kUnavailable (a service that gives
  // them does not answer), kPermission (it refuses), kInvalidArgument (a profile that is named and is not there, or
  // cannot be used).
  Result<AwsKeys> Keys();

  // A service has refused these keys. True: Keys() gives others now.
  bool Reject(const AwsKeys& refused);

  // AWS_REGION, AWS_DEFAULT_REGION, the profile's; empty where none says.
  std::string Region();

  // Where the keys were found, for people: "environment", "profile dev", …; empty before Keys() was asked, or where
  // there are none.
  std::string Origin();

 private:
  struct Found {
    AwsKeys keys;
    std::string origin;
    bool of_files = false;
  };
  Result<AwsKeys> KeysLocked();
  Status Load();
  Result<Found> Find();
  Result<Found> FindFirst();
  Result<std::optional<Found>> OfProfile(const std::string& name, std::vector<std::string> seen);
  Result<Found> OfSource(const std::string& source);
  Result<Found> OfSdk(const std::string& name);
  [[nodiscard]] std::optional<AwsKeys> OfEnvironment() const;
  [[nodiscard]] std::string ProfileName() const;

  const AwsOptions options_;
  const Environment environment_;
  const AwsKeyServices services_;

  std::mutex mutex_;  // held while keys are fetched: the others wait for them
  AwsProfiles profiles_;
  Found found_;
  bool loaded_ = false;
  int64_t renew_at_us_ = 0;  // monotonic
  int64_t files_stamp_ = 0;
  int64_t reject_again_at_us_ = 0;  // where others were looked for in vain: not on every refusal
};

// Over a client of its own.
std::shared_ptr<AwsCredentials> MakeAwsCredentials(const AwsOptions& options);

}  // namespace k2::storage
