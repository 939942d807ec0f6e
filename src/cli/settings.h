// Where each setting's value comes from: flag > environment (K2_*) > k2.toml > default.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret.h"

namespace k2::cli {

struct Setting {
  std::string name;  // commit-interval; K2_COMMIT_INTERVAL in the environment; commit-interval = … in k2.toml
  std::string value;
  std::string origin = "default";  // "flag", "environment K2_…", "<path of k2.toml>", "default"
  std::string group;               // storage, kafka, pipeline, retention, output: a topic of `k2 help`
  std::string word;                // what a value is, in help: SIZE, DURATION, FILE
  std::string otherwise;           // the default; empty: none
  std::string help;
  CLI::Option* option = nullptr;
  std::string former_name;  // of the version before, still accepted; empty: none
  CLI::Option* former_option = nullptr;
};

// Names and values of a setting as `k2 help settings` and docs/configuration.md show them.
struct SettingText {
  std::string name;
  std::string word;
  std::string otherwise;
  std::string help;
  bool lines = false;            // it may be given several times, each a line of its value
  std::string former_name = {};  // accepted for one version more, and not shown
};

// K2_COMMIT_INTERVAL of commit-interval.
std::string EnvironmentName(const std::string& name);

// A time span: 200ms, 5s, 1m, 2h, 7d. In microseconds. `name` says in errors where it was given.
Result<int64_t> ParseSpan(std::string_view name, std::string_view text);
// A size: 512KB, 128MB, 1GiB, or bytes. In bytes; a KB is 1024.
Result<int64_t> ParseBytes(std::string_view name, const std::string& text);

class Settings {
 public:
  // The group of the settings that are added from here on.
  void BeginGroup(std::string_view group) { group_ = group; }
  // Adds a flag to the command; its value is read with the getters below, after Resolve(). One that is a secret gets a
  // second one, NAME-file. Flags of the program itself are shown by `k2 help settings`, not by --help.
  void Add(CLI::App& app, const SettingText& text);

  // Fills what no flag has set. `config` is the file to read; empty: ./k2.toml if there is one. Errors: kNotFound (a
  // file that was named is missing), kInvalidArgument (not TOML; a name that no setting has).
  Status Resolve(const std::string& config);

  [[nodiscard]] const std::string& Text(std::string_view name) const { return Get(name).value; }
  // Of a secret: its text, or the file that NAME-file names. Errors: kInvalidArgument (both are given), kPermission
  // (the file cannot be read).
  [[nodiscard]] Result<Secret> SecretOf(const std::string& name) const;
  // A whole number, at least `min`. Error: kInvalidArgument names the setting, its value and where it came from.
  [[nodiscard]] Result<int64_t> Number(std::string_view name, int64_t min) const;
  // true or false. Error: as Number's.
  [[nodiscard]] Result<bool> Flag(std::string_view name) const;
  // Bytes: 512MB, 1GiB, 1048576. Decimal and binary units alike mean powers of 1024.
  [[nodiscard]] Result<int64_t> Bytes(std::string_view name) const;
  // A time span: 200ms, 5s, 1m, 2h, 7d. In microseconds.
  [[nodiscard]] Result<int64_t> Span(std::string_view name) const;
  // Names with commas between them; empty ones are left out.
  [[nodiscard]] std::vector<std::string> List(std::string_view name) const;

  [[nodiscard]] const Setting& Get(std::string_view name) const;
  [[nodiscard]] const std::deque<Setting>& all() const { return settings_; }
  [[nodiscard]] const std::string& config_path() const { return config_path_; }

 private:
  [[nodiscard]] std::unexpected<Error> Bad(const Setting& setting, std::string_view expected) const;
  std::deque<Setting> settings_;  // CLI11 keeps references to the values
  std::string config_path_;
  std::string group_;
};

}  // namespace k2::cli
