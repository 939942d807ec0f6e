// The files ~/.aws/config and ~/.aws/credentials, as AWS's tools write them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace k2::storage {

// A variable's value; empty where it is not set.
using Environment = std::function<std::string(const char* name)>;
std::string ProcessEnvironment(const char* name);

using AwsProfile = std::map<std::string, std::string, std::less<>>;  // role_arn, region, aws_access_key_id, …

// A setting of a profile; empty where it has none.
std::string ValueOf(const AwsProfile& profile, std::string_view name);

struct AwsProfiles {
  std::map<std::string, AwsProfile, std::less<>> by_name;
  // Nullptr where there is none of this name.
  [[nodiscard]] const AwsProfile* Find(std::string_view name) const;
};

// Of both files, which AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE may name; a file that is missing holds none.
// What stands in the latter goes first. Error kPermission: a file that may not be read.
Result<AwsProfiles> ReadAwsProfiles(const Environment& environment);

// Changes when one of the files does.
int64_t StampOfAwsFiles(const Environment& environment);

}  // namespace k2::storage
