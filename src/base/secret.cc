#include "base/secret.h"

#include <cerrno>
#include <cstring>
#include <fstream>

namespace k2 {

Secret Secret::OfFile(std::string path) {
  Secret secret;
  secret.file_ = std::move(path);
  return secret;
}

Result<std::string> Secret::Read() const {
  if (file_.empty()) return text_;
  Result<std::string> text = ReadSecretFile(file_);
  if (!text) return Fail(ErrorKind::kPermission, "the secret's file: {}", text.error().message);
  return text;
}

Result<std::string> ReadSecretFile(const std::string& path) {
  constexpr size_t kBytesMax = 1 << 20;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    const int code = errno;
    return Fail(code == ENOENT || code == ENOTDIR ? ErrorKind::kNotFound : ErrorKind::kPermission, "cannot read {}: {}",
                path, std::strerror(code));
  }
  std::string text(kBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (file.bad() || text.size() > kBytesMax) {
    return Fail(ErrorKind::kInvalidData, "{} cannot be read, or is larger than 1 MiB", path);
  }
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  if (text.empty()) return Fail(ErrorKind::kInvalidData, "{} is empty", path);
  return text;
}

}  // namespace k2
