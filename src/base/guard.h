// The top of each thread and of main: no exception goes beyond it, and none is swallowed.
#pragma once

#include <string_view>
#include <type_traits>

#include "base/result.h"

namespace k2 {

// The exception that is being handled, as an internal error that names the place: "the gold layer", "k2 query".
Error CaughtError(std::string_view place);

// What `function` returns, a Result or Status; an exception of it as an error.
template <typename Function>
std::invoke_result_t<Function> Guarded(std::string_view place, const Function& function) {
  try {
    return function();
  } catch (...) {
    return std::unexpected(CaughtError(place));
  }
}

// Logs the exception that is being handled.
void LogCaughtError(std::string_view place);

// Runs `function`, which has nobody to give an error to: a callback, a thread that only shows something.
template <typename Function>
void GuardedOrLogged(std::string_view place, const Function& function) {
  try {
    function();
  } catch (...) {
    LogCaughtError(place);
  }
}

// From now on, what std::terminate is called for is told on standard error, and ends the process with the exit code of
// an internal error.
void TellTermination();

}  // namespace k2
