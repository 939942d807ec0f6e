#include "iceberg/snapshot_summary.h"

#include <charconv>
#include <cstring>

#include "iceberg/manifest.h"

namespace k2::iceberg {
namespace {

bool ParseCount(const std::map<std::string, std::string>& summary, const char* key, int64_t& count) {
  const auto found = summary.find(key);
  if (found == summary.end()) return false;
  const char* end = found->second.data() + found->second.size();
  const auto parsed = std::from_chars(found->second.data(), end, count);
  return parsed.ec == std::errc() && parsed.ptr == end && count >= 0;
}

// Equal for files of one partition only.
std::string PartitionKey(const DataFile& file) {
  std::string key = fmt::format("{}", file.spec_id);
  for (const Literal& value : file.partition) {
    key += fmt::format(";{}:", value.index());
    std::visit(
        [&](const auto& alternative) {
          using T = std::decay_t<decltype(alternative)>;
          if constexpr (std::is_same_v<T, std::string>) {
            key += fmt::format("{}:", alternative.size()) + alternative;
          } else if constexpr (!std::is_same_v<T, std::monostate>) {
            char bytes[sizeof(T)];
            std::memcpy(bytes, &alternative, sizeof(T));
            key.append(bytes, sizeof(T));
          }
        },
        value);
  }
  return key;
}

}  // namespace

bool SnapshotTotals::Parse(const std::map<std::string, std::string>& summary, SnapshotTotals& totals) {
  return ParseCount(summary, "total-data-files", totals.data_files) &&
         ParseCount(summary, "total-delete-files", totals.delete_files) &&
         ParseCount(summary, "total-records", totals.records) &&
         ParseCount(summary, "total-files-size", totals.size_bytes) &&
         ParseCount(summary, "total-position-deletes", totals.position_deletes) &&
         ParseCount(summary, "total-equality-deletes", totals.equality_deletes);
}

void SnapshotTotals::Add(const DataFile& file) {
  size_bytes += file.file_size_in_bytes;
  switch (file.content) {
    case FileContent::kData:
      ++data_files;
      records += file.record_count;
      break;
    case FileContent::kPositionDeletes:
      ++delete_files;
      position_deletes += file.record_count;
      break;
    case FileContent::kEqualityDeletes:
      ++delete_files;
      equality_deletes += file.record_count;
      break;
  }
}

Result<SnapshotTotals> CountTotals(ManifestStore& store, const TableMetadata& metadata,
                                   const std::vector<ManifestFile>& manifests) {
  SnapshotTotals totals;
  for (const ManifestFile& manifest : manifests) {
    if (!MayHaveLiveFiles(manifest)) continue;
    K2_ASSIGN(const std::vector<ManifestEntry> entries, ReadEntries(store, metadata, manifest));
    for (const ManifestEntry& entry : entries) {
      if (IsLive(entry)) totals.Add(entry.file);
    }
  }
  return totals;
}

void SnapshotChanges::Added(const DataFile& file) {
  added_.Add(file);
  partitions_.insert(PartitionKey(file));
}

void SnapshotChanges::Removed(const DataFile& file) {
  removed_.Add(file);
  partitions_.insert(PartitionKey(file));
}

void SnapshotChanges::WriteTo(const SnapshotTotals& parent, std::map<std::string, std::string>& summary) const {
  const auto count = [&](const char* key, int64_t value) { summary[key] = fmt::to_string(value); };
  const auto change = [&](const char* key, int64_t value) {  // as Java does: what did not change is not said
    if (value != 0) count(key, value);
  };
  change("added-data-files", added_.data_files);
  change("added-records", added_.records);
  change("added-files-size", added_.size_bytes);
  change("added-delete-files", added_.delete_files);
  change("added-position-deletes", added_.position_deletes);
  change("added-equality-deletes", added_.equality_deletes);
  change("deleted-data-files", removed_.data_files);
  change("deleted-records", removed_.records);
  change("removed-files-size", removed_.size_bytes);
  change("removed-delete-files", removed_.delete_files);
  change("removed-position-deletes", removed_.position_deletes);
  change("removed-equality-deletes", removed_.equality_deletes);
  count("changed-partition-count", static_cast<int64_t>(partitions_.size()));
  count("total-data-files", parent.data_files + added_.data_files - removed_.data_files);
  count("total-delete-files", parent.delete_files + added_.delete_files - removed_.delete_files);
  count("total-records", parent.records + added_.records - removed_.records);
  count("total-files-size", parent.size_bytes + added_.size_bytes - removed_.size_bytes);
  count("total-position-deletes", parent.position_deletes + added_.position_deletes - removed_.position_deletes);
  count("total-equality-deletes", parent.equality_deletes + added_.equality_deletes - removed_.equality_deletes);
}

}  // namespace k2::iceberg
