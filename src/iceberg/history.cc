#include <algorithm>
#include <limits>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "iceberg/table_update.h"

namespace k2::iceberg {

namespace {

using SnapshotsById = std::unordered_map<int64_t, const Snapshot*>;

// A branch's snapshots, newest first, as far as they are still there.
std::vector<const Snapshot*> Ancestry(const SnapshotsById& snapshots, int64_t head) {
  std::vector<const Snapshot*> ancestry;
  std::optional<int64_t> id = head;
  while (id && ancestry.size() < snapshots.size()) {  // parents that form a ring must not hold us
    const auto found = snapshots.find(*id);
    if (found == snapshots.end()) break;
    ancestry.push_back(found->second);
    id = found->second->parent_snapshot_id;
  }
  return ancestry;
}

struct Retention {
  int64_t oldest_ms = 0;
  size_t min_to_keep = 1;
  size_t max_to_keep = std::numeric_limits<size_t>::max();
};

Retention RetentionOf(const SnapshotRef& ref, const HistoryPolicy& policy, int64_t now_ms) {
  const int32_t min_to_keep = ref.min_snapshots_to_keep.value_or(policy.min_to_keep);
  return {.oldest_ms = now_ms - std::max<int64_t>(0, ref.max_snapshot_age_ms.value_or(policy.max_age_ms)),
          .min_to_keep = static_cast<size_t>(std::max(1, min_to_keep)),
          .max_to_keep = static_cast<size_t>(std::max(1, policy.max_to_keep))};
}

}  // namespace

std::vector<int64_t> SnapshotsToExpire(const TableMetadata& metadata, const HistoryPolicy& policy, int64_t now_ms) {
  SnapshotsById snapshots;
  snapshots.reserve(metadata.snapshots.size());
  for (const Snapshot& snapshot : metadata.snapshots) snapshots.emplace(snapshot.snapshot_id, &snapshot);

  std::unordered_set<int64_t> keep;
  std::unordered_set<int64_t> on_main;
  std::unordered_set<int64_t> on_branches;
  const auto keep_recent = [&](const std::vector<const Snapshot*>& ancestry, const Retention& retention) {
    for (size_t i = 0; i < ancestry.size(); ++i) {
      const bool recent = ancestry[i]->timestamp_ms >= retention.oldest_ms && i < retention.max_to_keep;
      if (i < retention.min_to_keep || recent) keep.insert(ancestry[i]->snapshot_id);
    }
  };

  if (const SnapshotRef* main = metadata.FindRef(kMainBranch)) {
    const auto ancestry = Ancestry(snapshots, main->snapshot_id);
    keep_recent(ancestry, RetentionOf(*main, policy, now_ms));
    for (const Snapshot* snapshot : ancestry) on_main.insert(snapshot->snapshot_id);
  }
  for (const auto& [name, ref] : metadata.refs) {
    keep.insert(ref.snapshot_id);
    if (!ref.is_branch || name == kMainBranch) continue;
    const auto ancestry = Ancestry(snapshots, ref.snapshot_id);
    for (const Snapshot* snapshot : ancestry) on_branches.insert(snapshot->snapshot_id);
    if (ref.min_snapshots_to_keep || ref.max_snapshot_age_ms) {
      keep_recent(ancestry, RetentionOf(ref, policy, now_ms));
      continue;
    }
    for (const Snapshot* snapshot : ancestry) {
      if (on_main.contains(snapshot->snapshot_id)) break;
      keep.insert(snapshot->snapshot_id);
    }
  }

  std::vector<const Snapshot*> expired;
  for (const Snapshot& snapshot : metadata.snapshots) {
    const int64_t id = snapshot.snapshot_id;
    const bool in_a_branch = on_main.contains(id) || on_branches.contains(id);
    const bool stray_but_young =
        !in_a_branch && snapshot.timestamp_ms >= now_ms - std::max<int64_t>(0, policy.max_age_ms);
    if (!keep.contains(id) && !stray_but_young) expired.push_back(&snapshot);
  }
  std::ranges::sort(expired, {}, [](const Snapshot* snapshot) {
    return std::pair(snapshot->sequence_number, snapshot->snapshot_id);
  });
  std::vector<int64_t> ids;
  ids.reserve(expired.size());
  for (const Snapshot* snapshot : expired) ids.push_back(snapshot->snapshot_id);
  return ids;
}

}  // namespace k2::iceberg
