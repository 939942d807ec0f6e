#include "cli/settings.h"

#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "base/similar.h"
#include "cli/secrets.h"

namespace k2::cli {

std::string EnvironmentName(const std::string& name) {
  std::string variable = "K2_";
  for (const char c : name) variable += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return variable;
}

namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};

// "<number><unit>"; false when it is none or too large.
bool ParseWithUnit(std::string_view text, std::initializer_list<Unit> units, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return false;
  std::string_view rest(end, static_cast<size_t>(text.data() + text.size() - end));
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  for (const Unit& unit : units) {
    if (rest != unit.name) continue;
    return !__builtin_mul_overflow(value, unit.factor, &value);
  }
  return false;
}

bool SpanOf(std::string_view text, int64_t& us) {
  constexpr int64_t kSecond = 1'000'000;
  return ParseWithUnit(
      text,
      {{"us", 1}, {"ms", 1000}, {"s", kSecond}, {"m", 60 * kSecond}, {"h", 3600 * kSecond}, {"d", 86'400 * kSecond}},
      us);
}

// What the parser saw can be a part of a value, and secret.
std::string WithoutQuotes(std::string_view text) {
  std::string shown;
  bool quoted = false;
  for (const char c : text) {
    if (c == '\'' || c == '"') {
      quoted = !quoted;
      shown += quoted ? "'..." : "'";
    } else if (!quoted) {
      shown += c;
    }
  }
  return shown;
}

std::string TomlText(const toml::node& node) {
  if (const auto text = node.value<std::string>()) return *text;
  if (const auto number = node.value_exact<int64_t>()) return std::to_string(*number);
  if (const auto flag = node.value_exact<bool>()) return *flag ? "true" : "false";
  if (const toml::array* lines = node.as_array()) {
    std::string text;
    for (const toml::node& line : *lines) text += (text.empty() ? "" : "\n") + line.value_or(std::string());
    return text;
  }
  return {};
}

// From the environment, else from the settings file; of either by the present name, else by the former one.
void TakeFromElsewhere(const toml::table& table, const std::string& path, Setting& setting) {
  const bool renamed = !setting.former_name.empty();
  for (const std::string& name : {setting.name, setting.former_name}) {
    const std::string variable = EnvironmentName(name);
    const char* text = name.empty() ? nullptr : std::getenv(variable.c_str());
    if (text == nullptr || *text == '\0') continue;
    setting.value = text;
    setting.origin = "environment " + variable;
    return;
  }
  const toml::node* node = table.get(setting.name);
  if (node == nullptr && renamed) node = table.get(setting.former_name);
  if (node == nullptr) return;
  setting.value = TomlText(*node);
  setting.origin = path;
}

}  // namespace

void Settings::Add(CLI::App& app, const SettingText& text) {
  settings_.push_back({.name = text.name,
                       .value = text.otherwise,
                       .group = group_,
                       .word = text.word,
                       .otherwise = text.otherwise,
                       .help = text.help,
                       .former_name = text.former_name});
  Setting& setting = settings_.back();
  setting.option = app.add_option("--" + setting.name, setting.value, setting.help)->type_name(setting.word);
  if (!setting.otherwise.empty()) setting.option->default_str(setting.otherwise);
  if (text.lines) setting.option->multi_option_policy(CLI::MultiOptionPolicy::Join);
  if (app.get_parent() == nullptr) setting.option->group("");
  if (!setting.former_name.empty()) {
    setting.former_option = app.add_option("--" + setting.former_name, setting.value)->group("");
  }
  if (!HoldsSecrets(text.name)) return;
  const std::string name = setting.name + "-file";
  const std::string help = fmt::format("Read {} from FILE, again whenever it is replaced", setting.name);
  Add(app, {.name = name, .word = "FILE", .otherwise = "", .help = help});
}

Result<Secret> Settings::SecretOf(const std::string& name) const {
  const Setting& file = Get(name + "-file");
  if (file.value.empty()) return Secret(Text(name));
  if (!Text(name).empty()) {
    return Fail(ErrorKind::kInvalidArgument, "{} ({}) and {} ({}) are given: leave one out", name, Get(name).origin,
                file.name, file.origin);
  }
  Secret secret = Secret::OfFile(file.value);
  if (const auto text = secret.Read(); !text) return std::unexpected(text.error().With(file.name));
  return secret;
}

Status Settings::Resolve(const std::string& config) {
  std::string path = config;
  if (path.empty() && std::filesystem::exists("k2.toml")) path = "k2.toml";
  toml::table table;
  if (!path.empty()) {
    if (!std::filesystem::exists(path)) return Fail(ErrorKind::kNotFound, "there is no configuration file {}", path);
    try {
      table = toml::parse_file(path);
    } catch (const toml::parse_error& error) {
      return Fail(ErrorKind::kInvalidArgument, "{}:{}: {}", path, error.source().begin.line,
                  WithoutQuotes(error.description()));
    }
    config_path_ = path;
  }
  for (Setting& setting : settings_) {
    if (setting.option->count() > 0 || (setting.former_option != nullptr && setting.former_option->count() > 0)) {
      setting.origin = "flag";
      continue;
    }
    TakeFromElsewhere(table, path, setting);
  }
  for (const auto& [key, node] : table) {
    const auto known = [&](const Setting& setting) {
      return setting.name == key.str() || (!setting.former_name.empty() && setting.former_name == key.str());
    };
    if (std::ranges::none_of(settings_, known)) {
      std::vector<std::string> names;
      for (const Setting& setting : settings_) names.push_back(setting.name);
      return WithHint(
          Fail(ErrorKind::kInvalidArgument, "{}:{}: unknown setting '{}'", path, node.source().begin.line, key.str()),
          DidYouMean(key.str(), names, "'k2 help settings' lists them all"));
    }
  }
  return {};
}

std::unexpected<Error> Settings::Bad(const Setting& setting, std::string_view expected) const {
  return Fail(ErrorKind::kInvalidArgument, "{} = '{}' ({}): {}", setting.name, Shown(setting.name, setting.value),
              setting.origin, expected);
}

Result<bool> Settings::Flag(std::string_view name) const {
  const Setting& setting = Get(name);
  if (setting.value != "true" && setting.value != "false") return Bad(setting, "expected true or false");
  return setting.value == "true";
}

Result<int64_t> Settings::Number(std::string_view name, int64_t min) const {
  const Setting& setting = Get(name);
  int64_t value = 0;
  if (!ParseWithUnit(setting.value, {{"", 1}}, value) || value < min) {
    return Bad(setting, fmt::format("expected a whole number of at least {}", min));
  }
  return value;
}

namespace {

bool SizeOf(const std::string& text, int64_t& bytes) {
  constexpr int64_t kKi = 1024;
  return ParseWithUnit(text,
                       {{"", 1},
                        {"B", 1},
                        {"KB", kKi},
                        {"KiB", kKi},
                        {"MB", kKi * kKi},
                        {"MiB", kKi * kKi},
                        {"GB", kKi * kKi * kKi},
                        {"GiB", kKi * kKi * kKi}},
                       bytes);
}

}  // namespace

Result<int64_t> ParseBytes(std::string_view name, const std::string& text) {
  int64_t bytes = 0;
  if (SizeOf(text, bytes)) return bytes;
  return Fail(ErrorKind::kInvalidArgument, "{} {}: expected a size such as 128MB or 1GiB", name, text);
}

Result<int64_t> Settings::Bytes(std::string_view name) const {
  const Setting& setting = Get(name);
  int64_t value = 0;
  if (!SizeOf(setting.value, value)) return Bad(setting, "expected a size such as 128MB or 1GiB");
  return value;
}

Result<int64_t> Settings::Span(std::string_view name) const {
  const Setting& setting = Get(name);
  int64_t value = 0;
  if (!SpanOf(setting.value, value)) return Bad(setting, "expected a time span such as 200ms, 5s or 7d");
  return value;
}

std::vector<std::string> Settings::List(std::string_view name) const {
  const std::string& text = Text(name);
  std::vector<std::string> names;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    if (comma > begin) names.push_back(text.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return names;
}

Result<int64_t> ParseSpan(std::string_view name, std::string_view text) {
  int64_t value = 0;
  if (SpanOf(text, value)) return value;
  return Fail(ErrorKind::kInvalidArgument, "{} {}: expected a time span such as 200ms, 5s or 7d", name, text);
}

const Setting& Settings::Get(std::string_view name) const {
  for (const Setting& setting : settings_) {
    if (setting.name == name) return setting;
  }
  throw std::logic_error("no setting " + std::string(name));
}

}  // namespace k2::cli
