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
#include "base/similar.h"
#include "base/this_process.h"
#include "base/version.h"
#include "cli/aws_settings.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/kafka_settings.h"
#include "cli/layer_settings.h"
#include "cli/secrets.h"
#include "cli/storage_settings.h"

namespace k2::cli {
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
  if (!error.hint.empty()) line["hint"] = error.hint;
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

namespace {

int PrintError(const Error& error) {
  if (log::IsJson()) {
    std::fprintf(stderr, "%s\n", FailureToJson(error).c_str());
  } else {
    std::fprintf(stderr, "k2: %s\n", error.message.c_str());
    if (!error.hint.empty()) std::fprintf(stderr, "hint: %s\n", error.hint.c_str());
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

// "maintain retention": the subcommands that were chosen.
std::string CommandWords(const CLI::App& app) {
  std::string words;
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    words += (words.empty() ? "" : " ") + at->get_name();
  }
  return words;
}

// The innermost command that was chosen: of `k2 maintain compact`, compact.
const CLI::App& ChosenCommand(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  return *at;
}

// What was given and is known to nobody: of an unknown flag its name alone, and no word behind a flag, for these may be
// secret.
std::unexpected<Error> UnknownArguments(const CLI::App& app, const std::vector<std::string>& left,
                                        const std::vector<std::string>& given) {
  const CLI::App& command = ChosenCommand(app);
  const std::string help = &command == &app ? "'k2 --help' lists the commands"
                                            : fmt::format("'k2 {} --help' lists its options", CommandWords(app));
  for (const std::string& one : left) {
    if (!IsFlag(one)) continue;
    // Of -pSECRET the letter alone.
    const std::string flag = one.substr(0, one.starts_with("--") ? one.find('=') : 2);
    // A setting of all commands is meant where its name is mistyped, not where it begins with another word.
    std::string meant = Nearest(flag, FlagNames(command));
    if (meant.empty()) meant = Nearest(flag, FlagNames(app), false);
    return WithHint(Fail(ErrorKind::kInvalidArgument, "unknown option {}", flag),
                    meant.empty() ? help : fmt::format("did you mean '{}'?", meant));
  }
  const auto first_flag = std::ranges::find_if(given, IsFlag);
  for (const std::string& one : left) {
    if (std::find(given.begin(), first_flag, one) != first_flag) {
      return WithHint(Fail(ErrorKind::kInvalidArgument, "unexpected argument '{}'", one), help);
    }
  }
  return WithHint(Fail(ErrorKind::kInvalidArgument, "unexpected arguments after the options"),
                  "put a value that has spaces into quotes");
}

// A command that is needed and not there, or that nobody knows.
std::unexpected<Error> NoCommand(const CLI::App& app, const std::vector<std::string>& given) {
  const CLI::App& command = ChosenCommand(app);
  const std::string words = CommandWords(app);
  const std::string help = fmt::format("'k2 {}--help' lists the commands", words.empty() ? "" : words + " ");
  // Behind the command that was found; an option's value may be called as it is, and comes before.
  const auto chosen = std::find(given.rbegin(), given.rend(), command.get_name()).base();
  const auto word = words.empty() ? given.begin() : chosen;
  if (word == given.end() || IsFlag(*word)) {
    const std::vector<std::string> flags = FlagNames(app);
    if (word != given.end() && std::ranges::find(flags, word->substr(0, word->find('='))) == flags.end()) {
      return UnknownArguments(app, {*word}, given);
    }
    return WithHint(Fail(ErrorKind::kInvalidArgument, "no known command was given"), help);
  }
  const std::string typed = words.empty() ? *word : words + " " + *word;
  std::vector<std::string> known = SubcommandNames(command);
  for (std::string& name : known) name = words.empty() ? name : words + " " + name;
  return WithHint(Fail(ErrorKind::kInvalidArgument, "unknown command '{}'", typed), DidYouMean(typed, known, help));
}

// What CLI11 says, in the style of other errors.
Result<int> UsageError(const CLI::App& app, const CLI::ParseError& error, const std::vector<std::string>& given) {
  const CLI::App& command = ChosenCommand(app);
  const std::string name = fmt::format("k2{}{}", command.get_parent() == nullptr ? "" : " ", CommandWords(app));
  const auto is = [&](CLI::ExitCodes code) { return error.get_exit_code() == static_cast<int>(code); };
  if (is(CLI::ExitCodes::ExtrasError)) return UnknownArguments(app, app.remaining(true), given);
  std::string message = error.what();
  if (is(CLI::ExitCodes::RequiredError)) {
    if (command.get_require_subcommand_min() > 0) return NoCommand(app, given);
    const std::string missing = message.substr(0, message.find(' '));
    message = fmt::format("{} needs {}", CommandWords(app), IsFlag(missing) ? missing : "an argument: " + missing);
    const std::string usage = UsageWithExamples(command, name);
    if (log::IsJson()) return WithHint(Fail(ErrorKind::kInvalidArgument, "{}", message), usage);
    std::fprintf(stderr, "k2: %s\n%s\n", message.c_str(), usage.c_str());
    return ExitCode(ErrorKind::kInvalidArgument);
  }
  if (message.starts_with(": ")) {  // of an option that ends the line, without its name
    const auto last = std::ranges::find_if(given.rbegin(), given.rend(), IsFlag);
    if (last != given.rend()) message = last->substr(0, last->find('=')) + message;
  }
  return WithHint(Fail(ErrorKind::kInvalidArgument, "{}", message), fmt::format("'{} --help' lists its options", name));
}

std::vector<std::string> SettingNames(const Settings& settings) {
  std::vector<std::string> names;
  for (const Setting& setting : settings.all()) {
    names.push_back(setting.name);
    if (!setting.former_name.empty()) names.push_back(setting.former_name);
  }
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
  app.set_version_flag("--version", fmt::format("k2 {}", kVersion), "Show the version");
  app.fallthrough();
  app.formatter(MakeHelpFormatter());
  app.set_help_flag("-h,--help", "Show help");
  app.add_option("--config", program.config, "Read settings from FILE (default ./k2.toml)")
      ->type_name("FILE")
      ->envname("K2_CONFIG");
  AddLakehouseSettings(program);
  AddStorageSettings(program);
  AddAwsSettings(program);
  AddKafkaSettings(program);
  AddLayerSettings(program);
  program.settings.BeginGroup("output");
  program.settings.Add(app,
                       {"log-level", "LEVEL", "warn", "debug, info, warn, error or off; logs go to standard error"});
  program.settings.Add(app, {"log-format", "FORMAT", "text",
                             "text, or json: one object a line, also for the error that ends a command"});
  program.settings.Add(app,
                       {"core-dumps", "BOOL", "false",
                        "true: allow core dumps, within the system's limit; they hold the secrets of the process"});
  AddRun(program);
  AddSimulate(program);
  AddProduce(program);
  AddQuery(program);
  AddOhlcv(program);
  AddTables(program);
  AddMaintain(program);
  AddRebuild(program);
  AddOffsets(program);
  AddAudit(program);
  AddDoctor(program);
  AddHelp(program);
  AddPlan(program);
  AddTask(program);
  AddCommit(program);
  app.footer(
      "Run 'k2 COMMAND --help' for options and examples, 'k2 help settings' for the\n"
      "settings that all commands take: storage, catalog, Kafka, retention, output.\n"
      "Start here:  k2 simulate --exchange binance --trades 100000 --out demo.zst\n"
      "             k2 run --recording binance=demo.zst");
  const std::vector<std::string> given(argv + std::min(argc, 1), argv + argc);
  const NoCoreDumps no_core_dumps;
  HideArguments(std::span(argv, static_cast<size_t>(argc)), SettingNames(program.settings));
  try {
    app.parse(std::vector<std::string>(given.rbegin(), given.rend()));  // as CLI11 takes them: the last one first
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    if (given.empty()) {
      std::fputs(app.help().c_str(), stderr);
      return 2;
    }
    return UsageError(app, error, given);
  }
  SetCommandOfThisProcess(CommandWords(app));
  K2_TRY(program.settings.Resolve(program.config));
  if (program.config.empty()) K2_TRY(CheckImplicitFile(program.settings));
  K2_TRY(ConfigureLog(program.settings));
  K2_ASSIGN(const bool dumps, program.settings.Flag("core-dumps"));
  if (dumps) no_core_dumps.Allow();
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

}  // namespace k2::cli
