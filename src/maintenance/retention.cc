#include "maintenance/retention.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "base/failpoint.h"
#include "base/log.h"
#include "iceberg/own_files.h"
#include "iceberg/transform.h"
#include "iceberg/value_range.h"
#include "maintenance/commit_times.h"
#include "maintenance/unread.h"
#include "table/audit.h"
#include "task/market_tables.h"

namespace k2::maintenance {
namespace {

using iceberg::ValueRange;

int64_t LimitOf(const RetentionPolicy& policy, std::string_view table) {
  if (table == task::kBronzeTable) return policy.bronze_us;
  if (table == task::kRejectedTable) return policy.rejected_us;
  return task::IsSilver(table) ? policy.silver_us : policy.gold_us;
}

// What a table's rows are kept by.
class Dates {
 public:
  Dates(const iceberg::TableMetadata& metadata, std::string_view table) : metadata_(metadata) {
    date_ = task::FindColumn(table, metadata, task::DateColumnOf(table));
    time_ = task::FindColumn(table, metadata, table == task::kBronzeTable ? "ingestion_timestamp" : "timestamp");
    hour_ = task::FindColumn(table, metadata, "exchange_hour");
  }

  [[nodiscard]] const iceberg::NestedField* column() const { return date_; }

  // The days that a file's rows may be of: by its partition, else by the bounds of its columns.
  [[nodiscard]] ValueRange DaysOf(const iceberg::DataFile& file) const {
    ValueRange days = RangeOfField(file, date_);
    if (days.HasLast()) return days;
    const ValueRange times = RangeOfField(file, time_);
    if (times.HasFirst()) days.first = FloorDiv(times.first, kMicrosPerDay);
    if (times.HasLast()) days.last = FloorDiv(times.last, kMicrosPerDay);
    return days;
  }

  // The end of the time that a file's rows are of; nullopt where nothing tells it.
  [[nodiscard]] std::optional<int64_t> EndOf(const iceberg::DataFile& file) const {
    const ValueRange days = DaysOf(file);
    if (!days.HasLast() || days.last > kNever / kMicrosPerDay - 1) return std::nullopt;
    const ValueRange hours = ValueRange{0, 23}.And(RangeOfField(file, hour_));
    const int64_t hour = days.IsOneValue() ? hours.last : 23;
    return SaturatedMicros(days.last * 24 + hour + 1, kMicrosPerHour);
  }

  // Does the file's partition alone tell its day?
  [[nodiscard]] bool PartitionTellsDay(const iceberg::DataFile& file) const {
    return date_ != nullptr && PartitionRange(metadata_, file, *date_).IsOneValue();
  }

 private:
  [[nodiscard]] ValueRange RangeOfField(const iceberg::DataFile& file, const iceberg::NestedField* field) const {
    return field == nullptr ? ValueRange{} : RangeOf(metadata_, file, *field);
  }

  const iceberg::TableMetadata& metadata_;
  const iceberg::NestedField* date_ = nullptr;
  const iceberg::NestedField* time_ = nullptr;
  const iceberg::NestedField* hour_ = nullptr;
};

std::string NameOf(const iceberg::TableMetadata& metadata, const iceberg::DataFile& file) {
  const iceberg::PartitionSpec* spec = metadata.FindSpec(file.spec_id);
  if (spec == nullptr) return fmt::format("of spec {}", file.spec_id);
  const auto path = iceberg::PartitionPath(*spec, metadata.CurrentSchema(), file.partition);
  if (!path) return fmt::format("of spec {}", file.spec_id);
  return path->empty() ? "(all)" : *path;
}

class Planner {
 public:
  Planner(const table::Table& table, const pipeline::Lakehouse& lakehouse, const RetentionPolicy& policy,
          int64_t now_us)
      : table_(table),
        metadata_(table.metadata()),
        lakehouse_(lakehouse),
        terms_{.limit_us = LimitOf(policy, table.name().name), .hold_us = policy.hold_us, .now_us = now_us},
        times_(metadata_),
        dates_(metadata_, table.name().name) {
    result_.table = table.name().name;
    result_.limit_us = terms_.limit_us;
  }

  Result<TableRetention> Run(const RetentionScope& scope) {
    const bool for_ever = terms_.limit_us == 0;
    if (!metadata_.current_snapshot_id || (for_ever && !scope.with_young)) return std::move(result_);
    std::vector<iceberg::ColumnPredicate> old_enough;
    if (!scope.with_young && dates_.column() != nullptr) {
      old_enough.push_back({.field_id = dates_.column()->id,
                            .op = iceberg::CompareOp::kLe,
                            .values = {DayOfMicros(terms_.now_us - terms_.limit_us)}});
    }
    K2_ASSIGN(std::vector<table::ScanFile> files,
              table::PlanScan(table_.io(), metadata_, *metadata_.current_snapshot_id, old_enough));
    // Of a partition that has rows of several days, each file is dropped with those that end when it does.
    std::map<std::tuple<std::optional<int64_t>, int32_t, std::vector<iceberg::Literal>>, PartitionRetention> partitions;
    for (table::ScanFile& file : files) {
      partitions[{dates_.EndOf(file.file), file.file.spec_id, file.file.partition}].files.push_back(std::move(file));
    }
    for (auto& [key, partition] : partitions) {
      K2_TRY(Decide(partition));
      result_.partitions.push_back(std::move(partition));
    }
    return std::move(result_);
  }

 private:
  Status Decide(PartitionRetention& partition) {
    NamePartition(partition);
    PartitionFacts facts = FactsOf(partition);
    Apply(DecideRetention(facts, terms_), partition);
    if (partition.fate == PartitionFate::kKept) return {};
    K2_TRY(LookForUnread(partition, facts.unread));
    Apply(DecideRetention(facts, terms_), partition);
    return {};
  }

  static void Apply(Decision decision, PartitionRetention& partition) {
    partition.fate = decision.fate;
    partition.reason = std::move(decision.reason);
    partition.due_us = decision.due_us;
  }

  PartitionFacts FactsOf(PartitionRetention& partition) const {
    PartitionFacts facts;
    partition.oldest_commit_us = kNever;
    for (const table::ScanFile& file : partition.files) {
      partition.rows += file.file.record_count;
      partition.bytes += file.file.file_size_in_bytes;
      const CommitTimes::Time time = times_.Of(file);
      partition.oldest_commit_us = std::min(partition.oldest_commit_us, time.us);
      if (time.us > partition.newest_commit_us) facts.newest_commit_exact = time.exact;
      partition.newest_commit_us = std::max(partition.newest_commit_us, time.us);
      const ValueRange days = dates_.DaysOf(file.file);
      if (days.HasFirst()) ++facts.first_days[days.first];
    }
    facts.may_drop = iceberg::GarbageCollected(metadata_);
    facts.end_us = dates_.EndOf(partition.files.front().file);
    facts.newest_commit_us = partition.newest_commit_us;
    return facts;
  }

  void NamePartition(PartitionRetention& partition) const {
    const iceberg::DataFile& first = partition.files.front().file;
    partition.partition = NameOf(metadata_, first);
    const ValueRange days = dates_.DaysOf(first);
    if (dates_.PartitionTellsDay(first) || !days.HasLast()) return;
    partition.partition += fmt::format(", {} to {}", dates_.column()->name, DayText(days.last));
  }

  Status LookForUnread(PartitionRetention& partition, UnreadFacts& facts) {
    if (!readers_) {
      K2_ASSIGN(readers_, Readers::Of(lakehouse_, table_));
    }
    for (const table::ScanFile& file : partition.files) {
      K2_ASSIGN(const Readers::Unread unread, readers_->Of(file));
      partition.unread.Add(unread.rows);
      facts.blocked |= unread.blocked;
      facts.needed |= unread.needed;
    }
    facts.rows = partition.unread.rows;
    return {};
  }

  const table::Table& table_;
  const iceberg::TableMetadata& metadata_;
  const pipeline::Lakehouse& lakehouse_;
  RetentionTerms terms_;
  CommitTimes times_;
  Dates dates_;
  std::optional<Readers> readers_;
  TableRetention result_;
};

void LogHeld(const TableRetention& retention, int64_t now_us) {
  for (const PartitionRetention& partition : retention.partitions) {
    const bool lost = partition.fate == PartitionFate::kDropped && partition.unread.rows > 0;
    if (partition.fate != PartitionFate::kHeld && !lost) continue;
    log::Warn(lost ? "retention drops rows that the downstream layer has not read"
                   : "retention holds back rows that the downstream layer has not read",
              {{"table", retention.table},
               {"partition", partition.partition},
               {"rows", partition.unread.rows},
               {"seconds", (now_us - partition.due_us) / kMicrosPerSecond}});
  }
}

// Notes when the table's sequence numbers were reached, for the time when its snapshots are expired.
Status NoteCommitTimes(table::Table& table, int64_t now_us) {
  return table.Update([&](const iceberg::TableMetadata& metadata) -> Result<std::vector<iceberg::TableUpdate>> {
    std::optional<std::string> times = CommitTimes(metadata).Renewed(now_us / 1000);
    if (!times) return std::vector<iceberg::TableUpdate>{};
    return std::vector<iceberg::TableUpdate>{iceberg::SetProperties{{{kCommitTimesKey, std::move(*times)}}}};
  });
}

table::LayerCommit MakeCommit(const TableRetention& plan, const Readers& readers, int64_t now_us) {
  table::LayerCommit commit;
  commit.operation = "delete";
  table::DroppedUnread unread;
  std::vector<DroppedPartition> dropped;
  for (const PartitionRetention& partition : plan.partitions) {
    if (partition.fate != PartitionFate::kDropped) continue;
    dropped.push_back({partition.partition, partition.rows});
    for (const table::ScanFile& file : partition.files) commit.removed.push_back(file.file);
    unread.Add(partition.unread);
  }
  commit.summary[table::kRetentionKey] =
      DroppedText(dropped, {.limit_us = plan.limit_us, .hold_us = std::nullopt, .now_us = now_us});
  if (unread.empty()) return commit;
  unread.at = FormatTimestamp(now_us);
  commit.summary[table::kDroppedUnreadKey] = std::to_string(unread.rows);
  commit.make_properties = [unread,
                            readers](const iceberg::TableMetadata& head) -> Result<std::map<std::string, std::string>> {
    K2_ASSIGN(const std::optional<table::DroppedUnread> before, table::ReadDroppedUnread(head));
    table::DroppedUnread all = unread;
    if (before) all.Add(readers.StillMissing(*before));
    return std::map<std::string, std::string>{{table::kDroppedUnreadKey, table::DroppedUnreadToJson(all)}};
  };
  return commit;
}

}  // namespace

int64_t TableRetention::RowsOf(PartitionFate fate) const {
  int64_t rows = 0;
  for (const auto& partition : partitions) rows += partition.fate == fate ? partition.rows : 0;
  return rows;
}

int64_t TableRetention::FilesOf(PartitionFate fate) const {
  size_t files = 0;
  for (const auto& partition : partitions) files += partition.fate == fate ? partition.files.size() : 0;
  return static_cast<int64_t>(files);
}

int64_t TableRetention::BytesOf(PartitionFate fate) const {
  int64_t bytes = 0;
  for (const auto& partition : partitions) bytes += partition.fate == fate ? partition.bytes : 0;
  return bytes;
}

int64_t TableRetention::UnreadDropped() const {
  int64_t rows = 0;
  for (const auto& partition : partitions) {
    rows += partition.fate == PartitionFate::kDropped ? partition.unread.rows : 0;
  }
  return rows;
}

int64_t TableRetention::LongestHeldUs(int64_t now_us) const {
  int64_t longest = 0;
  for (const auto& partition : partitions) {
    if (partition.fate == PartitionFate::kHeld) longest = std::max(longest, now_us - partition.due_us);
  }
  return longest;
}

Result<TableRetention> PlanRetention(const table::Table& table, const pipeline::Lakehouse& lakehouse,
                                     const RetentionPolicy& policy, int64_t now_us, const RetentionScope& scope) {
  return Planner(table, lakehouse, policy, now_us).Run(scope);
}

Result<TableRetention> ApplyRetention(const pipeline::Lakehouse& lakehouse, std::string_view name,
                                      const RetentionPolicy& policy, int64_t now_us,
                                      const table::CommitPolicy& commit_policy, const RetentionScope& scope) {
  constexpr int kAttempts = 5;
  table::CommitPolicy hooked = commit_policy;
  hooked.on_step = [&](std::string_view step) {
    Failpoint(fmt::format("retention.{}", step));
    if (commit_policy.on_step) commit_policy.on_step(step);
  };
  K2_ASSIGN(table::Table table, lakehouse.Open(name));
  if (LimitOf(policy, name) > 0) K2_TRY(NoteCommitTimes(table, now_us));
  std::optional<Error> error;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (attempt > 0) K2_TRY(table.Refresh());
    K2_ASSIGN(TableRetention plan, PlanRetention(table, lakehouse, policy, now_us, scope));
    LogHeld(plan, now_us);
    if (plan.FilesOf(PartitionFate::kDropped) == 0) return plan;
    K2_ASSIGN(const Readers readers, Readers::Of(lakehouse, table));
    const table::LayerCommitOutcome outcome = table.Commit(MakeCommit(plan, readers, now_us), hooked);
    if (std::holds_alternative<table::CommitDone>(outcome)) return plan;
    if (const auto* unknown = std::get_if<table::OutcomeUnknown>(&outcome)) return std::unexpected(unknown->error);
    error = std::get<table::NotCommitted>(outcome).error();
    if (error->kind != ErrorKind::kConflict) break;
  }
  return std::unexpected(error->With("retention"));
}

}  // namespace k2::maintenance
