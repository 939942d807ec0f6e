#include "storage/aws_credentials.h"

#include <algorithm>

#include "base/log.h"
#include "base/metrics.h"
#include "base/time.h"
#include "storage/aws_sdk.h"

namespace k2::storage {
namespace {

constexpr int64_t kRenewBeforeUs = 300 * kMicrosPerSecond;
constexpr int64_t kTryAgainAfterUs = 10 * kMicrosPerSecond;
constexpr int64_t kNoneForUs = 30 * kMicrosPerSecond;
constexpr int64_t kLookAtFilesUs = 1 * kMicrosPerSecond;
constexpr int64_t kRejectPauseUs = 5 * kMicrosPerSecond;
// The SDK renews its keys itself and does not tell when they end.
constexpr int64_t kSdkKeysLiveUs = 60 * kMicrosPerSecond;

bool HasEnded(const AwsKeys& keys) { return keys.ends_at_us <= NowMicros(); }

}  // namespace

AwsCredentials::AwsCredentials(AwsOptions options, std::shared_ptr<net::HttpClient> http, Environment environment)
    : options_(std::move(options)), environment_(environment), services_(std::move(http), std::move(environment)) {}

Result<AwsKeys> AwsCredentials::Keys() {
  const std::lock_guard lock(mutex_);
  return KeysLocked();
}

Result<AwsKeys> AwsCredentials::KeysLocked() {
  const int64_t now_us = MonotonicMicros();
  if (loaded_ && now_us < renew_at_us_ && !HasEnded(found_.keys)) return found_.keys;
  if (loaded_ && found_.of_files && !HasEnded(found_.keys) && StampOfAwsFiles(environment_) == files_stamp_) {
    renew_at_us_ = now_us + kLookAtFilesUs;
    return found_.keys;
  }
  const AwsKeys old = found_.keys;
  const std::string origin = found_.origin;
  const Status renewed = Load();
  const bool lost = renewed && found_.keys.access_key.empty() && !old.access_key.empty();
  if (renewed && !lost) return found_.keys;
  if (!loaded_ || old.access_key.empty() || HasEnded(old)) {
    if (renewed) return found_.keys;
    return std::unexpected(renewed.error());
  }
  found_.keys = old;
  found_.origin = origin;
  renew_at_us_ = MonotonicMicros() + kTryAgainAfterUs;
  log::Warn("cannot renew the AWS keys; using the old ones until they expire",
            {{"error", renewed ? "none are configured any more" : renewed.error().message}});
  return old;
}

Status AwsCredentials::Load() {
  files_stamp_ = StampOfAwsFiles(environment_);
  K2_ASSIGN(Found found, Find());
  if (!loaded_ || found.origin != found_.origin) log::Info("AWS keys", {{"from", found.origin}});
  found_ = std::move(found);
  loaded_ = true;
  const int64_t now_us = MonotonicMicros();
  renew_at_us_ = INT64_MAX;
  if (found_.keys.access_key.empty()) {
    renew_at_us_ = now_us + kNoneForUs;
  } else if (found_.keys.ends_at_us != INT64_MAX) {
    const int64_t life_us = found_.keys.ends_at_us - NowMicros();
    renew_at_us_ = now_us + std::max(life_us - kRenewBeforeUs, life_us / 10 * 8);
    GaugeOf("k2_credential_expiry_timestamp_seconds", "Time when a credential expires, in seconds since 1970.",
            {{"credential", "aws"}})
        .Set(static_cast<double>(found_.keys.ends_at_us / kMicrosPerSecond));
  } else if (found_.of_files) {
    renew_at_us_ = now_us + kLookAtFilesUs;
  }
  return {};
}

bool AwsCredentials::Reject(const AwsKeys& refused) {
  const std::lock_guard lock(mutex_);
  if (found_.keys != refused) return true;  // renewed by another thread meanwhile
  const int64_t now_us = MonotonicMicros();
  if (now_us < reject_again_at_us_) return false;
  reject_again_at_us_ = now_us + kRejectPauseUs;
  const Found before = found_;
  if (const Status loaded = Load(); !loaded) {
    log::Warn("AWS keys were refused, and no others are available", {{"error", loaded.error().message}});
    return false;
  }
  if (found_.keys.access_key.empty()) found_ = before;
  const bool others = found_.keys.access_key != refused.access_key || found_.keys.secret_key != refused.secret_key ||
                      found_.keys.session_token != refused.session_token;
  if (others) reject_again_at_us_ = 0;
  return others;
}

std::string AwsCredentials::Region() {
  for (const std::string& named : {options_.region, environment_("AWS_REGION"), environment_("AWS_DEFAULT_REGION")}) {
    if (!named.empty()) return named;
  }
  const auto profiles = ReadAwsProfiles(environment_);
  if (!profiles) return {};
  const AwsProfile* profile = profiles->Find(ProfileName());
  return profile == nullptr ? "" : ValueOf(*profile, "region");
}

std::string AwsCredentials::Origin() {
  const std::lock_guard lock(mutex_);
  return found_.origin;
}

std::string AwsCredentials::ProfileName() const {
  if (!options_.profile.empty()) return options_.profile;
  std::string named = environment_("AWS_PROFILE");
  return named.empty() ? "default" : named;
}

std::optional<AwsKeys> AwsCredentials::OfEnvironment() const {
  AwsKeys keys{.access_key = environment_("AWS_ACCESS_KEY_ID"),
               .secret_key = environment_("AWS_SECRET_ACCESS_KEY"),
               .session_token = environment_("AWS_SESSION_TOKEN")};
  if (keys.access_key.empty() || keys.secret_key.empty()) return std::nullopt;
  return keys;
}

Result<AwsCredentials::Found> AwsCredentials::Find() {
  K2_ASSIGN(profiles_, ReadAwsProfiles(environment_));
  K2_ASSIGN(Found found, FindFirst());
  if (options_.role.arn.empty()) return found;
  if (found.keys.access_key.empty()) {
    return Fail(ErrorKind::kPermission, "cannot assume role {}: there are no AWS keys to assume it", options_.role.arn);
  }
  K2_ASSIGN(found.keys, services_.AssumeRole(found.keys, options_.role, Region()));
  return Found{.keys = found.keys, .origin = fmt::format("role {} by {}", options_.role.arn, found.origin)};
}

Result<AwsCredentials::Found> AwsCredentials::FindFirst() {
  if (options_.profile.empty()) {
    if (auto keys = OfEnvironment()) return Found{.keys = *std::move(keys), .origin = "environment"};
    const std::string token_file = environment_("AWS_WEB_IDENTITY_TOKEN_FILE");
    const AwsRole role{.arn = environment_("AWS_ROLE_ARN"), .session_name = environment_("AWS_ROLE_SESSION_NAME")};
    if (!token_file.empty() && !role.arn.empty()) {
      K2_ASSIGN(AwsKeys keys, services_.AssumeRoleWithWebIdentity(token_file, role, Region()));
      return Found{.keys = std::move(keys), .origin = fmt::format("role {} by web identity", role.arn)};
    }
  }
  K2_ASSIGN(std::optional<Found> of_profile, OfProfile(ProfileName(), {}));
  if (of_profile) return *std::move(of_profile);
  if (!options_.profile.empty() || !environment_("AWS_PROFILE").empty()) {
    return Fail(ErrorKind::kInvalidArgument,
                "AWS profile '{}' is not in ~/.aws/config and ~/.aws/credentials (AWS_CONFIG_FILE, "
                "AWS_SHARED_CREDENTIALS_FILE), or has no keys and no role",
                ProfileName());
  }
  K2_ASSIGN(auto container, services_.OfContainer());
  if (container) return Found{.keys = *std::move(container), .origin = "the container's agent"};
  K2_ASSIGN(auto instance, services_.OfInstance());
  if (instance) return Found{.keys = *std::move(instance), .origin = "the instance's metadata"};
  return Found{};
}

Result<std::optional<AwsCredentials::Found>> AwsCredentials::OfProfile(const std::string& name,
                                                                       std::vector<std::string> seen) {
  const AwsProfile* profile = profiles_.Find(name);
  if (profile == nullptr) return std::nullopt;
  const std::string origin = "profile " + name;
  const std::string source = ValueOf(*profile, "source_profile");
  const AwsRole role{.arn = ValueOf(*profile, "role_arn"),
                     .session_name = ValueOf(*profile, "role_session_name"),
                     .external_id = ValueOf(*profile, "external_id")};
  const bool again = std::ranges::find(seen, name) != seen.end();  // its own source: by its keys
  if (!role.arn.empty() && !again) {
    if (const std::string file = ValueOf(*profile, "web_identity_token_file"); !file.empty()) {
      K2_ASSIGN(AwsKeys keys, services_.AssumeRoleWithWebIdentity(file, role, Region()));
      return Found{.keys = std::move(keys), .origin = origin};
    }
    Found with;
    if (!source.empty()) {
      seen.push_back(name);
      K2_ASSIGN(auto found, OfProfile(source, seen));
      if (!found)
        return Fail(ErrorKind::kInvalidArgument, "AWS {}: its source_profile '{}' has no keys", origin, source);
      with = *std::move(found);
    } else {
      K2_ASSIGN(with, OfSource(ValueOf(*profile, "credential_source")));
    }
    if (with.keys.access_key.empty()) {
      return Fail(ErrorKind::kInvalidArgument,
                  "AWS {}: role {} has no keys to assume it: set source_profile or credential_source", origin,
                  role.arn);
    }
    K2_ASSIGN(AwsKeys keys, services_.AssumeRole(with.keys, role, Region()));
    return Found{.keys = std::move(keys), .origin = origin};
  }
  AwsKeys keys{.access_key = ValueOf(*profile, "aws_access_key_id"),
               .secret_key = ValueOf(*profile, "aws_secret_access_key"),
               .session_token = ValueOf(*profile, "aws_session_token")};
  if (!keys.access_key.empty() && !keys.secret_key.empty()) {
    return Found{.keys = std::move(keys), .origin = origin, .of_files = true};
  }
  for (const char* of_sdk : {"credential_process", "sso_session", "sso_start_url"}) {
    if (ValueOf(*profile, of_sdk).empty()) continue;
    K2_ASSIGN(Found found, OfSdk(name));
    return found;
  }
  return std::nullopt;
}

Result<AwsCredentials::Found> AwsCredentials::OfSource(const std::string& source) {
  if (source == "Environment") {
    return Found{.keys = OfEnvironment().value_or(AwsKeys{}), .origin = "environment"};
  }
  std::optional<AwsKeys> keys;
  if (source == "EcsContainer") {
    K2_ASSIGN(keys, services_.OfContainer());
  } else if (source == "Ec2InstanceMetadata") {
    K2_ASSIGN(keys, services_.OfInstance());
  }
  return Found{.keys = keys.value_or(AwsKeys{}), .origin = source};
}

// Programs that print keys, and single sign-on: the SDK in Arrow's library does these, by the environment alone.
Result<AwsCredentials::Found> AwsCredentials::OfSdk(const std::string& name) {
  const std::string named = environment_("AWS_PROFILE");
  if (name != (named.empty() ? "default" : named) || OfEnvironment()) {
    return Fail(ErrorKind::kUnsupported,
                "AWS profile '{}' gets its keys from a program or from single sign-on: set AWS_PROFILE to it, and "
                "unset AWS_ACCESS_KEY_ID",
                name);
  }
  K2_ASSIGN(AwsKeys keys, AwsKeysOfSdk());
  if (keys.access_key.empty()) {
    return Fail(ErrorKind::kPermission,
                "AWS profile '{}' provides no keys: run `aws sso login`, or check the output of its credential_process",
                name);
  }
  keys.ends_at_us = NowMicros() + kSdkKeysLiveUs;
  return Found{.keys = std::move(keys), .origin = "profile " + name};
}

std::shared_ptr<AwsCredentials> MakeAwsCredentials(const AwsOptions& options) {
  return std::make_shared<AwsCredentials>(
      options, net::MakeHttpClient({.ca_file = ProcessEnvironment("AWS_CA_BUNDLE"), .max_response_bytes = 1 << 20}));
}

}  // namespace k2::storage
