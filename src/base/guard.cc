#include "base/guard.h"

#include <cxxabi.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <typeinfo>

#include "base/log.h"

namespace k2 {
namespace {

std::string CaughtType() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  if (type == nullptr) return "no exception";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(type->name(), nullptr, nullptr, &status),
                                                    std::free);
  return status == 0 ? name.get() : type->name();
}

std::string CaughtText() {
  try {
    throw;
  } catch (const std::exception& error) {
    return fmt::format("{} ({})", error.what(), CaughtType());
  } catch (...) {
    return CaughtType();
  }
}

[[noreturn]] void Terminated() {
  const std::string what = std::current_exception() ? CaughtText() : "std::terminate was called";
  std::fprintf(stderr, "k2: internal error: %s\n", what.c_str());
  ::_exit(ExitCode(ErrorKind::kInternal));
}

}  // namespace

Error CaughtError(std::string_view place) {
  return {
      ErrorKind::kInternal,
      fmt::format("internal error in {}: {}. This is a bug in k2: please report it with the log", place, CaughtText())};
}

void LogCaughtError(std::string_view place) { log::Error(CaughtError(place).message); }

void TellTermination() { std::set_terminate(Terminated); }

}  // namespace k2
