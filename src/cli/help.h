// Help: how it is laid out, and `k2 help`.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"

namespace k2::cli {

// Help of at most 80 columns: options with the word for their value, sentences that say the default.
std::shared_ptr<CLI::Formatter> MakeHelpFormatter();

// The usage line of a command and the first examples of its help, for one who has left out what it needs.
// `name`: "k2 maintain compact".
std::string UsageWithExamples(const CLI::App& command, const std::string& name);

// The names of a command's subcommands, and of its options as they are typed: --name.
std::vector<std::string> SubcommandNames(const CLI::App& command);
std::vector<std::string> FlagNames(const CLI::App& command);

}  // namespace k2::cli
