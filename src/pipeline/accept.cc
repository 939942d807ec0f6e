#include "pipeline/accept.h"

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <iterator>
#include <map>
#include <set>

#include "base/time.h"
#include "pipeline/gold/rewrites.h"
#include "pipeline/silver/unread_sources.h"
#include "pipeline/standing.h"
#include "table/scan.h"
#include "task/gold_index.h"
#include "task/market_tables.h"

namespace k2::pipeline {
namespace {

table::AcceptedUpstream AsOf(const table::Table& upstream, const iceberg::Snapshot& snapshot) {
  return {.table_uuid = upstream.metadata().table_uuid,
          .snapshot_id = snapshot.snapshot_id,
          .sequence_number = snapshot.sequence_number,
          .sources = {},
          .at = FormatTimestamp(NowMicros())};
}

Error NothingStands(const table::Table& upstream, const iceberg::Snapshot& snapshot, std::string_view why) {
  return {ErrorKind::kInvalidArgument,
          fmt::format("no layer is blocked at snapshot {} of {}: {}", snapshot.snapshot_id, upstream.name().name, why)};
}

Status PlanForSilver(const Lakehouse& lakehouse, const table::Table& bronze, const iceberg::Snapshot& snapshot,
                     AcceptPlan& plan) {
  K2_ASSIGN(const table::LayerProgress progress, table::ReadProgress(bronze.metadata()));
  std::vector<UnreadSource> sources;
  for (const exchange::Exchange* exchange : exchange::Exchanges()) {
    K2_ASSIGN(const std::optional<table::Table> silver, lakehouse.OpenSilver(*exchange, progress));
    if (!silver) continue;
    K2_ASSIGN(const table::LayerProgress read, table::ReadProgress(silver->metadata()));
    std::ranges::move(SourcesToRead(*exchange, read, progress), std::back_inserter(sources));
  }
  K2_TRY(CountUnread(bronze, sources));
  std::map<std::string, Acceptance> by_table;
  for (const UnreadSource& source : sources) {
    if (source.Fits()) continue;
    const int64_t read = source.distinct();
    plan.lines.push_back({.table = source.table,
                          .source = fmt::format("{}/{} offsets {} to {}", source.key.topic, source.key.partition,
                                                source.begin, source.end.next_offset - 1),
                          .rows = source.rows,
                          .read = read,
                          .skipped = source.rows - read,
                          .missing = source.expected - read});
    const auto [entry, fresh] = by_table.try_emplace(source.table, Acceptance{.table = source.table, .upstream = {}});
    if (fresh) entry->second.upstream = AsOf(bronze, snapshot);
    entry->second.upstream.sources[source.key] = {.end = source.end.next_offset, .messages = source.end.messages};
  }
  for (auto& [table, acceptance] : by_table) plan.acceptances.push_back(std::move(acceptance));
  if (!plan.acceptances.empty()) return {};
  return std::unexpected(NothingStands(bronze, snapshot, "Silver accounts for all of its rows"));
}

// The rows of one file that Silver has got, by what Gold holds in their hours.
Result<AcceptLine> CompareWithGold(const table::Table& silver, const iceberg::DataFile& file,
                                   const table::Table& gold) {
  AcceptLine line{.table = std::string(task::kGoldTable), .source = file.file_path};
  boost::unordered_flat_map<Uuid, std::set<int64_t>, task::UuidHash> wanted;  // hours, by id
  int64_t first = INT64_MAX;
  int64_t last = INT64_MIN;
  K2_TRY(EachTradeInHour(silver, file, [&](const Uuid& id, int64_t hour, std::string_view) {
    ++line.rows;
    wanted[id].insert(hour);
    first = std::min(first, hour);
    last = std::max(last, hour);
  }));
  if (line.rows == 0) return line;
  for (const auto& [id, hours] : wanted) line.read += static_cast<int64_t>(hours.size());
  K2_ASSIGN(const task::TableShape shape, ShapeOf(gold, task::TableUse::kRead));
  const int32_t time_id = shape.columns.at("timestamp");
  K2_ASSIGN(
      const std::vector<table::ScanFile> stored,
      table::PlanScan(gold.io(), gold.metadata(), gold.metadata().current_snapshot_id.value_or(0),
                      {{.field_id = time_id, .op = iceberg::CompareOp::kGe, .values = {first * kMicrosPerHour}},
                       {.field_id = time_id, .op = iceberg::CompareOp::kLt, .values = {(last + 1) * kMicrosPerHour}}}));
  for (const table::ScanFile& one : stored) {
    K2_TRY(EachTradeInHour(gold, one.file, [&](const Uuid& id, int64_t hour, std::string_view) {
      const auto found = wanted.find(id);
      if (found != wanted.end() && found->second.erase(hour) > 0) --line.read;
    }));
  }
  line.skipped = line.rows - line.read;
  return line;
}

Status PlanForGold(const Lakehouse& lakehouse, const table::Table& silver, const iceberg::Snapshot& snapshot,
                   AcceptPlan& plan) {
  K2_ASSIGN(const table::Table gold, lakehouse.Open(task::kGoldTable));
  K2_ASSIGN(const table::LayerProgress progress, table::ReadProgress(gold.metadata()));
  const auto hint = progress.upstream.find(silver.name().ToString());
  const bool known = hint != progress.upstream.end() && hint->second.table_uuid == silver.metadata().table_uuid;
  if (!table::IsForeignRewrite(snapshot)) {
    return std::unexpected(NothingStands(silver, snapshot, "it is not a rewrite by another engine"));
  }
  if (known && hint->second.sequence_number >= snapshot.sequence_number) {
    return std::unexpected(NothingStands(silver, snapshot, "Gold has already read it"));
  }
  K2_ASSIGN(const table::SnapshotFiles files, table::FilesOfSnapshot(silver.io(), silver.metadata(), snapshot));
  for (const table::ScanFile& file : files.added) {
    K2_ASSIGN(AcceptLine line, CompareWithGold(silver, file.file, gold));
    plan.lines.push_back(std::move(line));
  }
  plan.acceptances.push_back({.table = std::string(task::kGoldTable), .upstream = AsOf(silver, snapshot)});
  return {};
}

Status Record(table::Table& table, const AcceptPlan& plan, const Acceptance& acceptance) {
  int64_t read = 0;
  int64_t skipped = 0;
  int64_t missing = 0;
  for (const AcceptLine& line : plan.lines) {
    if (line.table != acceptance.table) continue;
    read += line.read;
    skipped += line.skipped;
    missing += line.missing;
  }
  table::LayerCommit commit;
  commit.summary[table::kOffsetsAcceptedKey] =
      fmt::format("snapshot {} of {} at {}: {} rows read, {} skipped, {} missing", acceptance.upstream.snapshot_id,
                  plan.upstream, acceptance.upstream.at, read, skipped, missing);
  commit.make_properties =
      [&plan, &acceptance](const iceberg::TableMetadata& head) -> Result<std::map<std::string, std::string>> {
    K2_ASSIGN(table::Accepted accepted, table::ReadAccepted(head));
    accepted[plan.upstream] = acceptance.upstream;
    return std::map<std::string, std::string>{{table::kAcceptedKey, table::AcceptedToJson(accepted)}};
  };
  const table::LayerCommitOutcome outcome = table.Commit(std::move(commit));
  if (const auto* failed = std::get_if<table::NotCommitted>(&outcome)) return std::unexpected(failed->error());
  if (const auto* unknown = std::get_if<table::OutcomeUnknown>(&outcome)) return std::unexpected(unknown->error);
  return {};
}

}  // namespace

Result<AcceptPlan> PlanAccept(const Lakehouse& lakehouse, std::string_view upstream, int64_t snapshot_id) {
  const bool bronze = upstream == task::kBronzeTable;
  if (!bronze && !task::IsSilver(upstream)) {
    return Fail(ErrorKind::kInvalidArgument,
                "no layer reads {}: give the table whose snapshot blocks a layer, {} or a Silver table", upstream,
                task::kBronzeTable);
  }
  K2_ASSIGN(const table::Table table, lakehouse.Open(upstream));
  const iceberg::Snapshot* snapshot = table.metadata().FindSnapshot(snapshot_id);
  if (snapshot == nullptr) {
    return Fail(ErrorKind::kNotFound, "{} has no snapshot {}: it never existed or has expired", upstream, snapshot_id);
  }
  AcceptPlan plan{.upstream = table.name().ToString(), .lines = {}, .acceptances = {}};
  K2_TRY(bronze ? PlanForSilver(lakehouse, table, *snapshot, plan) : PlanForGold(lakehouse, table, *snapshot, plan));
  return plan;
}

Status ApplyAccept(const Lakehouse& lakehouse, const AcceptPlan& plan) {
  for (const Acceptance& acceptance : plan.acceptances) {
    K2_ASSIGN(table::Table table, lakehouse.Open(acceptance.table));
    K2_TRY(Record(table, plan, acceptance));
    K2_ASSIGN(table::Table upstream, lakehouse.Open(plan.upstream.substr(plan.upstream.rfind('.') + 1)));
    K2_TRY(RemoveStandsTags(upstream, acceptance.table));
  }
  return {};
}

}  // namespace k2::pipeline
