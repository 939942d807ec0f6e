// A local file that is read as it stands, and may grow meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace k2 {

// An open file and how much of it was read. More can be read later when the file grew in the meantime.
class StoredFile {
 public:
  StoredFile() = default;
  ~StoredFile();
  StoredFile(const StoredFile&) = delete;
  StoredFile& operator=(const StoredFile&) = delete;

  Status Open(const std::string& path);
  Result<size_t> Read(char* out, size_t size);                      // from position() on; 0 at the end
  Result<size_t> ReadAt(int64_t at, char* out, size_t size) const;  // does not move
  [[nodiscard]] Result<int64_t> Size() const;
  [[nodiscard]] int64_t position() const { return position_; }
  void SetPosition(int64_t position) { position_ = position; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
  int64_t position_ = 0;
};

}  // namespace k2
