#include "cli/secrets.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <initializer_list>

#include "kafka/kafka_client.h"
#include "net/http.h"

namespace k2::cli {
namespace {

bool ContainsAny(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::ranges::any_of(words, [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

// Behind `scheme://`, up to the path: user, password or a token, which may stand there alone. Behind `?` or `#`:
// parameters, which signed addresses have their secret in.
std::string ShownAddresses(std::string text) {
  for (size_t at = text.find("://"); at != std::string::npos; at = text.find("://", at)) {
    at += 3;
    const size_t end = std::min(text.find_first_of("/,?# ", at), text.size());
    const size_t host = text.substr(0, end).rfind('@');
    if (host != std::string::npos && host >= at) text.replace(at, host - at, "***");
    const size_t stop = std::min(text.find_first_of(", ", at), text.size());
    const size_t parameters = text.find_first_of("?#", at);
    if (parameters < stop) text.replace(parameters + 1, stop - parameters - 1, "***");
  }
  return text;
}

std::string ShownNameValues(std::string_view text) {
  const auto entries = ParseNameValues("kafka-set", text);
  if (!entries) return "***";
  std::string shown;
  bool behind_secret = false;
  for (const auto& [name, value] : *entries) {
    if (!shown.empty()) shown += ",";
    // The rest of a password with a comma.
    if (behind_secret && !kafka::IsKafkaSetting(name)) return shown + "***";
    behind_secret = IsSecretKafkaName(name);
    shown += name + "=" + (behind_secret ? "***" : ShownAddresses(value));
  }
  return shown;
}

// Of each line the name; what is no header is not shown.
std::string ShownHeaders(std::string_view lines) {
  const auto headers = net::ParseHeaderLines(lines);
  if (!headers) return "***";
  std::string shown;
  for (const auto& [name, value] : *headers) shown += fmt::format("{}{}: ***", shown.empty() ? "" : ", ", name);
  return shown;
}

}  // namespace

bool IsSecretName(std::string_view name) {
  return std::ranges::any_of(std::initializer_list<std::string_view>{"password", "token", "secret", "credential"},
                             [&](std::string_view kind) { return name.ends_with(kind); });
}

bool HoldsSecrets(std::string_view name) {
  return IsSecretName(name) || name == "kafka-set" || name == "catalog-header";
}

// Names that librdkafka will have one day are covered by their words.
bool IsSecretKafkaName(std::string_view name) {
  if (ContainsAny(name, {"password", "passphrase", "secret", "jaas", "credential", "oauthbearer.config", ".pem"})) {
    return true;
  }
  const bool harmless = name.ends_with(".location") || name.ends_with(".id") || name.ends_with(".url") ||
                        name.ends_with(".ms") || name.ends_with(".method") || name.ends_with(".algorithm");
  return !harmless && ContainsAny(name, {"token", "key", "assertion"});
}

std::string Shown(std::string_view name, const std::string& value) {
  if (value.empty()) return value;
  if (name.ends_with("credential")) {
    const size_t colon = value.find(':');
    return (colon == std::string::npos ? "" : value.substr(0, colon + 1)) + "***";
  }
  if (IsSecretName(name)) return "***";
  if (name == "catalog-header") return ShownHeaders(value);
  // Brokers have no user; what stands before an @ can only be a mistake.
  if (name == "kafka" && value.find('@') != std::string::npos) return "***" + value.substr(value.rfind('@'));
  return name == "kafka-set" ? ShownNameValues(value) : ShownAddresses(value);
}

Result<std::vector<std::pair<std::string, std::string>>> ParseNameValues(std::string_view setting,
                                                                         std::string_view text) {
  std::vector<std::pair<std::string, std::string>> entries;
  const auto bad = [&](std::string_view what) {
    return Fail(ErrorKind::kInvalidArgument,
                "{}: {} {}. Entries are name=value, comma-separated; a value with a comma goes into double quotes: "
                "name=\"a,b\" (a quote within it is written twice)",
                setting, entries.empty() ? "the first entry" : fmt::format("what follows '{}'", entries.back().first),
                what);
  };
  for (size_t at = 0; at < text.size();) {
    if (text[at] == ',' || text[at] == '\n' || text[at] == '\r') {
      ++at;
      continue;
    }
    const size_t equals = text.find('=', at);
    const std::string_view name = text.substr(at, std::min(equals, text.size()) - at);
    const bool named = equals != std::string_view::npos && !name.empty() &&
                       name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._-") == std::string_view::npos;
    if (!named) return bad("is not name=value");
    std::string value;
    at = equals + 1;
    if (at < text.size() && text[at] == '"') {
      for (++at;; ++at) {
        if (at >= text.size()) return bad("has a quote that is not closed");
        if (text[at] == '"' && text.substr(at + 1, 1) != "\"") break;
        if (text[at] == '"') ++at;
        value += text[at];
      }
      ++at;
      if (at < text.size() && text[at] != ',' && text[at] != '\n' && text[at] != '\r')
        return bad("goes on behind its closing quote");
    } else {
      const size_t end = std::min(text.find_first_of(",\r\n", at), text.size());
      value = text.substr(at, end - at);
      at = end;
    }
    entries.emplace_back(name, std::move(value));
  }
  return entries;
}

namespace {

// An address, and the settings whose secrets are sent there.
struct Destination {
  std::string_view address;
  std::vector<std::string_view> secrets;
};

bool HoldsSecret(const Setting& setting) {
  if (setting.value.empty()) return false;
  if (setting.name != "kafka-set") return true;
  const auto entries = ParseNameValues(setting.name, setting.value);
  return !entries || std::ranges::any_of(*entries, [](const auto& entry) { return IsSecretKafkaName(entry.first); });
}

// Keys of a store are no settings of K2; these are the usual ways that a process gets them.
std::string WhereStoreKeysAre() {
  for (const char* name : {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
                           "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return name;
  }
  const char* named = std::getenv("AWS_SHARED_CREDENTIALS_FILE");
  const char* home = std::getenv("HOME");
  const std::string file = named != nullptr ? named : home != nullptr ? std::string(home) + "/.aws/credentials" : "";
  std::error_code ignored;
  return !file.empty() && std::filesystem::exists(file, ignored) ? file : "";
}

std::unexpected<Error> Redirected(const Setting& address, std::string_view secret, std::string_view origin) {
  return Fail(ErrorKind::kInvalidArgument,
              "{} comes from {}, which nobody named, and {} from elsewhere ({}): a file that happens to lie in the "
              "current folder may not say where secrets go. If it is yours, name it: --config {} or K2_CONFIG={}",
              address.name, address.origin, secret, origin, address.origin, address.origin);
}

}  // namespace

Status CheckImplicitFile(const Settings& settings) {
  const std::string& file = settings.config_path();
  if (file.empty()) return {};
  // It may not send another file of its reader's away either.
  for (const Setting& setting : settings.all()) {
    if (!setting.name.ends_with("-file") || setting.origin != file || setting.value.empty()) continue;
    return Fail(ErrorKind::kInvalidArgument,
                "{} comes from {}, which nobody named: a file that happens to lie in the current folder may not name "
                "others that hold secrets. If it is yours, name it: --config {} or K2_CONFIG={}",
                setting.name, file, file, file);
  }
  const Destination destinations[] = {
      {"catalog", {"catalog-credential", "catalog-token", "catalog-header"}},
      {"catalog-oauth2-uri", {"catalog-credential"}},
      {"registry", {"registry-credential", "registry-token"}},
      {"kafka", {"kafka-set"}},
  };
  for (const Destination& destination : destinations) {
    const Setting& address = settings.Get(destination.address);
    if (address.origin != file) continue;
    for (const std::string_view name : destination.secrets) {
      for (const std::string& one : {std::string(name), fmt::format("{}-file", name)}) {
        const Setting& secret = settings.Get(one);
        if (secret.origin != file && HoldsSecret(secret)) return Redirected(address, one, secret.origin);
      }
    }
  }
  const Setting& store = settings.Get("s3-endpoint");
  if (store.origin != file) return {};
  if (const std::string keys = WhereStoreKeysAre(); !keys.empty()) return Redirected(store, "keys of the store", keys);
  // A catalog lends keys of the store.
  const Setting& catalog = settings.Get("catalog");
  if (catalog.origin != file && !catalog.value.empty()) return Redirected(store, "catalog", catalog.origin);
  return {};
}

NoCoreDumps::NoCoreDumps() {
  if (::getrlimit(RLIMIT_CORE, &started_with_) != 0) return;
  // Of 1 byte and not 0: a dump that is piped to a program has no limit but this (core(5)).
  const rlimit none{.rlim_cur = std::min<rlim_t>(started_with_.rlim_max, 1), .rlim_max = started_with_.rlim_max};
  (void)::setrlimit(RLIMIT_CORE, &none);
}

void NoCoreDumps::Allow() const { (void)::setrlimit(RLIMIT_CORE, &started_with_); }

void HideArguments(std::span<char*> arguments, const std::vector<std::string>& settings) {
  const auto hide = [](std::string_view name, char* value) {
    if (Shown(name, value) != value) std::memset(value, '*', std::strlen(value));
  };
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (!argument.starts_with("--")) continue;
    const size_t equals = argument.find('=');
    const std::string name(argument.substr(2, equals == std::string_view::npos ? equals : equals - 2));
    if (std::ranges::find(settings, name) == settings.end()) continue;
    if (equals != std::string_view::npos) {
      hide(name, arguments[i] + equals + 1);
    } else if (i + 1 < arguments.size()) {
      hide(name, arguments[++i]);
    }
  }
}

}  // namespace k2::cli
