// For tests: where the real recordings are, which are read in place and not part of the project.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace k2::recording {

// K2_SHARED_DATA, else shared/data beside the project or above it; empty when there is none.
inline std::string FindSharedData(const std::string& source_dir) {
  if (const char* const set = std::getenv("K2_SHARED_DATA"); set != nullptr && *set != '\0') return set;
  for (std::filesystem::path folder = source_dir; folder.has_relative_path(); folder = folder.parent_path()) {
    const std::filesystem::path data = folder.parent_path() / "shared" / "data";
    if (std::filesystem::is_directory(data)) return data.string();
  }
  return "";
}

}  // namespace k2::recording
