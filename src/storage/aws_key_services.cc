#include "storage/aws_key_services.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/log.h"
#include "base/secret.h"
#include "base/time.h"
#include "storage/s3_request.h"

namespace k2::storage {
namespace {

constexpr int kTries = 3;
constexpr int64_t kStsTimeoutMs = 10'000;
constexpr int64_t kAgentTimeoutMs = 5'000;
constexpr int64_t kInstanceTimeoutMs = 2'000;
constexpr int64_t kInstanceConnectMs = 1'000;

// As ECS's agent, EKS's and an instance's metadata answer.
Result<AwsKeys> ReadKeys(const std::string& body, std::string_view what) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  const auto text = [&](const char* name) {
    if (!json.is_object()) return std::string();
    const auto found = json.find(name);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  AwsKeys keys{
      .access_key = text("AccessKeyId"), .secret_key = text("SecretAccessKey"), .session_token = text("Token")};
  if (keys.access_key.empty() || keys.secret_key.empty()) {
    const std::string code = text("Code");
    return Fail(ErrorKind::kUnavailable, "{}: the reply contains no keys{}", what,
                code.empty() ? "" : " (" + code + ")");
  }
  if (const std::string end = text("Expiration"); !end.empty()) {
    K2_ASSIGN(keys.ends_at_us, ParseTimestamp(end));
  }
  return keys;
}

Error Refused(const net::HttpResponse& reply, std::string_view what) {
  const bool passing = MayRetry(reply.status, "");
  std::string said = reply.body.substr(0, 300);
  std::ranges::replace_if(said, [](unsigned char c) { return c < ' '; }, ' ');
  return {passing ? ErrorKind::kUnavailable : ErrorKind::kPermission,
          fmt::format("{}: status {}: {}", what, reply.status, said)};
}

std::string StsEndpoint(const Environment& environment, const std::string& region) {
  for (const char* name : {"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"}) {
    std::string named = environment(name);
    while (named.ends_with('/')) named.pop_back();
    if (!named.empty()) return named;
  }
  if (region.empty()) return "https://sts.amazonaws.com";
  return fmt::format("https://sts.{}.amazonaws.com{}", region, region.starts_with("cn-") ? ".cn" : "");
}

std::string RoleForm(std::string_view action, const AwsRole& role) {
  return fmt::format("Action={}&Version=2011-06-15&RoleArn={}&RoleSessionName={}", action, net::UrlEncode(role.arn),
                     net::UrlEncode(role.session_name.empty() ? "k2" : role.session_name));
}

// An agent is asked over plain HTTP only where nobody else can listen: on this machine, or at the addresses that ECS
// and EKS have.
bool IsAgentAddress(const std::string& url) {
  if (url.starts_with("https://")) return true;
  if (!url.starts_with("http://")) return false;
  const std::string host = url.substr(7, url.find('/', 7) - 7);
  const std::string name = host.starts_with('[') ? host.substr(0, host.find(']') + 1) : host.substr(0, host.find(':'));
  return name == "localhost" || name.starts_with("127.") || name == "[::1]" || name == "169.254.170.2" ||
         name == "169.254.170.23" || name == "[fd00:ec2::23]";
}

}  // namespace

// Signed where there is a scope. The last reply, or error.
Result<net::HttpResponse> AwsKeyServices::Ask(net::HttpRequest request, const AwsScope* scope,
                                              const AwsKeys& with) const {
  ServiceClock clock("AWS");
  const auto headers = request.headers;
  for (int64_t tries = 1;; ++tries) {
    request.headers = headers;
    if (scope != nullptr) SignAwsRequest(with, *scope, clock.NowUs(), request);
    auto reply = http_->Send(request);
    if (tries >= kTries) return reply;
    if (reply && scope != nullptr && reply->status == 403 && clock.Learn(*reply)) continue;
    const bool lost = !reply && (reply.error().kind == ErrorKind::kIo || reply.error().kind == ErrorKind::kUnavailable);
    const bool passing = reply && (MayRetry(reply->status, XmlText(reply->body, "Code")) ||
                                   XmlText(reply->body, "Code") == "IDPCommunicationError");
    if (!lost && !passing) return reply;
    std::this_thread::sleep_for(S3RetryDelay(tries));
  }
}

Result<AwsKeys> AwsKeyServices::AskSts(const std::string& form, const AwsKeys& with, const std::string& region,
                                       const std::string& what) const {
  const AwsScope scope{region.empty() ? "us-east-1" : region, "sts"};
  const auto reply = Ask({.method = "POST",
                          .url = StsEndpoint(environment_, region) + "/",
                          .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
                          .body = form,
                          .timeout_ms = kStsTimeoutMs},
                         with.access_key.empty() ? nullptr : &scope, with);
  if (!reply) return Fail(ErrorKind::kUnavailable, "{}: {}", what, reply.error().message);
  if (reply->status != 200) {
    const auto [code, text] = S3ErrorText(reply->body);
    if (code.empty()) return std::unexpected(Refused(*reply, what));
    const bool passing = MayRetry(reply->status, code) || code == "IDPCommunicationError";
    return Fail(passing ? ErrorKind::kUnavailable : ErrorKind::kPermission, "{}: {} ({})", what, code, text);
  }
  AwsKeys keys{.access_key = XmlText(reply->body, "AccessKeyId"),
               .secret_key = XmlText(reply->body, "SecretAccessKey"),
               .session_token = XmlText(reply->body, "SessionToken")};
  const auto end = ParseTimestamp(XmlText(reply->body, "Expiration"));
  if (keys.access_key.empty() || keys.secret_key.empty() || !end) {
    return Fail(ErrorKind::kUnavailable, "{}: the reply contains no keys", what);
  }
  keys.ends_at_us = *end;
  return keys;
}

Result<AwsKeys> AwsKeyServices::AssumeRole(const AwsKeys& with, const AwsRole& role, const std::string& region) const {
  std::string form = RoleForm("AssumeRole", role);
  if (!role.external_id.empty()) form += "&ExternalId=" + net::UrlEncode(role.external_id);
  return AskSts(form, with, region, "assume role " + role.arn);
}

Result<AwsKeys> AwsKeyServices::AssumeRoleWithWebIdentity(const std::string& token_file, const AwsRole& role,
                                                          const std::string& region) const {
  const std::string what = fmt::format("assume role {} with the token of {}", role.arn, token_file);
  const auto token = ReadSecretFile(token_file);
  if (!token) return std::unexpected(token.error().With(what));
  return AskSts(RoleForm("AssumeRoleWithWebIdentity", role) + "&WebIdentityToken=" + net::UrlEncode(*token), {}, region,
                what);
}

Result<std::optional<AwsKeys>> AwsKeyServices::OfContainer() const {
  const std::string relative = environment_("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  std::string url = environment_("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (relative.empty() && url.empty()) return std::nullopt;
  if (!relative.empty()) url = "http://169.254.170.2" + relative;
  const std::string what = "keys of the container from " + net::WithoutSecrets(url);
  if (!IsAgentAddress(url)) {
    return Fail(ErrorKind::kInvalidArgument,
                "{}: AWS_CONTAINER_CREDENTIALS_FULL_URI must be https://, or an address of this machine, ECS or EKS",
                what);
  }
  net::HttpRequest request{
      .url = url, .timeout_ms = kAgentTimeoutMs, .connect_timeout_ms = kAgentTimeoutMs, .direct = true};
  std::string token = environment_("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  if (const std::string file = environment_("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); !file.empty()) {
    auto read = ReadSecretFile(file);
    if (!read) return std::unexpected(read.error().With(what));
    token = *std::move(read);
  }
  if (!token.empty()) request.headers.emplace_back("Authorization", token);
  const auto reply = Ask(std::move(request), nullptr, {});
  if (!reply) return Fail(ErrorKind::kUnavailable, "{}: {}", what, reply.error().message);
  if (reply->status != 200) return std::unexpected(Refused(*reply, what));
  K2_ASSIGN(AwsKeys keys, ReadKeys(reply->body, what));
  return keys;
}

Result<std::optional<AwsKeys>> AwsKeyServices::OfInstance() const {
  std::string disabled = environment_("AWS_EC2_METADATA_DISABLED");
  std::ranges::transform(disabled, disabled.begin(), [](unsigned char c) { return std::tolower(c); });
  if (disabled == "true") return std::nullopt;
  std::string endpoint = environment_("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (endpoint.empty()) endpoint = "http://169.254.169.254";
  const std::string what = "keys of the instance from " + net::WithoutSecrets(endpoint);
  net::HttpRequest request{.method = "PUT",
                           .url = endpoint + "/latest/api/token",
                           .headers = {{"X-aws-ec2-metadata-token-ttl-seconds", "21600"}},
                           .timeout_ms = kInstanceTimeoutMs,
                           .connect_timeout_ms = kInstanceConnectMs,
                           .direct = true};
  auto token = http_->Send(request);  // once: where this is no instance, nobody answers
  if (!token && token.error().kind == ErrorKind::kUnavailable) return std::nullopt;
  if (!token || MayRetry(token->status, "")) token = Ask(request, nullptr, {});
  if (!token) return Fail(ErrorKind::kUnavailable, "{}: {}", what, token.error().message);
  if (token->status == 403 || token->status == 404 || token->status == 405) return std::nullopt;
  if (token->status != 200) return std::unexpected(Refused(*token, what));
  request.method = "GET";
  request.headers = {{"X-aws-ec2-metadata-token", token->body}};
  const std::string roles = endpoint + "/latest/meta-data/iam/security-credentials/";
  request.url = roles;
  const auto role = Ask(request, nullptr, {});
  if (!role) return Fail(ErrorKind::kUnavailable, "{}: {}", what, role.error().message);
  const std::string name = role->body.substr(0, role->body.find('\n'));
  if (role->status == 404 || (role->status == 200 && name.empty())) return std::nullopt;  // without a role
  if (role->status != 200) return std::unexpected(Refused(*role, what));
  request.url = roles + net::UrlEncode(name);
  const auto reply = Ask(request, nullptr, {});
  if (!reply) return Fail(ErrorKind::kUnavailable, "{}: {}", what, reply.error().message);
  if (reply->status != 200) return std::unexpected(Refused(*reply, what));
  K2_ASSIGN(AwsKeys keys, ReadKeys(reply->body, what));
  if (keys.ends_at_us <= NowMicros()) {
    // Where the metadata service cannot renew them AWS takes these for longer than they say.
    log::Warn("the instance's metadata returns keys that have expired; using them", {});
    keys.ends_at_us = NowMicros() + 10 * 60 * kMicrosPerSecond;
  }
  return keys;
}

}  // namespace k2::storage
