#include "cli/help.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "base/similar.h"

namespace k2::cli {
namespace {

constexpr size_t kHelpColumns = 80;
constexpr size_t kNameColumns = 28;
constexpr size_t kCommandColumns = 14;

// In lines of at most `columns`, broken at spaces.
std::string WrappedHelp(std::string_view text, size_t columns) {
  std::string wrapped;
  size_t used = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (used > 0 && used + 1 + word.size() > columns) {
      wrapped += '\n';
      used = 0;
    }
    if (used > 0) wrapped += ' ';
    wrapped += word;
    used += word.size() + (used > 0 ? 1 : 0);
  }
  return wrapped;
}

std::string WithDefault(const std::string& help, const std::string& otherwise) {
  return otherwise.empty() ? help : fmt::format("{} (default {})", help, otherwise);
}

std::string HelpLine(const std::string& name, const std::string& help, size_t name_columns = kNameColumns) {
  std::stringstream out;
  CLI::detail::format_help(out, name, WrappedHelp(help, kHelpColumns - name_columns), name_columns);
  return out.str();
}

class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() {
    column_width(kNameColumns);
    label("SUBCOMMAND", "COMMAND");
  }

  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_type_size() == 0 || option->get_positional()) return "";
    const std::string type = option->get_type_name().substr(0, option->get_type_name().find(":NONNEG"));
    if (type == "TEXT") return " NAME";
    return type == "INT" || type == "UINT" || type == "FLOAT" ? " N" : " " + type;
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string help = WithDefault(option->get_description(), option->get_default_str());
    return option->get_required() && !option->get_positional() ? help + " (required)" : help;
  }
  std::string make_option(const CLI::Option* option, bool is_positional) const override {
    return HelpLine(make_option_name(option, is_positional) + make_option_opts(option), make_option_desc(option));
  }
  std::string make_subcommand(const CLI::App* command) const override {
    return HelpLine(command->get_name(), command->get_description(), kCommandColumns);
  }
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override {
    // Groups that are hidden leave empty lines.
    return CLI::detail::find_and_replace(Formatter::make_help(app, std::move(name), mode), "\n\n\n", "\n\n");
  }
};

struct Topic {
  std::string_view name, heading;
};
constexpr Topic kTopics[] = {{"storage", "Tables, catalog and storage"},
                             {"kafka", "Kafka and schemas"},
                             {"pipeline", "The pipeline: k2 run"},
                             {"retention", "Retention and maintenance"},
                             {"output", "Output and logs"}};

constexpr std::string_view kWhereSettingsComeFrom =
    "Each setting is a flag, a variable K2_NAME (K2_COMMIT_INTERVAL), or a line in\n"
    "k2.toml; the first of these wins. Sizes take KB, MB, GB; durations us, ms, s, m,\n"
    "h, d. 'k2 doctor' shows the values and where they come from.\n";

constexpr std::string_view kExitCodes =
    "0  ok\n"
    "1  data or a check failed\n"
    "2  usage or configuration; something that does not exist, or is not supported\n"
    "3  a dependency is unavailable: disk, permission, space, a service\n"
    "4  unknown commit outcome: nothing was deleted; start again to resume\n"
    "5  an internal error of k2\n";

void PrintSettingsOf(const Settings& settings, std::string_view group) {
  for (const Setting& setting : settings.all()) {
    if (setting.group != group) continue;
    const std::string name = fmt::format("--{} {}", setting.name, setting.word);
    std::fputs(HelpLine(name, WithDefault(setting.help, setting.otherwise)).c_str(), stdout);
  }
}

void PrintSettingsAsJson(const Settings& settings) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const Setting& setting : settings.all()) {
    all.push_back({{"setting", setting.name},
                   {"group", setting.group},
                   {"variable", EnvironmentName(setting.name)},
                   {"value", setting.word},
                   {"default", setting.otherwise},
                   {"help", setting.help}});
  }
  std::printf("%s\n", all.dump(2).c_str());
}

// The command of these words: {"maintain", "compact"}; null where there is none.
CLI::App* CommandOf(CLI::App& app, const std::vector<std::string>& words) {
  CLI::App* command = &app;
  for (const std::string& word : words) {
    const auto below = command->get_subcommands([&](const CLI::App* one) { return one->get_name() == word; });
    if (below.empty()) return nullptr;
    command = below.front();
  }
  return command;
}

Result<int> RunHelp(Program& program, const std::vector<std::string>& words) {
  const Settings& settings = program.settings;
  if (words == std::vector<std::string>{"settings"}) {
    if (settings.Text("output") == "json") {
      PrintSettingsAsJson(settings);
      return 0;
    }
    std::fputs(std::string(kWhereSettingsComeFrom).c_str(), stdout);
    for (const Topic& topic : kTopics) {
      std::printf("\n%s:\n", std::string(topic.heading).c_str());
      PrintSettingsOf(settings, topic.name);
    }
    return 0;
  }
  if (words == std::vector<std::string>{"exit-codes"}) {
    std::fputs(std::string(kExitCodes).c_str(), stdout);
    return 0;
  }
  for (const Topic& topic : kTopics) {
    if (words != std::vector<std::string>{std::string(topic.name)}) continue;
    std::printf("%s:\n", std::string(topic.heading).c_str());
    PrintSettingsOf(settings, topic.name);
    return 0;
  }
  if (CLI::App* command = CommandOf(program.app, words)) {
    std::string name = "k2";
    for (const std::string& word : words) name += " " + word;
    std::fputs(program.app.get_formatter()->make_help(command, name, CLI::AppFormatMode::Normal).c_str(), stdout);
    return 0;
  }
  std::vector<std::string> known = SubcommandNames(program.app);
  for (const Topic& topic : kTopics) known.emplace_back(topic.name);
  known.insert(known.end(), {"settings", "exit-codes"});
  const std::string typed = fmt::format("{}", fmt::join(words, " "));
  return WithHint(Fail(ErrorKind::kInvalidArgument, "unknown command or topic '{}'", typed),
                  DidYouMean(typed, known, "'k2 help' lists the commands"));
}

}  // namespace

std::shared_ptr<CLI::Formatter> MakeHelpFormatter() { return std::make_shared<HelpFormatter>(); }

std::string UsageWithExamples(const CLI::App& command, const std::string& name) {
  constexpr int kExamplesMax = 2;
  const std::string usage = HelpFormatter().make_usage(&command, name);
  std::string text = usage.substr(usage.find_first_not_of('\n'));
  text.erase(text.find_last_not_of('\n') + 1);
  const std::string footer = command.get_footer();
  int examples = 0;
  for (size_t at = footer.find("  k2 "); at != std::string::npos && examples < kExamplesMax; ++examples) {
    const size_t end = std::min(footer.find('\n', at), footer.size());
    text += '\n' + footer.substr(at, end - at);
    at = footer.find("  k2 ", end);
  }
  return text;
}

std::vector<std::string> SubcommandNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* one : command.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(one->get_name());
  }
  return names;
}

std::vector<std::string> FlagNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

CLI::App* AddCommand(Program& program, const char* heading, const std::string& name, const std::string& what) {
  return program.app.add_subcommand(name, what)->group(heading);
}

void AddHelp(Program& program) {
  CLI::App* command = AddCommand(program, kSetUpCommands, "help", "Show help of a command, or all settings");
  auto words = std::make_shared<std::vector<std::string>>();
  command->add_option("topic", *words,
                      "A command (maintain compact), settings, or one group of them: storage, kafka, pipeline, "
                      "retention, output; exit-codes");
  command->footer("Examples:\n  k2 help run\n  k2 help settings\n  k2 help settings --output json");
  command->callback([&program, words] { program.action = [&program, words] { return RunHelp(program, *words); }; });
}

}  // namespace k2::cli
