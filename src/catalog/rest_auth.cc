#include "catalog/rest_auth.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/time.h"
#include "catalog/rest_errors.h"

namespace k2::catalog {
namespace {

constexpr int64_t kRenewBeforeUs = 60 * kMicrosPerSecond;
constexpr int64_t kTryAgainAfterUs = 5 * kMicrosPerSecond;
constexpr int64_t kLifeSecondsMax = int64_t{10} * 365 * 24 * 3600;

// RFC 6749 4.4: client credentials, in the form's body as Iceberg's clients send them.
std::string TokenForm(const std::string& credential, const std::string& scope) {
  std::string form = "grant_type=client_credentials";
  const size_t colon = credential.find(':');
  if (colon != std::string::npos) form += "&client_id=" + net::UrlEncode(credential.substr(0, colon));
  form += "&client_secret=" + net::UrlEncode(credential.substr(colon == std::string::npos ? 0 : colon + 1));
  if (!scope.empty()) form += "&scope=" + net::UrlEncode(scope);
  return form;
}

struct Token {
  std::string text;
  int64_t life_seconds = 0;  // 0: not said
};

Result<Token> ReadToken(const std::string& body) {
  K2_ASSIGN(auto json, ParseJson(body, "the token service's reply"));
  JsonFields fields(json, "the token service's reply");
  Token token;
  token.text = fields.String("access_token");
  if (const auto* life = fields.OptionalValue("expires_in"); life != nullptr && life->is_number()) {
    token.life_seconds =
        static_cast<int64_t>(std::clamp(life->get<double>(), 0.0, static_cast<double>(kLifeSecondsMax)));
  }
  K2_TRY(fields.status());
  if (token.text.empty() || token.text.find_first_of("\r\n") != std::string::npos) {
    return Fail(ErrorKind::kInvalidData, "the token service's reply contains no token");
  }
  return token;
}

}  // namespace

RestAuth::RestAuth(RestAuthOptions options) : options_(std::move(options)), given_(!options_.token.empty()) {}

int64_t RestAuth::NowUs() const { return options_.now_us ? options_.now_us() : MonotonicMicros(); }

void RestAuth::SetTokenUri(const std::string& uri) {
  const std::lock_guard lock(mutex_);
  options_.token_uri = uri;
}

Result<std::string> RestAuth::Header() {
  const std::lock_guard lock(mutex_);
  if (given_) {
    K2_ASSIGN(const std::string token, options_.token.Read());
    return "Bearer " + token;
  }
  if (options_.credential.empty()) return std::string();
  const int64_t now_us = NowUs();
  if (token_.empty() || now_us >= renew_at_us_) {
    const Status fetched = Fetch();
    if (!fetched && (token_.empty() || now_us >= ends_at_us_)) return std::unexpected(fetched.error());
    if (!fetched) {
      renew_at_us_ = now_us + kTryAgainAfterUs;
      log::Warn("cannot renew the catalog's token; using the old one until it expires",
                {{"error", fetched.error().message}});
    }
  }
  return "Bearer " + token_;
}

bool RestAuth::Reject(const std::string& header) {
  const std::lock_guard lock(mutex_);
  if (given_) {
    const auto now = options_.token.Read();
    if (now && header != "Bearer " + *now) return true;  // its file was replaced
    given_ = options_.credential.empty();
    return !given_;
  }
  if (options_.credential.empty()) return false;
  if (header == "Bearer " + token_) token_.clear();  // else another thread has a new one already
  return true;
}

Status RestAuth::Fetch() {
  K2_ASSIGN(const std::string credential, options_.credential.Read());
  const std::string what = "token for the catalog from " + net::WithoutSecrets(options_.token_uri);
  const auto reply = options_.http->Send(
      {.method = "POST",
       .url = options_.token_uri,
       .headers = {{"Content-Type", "application/x-www-form-urlencoded"}, {"Accept", "application/json"}},
       .body = TokenForm(credential, options_.scope),
       .timeout_ms = options_.timeout_ms});
  // To the caller's request it is all one whether this one was sent: a token can be asked for twice.
  if (!reply) return Fail(ErrorKind::kUnavailable, "{}: {}", what, reply.error().message);
  if (reply->status != 200) {
    const RestFailure failure = ReadFailure(*reply);
    const Error error = ErrorOf(failure, what);
    if (IsPassing(failure.status)) return Fail(ErrorKind::kUnavailable, "{}", error.message);
    return Fail(ErrorKind::kPermission, "{}; check --catalog-credential, --catalog-scope and --catalog-oauth2-uri",
                error.message);
  }
  const auto token = ReadToken(reply->body);
  if (!token) return Fail(ErrorKind::kUnavailable, "{}: {}", what, token.error().message);
  token_ = token->text;
  renew_at_us_ = ends_at_us_ = INT64_MAX;
  if (token->life_seconds > 0) {
    const int64_t life_us = token->life_seconds * kMicrosPerSecond;
    const int64_t now_us = NowUs();
    renew_at_us_ = now_us + std::max(life_us - kRenewBeforeUs, life_us / 10 * 8);
    ends_at_us_ = now_us + life_us;
    GaugeOf("k2_credential_expiry_timestamp_seconds", "Time when a credential expires, in seconds since 1970.",
            {{"credential", "catalog"}})
        .Set(static_cast<double>((NowMicros() + life_us) / kMicrosPerSecond));
  }
  return {};
}

}  // namespace k2::catalog
