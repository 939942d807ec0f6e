// The services that hand out AWS keys that end: STS, the agents of ECS and EKS (Pod Identity), the metadata of an EC2
// instance. Each is asked up to three times; kUnavailable where it does not answer or says that it is overloaded,
// kPermission where it refuses.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "net/http.h"
#include "storage/aws_profile.h"
#include "storage/aws_signature.h"

namespace k2::storage {

struct AwsRole {
  std::string arn;
  std::string session_name;  // empty: "k2"
  std::string external_id;
};

class AwsKeyServices {
 public:
  AwsKeyServices(std::shared_ptr<net::HttpClient> http, Environment environment)
      : http_(std::move(http)), environment_(std::move(environment)) {}

  // STS in a region (empty: its global endpoint), or at AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL.
  Result<AwsKeys> AssumeRole(const AwsKeys& with, const AwsRole& role, const std::string& region) const;
  Result<AwsKeys> AssumeRoleWithWebIdentity(const std::string& token_file, const AwsRole& role,
                                            const std::string& region) const;
  // AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or …_FULL_URI; nullopt where neither is set.
  Result<std::optional<AwsKeys>> OfContainer() const;
  // IMDSv2. nullopt: this is no instance, it has no role, or AWS_EC2_METADATA_DISABLED is true.
  Result<std::optional<AwsKeys>> OfInstance() const;

 private:
  Result<net::HttpResponse> Ask(net::HttpRequest request, const AwsScope* scope, const AwsKeys& with) const;
  Result<AwsKeys> AskSts(const std::string& form, const AwsKeys& with, const std::string& region,
                         const std::string& what) const;

  std::shared_ptr<net::HttpClient> http_;
  Environment environment_;
};

}  // namespace k2::storage
