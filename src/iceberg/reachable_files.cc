#include "iceberg/reachable_files.h"

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "iceberg/manifest.h"
#include "iceberg/own_files.h"

namespace k2::iceberg {
namespace {

class Expiry {
 public:
  Expiry(ManifestStore& store, const TableMetadata& before, const std::vector<int64_t>& expired)
      : store_(store), before_(before), expired_ids_(expired.begin(), expired.end()) {
    for (const Snapshot& snapshot : before.snapshots) by_id_[snapshot.snapshot_id] = &snapshot;
  }

  Result<ExpiredFiles> Run() {
    K2_TRY(KeepManifests());
    for (const Snapshot& snapshot : before_.snapshots) {
      if (IsExpired(snapshot.snapshot_id)) K2_TRY(Expire(snapshot));
    }
    K2_TRY(AddLetGo());
    K2_TRY(DropLiveCandidates());
    for (auto& [path, owner] : candidates_) files_.data_files.push_back(path);
    return std::move(files_);
  }

 private:
  [[nodiscard]] bool IsExpired(int64_t id) const { return expired_ids_.contains(id); }

  [[nodiscard]] const Snapshot* ParentOf(const Snapshot& snapshot) const {
    if (!snapshot.parent_snapshot_id) return nullptr;
    const auto found = by_id_.find(*snapshot.parent_snapshot_id);
    return found == by_id_.end() ? nullptr : found->second;
  }

  // The snapshot and what it descends from.
  [[nodiscard]] std::unordered_set<int64_t> LineOf(const Snapshot& snapshot) const {
    std::unordered_set<int64_t> line;  // a parent chain that is a ring is another writer's mistake: it ends
    for (const Snapshot* at = &snapshot; at != nullptr && line.insert(at->snapshot_id).second;) at = ParentOf(*at);
    return line;
  }

  // A manifest that an expired and a remaining snapshot share is also in a remaining snapshot right below an expired
  // one (or at the start of its chain), or in the expired one's nearest remaining ancestor. Where that ancestor cannot
  // be told, because the chain to it was broken by an earlier expiry, all that do not descend from the expired one
  // count.
  Status KeepManifests() {
    std::unordered_map<const Snapshot*, std::unordered_set<int64_t>> lines;
    std::unordered_set<const Snapshot*> nearest;
    for (const Snapshot& snapshot : before_.snapshots) {
      if (IsExpired(snapshot.snapshot_id)) continue;
      kept_lists_.insert(snapshot.manifest_list);
      lines[&snapshot] = LineOf(snapshot);
      remaining_lines_.insert(lines[&snapshot].begin(), lines[&snapshot].end());
      const Snapshot* parent = ParentOf(snapshot);
      if (parent == nullptr || IsExpired(parent->snapshot_id)) nearest.insert(&snapshot);
    }
    for (const Snapshot& snapshot : before_.snapshots) {
      if (!IsExpired(snapshot.snapshot_id)) continue;
      const Snapshot* parent = ParentOf(snapshot);
      for (size_t steps = 0; parent != nullptr && IsExpired(parent->snapshot_id); ++steps) {
        parent = steps < by_id_.size() ? ParentOf(*parent) : nullptr;
      }
      if (parent != nullptr) {
        nearest.insert(parent);
        continue;
      }
      for (const auto& [remaining, line] : lines) {
        if (!line.contains(snapshot.snapshot_id)) nearest.insert(remaining);
      }
    }
    for (const Snapshot* snapshot : nearest) {
      K2_ASSIGN(const std::vector<ManifestFile> manifests, ReadManifests(store_, *snapshot));
      for (const ManifestFile& manifest : manifests) kept_manifests_.insert(manifest.manifest_path);
      const Snapshot* parent = ParentOf(*snapshot);
      if (parent != nullptr && IsExpired(parent->snapshot_id)) above_expired_.emplace_back(snapshot, manifests);
    }
    return {};
  }

  Status Expire(const Snapshot& snapshot) {
    if (kept_lists_.contains(snapshot.manifest_list)) return {};
    K2_ASSIGN(const std::vector<ManifestFile> manifests, ReadManifests(store_, snapshot));
    files_.manifest_lists.push_back(snapshot.manifest_list);
    const bool remains = remaining_lines_.contains(snapshot.snapshot_id);
    for (const ManifestFile& manifest : manifests) {
      const bool kept = kept_manifests_.contains(manifest.manifest_path);
      if (!kept && seen_.insert(manifest.manifest_path).second) files_.manifests.push_back(manifest.manifest_path);
      // What it deleted goes; so does what it had, if no remaining snapshot descends from it (it was rolled back).
      const bool deleted = manifest.added_snapshot_id == snapshot.snapshot_id && manifest.deleted_files_count != 0;
      if (deleted || (!remains && !kept)) K2_TRY(AddCandidates(snapshot.snapshot_id, manifest, !remains && !kept));
    }
    return {};
  }

  // What a remaining snapshot deleted was last named by its parent, which has gone now: it need not wait until the
  // deleting snapshot goes too, which on a quiet table is never.
  Status AddLetGo() {
    for (const auto& [snapshot, manifests] : above_expired_) {
      for (const ManifestFile& manifest : manifests) {
        const bool deleted = manifest.added_snapshot_id == snapshot->snapshot_id && manifest.deleted_files_count != 0;
        if (deleted) K2_TRY(AddCandidates(snapshot->snapshot_id, manifest, false));
      }
    }
    return {};
  }

  Status AddCandidates(int64_t snapshot_id, const ManifestFile& manifest, bool with_live) {
    K2_ASSIGN(const std::vector<ManifestEntry> entries, ReadEntries(store_, before_, manifest));
    for (const ManifestEntry& entry : entries) {
      if (IsLive(entry) ? with_live : entry.snapshot_id == snapshot_id) {
        candidates_.try_emplace(entry.file.file_path, snapshot_id);
      }
    }
    return {};
  }

  // A remaining snapshot that does not descend from the one that let a file go (an older one that a tag holds, another
  // branch) may still have it.
  Status DropLiveCandidates() {
    std::unordered_set<int64_t> owners;
    for (const auto& [path, owner] : candidates_) owners.insert(owner);
    std::unordered_set<std::string> read;
    for (const Snapshot& snapshot : before_.snapshots) {
      if (IsExpired(snapshot.snapshot_id) || candidates_.empty()) continue;
      const std::unordered_set<int64_t> line = LineOf(snapshot);
      const bool descends = std::ranges::all_of(owners, [&](int64_t owner) { return line.contains(owner); });
      if (descends) continue;
      K2_ASSIGN(const std::vector<ManifestFile> manifests, ReadManifests(store_, snapshot));
      for (const ManifestFile& manifest : manifests) {
        if (!MayHaveLiveFiles(manifest) || !read.insert(manifest.manifest_path).second) continue;
        K2_ASSIGN(const std::vector<ManifestEntry> entries, ReadEntries(store_, before_, manifest));
        for (const ManifestEntry& entry : entries) {
          if (IsLive(entry)) candidates_.erase(entry.file.file_path);
        }
      }
    }
    return {};
  }

  ManifestStore& store_;
  const TableMetadata& before_;
  std::unordered_set<int64_t> expired_ids_;
  std::unordered_map<int64_t, const Snapshot*> by_id_;
  std::unordered_set<int64_t> remaining_lines_;  // remaining snapshots and all they descend from
  std::unordered_set<std::string> kept_lists_;
  std::unordered_set<std::string> kept_manifests_;
  std::unordered_set<std::string> seen_;
  std::vector<std::pair<const Snapshot*, std::vector<ManifestFile>>> above_expired_;  // remaining, the parent is not
  std::map<std::string, int64_t> candidates_;  // data file, the expired snapshot that let it go
  ExpiredFiles files_;
};

}  // namespace

Result<ExpiredFiles> FilesOnlyIn(ManifestStore& store, const TableMetadata& before,
                                 const std::vector<int64_t>& expired) {
  return Expiry(store, before, expired).Run();
}

Result<ExpiredFiles> FilesOfExpired(ManifestStore& store, const TableMetadata& before, const TableMetadata& after,
                                    std::vector<int64_t> expired) {
  std::erase_if(expired, [&](int64_t id) { return after.FindSnapshot(id) != nullptr; });
  TableMetadata all = before;
  for (const Snapshot& snapshot : after.snapshots) {
    if (before.FindSnapshot(snapshot.snapshot_id) == nullptr) all.snapshots.push_back(snapshot);
  }
  if (!GarbageCollected(after)) return ExpiredFiles{};
  K2_ASSIGN(ExpiredFiles files, FilesOnlyIn(store, all, expired));
  const OwnFiles own(after);
  for (auto* list : {&files.data_files, &files.manifests, &files.manifest_lists}) {
    std::erase_if(*list, [&](const std::string& path) { return !own.Hold(path); });
  }
  return files;
}

Status ForEachReachable(ManifestStore& store, const TableMetadata& metadata,
                        const std::function<Status(ReachableKind kind, const std::string& path)>& visit) {
  std::unordered_set<std::string> seen;
  for (const Snapshot& snapshot : metadata.snapshots) {
    if (!seen.insert(snapshot.manifest_list).second) continue;
    K2_TRY(visit(ReachableKind::kManifestList, snapshot.manifest_list));
    K2_ASSIGN(const std::vector<ManifestFile> manifests, ReadManifests(store, snapshot));
    for (const ManifestFile& manifest : manifests) {
      if (!seen.insert(manifest.manifest_path).second) continue;
      K2_TRY(visit(ReachableKind::kManifest, manifest.manifest_path));
      K2_ASSIGN(const std::vector<ManifestEntry> entries, ReadEntries(store, metadata, manifest));
      for (const ManifestEntry& entry : entries) {
        if (IsLive(entry)) K2_TRY(visit(ReachableKind::kDataFile, entry.file.file_path));
      }
    }
  }
  return {};
}

}  // namespace k2::iceberg
