#include "pipeline/standing.h"

#include <algorithm>

#include "base/time.h"
#include "iceberg/snapshot_producer.h"
#include "table/scan.h"
#include "task/market_tables.h"

namespace k2::pipeline {
namespace {

constexpr int64_t kStandingPauseUsMin = kMicrosPerSecond;
constexpr int64_t kStandingPauseUsMax = 30 * kMicrosPerSecond;

}  // namespace

std::string StandsTag(std::string_view table) {
  for (const exchange::Exchange* exchange : exchange::Exchanges()) {
    if (exchange->silver_table == table) return fmt::format("{}silver-{}", kStandsTagPrefix, exchange->name);
  }
  return fmt::format("{}{}", kStandsTagPrefix, table == task::kGoldTable ? "gold" : table);
}

std::string BeforeTag(std::string_view table) { return StandsTag(table) + "-before"; }

Status SetStandsTags(table::Table& upstream, std::string_view table, int64_t snapshot_id) {
  const std::string tag = StandsTag(table);
  if (upstream.metadata().FindRef(tag) != nullptr) return {};
  return upstream.Update([&](const iceberg::TableMetadata& metadata) -> Result<std::vector<iceberg::TableUpdate>> {
    const iceberg::Snapshot* snapshot = metadata.FindSnapshot(snapshot_id);
    if (metadata.FindRef(tag) != nullptr || snapshot == nullptr) return std::vector<iceberg::TableUpdate>{};
    std::vector<iceberg::TableUpdate> updates{iceberg::SetSnapshotRef{tag, {.snapshot_id = snapshot_id}}};
    const int64_t parent = snapshot->parent_snapshot_id.value_or(0);
    if (metadata.FindSnapshot(parent) != nullptr) {
      updates.emplace_back(iceberg::SetSnapshotRef{BeforeTag(table), {.snapshot_id = parent}});
    }
    return updates;
  });
}

Status RemoveStandsTags(table::Table& upstream, std::string_view table) {
  const std::string names[] = {StandsTag(table), BeforeTag(table)};
  const auto shown = [&](const iceberg::TableMetadata& metadata) {
    return std::ranges::any_of(names, [&](const std::string& name) { return metadata.FindRef(name) != nullptr; });
  };
  if (!shown(upstream.metadata())) return {};
  return upstream.Update([&](const iceberg::TableMetadata& metadata) -> Result<std::vector<iceberg::TableUpdate>> {
    std::vector<iceberg::TableUpdate> updates;
    for (const std::string& name : names) {
      if (metadata.FindRef(name) != nullptr) updates.emplace_back(iceberg::RemoveSnapshotRef{name});
    }
    return updates;
  });
}

const iceberg::Snapshot* StandsAt(const iceberg::TableMetadata& upstream, std::string_view table, int64_t read) {
  if (const iceberg::SnapshotRef* tag = upstream.FindRef(StandsTag(table))) {
    if (const iceberg::Snapshot* tagged = upstream.FindSnapshot(tag->snapshot_id)) return tagged;
  }
  const iceberg::Snapshot* appended = nullptr;
  const iceberg::Snapshot* at = upstream.CurrentSnapshot();
  for (size_t steps = 0; at != nullptr && at->snapshot_id != read && steps <= upstream.snapshots.size(); ++steps) {
    const bool foreign = !at->summary.contains(iceberg::kCommitIdKey) && at->operation != "replace";
    if (foreign && at->operation != "append") return at;
    if (foreign && appended == nullptr) appended = at;
    at = at->parent_snapshot_id ? upstream.FindSnapshot(*at->parent_snapshot_id) : nullptr;
  }
  return appended != nullptr ? appended : upstream.CurrentSnapshot();
}

bool IsOfTheTable(const Error& error) {
  return error.kind != ErrorKind::kUnavailable && error.kind != ErrorKind::kIo && error.kind != ErrorKind::kNoSpace;
}

void StandingTables::Add(const std::string& table, Error error) {
  Standing& standing = tables_[table];
  standing.pause_us = std::clamp(standing.pause_us * 2, kStandingPauseUsMin, kStandingPauseUsMax);
  standing.again_us = MonotonicMicros() + standing.pause_us;
  // Of one cause as it was told first, though its counts may grow.
  if (standing.error.message.empty() || standing.error.kind != error.kind) standing.error = std::move(error);
}

bool StandingTables::IsAside(const std::string& table) const {
  const auto found = tables_.find(table);
  return found != tables_.end() && MonotonicMicros() < found->second.again_us;
}

std::optional<Error> StandingTables::error() const {
  std::optional<Error> all;
  for (const auto& [table, standing] : tables_) {
    if (!all) {
      all = standing.error;
    } else {
      all->message += "; " + standing.error.message;
    }
  }
  return all;
}

}  // namespace k2::pipeline
