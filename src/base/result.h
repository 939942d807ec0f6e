// Result and errors: how every module of K2 says that something went wrong.
#pragma once

#include <fmt/format.h>

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace k2 {

// What a caller can act on. The text says what happened, to which thing, and what to do about it.
enum class ErrorKind {
  kInvalidArgument,  // the caller's words are wrong: usage or configuration
  kInvalidData,      // bytes that break their format: a frame, a message, a file
  kNotFound,
  kAlreadyExists,
  kConflict,         // another writer was first; nothing of ours was applied
  kCommitUnknown,    // a commit was sent and its outcome could not be learnt
  kOffsetMismatch,   // source offsets are not where they must be: lost upstream data, a changed recording, a second
                     // writer
  kUpstreamChanged,  // an upstream table holds other rows than the layer can account for: it stands until somebody
                     // decides (`k2 offsets accept`)
  kIo,
  kNoSpace,
  kPermission,
  kUnavailable,  // a service does not answer; may be tried again
  kUnsupported,
  kCancelled,
  kInternal,  // a bug of ours
};

std::string_view ToString(ErrorKind kind);

struct Error {
  ErrorKind kind = ErrorKind::kInternal;
  std::string message;
  // What it is about, for programs; the message names it too. The file is one that is not there (kNotFound).
  std::string table = {};
  std::string file = {};
  // What to do about it, a command to paste where there is one: at most two lines, shown below the message.
  std::string hint = {};

  // Puts "where" in front of the message: `context: message`.
  [[nodiscard]] Error With(std::string_view context) const {
    return {kind, fmt::format("{}: {}", context, message), table, file, hint};
  }
  [[nodiscard]] Error OfTable(std::string_view name) const { return {kind, message, std::string(name), file, hint}; }
  [[nodiscard]] Error OfFile(std::string_view path) const { return {kind, message, table, std::string(path), hint}; }
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = std::expected<void, Error>;

template <typename... Args>
[[nodiscard]] std::unexpected<Error> Fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error{kind, fmt::format(format, std::forward<Args>(args)...)});
}

// Adds a hint to a failure: return WithHint(Fail(...), "k2 tables lists them").
[[nodiscard]] inline std::unexpected<Error> WithHint(std::unexpected<Error> failure, std::string hint) {
  failure.error().hint = std::move(hint);
  return failure;
}

// Exit codes (README): 0 ok, 1 data or check failure, 2 usage, 3 dependency, 4 commit unknown, 5 a fault of k2.
int ExitCode(ErrorKind kind);

}  // namespace k2

#define K2_CONCAT_INNER(a, b) a##b
#define K2_CONCAT(a, b) K2_CONCAT_INNER(a, b)

// Returns the error of a Status or Result expression from the enclosing function.
#define K2_TRY(expression)                                                                    \
  do {                                                                                        \
    if (auto k2_status = (expression); !k2_status) return std::unexpected(k2_status.error()); \
  } while (false)

// K2_ASSIGN(auto x, F()): x = the value of F(), or return its error.
#define K2_ASSIGN(lhs, expression) K2_ASSIGN_IMPL(K2_CONCAT(k2_result_, __LINE__), lhs, expression)
#define K2_ASSIGN_IMPL(name, lhs, expression)                 \
  auto name = (expression);                                   \
  if (!name) return std::unexpected(std::move(name).error()); \
  lhs = std::move(*name)
