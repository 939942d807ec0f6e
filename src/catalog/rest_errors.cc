#include "catalog/rest_errors.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json_text.h"

namespace k2::catalog {
namespace {

constexpr size_t kMessageMax = 500;

std::string OneLine(std::string text) {
  std::ranges::replace_if(text, [](unsigned char c) { return c < ' '; }, ' ');
  if (text.size() > kMessageMax) {
    text.resize(kMessageMax);
    text += "…";
  }
  return text;
}

std::string TextOf(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// Catalogs that answer 400 to a conflict, told by their words, in lower case.
constexpr std::string_view kConflictWords[] = {
    // Java (UpdateRequirement): "Requirement failed: branch main has changed: expected id 1 != 2".
    "requirement failed",
    // Java (TableMetadata.Builder.addSnapshot), up to Iceberg 1.11 a ValidationException: "Cannot add snapshot with
    // sequence number 7 older than last sequence number 8". Somebody has committed since the request was made.
    "older than last sequence number",
    // The same place: "Snapshot already exists for id: 1". An earlier try was applied after all.
    "snapshot already exists for id",
    // Java since 1.12 (CatalogHandlers), about both numbers of a snapshot: "Validation failed, please retry: …".
    "validation failed, please retry",
    // Java's catalogs over their own store: "Cannot commit: stale table metadata", "Cannot commit changes based on
    // stale
    // table metadata".
    "stale table metadata",
    // Java's JdbcCatalog: "Cannot commit market_data.t: metadata location a has changed from b".
    "has changed from",
    // Java (BaseTransaction): "Table metadata refresh is required".
    "metadata refresh is required",
    "commit validation failed",  // Unity Catalog
    "commit failed",
    "commit conflict",
    "concurrent",
};

bool SpeaksOfConflict(const RestFailure& failure) {
  if (failure.type == "CommitFailedException" || failure.type == "CommitConflictException") return true;
  std::string text = failure.message;
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::ranges::any_of(kConflictWords,
                             [&](std::string_view words) { return text.find(words) != std::string::npos; });
}

// Java's table metadata refuses a commit while the catalog's own clock is more than a minute behind the newest snapshot
// ("Invalid update timestamp …: before last snapshot log entry at …"). The commit is right, and will be taken when that
// clock has come so far. That a snapshot is older than the table's last update cannot be: its time is never before
// that.
bool SpeaksOfAClockBehind(const RestFailure& failure) {
  return failure.message.find("Invalid update timestamp") != std::string::npos;
}

}  // namespace

RestFailure ReadFailure(const net::HttpResponse& reply) {
  RestFailure failure{.status = reply.status};
  if (const auto body = ParseJson(reply.body, "error")) {
    if (body->is_object() && body->contains("error") && (*body)["error"].is_object()) {
      failure.type = TextOf((*body)["error"], "type");
      failure.message = OneLine(TextOf((*body)["error"], "message"));
      return failure;
    }
    // RFC 6749 5.2
    failure.type = TextOf(*body, "error");
    failure.message = OneLine(TextOf(*body, "error_description"));
  }
  if (failure.message.empty()) failure.message = OneLine(reply.body.substr(0, kMessageMax));
  const auto location = reply.headers.find("location");
  if (reply.status >= 300 && reply.status < 400 && location != reply.headers.end()) {
    failure.message = "it redirects to " + OneLine(net::WithoutSecrets(location->second)) +
                      ": redirects are not followed. Give the final address as --catalog, with its scheme. If it is a "
                      "login page, the host is not that of your workspace (Databricks: "
                      "https://<workspace>/api/2.1/unity-catalog/iceberg-rest), or the token is missing";
  }
  return failure;
}

Error ErrorOf(const RestFailure& failure, std::string_view what) {
  const auto kind = [&] {
    switch (failure.status) {
      case 401:
      case 403:
      case 419: return ErrorKind::kPermission;
      case 404: return ErrorKind::kNotFound;
      case 405:
      case 406:
      case 501: return ErrorKind::kUnsupported;
      case 409: return ErrorKind::kAlreadyExists;
      default: return IsPassing(failure.status) ? ErrorKind::kUnavailable : ErrorKind::kInvalidArgument;
    }
  }();
  std::string text = fmt::format("{}: the catalog answered {}", what, failure.status);
  if (!failure.type.empty()) text += " " + failure.type;
  if (!failure.message.empty()) text += ": " + failure.message;
  return {kind, std::move(text)};
}

CommitOutcome OutcomeOf(const RestFailure& failure, std::string_view what) {
  Error error = ErrorOf(failure, what);
  const bool in_doubt = failure.status >= 500 || failure.status == 408 || failure.status < 300;
  if (in_doubt || failure.type == "CommitStateUnknownException") {
    return Unknown{{ErrorKind::kCommitUnknown, std::move(error.message)}};
  }
  if (failure.status == 409 || failure.status == 412) return Conflict{std::move(error.message)};
  if (failure.status == 400 && SpeaksOfConflict(failure)) return Conflict{std::move(error.message)};
  if (failure.status == 429) return NotSent{std::move(error)};
  if (failure.status == 400 && SpeaksOfAClockBehind(failure)) {
    return NotSent{{ErrorKind::kUnavailable, std::move(error.message) +
                                                 " (the catalog's clock is behind the table's newest snapshot: correct "
                                                 "it, or this machine's clock; until then commits are retried)"}};
  }
  return Rejected{std::move(error)};
}

bool IsPassing(int status) { return status == 408 || status == 429 || (status >= 500 && status != 501); }

}  // namespace k2::catalog
