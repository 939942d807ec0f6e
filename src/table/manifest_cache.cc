#include "table/manifest_cache.h"

#include <utility>

#include "iceberg/manifest.h"
#include "iceberg/manifest_list.h"

namespace k2::table {
namespace {

constexpr int64_t kSharedBytesMax = int64_t{64} << 20;

template <typename Map>
int64_t MapBytes(const Map& map) {
  int64_t bytes = 0;
  for (const auto& [key, value] : map) {
    bytes += 64;  // a tree node
    if constexpr (requires { value.size(); }) bytes += static_cast<int64_t>(value.size());
  }
  return bytes;
}

// About what the entries take in memory.
int64_t SizeOf(const std::vector<iceberg::ManifestEntry>& entries) {
  int64_t bytes = 0;
  for (const iceberg::ManifestEntry& entry : entries) {
    const iceberg::DataFile& file = entry.file;
    bytes +=
        static_cast<int64_t>(sizeof(entry) + file.file_path.size() + file.partition.size() * sizeof(iceberg::Literal) +
                             file.split_offsets.size() * sizeof(int64_t));
    bytes += MapBytes(file.column_sizes) + MapBytes(file.value_counts) + MapBytes(file.null_value_counts) +
             MapBytes(file.nan_value_counts) + MapBytes(file.lower_bounds) + MapBytes(file.upper_bounds);
  }
  return bytes;
}

int64_t SizeOf(const std::vector<iceberg::ManifestFile>& manifests) {
  int64_t bytes = 0;
  for (const iceberg::ManifestFile& manifest : manifests) {
    bytes += static_cast<int64_t>(sizeof(manifest) + manifest.manifest_path.size() +
                                  manifest.partitions.size() * (sizeof(iceberg::FieldSummary) + 32));
  }
  return bytes;
}

std::string BytesKey(const std::string& path) { return "bytes of " + path; }

}  // namespace

ManifestCache& ManifestCache::Shared() {
  static ManifestCache cache(kSharedBytesMax);
  return cache;
}

void ManifestCache::Wrote(const std::string& path, std::string_view bytes) {
  Insert(BytesKey(path), std::make_shared<const std::string>(bytes), static_cast<int64_t>(bytes.size()));
}

Result<std::string> ManifestCache::Read(storage::FileIo& io, const std::string& path) {
  if (auto found = Find(BytesKey(path))) return *std::static_pointer_cast<const std::string>(std::move(found));
  {
    const std::scoped_lock lock(mutex_);
    ++misses_;
  }
  return io.Read(path);
}

Result<ManifestCache::Manifests> ManifestCache::ListOf(storage::FileIo& io, const iceberg::Snapshot& snapshot) {
  if (auto found = Find(snapshot.manifest_list)) {
    return std::static_pointer_cast<const std::vector<iceberg::ManifestFile>>(std::move(found));
  }
  if (snapshot.manifest_list.empty()) {
    return Fail(ErrorKind::kUnsupported,
                "snapshot {} has no manifest list (Iceberg format version 1): upgrade the table to version 2",
                snapshot.snapshot_id);
  }
  K2_ASSIGN(const std::string bytes, Read(io, snapshot.manifest_list));
  auto manifests = iceberg::DecodeManifestList(bytes);
  if (!manifests) return std::unexpected(manifests.error().With("manifest list " + snapshot.manifest_list));
  auto shared = std::make_shared<const std::vector<iceberg::ManifestFile>>(*std::move(manifests));
  Insert(snapshot.manifest_list, shared, SizeOf(*shared));
  return shared;
}

Result<ManifestCache::Entries> ManifestCache::EntriesOf(storage::FileIo& io, const iceberg::TableMetadata& metadata,
                                                        const iceberg::ManifestFile& manifest) {
  // Entries inherit from their line in the list, and are read as the schema's present types.
  std::string key = fmt::format("{}#{}.{}.{}", manifest.manifest_path, manifest.sequence_number,
                                manifest.added_snapshot_id, metadata.current_schema_id);
  if (auto found = Find(key)) {
    return std::static_pointer_cast<const std::vector<iceberg::ManifestEntry>>(std::move(found));
  }
  K2_ASSIGN(const std::string bytes, Read(io, manifest.manifest_path));
  K2_ASSIGN(auto entries, iceberg::DecodeManifest(bytes, manifest, metadata));
  auto shared = std::make_shared<const std::vector<iceberg::ManifestEntry>>(std::move(entries));
  Insert(std::move(key), shared, SizeOf(*shared));
  return shared;
}

int64_t ManifestCache::bytes() const {
  const std::scoped_lock lock(mutex_);
  return bytes_;
}

int64_t ManifestCache::misses() const {
  const std::scoped_lock lock(mutex_);
  return misses_;
}

std::shared_ptr<const void> ManifestCache::Find(const std::string& key) {
  const std::scoped_lock lock(mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  items_.splice(items_.begin(), items_, found->second);
  return found->second->value;
}

void ManifestCache::Insert(std::string key, std::shared_ptr<const void> value, int64_t bytes) {
  const std::scoped_lock lock(mutex_);
  if (bytes > max_bytes_ || by_key_.contains(key)) return;
  items_.push_front({key, std::move(value), bytes});
  by_key_[std::move(key)] = items_.begin();
  bytes_ += bytes;
  while (bytes_ > max_bytes_) {
    bytes_ -= items_.back().bytes;
    by_key_.erase(items_.back().key);
    items_.pop_back();
  }
}

}  // namespace k2::table
