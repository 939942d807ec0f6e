// Where the queries of one process spill to: a folder of its own below a common one, gone with it. What a killed
// process has left there goes when the next one opens its own.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace k2::query {

class SpillFolder {
 public:
  // Makes `parent` where it is missing. Errors: kPermission, kNoSpace, kIo.
  static Result<std::unique_ptr<SpillFolder>> Open(const std::string& parent);
  ~SpillFolder();
  SpillFolder(const SpillFolder&) = delete;
  SpillFolder& operator=(const SpillFolder&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  SpillFolder(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}

  std::string path_;
  int lock_;  // descriptor of the folder, locked while this process lives
};

}  // namespace k2::query
