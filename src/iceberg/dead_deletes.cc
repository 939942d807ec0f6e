#include "iceberg/dead_deletes.h"

#include <algorithm>
#include <string>
#include <unordered_set>
#include <utility>

#include "iceberg/manifest.h"

namespace k2::iceberg {

Status DeadDeletes::Read(const std::vector<ManifestFile>& manifests) {
  for (size_t i = 0; i < manifests.size(); ++i) {
    if (manifests[i].content != ManifestContent::kDeletes || !MayHaveLiveFiles(manifests[i])) continue;
    K2_ASSIGN(std::vector<ManifestEntry> entries, ReadEntries(store_, metadata_, manifests[i]));
    std::erase_if(entries, [](const ManifestEntry& entry) { return !IsLive(entry); });
    if (!entries.empty()) manifests_.push_back({i, std::move(entries)});
  }
  return {};
}

Status DeadDeletes::CheckNoneSince(int64_t sequence_number, bool equality,
                                   const std::vector<ManifestEntry>& data_files) const {
  DeleteIndex since(metadata_);
  for (const Listed& listed : manifests_) {
    for (const ManifestEntry& entry : listed.entries) {
      const bool counts = equality || entry.file.content == FileContent::kPositionDeletes;
      if (counts && *entry.sequence_number > sequence_number) since.Add(entry);
    }
  }
  if (since.empty()) return {};
  for (const ManifestEntry& data : data_files) {
    const DeleteFiles found = since.For(data.file, *data.sequence_number);
    if (found.empty()) continue;
    return Fail(
        ErrorKind::kConflict,
        "concurrent writer detected: it added the delete file {}, which removes rows of {}, after these were read",
        found.front()->path, data.file.file_path);
  }
  return {};
}

Status DeadDeletes::Drop(const std::vector<ManifestEntry>& data_files, int64_t sequence_number,
                         std::vector<ManifestFile>& manifests, SnapshotChanges& changes) const {
  DeleteIndex index(metadata_);
  for (const Listed& listed : manifests_) {
    for (const ManifestEntry& entry : listed.entries) {
      if (*entry.sequence_number <= sequence_number) index.Add(entry);
    }
  }
  std::unordered_set<std::string> dead;
  for (const ManifestEntry& data : data_files) {
    for (const auto& deletes : index.For(data.file, *data.sequence_number)) dead.insert(deletes->path);
  }
  for (const ManifestFile& manifest : manifests) {
    if (dead.empty()) return {};
    if (manifest.content != ManifestContent::kData || !MayHaveLiveFiles(manifest)) continue;
    K2_ASSIGN(const std::vector<ManifestEntry> entries, ReadEntries(store_, metadata_, manifest));
    for (const ManifestEntry& entry : entries) {
      if (!IsLive(entry)) continue;
      for (const auto& deletes : index.For(entry.file, *entry.sequence_number)) dead.erase(deletes->path);
    }
  }
  for (const Listed& listed : manifests_) {
    std::vector<ManifestEntry> kept = listed.entries;
    bool changed = false;
    for (ManifestEntry& entry : kept) {
      entry.status = EntryStatus::kExisting;
      if (!dead.contains(entry.file.file_path)) continue;
      changed = true;
      changes.Removed(entry.file);
      entry.status = EntryStatus::kDeleted;
      entry.snapshot_id = snapshot_id_;
    }
    if (!changed) continue;
    ManifestFile& manifest = manifests[listed.manifest];
    K2_ASSIGN(manifest, WriteManifest(store_, metadata_, manifest.partition_spec_id, ManifestContent::kDeletes,
                                      snapshot_id_, kept));
  }
  return {};
}

}  // namespace k2::iceberg
