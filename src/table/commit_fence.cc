#include "table/commit_fence.h"

#include <algorithm>
#include <set>

#include "iceberg/snapshot_producer.h"

namespace k2::table {
namespace {

using iceberg::TableMetadata;

// Whether K2's own snapshots from `base` (exclusive) to the head have only joined or dropped files: compaction,
// retention.
bool OnlyFilesChangedSince(const TableMetadata& metadata, int64_t base) {
  const iceberg::Snapshot* at = metadata.CurrentSnapshot();
  for (size_t steps = 0; at != nullptr && steps <= metadata.snapshots.size(); ++steps) {
    if (at->snapshot_id == base) return true;
    const bool ours = at->summary.contains(iceberg::kCommitIdKey);
    if (ours && at->operation != "replace" && at->operation != "delete") return false;
    at = at->parent_snapshot_id ? metadata.FindSnapshot(*at->parent_snapshot_id) : nullptr;
  }
  return false;
}

// Whether other engines have removed rows since: what a batch was compared with may hold too much then.
bool OthersDeletedSince(const TableMetadata& metadata, int64_t sequence_number) {
  const iceberg::Snapshot* at = metadata.CurrentSnapshot();
  for (size_t steps = 0; at != nullptr && at->sequence_number > sequence_number; ++steps) {
    const bool ours = at->summary.contains(iceberg::kCommitIdKey);
    if (!ours && (at->operation == "delete" || at->operation == "overwrite")) return true;
    const bool more = at->parent_snapshot_id && steps <= metadata.snapshots.size();
    at = more ? metadata.FindSnapshot(*at->parent_snapshot_id) : nullptr;
  }
  return false;
}

}  // namespace

Status CheckFence(const LayerCommit& commit, const FoundProgress& at_head, const TableMetadata& metadata,
                  const catalog::TableName& table) {
  const LayerProgress& head = at_head.progress;
  const auto moved = [&](const std::string& key, const std::string& expected, const std::string& found) {
    return Fail(ErrorKind::kOffsetMismatch,
                "{}: concurrent writer detected: {} has changed: this batch starts from {}, but the table is at {}; "
                "nothing was committed",
                table.ToString(), key, expected, found);
  };
  const auto finished_moved = [&] {
    return moved("the archive of finished recordings", fmt::format("generation {}", commit.base.finished.generation),
                 fmt::format("generation {}", head.finished.generation));
  };
  if (commit.base_snapshot_id && *commit.base_snapshot_id != at_head.snapshot_id &&
      !OnlyFilesChangedSince(metadata, *commit.base_snapshot_id)) {
    return moved("the table", fmt::format("snapshot {}", *commit.base_snapshot_id),
                 fmt::format("snapshot {}", at_head.snapshot_id));
  }
  if (commit.base_snapshot_id && commit.planned_sequence && OthersDeletedSince(metadata, *commit.planned_sequence)) {
    return Fail(ErrorKind::kOffsetMismatch,
                "{}: concurrent writer detected: it has deleted rows since this batch was compared with them; nothing "
                "was committed",
                table.ToString());
  }
  if (commit.fence_upstream) {
    std::set<std::string> names;
    for (const auto& [name, hint] : commit.base.upstream) names.insert(name);
    for (const auto& [name, hint] : commit.next.upstream) names.insert(name);
    for (const std::string& name : names) {
      const auto expected = commit.base.upstream.find(name);
      const auto found = head.upstream.find(name);
      const UpstreamHint before = expected == commit.base.upstream.end() ? UpstreamHint{} : expected->second;
      const UpstreamHint now = found == head.upstream.end() ? UpstreamHint{} : found->second;
      if (before != now) {
        return moved(name, fmt::format("snapshot {}", before.snapshot_id), fmt::format("snapshot {}", now.snapshot_id));
      }
    }
    return {};
  }
  for (const auto& [key, position] : commit.next.positions) {
    const auto expected = commit.base.positions.find(key);
    const auto found = head.positions.find(key);
    const SourcePosition before = expected == commit.base.positions.end() ? SourcePosition{} : expected->second;
    const SourcePosition now = found == head.positions.end() ? SourcePosition{} : found->second;
    if (before != now) {
      return moved(key.ToString(), fmt::format("offset {}", before.next_offset),
                   fmt::format("offset {}", now.next_offset));
    }
    // A recording that neither names is new, or was finished; what the batch has learnt of that holds for the rows of
    // finished_sources that counted then.
    const bool unnamed = found == head.positions.end() && key.cluster == kRecordingCluster;
    if (unnamed && commit.base.finished != head.finished) return finished_moved();
  }
  if (commit.next.finished.generation != 0 && commit.base.finished != head.finished) return finished_moved();
  for (const SourceKey& key : commit.drop) {
    const auto expected = commit.base.positions.find(key);
    const auto found = head.positions.find(key);
    if (expected == commit.base.positions.end() || found == head.positions.end() || expected->second != found->second) {
      return moved(key.ToString(), "the offset where it ended", "another one");
    }
  }
  return {};
}

LayerProgress ProgressAfter(LayerProgress head, const LayerCommit& commit) {
  const LayerProgress& next = commit.next;
  for (const SourceKey& key : commit.drop) head.positions.erase(key);
  for (const auto& [key, position] : next.positions) head.positions[key] = position;
  for (const auto& [name, hint] : next.upstream) head.upstream[name] = hint;
  head.rules_version = std::max(head.rules_version, next.rules_version);
  if (next.finished.generation != 0) head.finished = next.finished;
  if (commit.forget_finished) head.finished = {};
  return head;
}

}  // namespace k2::table
