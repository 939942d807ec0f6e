#include <algorithm>

#include "table/progress_json.h"
#include "table/table.h"

namespace k2::table {

namespace {

using iceberg::Snapshot;
using iceberg::TableMetadata;

// Main's history, walked from its head to the first snapshot that carries progress of this table.
struct Walk {
  std::optional<LayerProgress> progress;
  std::vector<const Snapshot*> visited;  // newest first; the last one carries the progress, if any does
  bool broken = false;                   // a parent is gone: expired
  bool replaced = false;                 // it ends at a snapshot without a parent that is not the table's first one
};

Result<Walk> WalkMain(const TableMetadata& metadata) {
  Walk walk;
  const Snapshot* snapshot = metadata.CurrentSnapshot();
  while (snapshot != nullptr) {
    if (walk.visited.size() == metadata.snapshots.size()) {
      return Fail(ErrorKind::kInvalidData, "the parents of snapshot {} form a cycle", snapshot->snapshot_id);
    }
    walk.visited.push_back(snapshot);
    K2_ASSIGN(walk.progress, ProgressOf(*snapshot, metadata.table_uuid));
    if (walk.progress) return walk;
    if (!snapshot->parent_snapshot_id) {
      // Only a table's first snapshot has no parent. PyIceberg's expiry takes it from those whose parent it removes;
      // and an engine that replaces a table begins anew.
      walk.replaced = walk.broken = snapshot->sequence_number > 1;
      return walk;
    }
    snapshot = metadata.FindSnapshot(*snapshot->parent_snapshot_id);
    walk.broken = snapshot == nullptr;
  }
  return walk;
}

// Is the tagged snapshot outside main's history? It is, when it was made after the oldest snapshot of the walk and the
// walk did not meet it, or when the walk came to the very first snapshot.
bool RolledAway(const Walk& walk, const Snapshot& tagged) {
  if (std::ranges::find(walk.visited, &tagged) != walk.visited.end()) return false;
  if (walk.visited.empty()) return true;
  const Snapshot& oldest = *walk.visited.back();
  if (tagged.sequence_number > oldest.sequence_number) return true;
  // Nothing was expired between the two: the table was replaced.
  if (walk.replaced && oldest.sequence_number == tagged.sequence_number + 1) return true;
  return !walk.progress && !walk.broken;
}

}  // namespace

Result<FoundProgress> FindProgress(const TableMetadata& metadata) {
  K2_ASSIGN(Walk walk, WalkMain(metadata));
  const iceberg::SnapshotRef* tag = metadata.FindRef(kOffsetsTag);
  const Snapshot* tagged = tag == nullptr ? nullptr : metadata.FindSnapshot(tag->snapshot_id);
  std::optional<LayerProgress> at_tag;
  if (tagged != nullptr) {
    K2_ASSIGN(at_tag, ProgressOf(*tagged, metadata.table_uuid));
  }
  if (at_tag && RolledAway(walk, *tagged)) {
    return Fail(
        ErrorKind::kOffsetMismatch,
        "the branch main of {} was rolled back: snapshot {}, which holds the latest source offsets (tag \"{}\"), is no "
        "longer in its history. Roll main forward to that snapshot to resume from there; or, if the rollback was "
        "intended, `k2 offsets set --table <name> --accept-loss` resumes from the current state of main",
        metadata.location, tagged->snapshot_id, kOffsetsTag);
  }
  if (walk.progress) return FoundProgress{std::move(*walk.progress), walk.visited.back()->snapshot_id};
  if (at_tag) return FoundProgress{std::move(*at_tag), tagged->snapshot_id};
  if (walk.broken) {
    return Fail(ErrorKind::kOffsetMismatch,
                "the source offsets of {} are lost: older snapshots were expired and the tag \"{}\" that kept them is "
                "gone. Set the offsets to resume from with `k2 offsets set --accept-loss`",
                metadata.location, kOffsetsTag);
  }
  return FoundProgress{};
}

int64_t SequenceOf(const TableMetadata& metadata, int64_t snapshot_id) {
  const Snapshot* snapshot = metadata.FindSnapshot(snapshot_id);
  return snapshot == nullptr ? 0 : snapshot->sequence_number;
}

Result<LayerProgress> ReadProgressOfMain(const TableMetadata& metadata) {
  K2_ASSIGN(Walk walk, WalkMain(metadata));
  return walk.progress ? std::move(*walk.progress) : LayerProgress{};
}

Status CheckMainHasProgress(const TableMetadata& metadata) {
  K2_ASSIGN(const Walk walk, WalkMain(metadata));
  if (walk.progress || !walk.broken) return {};
  return Fail(ErrorKind::kOffsetMismatch,
              "the branch main of {} holds no source offsets: the snapshots that held them have expired, so all data "
              "would be read again and duplicated. Roll main forward to the snapshot of the tag \"{}\", or set the "
              "offset of each source: `k2 offsets set --table <name> --topic <topic> --next <offset> --accept-loss`",
              metadata.location, kOffsetsTag);
}

Result<LayerProgress> ReadProgressOfTag(const TableMetadata& metadata) {
  const iceberg::SnapshotRef* tag = metadata.FindRef(kOffsetsTag);
  const Snapshot* tagged = tag == nullptr ? nullptr : metadata.FindSnapshot(tag->snapshot_id);
  if (tagged == nullptr) return LayerProgress{};
  K2_ASSIGN(auto progress, ProgressOf(*tagged, metadata.table_uuid));
  return progress ? *std::move(progress) : LayerProgress{};
}

Result<LayerProgress> ReadProgress(const TableMetadata& metadata) {
  K2_ASSIGN(FoundProgress found, FindProgress(metadata));
  return std::move(found.progress);
}

}  // namespace k2::table
