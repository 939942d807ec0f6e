#include "registry/registry_client.h"

#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/log.h"
#include "base/time.h"

namespace k2::registry {
namespace {

using Json = nlohmann::json;

// Error codes of the API (Confluent, "Schema Registry API reference").
constexpr int64_t kSubjectNotFound = 40401;
constexpr int64_t kVersionNotFound = 40402;
constexpr int64_t kSlowAnswerUs = 1'000'000;
constexpr int64_t kUnavailableUsMax = 30'000'000;
constexpr char kMediaType[] = "application/vnd.schemaregistry.v1+json";
constexpr char kCacheMark[] = "k2-schema-1 ";

std::string HashHex(std::string_view text) { return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size())); }

std::string Base64(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    }
    for (size_t j = 0; j < 4; ++j) text += i + j <= bytes.size() ? kDigits[group >> (18 - 6 * j) & 63U] : '=';
  }
  return text;
}

}  // namespace

RegistryClient::RegistryClient(const RegistryOptions& options, std::shared_ptr<net::HttpClient> http)
    : options_(options), http_(std::move(http)) {
  if (!options_.cache_folder.empty()) cache_folder_ = options_.cache_folder + "/" + HashHex(options_.url);
}

Result<std::shared_ptr<RegistryClient>> RegistryClient::Create(const RegistryOptions& options,
                                                               std::shared_ptr<net::HttpClient> http) {
  RegistryOptions clean = options;
  while (clean.url.ends_with('/')) clean.url.pop_back();
  if (!clean.url.starts_with("http://") && !clean.url.starts_with("https://")) {
    return Fail(ErrorKind::kInvalidArgument, "registry '{}': expected a URL such as http://localhost:8081",
                net::WithoutSecrets(clean.url));
  }
  if (!clean.user_info.empty() && !clean.token.empty()) {
    return Fail(ErrorKind::kInvalidArgument, "registry {}: both a user and a token are given; give only one",
                net::WithoutSecrets(clean.url));
  }
  return std::shared_ptr<RegistryClient>(new RegistryClient(clean, std::move(http)));
}

Result<RegistryClient::Answer> RegistryClient::Ask(const std::string& method, const std::string& url,
                                                   std::string body) {
  net::HttpRequest request;
  request.method = method;
  request.url = url;
  request.timeout_ms = options_.timeout_ms;
  request.connect_timeout_ms = std::min<int64_t>(request.connect_timeout_ms, options_.timeout_ms);
  request.headers.emplace_back("Accept", fmt::format("{}, application/json", kMediaType));
  if (!body.empty()) request.headers.emplace_back("Content-Type", kMediaType);
  if (!options_.user_info.empty()) {
    K2_ASSIGN(const std::string user_info, options_.user_info.Read());
    request.headers.emplace_back("Authorization", "Basic " + Base64(user_info));
  } else if (!options_.token.empty()) {
    K2_ASSIGN(const std::string token, options_.token.Read());
    request.headers.emplace_back("Authorization", "Bearer " + token);
  }
  request.body = std::move(body);
  Result<net::HttpResponse> response = http_->Send(request);
  if (!response) {
    return Fail(ErrorKind::kUnavailable, "schema registry {}: {}", Address(), response.error().message);
  }
  Answer answer{.status = response->status, .body = std::move(response->body)};
  if (answer.status >= 300) {
    ErrorAnswer said = ParseErrorAnswer(answer.body);
    answer.error_code = said.code;
    answer.message = std::move(said.message);
    answer.error_name = std::move(said.name);
  }
  return answer;
}

// What an answer means that is no success and has no meaning of its own to the caller.
std::unexpected<Error> RegistryClient::Refused(const Answer& answer, std::string_view what) const {
  constexpr size_t kShown = 300;
  const std::string said = answer.message.empty() ? answer.body.substr(0, kShown) : answer.message.substr(0, kShown);
  if (answer.status == 401 || answer.status == 403) {
    return Fail(ErrorKind::kPermission,
                "schema registry {}: {}: HTTP {}: {}. Check --registry-credential or --registry-token", Address(), what,
                answer.status, said);
  }
  // A 404 that is not the registry's own is the answer of something else: a wrong path, a proxy.
  return Fail(ErrorKind::kUnavailable, "schema registry {}: {}: HTTP {}: {}{}", Address(), what, answer.status, said,
              answer.status == 404 && answer.error_code == 0 ? " (is the URL that of a schema registry?)" : "");
}

Result<std::string> RegistryClient::SchemaJson(const trade::SchemaRef& ref) {
  const int64_t now_us = MonotonicMicros();
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = schemas_.find(ref); found != schemas_.end()) return found->second;
    if (const auto found = missing_.find(ref); found != missing_.end()) {
      if (now_us < found->second.first) return std::unexpected(found->second.second);
      missing_.erase(found);
    }
  }
  if (std::string cached = ReadCache(ref); !cached.empty()) {
    const std::lock_guard lock(mutex_);
    return schemas_.emplace(ref, std::move(cached)).first->second;
  }
  {
    const std::lock_guard lock(mutex_);
    if (now_us < unavailable_until_us_) return std::unexpected(unavailable_);
  }
  const int64_t asked_us = MonotonicMicros();
  Result<std::string> fetched = Fetch(ref);
  if (fetched) WriteCache(ref, *fetched);
  const std::lock_guard lock(mutex_);
  if (fetched) {
    schemas_[ref] = *fetched;
  } else if (fetched.error().kind == ErrorKind::kNotFound || fetched.error().kind == ErrorKind::kUnsupported) {
    if (missing_.size() >= options_.missing_max) missing_.clear();
    missing_.insert_or_assign(ref, std::pair(MonotonicMicros() + options_.missing_us, fetched.error()));
  } else {
    // An answer that was long waited for costs the layer its time: then it is asked for less often.
    const int64_t end_us = MonotonicMicros();
    const int64_t took_us = end_us - asked_us;
    const int64_t pause_us = took_us < kSlowAnswerUs ? 0 : std::min(3 * took_us, kUnavailableUsMax);
    unavailable_until_us_ = end_us + std::max(options_.unavailable_us, pause_us);
    unavailable_ = fetched.error();
  }
  return fetched;
}

Result<int32_t> RegistryClient::Register(const std::string& subject, std::string_view schema) {
  const std::string what = fmt::format("registering under {}", subject);
  const Json body = {{"schema", schema}};
  K2_ASSIGN(const Answer answer,
            Ask("POST", fmt::format("{}/subjects/{}/versions", options_.url, net::UrlEncode(subject)), body.dump()));
  if (answer.status == 409) {
    return Fail(ErrorKind::kInvalidData, "schema registry {}: {}: not compatible with the registered schema: {}",
                Address(), what, answer.message);
  }
  if (answer.status == 422 || answer.status == 400) {
    return Fail(ErrorKind::kInvalidArgument, "schema registry {}: {}: {}", Address(), what, answer.message);
  }
  if (answer.status != 200) return Refused(answer, what);
  const Json said = Json::parse(answer.body, nullptr, false);
  const auto id = said.is_object() ? said.find("id") : said.end();
  if (id == said.end() || !id->is_number_integer() || id->get<int64_t>() < 0 || id->get<int64_t>() > INT32_MAX) {
    return Fail(ErrorKind::kUnavailable, "schema registry {}: {}: the reply has no id", Address(), what);
  }
  return id->get<int32_t>();
}

Result<bool> RegistryClient::Compatible(const std::string& subject, std::string_view schema) {
  const Json body = {{"schema", schema}};
  const std::string url =
      fmt::format("{}/compatibility/subjects/{}/versions/latest", options_.url, net::UrlEncode(subject));
  K2_ASSIGN(const Answer answer, Ask("POST", url, body.dump()));
  if (answer.status == 404 && (answer.error_code == kSubjectNotFound || answer.error_code == kVersionNotFound)) {
    return true;
  }
  if (answer.status != 200) return Refused(answer, fmt::format("compatibility with {}", subject));
  const Json said = Json::parse(answer.body, nullptr, false);
  if (!said.is_object() || !said.contains("is_compatible") || !said["is_compatible"].is_boolean()) {
    return Fail(ErrorKind::kUnavailable, "schema registry {}: compatibility with {}: the reply has no result",
                Address(), subject);
  }
  return said["is_compatible"].get<bool>();
}

std::string RegistryClient::CachePath(const trade::SchemaRef& ref) const {
  switch (ref.kind) {
    case trade::SchemaRef::Kind::kId: return fmt::format("{}/{}.avsc", cache_folder_, ref.id);
    case trade::SchemaRef::Kind::kGuid: return fmt::format("{}/guid-{}.avsc", cache_folder_, trade::GuidText(ref));
    case trade::SchemaRef::Kind::kGlobalId: return fmt::format("{}/global-{}.avsc", cache_folder_, ref.id);
    case trade::SchemaRef::Kind::kContentId: break;
  }
  return fmt::format("{}/content-{}.avsc", cache_folder_, ref.id);
}

// The schema as it was kept; empty when there is none, or the file does not hold what was written to it.
std::string RegistryClient::ReadCache(const trade::SchemaRef& ref) const {
  if (cache_folder_.empty()) return {};
  std::ifstream file(CachePath(ref), std::ios::binary);
  if (!file) return {};
  std::ostringstream bytes;
  bytes << file.rdbuf();
  const std::string text = std::move(bytes).str();
  const size_t line_end = text.find('\n');
  if (line_end == std::string::npos) return {};
  std::string schema = text.substr(line_end + 1);
  if (text.compare(0, line_end, kCacheMark + HashHex(schema)) == 0) return schema;
  log::Warn("a cached schema is corrupt; fetching it again", {{"file", CachePath(ref)}});
  return {};
}

// By a file of its own that is renamed, so that a reader sees a whole one. A cache that cannot be written is none; that
// is told once, until it can be written again.
void RegistryClient::WriteCache(const trade::SchemaRef& ref, const std::string& schema) {
  if (cache_folder_.empty()) return;
  static std::atomic<uint64_t> number{0};
  const std::string path = CachePath(ref);
  const std::string beside = fmt::format("{}.{}-{}.tmp", path, ::getpid(), number++);
  std::error_code error;
  std::filesystem::create_directories(cache_folder_, error);
  if (!error) {
    errno = 0;
    std::ofstream file(beside, std::ios::binary);
    file << kCacheMark << HashHex(schema) << '\n' << schema;
    file.close();
    if (!file) error = std::error_code(errno != 0 ? errno : EIO, std::generic_category());
  }
  if (!error) std::filesystem::rename(beside, path, error);
  const bool told = cache_fails_.exchange(static_cast<bool>(error));
  if (!error) return;
  if (!told) {
    log::Warn("cannot cache schemas on disk; continuing, and the next run will fetch them again",
              {{"file", path}, {"error", error.message()}, {"setting", "--schema-cache"}});
  }
  std::filesystem::remove(beside, error);
}

}  // namespace k2::registry
