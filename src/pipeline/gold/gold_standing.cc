// What Gold makes of Silver's files that other engines have rewritten, and where it stands instead.
#include <boost/unordered/unordered_flat_map.hpp>
#include <set>

#include "base/log.h"
#include "base/time.h"
#include "pipeline/gold/gold_layer.h"
#include "pipeline/gold/rewrites.h"
#include "task/market_tables.h"

namespace k2::pipeline {

// Foreign snapshots of the table up to this sequence number are read, whatever they did.
int64_t GoldLayer::AcceptedSequence(const Upstream& upstream) const {
  const auto found = accepted_.find(upstream.table.name().ToString());
  if (found == accepted_.end() || found->second.table_uuid != upstream.table.metadata().table_uuid) return 0;
  return found->second.sequence_number;
}

namespace {

Error StandsAtRewrite(const table::Table& silver, const iceberg::Snapshot& snapshot, std::string_view what) {
  const std::string& name = silver.name().name;
  return {ErrorKind::kUpstreamChanged,
          fmt::format("{} is blocked at {}: {} {}. `k2 offsets accept {} {} --dry-run` shows the rows; without "
                      "--dry-run, {} reads the rows that the snapshot added",
                      task::kGoldTable, name, table::DescribeSnapshot(snapshot), what, name, snapshot.snapshot_id,
                      task::kGoldTable)};
}

}  // namespace

// Rows that another engine has copied to other files meet themselves in Gold. One that it has moved to another hour
// does not: Gold would hold the trade twice. What is before such a snapshot is read; then Gold stands. `to`: the
// snapshot up to which `increment` reaches.
Status GoldLayer::ReadRewrites(Upstream& upstream, std::optional<int64_t> from, int64_t& to,
                               table::Increment& increment) const {
  const iceberg::TableMetadata& metadata = upstream.table.metadata();
  for (const int64_t id : increment.rewrites) {
    const iceberg::Snapshot* rewrite = metadata.FindSnapshot(id);
    if (rewrite == nullptr || rewrite->sequence_number <= AcceptedSequence(upstream)) continue;
    K2_ASSIGN(const MovedTrades moved, FindMovedTrades(upstream.table, *rewrite, options_.gold_index_bytes));
    if (moved.count == 0) continue;
    upstream.stands_at = id;
    const int64_t parent = rewrite->parent_snapshot_id.value_or(0);
    if (from != parent && metadata.FindSnapshot(parent) != nullptr) {
      K2_ASSIGN(table::Increment before, table::PlanIncrement(upstream.table.io(), metadata, from, parent));
      if (before.complete && !before.files.empty()) {
        increment = std::move(before);
        to = parent;
        return {};
      }
    }
    return std::unexpected(StandsAtRewrite(
        upstream.table, *rewrite,
        fmt::format("moved {} trades to another hour (for example message_id {}), so {} would hold each of them twice",
                    moved.count, moved.example, task::kGoldTable)));
  }
  return {};
}

// Where Silver's history does not reach back any more to where Gold stands, the tag still tells that it does stand.
Status GoldLayer::CheckTagged(const Upstream& upstream, int64_t read) const {
  const iceberg::TableMetadata& metadata = upstream.table.metadata();
  const iceberg::SnapshotRef* tag = metadata.FindRef(StandsTag(task::kGoldTable));
  const iceberg::Snapshot* tagged = tag == nullptr ? nullptr : metadata.FindSnapshot(tag->snapshot_id);
  if (tagged == nullptr || !table::IsForeignRewrite(*tagged)) return {};
  if (tagged->sequence_number <= std::max(read, AcceptedSequence(upstream))) return {};
  return std::unexpected(StandsAtRewrite(upstream.table, *tagged, "moved trades to another hour"));
}

// Where Silver was rolled back, or set to somebody's branch, the snapshot that Gold has read last (`from`, of sequence
// number `read`) is not in its history, though that reaches back before it: Gold goes on from the newest snapshot of
// both; from the beginning, where that cannot be told any more.
void GoldLayer::FollowRollback(const iceberg::TableMetadata& metadata, std::optional<int64_t>& from, int64_t& read) {
  if (!from) return;
  const auto parent = [&](const iceberg::Snapshot& of) {
    return of.parent_snapshot_id ? metadata.FindSnapshot(*of.parent_snapshot_id) : nullptr;
  };
  std::set<int64_t> history;
  bool passed = false;
  const iceberg::Snapshot* at = metadata.CurrentSnapshot();
  for (; at != nullptr && history.insert(at->snapshot_id).second; at = parent(*at)) {
    if (at->snapshot_id == from || at->parent_snapshot_id == from) return;
    passed |= at->sequence_number < read;
  }
  if (!passed) return;
  at = metadata.FindSnapshot(*from);
  for (size_t steps = 0; at != nullptr && steps < metadata.snapshots.size(); ++steps, at = parent(*at)) {
    if (!history.contains(at->snapshot_id)) continue;
    from = at->snapshot_id;
    read = at->sequence_number;
    return;
  }
  from.reset();
  read = 0;
}

void GoldLayer::UpdateTags() {
  for (Upstream& upstream : upstreams_) {
    const std::string& name = upstream.table.name().name;
    const int64_t read = upstream.committed ? upstream.committed->snapshot_id : 0;
    Status status;
    if (upstream.stands_at != 0) {
      status = SetStandsTags(upstream.table, task::kGoldTable, upstream.stands_at);
    } else if (!standing_.Contains(name) && !stands_wholly_) {
      status = RemoveStandsTags(upstream.table, task::kGoldTable);
    } else if (const iceberg::Snapshot* at = StandsAt(upstream.table.metadata(), task::kGoldTable, read)) {
      status = SetStandsTags(upstream.table, task::kGoldTable, at->snapshot_id);
    }
    if (!status) {
      log::Warn("cannot update the tags of a blocked table yet", {{"table", name}, {"error", status.error().message}});
    }
  }
}

void GoldLayer::StandsWholly() {
  stands_wholly_ = true;
  UpdateTags();
}

}  // namespace k2::pipeline
