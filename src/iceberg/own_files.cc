#include "iceberg/own_files.h"

#include <algorithm>

namespace k2::iceberg {
namespace {

bool IsLocal(std::string_view location) { return location.starts_with('/') || location.starts_with("file:"); }

bool HasDotSegment(std::string_view path) {
  while (!path.empty()) {
    const std::string_view segment = path.substr(0, path.find('/'));
    if (segment == "." || segment == "..") return true;
    path.remove_prefix(std::min(path.size(), segment.size() + 1));
  }
  return false;
}

}  // namespace

bool GarbageCollected(const TableMetadata& metadata) {
  const auto found = metadata.properties.find(kGcEnabled);
  if (found == metadata.properties.end()) return true;
  std::string value = found->second;
  std::ranges::transform(value, value.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return value == "true";  // as Java's Boolean.parseBoolean reads it
}

Status CheckGarbageCollected(const TableMetadata& metadata, std::string_view table, std::string_view what) {
  if (GarbageCollected(metadata)) return {};
  return Fail(ErrorKind::kUnsupported,
              "{}: {}: the table's property gc.enabled is false, so its files may be shared with other tables. If they "
              "are not, set it to true with the engine that set it",
              table, what);
}

std::string_view WithoutScheme(std::string_view location) {
  if (!location.starts_with('/')) {
    if (const size_t colon = location.find(':'); colon != std::string_view::npos) location.remove_prefix(colon + 1);
  }
  location.remove_prefix(std::min(location.find_first_not_of('/'), location.size()));
  while (location.ends_with('/')) location.remove_suffix(1);
  return location;
}

OwnFiles::OwnFiles(const TableMetadata& metadata) {
  const auto add = [this](const std::string& location) {
    const std::string_view path = WithoutScheme(location);
    if (!path.empty())
      places_.push_back({IsLocal(location), std::string(path)});  // empty: a whole disk is nobody's own
  };
  add(metadata.location);
  for (const char* property :
       {"write.data.path", "write.metadata.path", "write.object-storage.path", "write.folder-storage.path"}) {
    const auto found = metadata.properties.find(property);
    if (found != metadata.properties.end()) add(found->second);
  }
}

bool OwnFiles::Hold(std::string_view path) const {
  const bool local = IsLocal(path);
  const std::string_view bare = WithoutScheme(path);
  if (HasDotSegment(bare)) return false;
  return std::ranges::any_of(places_, [&](const Place& place) {
    return place.local == local && bare.size() > place.path.size() && bare.starts_with(place.path) &&
           bare[place.path.size()] == '/';
  });
}

}  // namespace k2::iceberg
