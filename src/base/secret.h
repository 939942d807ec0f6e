// A password, token or the like that is given as text, or as a file that holds it and may be replaced at any time.
#pragma once

#include <string>
#include <utility>

#include "base/result.h"

namespace k2 {

class Secret {
 public:
  Secret() = default;
  Secret(std::string text) : text_(std::move(text)) {}  // NOLINT: a text is one
  Secret(const char* text) : text_(text) {}             // NOLINT
  static Secret OfFile(std::string path);

  [[nodiscard]] bool empty() const { return text_.empty() && file_.empty(); }  // none is given
  // The text, or what the file holds now, without the line breaks at its end. Error kPermission: the file cannot be
  // read, is empty, or larger than 1 MiB.
  [[nodiscard]] Result<std::string> Read() const;

 private:
  std::string text_;
  std::string file_;
};

// The text of a file without the line breaks at its end. Errors: kNotFound, kPermission, kInvalidData (empty, or larger
// than 1 MiB).
Result<std::string> ReadSecretFile(const std::string& path);

}  // namespace k2
