#include <malloc.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <span>

#include "base/guard.h"
#include "base/log.h"
#include "base/version.h"
#include "cli/aws_settings.h"
#include "cli/commands.h"
#include "cli/kafka_settings.h"
#include "cli/layer_settings.h"
#include "cli/secrets.h"
#include "cli/storage_settings.h"

namespace k2 {
namespace {

Status ConfigureLog(const Settings& settings) {
  const std::string& level = settings.Text("log-level");
  const std::string& format = settings.Text("log-format");
  log::Level chosen = log::Level::kWarn;
  if (level == "debug") {
    chosen = log::Level::kDebug;
  } else if (level == "info") {
    chosen = log::Level::kInfo;
  } else if (level == "error") {
    chosen = log::Level::kError;
  } else if (level == "off") {
    chosen = log::Level::kOff;
  } else if (level != "warn") {
    return Fail(ErrorKind::kInvalidArgument, "log-level = '{}': debug, info, warn, error or off", level);
  }
  if (format != "text" && format != "json") {
    return Fail(ErrorKind::kInvalidArgument, "log-format = '{}': text or json", format);
  }
  log::Configure(chosen, format == "json" ? log::Format::kJson : log::Format::kText);
  return {};
}

}  // namespace

std::string FailureToJson(const Error& error) {
  nlohmann::ordered_json line = {
      {"error", error.message}, {"kind", ToString(error.kind)}, {"exit_code", ExitCode(error.kind)}};
  if (!error.table.empty()) line["table"] = error.table;
  if (!error.file.empty()) line["file"] = error.file;
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

namespace {

int PrintError(const Error& error) {
  if (log::IsJson()) {
    std::fprintf(stderr, "%s\n", FailureToJson(error).c_str());
  } else {
    std::fprintf(stderr, "k2: %s\n", error.message.c_str());
  }
  return ExitCode(error.kind);
}

}  // namespace

bool IsTerminal(int descriptor) { return ::isatty(descriptor) == 1; }

bool WantsColour(int descriptor) {
  const char* no_colour = std::getenv("NO_COLOR");
  return IsTerminal(descriptor) && (no_colour == nullptr || *no_colour == '\0');
}

int TerminalWidth(int descriptor) {
  winsize size{};
  if (!IsTerminal(descriptor) || ::ioctl(descriptor, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

namespace {

bool IsFlag(std::string_view argument) { return argument.starts_with('-'); }

// What was given and is known to nobody: of an unknown flag its name alone, and no word behind a flag, for these may be
// secret.
std::string UnknownArguments(const std::vector<std::string>& left, const std::vector<std::string>& given) {
  std::vector<std::string> flags;
  for (const std::string& one : left) {
    if (IsFlag(one)) flags.push_back(one.substr(0, one.find('=')));
  }
  if (!flags.empty()) return fmt::format("there is no flag {} here", fmt::join(flags, ", "));
  const auto first_flag = std::ranges::find_if(given, IsFlag);
  for (const std::string& one : left) {
    if (std::find(given.begin(), first_flag, one) != first_flag) return fmt::format("'{}' is not expected here", one);
  }
  return "there are words that no flag takes; a value with spaces goes into quotes";
}

std::vector<std::string> SettingNames(const Settings& settings) {
  std::vector<std::string> names;
  for (const Setting& setting : settings.all()) names.push_back(setting.name);
  return names;
}

Result<int> RunCommandLine(int argc, char** argv) {
  // Batches of tens of megabytes are made in one thread and freed in another: few arenas, and large blocks that go back
  // to the system, keep the peak near what is in use (bench/RESULTS.md). Arrow's own pool would keep its own copy.
  ::mallopt(M_ARENA_MAX, 2);
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
  ::setenv("ARROW_DEFAULT_MEMORY_POOL", "system", 0);
  Program program;
  CLI::App& app = program.app;
  app.require_subcommand(1);
  app.set_version_flag("--version", fmt::format("k2 {}", kVersion));
  app.fallthrough();
  app.set_help_flag("-h,--help", "what this command does");
  app.add_option("--config", program.config, "settings file (default: ./k2.toml where there is one)")
      ->envname("K2_CONFIG");
  AddLakehouseSettings(program);
  AddStorageSettings(program);
  AddAwsSettings(program);
  AddKafkaSettings(program);
  AddLayerSettings(program);
  program.settings.Add(app, "log-level", "warn", "debug, info, warn, error or off");
  program.settings.Add(app, "log-format", "text", "text or json (one object a line)");
  program.settings.Add(app, "schemas", "", "folder of writer schemas, <id>.avsc, beside the built-in ones");
  app.footer(
      "Every setting is a flag, a variable K2_<NAME>, or a line in k2.toml; the first of these wins.\n"
      "Exit codes: 0 ok, 1 data or check failure, 2 usage or configuration, 3 a dependency is unavailable,\n"
      "4 the outcome of a commit is unknown, 5 an internal error.\n\n"
      "Examples:\n"
      "  k2 simulate --exchange binance --trades 100000 --out binance.zst\n"
      "  k2 run --warehouse lake --recording binance=binance.zst\n"
      "  k2 query --warehouse lake \"SELECT symbol, count(*) FROM gold_crypto_trades GROUP BY ALL\"");
  AddRun(program);
  AddSimulate(program);
  AddProduce(program);
  AddTables(program);
  AddOffsets(program);
  AddMaintain(program);
  AddPlan(program);
  AddTask(program);
  AddCommit(program);
  AddRebuild(program);
  AddQuery(program);
  AddOhlcv(program);
  AddDoctor(program);
  const std::vector<std::string> given(argv + std::min(argc, 1), argv + argc);
  const bool has_command = !given.empty() && !IsFlag(given.front());
  HideArguments(std::span(argv, static_cast<size_t>(argc)), SettingNames(program.settings));
  try {
    app.parse(std::vector<std::string>(given.rbegin(), given.rend()));  // as CLI11 takes them: the last one first
  } catch (const CLI::RequiredError& error) {
    if (has_command && app.get_subcommands().empty()) {
      std::fprintf(stderr, "k2: there is no command '%s'; `k2 --help` lists them\n", given.front().c_str());
      return 2;
    }
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const CLI::ExtrasError&) {
    std::fprintf(stderr, "k2: %s; --help says what there is\n", UnknownArguments(app.remaining(true), given).c_str());
    return 2;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  K2_TRY(program.settings.Resolve(program.config));
  if (program.config.empty()) K2_TRY(CheckImplicitFile(program.settings));
  K2_TRY(ConfigureLog(program.settings));
  return program.action();
}

}  // namespace

int Main(int argc, char** argv) {
  TellTermination();
  // What fails before the settings are known is told in this form, too.
  const char* format = std::getenv("K2_LOG_FORMAT");
  if (format != nullptr && std::string_view(format) == "json") log::Configure(log::Level::kWarn, log::Format::kJson);
  const std::string place = argc > 1 && argv[1][0] != '-' ? fmt::format("k2 {}", argv[1]) : "k2";
  const Result<int> code = Guarded(place, [&] { return RunCommandLine(argc, argv); });
  return code ? *code : PrintError(code.error());
}

}  // namespace k2
