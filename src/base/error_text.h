// An error where there is one line for it: in logs, on the status page, in a table's cell.
#pragma once

#include <string>

#include "base/result.h"

namespace k2 {

// The message, and the hint behind it where there is one.
inline std::string MessageAndHint(const Error& error) {
  return error.hint.empty() ? error.message : fmt::format("{} ({})", error.message, error.hint);
}

}  // namespace k2
