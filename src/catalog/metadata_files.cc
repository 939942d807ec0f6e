#include "catalog/metadata_files.h"

#include <algorithm>
#include <charconv>

#include "base/uuid.h"
#include "iceberg/metadata_folder.h"

namespace k2::catalog {
namespace {

constexpr int64_t kMetadataBytesMax = int64_t{256} << 20;

}  // namespace

int64_t MetadataVersionOf(std::string_view location) {
  std::string_view name = location.substr(location.rfind('/') + 1);
  if (name.starts_with('v')) name.remove_prefix(1);
  int64_t version = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), version);
  const bool marked = end != name.data() + name.size() && (*end == '-' || *end == '.');
  return error == std::errc() && marked && version >= 0 && version < INT32_MAX ? version : -1;
}

bool IsMetadataFileName(std::string_view location) {
  return location.ends_with(".metadata.json") || location.ends_with(".metadata.json.gz");
}

std::string NewMetadataLocation(const iceberg::TableMetadata& metadata, const std::string& previous) {
  return fmt::format("{}/{:05}-{}.metadata.json", iceberg::MetadataFolder(metadata), MetadataVersionOf(previous) + 1,
                     RandomUuid().ToString());
}

Result<std::shared_ptr<const iceberg::TableMetadata>> MetadataCache::Get(const std::string& location) {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) { return entry.first == location; });
  if (found != entries_.end()) return found->second;
  if (location.ends_with(".gz.metadata.json") || location.ends_with(".metadata.json.gz")) {
    return Fail(ErrorKind::kUnsupported,
                "metadata file {} is compressed; set the table's property write.metadata.compression-codec to none and "
                "commit once with the tool that wrote it",
                location);
  }
  auto bytes = io_->Read(location, kMetadataBytesMax);
  if (!bytes) return std::unexpected(bytes.error().With("table metadata"));
  auto parsed = iceberg::ParseTableMetadata(*bytes);
  if (!parsed) return std::unexpected(parsed.error().With(location));
  auto metadata = std::make_shared<const iceberg::TableMetadata>(*std::move(parsed));
  Put(location, metadata);
  return metadata;
}

void MetadataCache::Put(const std::string& location, std::shared_ptr<const iceberg::TableMetadata> metadata) {
  entries_.emplace_front(location, std::move(metadata));
  if (entries_.size() > kEntriesMax) entries_.pop_back();
}

}  // namespace k2::catalog
