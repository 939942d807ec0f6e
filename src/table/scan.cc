#include "table/scan.h"

#include <algorithm>
#include <ranges>

#include "base/time.h"
#include "iceberg/literal.h"
#include "iceberg/manifest.h"
#include "iceberg/snapshot_producer.h"
#include "table/audit.h"
#include "table/manifest_cache.h"
#include "table/progress_json.h"

namespace k2::table {
namespace {

using iceberg::ManifestContent;
using iceberg::ManifestEntry;
using iceberg::ManifestFile;
using iceberg::Snapshot;
using iceberg::TableMetadata;

// Says of each file which delete files of the snapshot apply to it.
Status FindDeletes(storage::FileIo& io, const TableMetadata& metadata, const Snapshot& snapshot,
                   std::vector<ScanFile>& files) {
  K2_ASSIGN(const iceberg::DeleteIndex index, ReadDeleteIndex(io, metadata, snapshot));
  if (index.empty()) return {};
  for (ScanFile& file : files) {
    file.deletes = index.For(file.file, file.sequence_number);
    for (const auto& deletes : file.deletes) {
      if (deletes->file_format == "PARQUET" || deletes->file_format == "parquet") continue;
      return Fail(ErrorKind::kUnsupported,
                  "table {}: the delete file {} removes rows of {} and is an {} file, but k2 applies only delete files "
                  "in Parquet. Rewrite the table's data files with the engine that wrote it, and let it write Parquet "
                  "(write.delete.format.default)",
                  metadata.location, deletes->path, file.file.file_path, deletes->file_format);
    }
  }
  return {};
}

Result<const Snapshot*> SnapshotOf(const TableMetadata& metadata, int64_t snapshot_id) {
  const Snapshot* snapshot = metadata.FindSnapshot(snapshot_id);
  if (snapshot != nullptr) return snapshot;
  return Fail(ErrorKind::kNotFound, "table {} has no snapshot {}: it never existed or has expired", metadata.location,
              snapshot_id);
}

ScanFile Describe(const ManifestEntry& entry) {
  return {.file = entry.file,
          .sequence_number = *entry.sequence_number,
          .snapshot_id = *entry.snapshot_id,
          .file_sequence_number = entry.file_sequence_number.value_or(*entry.sequence_number)};
}

bool HasOurKey(const Snapshot& snapshot) { return snapshot.summary.contains(iceberg::kCommitIdKey); }

// The data files whose entries this very snapshot has written with a status: those it added, or removed.
Status AppendEntries(storage::FileIo& io, const TableMetadata& metadata, const Snapshot& snapshot,
                     iceberg::EntryStatus status, std::vector<ScanFile>& files) {
  K2_ASSIGN(const auto manifests, ManifestCache::Shared().ListOf(io, snapshot));
  for (const ManifestFile& manifest : *manifests) {
    const int32_t count =
        status == iceberg::EntryStatus::kAdded ? manifest.added_files_count : manifest.deleted_files_count;
    if (manifest.content != ManifestContent::kData || manifest.added_snapshot_id != snapshot.snapshot_id ||
        count == 0) {
      continue;
    }
    K2_ASSIGN(const auto entries, ManifestCache::Shared().EntriesOf(io, metadata, manifest));
    for (const ManifestEntry& entry : *entries) {
      if (entry.status != status || entry.snapshot_id != snapshot.snapshot_id) continue;
      files.push_back(Describe(entry));
    }
  }
  return {};
}

// Snapshots after `from` up to `to`, newest first; nullopt when the chain does not reach `from`.
std::optional<std::vector<const Snapshot*>> ChainBetween(const TableMetadata& metadata, std::optional<int64_t> from,
                                                         const Snapshot& to) {
  std::vector<const Snapshot*> chain;
  for (const Snapshot* at = &to; chain.size() <= metadata.snapshots.size();) {
    if (from == at->snapshot_id) return chain;
    chain.push_back(at);
    if (!at->parent_snapshot_id) break;
    if (from == at->parent_snapshot_id) return chain;  // itself expired, but its children are all here
    at = metadata.FindSnapshot(*at->parent_snapshot_id);
    if (at == nullptr) return std::nullopt;
  }
  if (from || chain.size() > metadata.snapshots.size()) return std::nullopt;
  return chain;
}

}  // namespace

Result<std::vector<ScanFile>> PlanScan(storage::FileIo& io, const TableMetadata& metadata, int64_t snapshot_id,
                                       const std::vector<iceberg::ColumnPredicate>& conjuncts) {
  K2_ASSIGN(const Snapshot* snapshot, SnapshotOf(metadata, snapshot_id));
  K2_ASSIGN(const auto manifests, ManifestCache::Shared().ListOf(io, *snapshot));
  const iceberg::Pruner pruner(metadata, conjuncts);
  std::vector<ScanFile> files;
  for (const ManifestFile& manifest : *manifests) {
    if (manifest.content != ManifestContent::kData || !iceberg::MayHaveLiveFiles(manifest) ||
        !pruner.ManifestMayMatch(manifest)) {
      continue;
    }
    K2_ASSIGN(const auto entries, ManifestCache::Shared().EntriesOf(io, metadata, manifest));
    for (const ManifestEntry& entry : *entries) {
      if (!iceberg::IsLive(entry) || !pruner.FileMayMatch(entry.file)) continue;
      files.push_back(Describe(entry));
    }
  }
  K2_TRY(FindDeletes(io, metadata, *snapshot, files));
  return files;
}

Result<iceberg::DeleteIndex> ReadDeleteIndex(storage::FileIo& io, const TableMetadata& metadata,
                                             const Snapshot& snapshot) {
  iceberg::DeleteIndex index(metadata);
  K2_ASSIGN(const auto manifests, ManifestCache::Shared().ListOf(io, snapshot));
  for (const ManifestFile& manifest : *manifests) {
    if (manifest.content != ManifestContent::kDeletes || !iceberg::MayHaveLiveFiles(manifest)) continue;
    K2_ASSIGN(const auto entries, ManifestCache::Shared().EntriesOf(io, metadata, manifest));
    for (const ManifestEntry& entry : *entries) {
      if (iceberg::IsLive(entry)) index.Add(entry);
    }
  }
  return index;
}

Result<int64_t> SnapshotAsOf(const TableMetadata& metadata, int64_t timestamp_ms) {
  const iceberg::SnapshotLogEntry* found = nullptr;
  const iceberg::SnapshotLogEntry* oldest = nullptr;
  for (const iceberg::SnapshotLogEntry& entry : metadata.snapshot_log) {
    if (metadata.FindSnapshot(entry.snapshot_id) == nullptr) continue;
    if (oldest == nullptr) oldest = &entry;
    if (entry.timestamp_ms <= timestamp_ms) found = &entry;
  }
  if (found != nullptr) return found->snapshot_id;
  if (oldest == nullptr) return Fail(ErrorKind::kNotFound, "no snapshot yet");
  return Fail(ErrorKind::kNotFound, "no snapshot from {} or before; the oldest is {} from {}",
              FormatTimestamp(timestamp_ms * 1000), oldest->snapshot_id, FormatTimestamp(oldest->timestamp_ms * 1000));
}

bool MayAddRows(const Snapshot& snapshot) {
  return snapshot.operation != "replace" && snapshot.operation != "delete" &&
         !snapshot.summary.contains(std::string(kRebuiltKey));
}

bool IsForeignRewrite(const Snapshot& snapshot) {
  return MayAddRows(snapshot) && snapshot.operation != "append" && !HasOurKey(snapshot);
}

std::string DescribeSnapshot(const Snapshot& snapshot) {
  const auto entry = [&](const char* key) -> std::string {
    const auto found = snapshot.summary.find(key);
    return found == snapshot.summary.end() ? std::string{} : found->second;
  };
  std::string engine = EngineOf(snapshot);
  if (!entry("engine-name").empty() && !entry("engine-version").empty()) engine += " " + entry("engine-version");
  return fmt::format("snapshot {} (operation \"{}\", {})", snapshot.snapshot_id, snapshot.operation, engine);
}

Result<SnapshotFiles> FilesOfSnapshot(storage::FileIo& io, const TableMetadata& metadata, const Snapshot& snapshot) {
  SnapshotFiles files;
  K2_TRY(AppendEntries(io, metadata, snapshot, iceberg::EntryStatus::kAdded, files.added));
  K2_TRY(AppendEntries(io, metadata, snapshot, iceberg::EntryStatus::kDeleted, files.removed));
  return files;
}

std::optional<std::vector<const Snapshot*>> SnapshotsBetween(const TableMetadata& metadata, std::optional<int64_t> from,
                                                             int64_t to) {
  const Snapshot* last = metadata.FindSnapshot(to);
  if (last == nullptr) return std::nullopt;
  auto chain = ChainBetween(metadata, from, *last);
  if (chain) std::ranges::reverse(*chain);
  return chain;
}

Result<Increment> PlanIncrement(storage::FileIo& io, const TableMetadata& metadata,
                                std::optional<int64_t> from_snapshot, int64_t to_snapshot) {
  K2_ASSIGN(const Snapshot* to, SnapshotOf(metadata, to_snapshot));
  const auto chain = ChainBetween(metadata, from_snapshot, *to);
  Increment increment;
  if (!chain) {
    increment.complete = false;
    return increment;
  }
  for (const Snapshot* snapshot : std::views::reverse(*chain)) {
    if (!MayAddRows(*snapshot)) continue;
    if (IsForeignRewrite(*snapshot)) increment.rewrites.push_back(snapshot->snapshot_id);
    K2_TRY(AppendEntries(io, metadata, *snapshot, iceberg::EntryStatus::kAdded, increment.files));
  }
  if (increment.files.empty()) return increment;
  K2_TRY(FindDeletes(io, metadata, *to, increment.files));
  return increment;
}

}  // namespace k2::table
