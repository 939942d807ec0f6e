// Help: how it is laid out, and `k2 help`.
#pragma once

#include <memory>
#include <string>

#include "cli/commands.h"

namespace k2::cli {

// Help of at most 80 columns: options with the word for their value, sentences that say the default.
std::shared_ptr<CLI::Formatter> MakeHelpFormatter();

}  // namespace k2::cli
