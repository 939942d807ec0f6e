#include "storage/location.h"

namespace k2::storage {
namespace {

constexpr std::string_view kFileScheme = "file:";

Status CheckPath(std::string_view path, std::string_view location) {
  const auto fail = [&](std::string_view why) {
    return Fail(ErrorKind::kInvalidArgument,
                "file location '{}' {}; name it as an absolute path or as file:///absolute/path", location, why);
  };
  if (path.empty() || path[0] != '/') return fail("is not an absolute path");
  if (path.size() > 4000) return fail("is longer than 4000 bytes");
  for (const char c : path) {
    if (c == '?' || c == '#') return fail("holds '?' or '#', which readers of URIs cut off");
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return fail("holds a control character");
  }
  size_t begin = 1;
  while (begin < path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view segment = path.substr(begin, end - begin);
    if (segment.empty()) return fail("holds an empty path segment ('//')");
    if (segment == "." || segment == "..") return fail("holds a '.' or '..' segment");
    begin = end + 1;
  }
  return {};
}

}  // namespace

Result<std::string> LocationScheme(std::string_view location) {
  if (location.starts_with('/') || location.starts_with(kFileScheme)) return "file";
  const size_t colon = location.find("://");
  if (colon == std::string_view::npos || colon == 0) {
    return Fail(ErrorKind::kInvalidArgument,
                "'{}' is not a file location: give a scheme (file:///…) or an absolute path", location);
  }
  return std::string(location.substr(0, colon));
}

Result<std::string> LocalPath(std::string_view location) {
  std::string_view path = location;
  if (path.starts_with(kFileScheme)) {
    path.remove_prefix(kFileScheme.size());
    if (path.starts_with("//")) {
      path.remove_prefix(2);
      if (!path.starts_with('/')) {
        return Fail(ErrorKind::kInvalidArgument, "'{}' names a host; a local file is file:///absolute/path", location);
      }
    }
  }
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  K2_TRY(CheckPath(path, location));
  return std::string(path);
}

Result<std::string> LocationOfPath(std::string_view absolute_path) {
  if (!absolute_path.starts_with('/')) {
    return Fail(ErrorKind::kInvalidArgument, "'{}' is not an absolute path", absolute_path);
  }
  K2_ASSIGN(const std::string path, LocalPath(absolute_path));
  return "file://" + path;
}

}  // namespace k2::storage
