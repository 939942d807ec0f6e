#include "storage/location_map.h"

#include "storage/location.h"
#include "storage/s3_request.h"

namespace k2::storage {
namespace {

// Where the bare path begins: behind "file://", "file:", "s3://" and their like.
size_t SchemeLength(std::string_view location) {
  if (location.starts_with("file:///")) return 7;
  if (location.starts_with("file:/")) return 5;
  const size_t colon = location.find("://");
  return location.starts_with('/') || colon == std::string_view::npos ? 0 : colon + 3;
}

// Locations of one kind may name the same file.
std::string_view KindOf(std::string_view location) {
  const std::string_view scheme = location.substr(0, SchemeLength(location));
  if (scheme.empty() || scheme.starts_with("file:")) return "file";
  const std::string_view name = scheme.substr(0, scheme.size() - 3);
  return IsS3Scheme(name) ? "s3" : name;
}

}  // namespace

std::string_view BareLocation(std::string_view location) {
  location.remove_prefix(SchemeLength(location));
  while (location.size() > 1 && location.ends_with('/')) location.remove_suffix(1);
  return location;
}

bool LiesUnder(std::string_view location, std::string_view folder) {
  if (KindOf(location) != KindOf(folder)) return false;
  const std::string_view path = BareLocation(location);
  const std::string_view above = BareLocation(folder);
  if (above == "/") return true;
  return path.starts_with(above) && (path.size() == above.size() || path[above.size()] == '/');
}

Result<LocationMap> LocationMap::Create(std::string from, std::string to) {
  for (std::string* location : {&from, &to}) {
    while (location->size() > 1 && location->ends_with('/')) location->pop_back();
    K2_ASSIGN(const std::string scheme, LocationScheme(*location));
    if (scheme == "file") {
      K2_ASSIGN(const std::string path, LocalPath(*location));
      if (path == "/") return Fail(ErrorKind::kInvalidArgument, "the root of a disk cannot be a warehouse");
    }
  }
  if (KindOf(from) == KindOf(to) && BareLocation(from) == BareLocation(to)) {
    return Fail(ErrorKind::kInvalidArgument, "{} and {} are the same location", from, to);
  }
  return LocationMap(std::move(from), std::move(to));
}

std::optional<std::string> LocationMap::Apply(std::string_view location) const {
  if (!LiesUnder(location, from_)) return std::nullopt;
  if (LiesUnder(location, to_) && BareLocation(to_).size() > BareLocation(from_).size()) return std::nullopt;
  const std::string_view rest = location.substr(SchemeLength(location)).substr(BareLocation(from_).size());
  const bool same_kind = KindOf(from_) == KindOf(to_);
  const std::string_view scheme = (same_kind ? location : std::string_view(to_))
                                      .substr(0, SchemeLength(same_kind ? location : std::string_view(to_)));
  return fmt::format("{}{}{}", scheme, BareLocation(to_), rest);
}

}  // namespace k2::storage
