#include "maintenance/compaction.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "base/uuid.h"
#include "iceberg/value_range.h"
#include "table/scan.h"
#include "task/market_tables.h"

namespace k2::maintenance {
namespace {

using iceberg::DataFile;
using iceberg::Literal;

struct Partition {
  std::vector<table::ScanFile> chosen;  // small ones, and those with deletes
  bool settled = true;
};

// By spec id and values, which name a partition, and the day of its rows, where all of a file's are of one: rows of
// days that retention drops one by one are never joined.
struct PartitionKey {
  int32_t spec_id = 0;
  std::vector<Literal> values;
  std::optional<int64_t> day;
  auto Order() const { return std::tie(spec_id, day, values); }
  bool operator<(const PartitionKey& other) const { return Order() < other.Order(); }
};

PartitionKey KeyOf(const iceberg::TableMetadata& metadata, const DataFile& file, const iceberg::NestedField* date) {
  PartitionKey key{.spec_id = file.spec_id, .values = file.partition, .day = {}};
  if (date == nullptr) return key;
  const iceberg::ValueRange days = RangeOf(metadata, file, *date);
  if (days.IsOneValue()) key.day = days.first;
  return key;
}

bool IsSmall(const DataFile& file, const CompactionPolicy& policy) {
  return file.file_size_in_bytes < policy.target_bytes / 4 * 3 && file.record_count < policy.target_rows / 4 * 3;
}

bool HasDeletes(const table::ScanFile& file) { return !file.deletes.empty(); }

// Neighbours in the order they were committed, as many as fill a file; a single one only where that `splits` it, or for
// its deletes.
std::vector<std::vector<table::ScanFile>> Groups(std::vector<table::ScanFile> files, const CompactionPolicy& policy,
                                                 bool splits) {
  std::ranges::stable_sort(files, {}, &table::ScanFile::sequence_number);
  std::vector<std::vector<table::ScanFile>> groups(1);
  int64_t bytes = 0;
  int64_t rows = 0;
  for (table::ScanFile& file : files) {
    bytes += file.file.file_size_in_bytes;
    rows += file.file.record_count;
    if (!groups.back().empty() && (bytes > policy.target_bytes || rows > policy.target_rows)) {
      groups.emplace_back();
      bytes = file.file.file_size_in_bytes;
      rows = file.file.record_count;
    }
    groups.back().push_back(std::move(file));
  }
  if (!splits) {
    std::erase_if(groups, [](const auto& group) { return group.size() < 2 && !HasDeletes(group.front()); });
  }
  return groups;
}

task::CompactionTask TaskOf(const iceberg::TableMetadata& metadata, const std::vector<table::ScanFile>& group,
                            const task::OutputTable& output) {
  task::CompactionTask task{.inputs = {}, .output = output, .attempt_id = RandomHex64()};
  for (const table::ScanFile& file : group) task.inputs.push_back(pipeline::InputOf(metadata, file));
  return task;
}

}  // namespace

std::vector<std::vector<table::ScanFile>> RewriteGroups(const table::Table& table, std::vector<table::ScanFile> files,
                                                        const CompactionPolicy& policy) {
  const iceberg::TableMetadata& metadata = table.metadata();
  const iceberg::NestedField* date =
      task::FindColumn(table.name().name, metadata, task::DateColumnOf(table.name().name));
  std::map<PartitionKey, std::vector<table::ScanFile>> partitions;
  for (table::ScanFile& file : files) partitions[KeyOf(metadata, file.file, date)].push_back(std::move(file));
  std::vector<std::vector<table::ScanFile>> groups;
  for (auto& [key, of_partition] : partitions) {
    for (auto& group : Groups(std::move(of_partition), policy, /*splits=*/true)) groups.push_back(std::move(group));
  }
  return groups;
}

Result<pipeline::StepPlan> PlanCompaction(const table::Table& table, const CompactionPolicy& policy, int64_t now_us) {
  const iceberg::TableMetadata& metadata = table.metadata();
  pipeline::StepPlan plan{.layer = pipeline::LayerId::kCompaction, .tasks = {}, .ranges = {}, .commits = {}};
  if (!metadata.current_snapshot_id) return plan;
  K2_ASSIGN(std::vector<table::ScanFile> files,
            table::PlanScan(table.io(), metadata, *metadata.current_snapshot_id, {}));
  std::map<PartitionKey, Partition> partitions;
  const iceberg::NestedField* date =
      task::FindColumn(table.name().name, metadata, task::DateColumnOf(table.name().name));
  for (table::ScanFile& file : files) {
    Partition& partition = partitions[KeyOf(metadata, file.file, date)];
    const iceberg::Snapshot* snapshot = metadata.FindSnapshot(file.snapshot_id);
    if (snapshot != nullptr && table::MayAddRows(*snapshot) &&
        snapshot->timestamp_ms * 1000 > now_us - policy.settled_us) {
      partition.settled = false;
    }
    if (HasDeletes(file) || IsSmall(file.file, policy)) partition.chosen.push_back(std::move(file));
  }
  // Where all rows of the files were deleted, nothing is written in their place.
  pipeline::PlannedCommit planned{.table = table.name().name, .commit = {}, .needs_rows = false};
  planned.commit.operation = "replace";
  planned.commit.planned_sequence = table::SequenceOf(metadata, *metadata.current_snapshot_id);
  K2_ASSIGN(const task::OutputTable output, pipeline::OutputOf(table, task::TableUse::kRead));
  int64_t rows = 0;
  for (auto& [key, partition] : partitions) {
    if (!partition.settled) continue;
    // Others' files of several days become one a day, or retention would keep all as long as the newest.
    const bool splits = date != nullptr && !key.day;
    const bool few = std::cmp_less(partition.chosen.size(), splits ? 1 : policy.min_files);
    if (few) std::erase_if(partition.chosen, [](const table::ScanFile& file) { return !HasDeletes(file); });
    if (partition.chosen.empty()) continue;
    for (const std::vector<table::ScanFile>& group : Groups(std::move(partition.chosen), policy, splits)) {
      if (rows >= policy.rows_per_commit) break;
      plan.tasks.emplace_back(TaskOf(metadata, group, output));
      for (const table::ScanFile& file : group) {
        planned.commit.removed.push_back(pipeline::WithoutMetrics(file.file));
        rows += file.file.record_count;
      }
    }
  }
  if (!plan.tasks.empty()) plan.commits.push_back(std::move(planned));
  return plan;
}

Result<CompactionReport> Compact(const pipeline::Lakehouse& lakehouse, std::string_view name,
                                 const CompactionPolicy& policy, int64_t now_us, const CompactionRun& run) {
  constexpr int kAttempts = 5;
  CompactionReport report;
  K2_ASSIGN(table::Table table, lakehouse.Open(name));
  const auto find = [&](std::string_view) -> Result<table::Table*> { return &table; };
  for (int failed = 0; !run.stop.stop_requested();) {
    K2_ASSIGN(pipeline::StepPlan plan, PlanCompaction(table, policy, now_us));
    if (plan.empty()) return report;
    const task::TaskContext context{.io = table.io_ptr(), .schemas = nullptr};
    K2_ASSIGN(const std::vector<task::TaskResult> results,
              pipeline::RunTasks(plan.tasks, std::vector<task::TaskContext>(plan.tasks.size(), context), run.threads));
    K2_TRY(pipeline::Complete(results, plan));
    const table::LayerCommit planned = plan.commits.front().commit;
    pipeline::LayerStats stats;
    const Status done = pipeline::CommitCompleted(std::move(plan), find, run.commit, stats);
    if (!done && (done.error().kind != ErrorKind::kConflict || ++failed == kAttempts)) {
      return std::unexpected(done.error().With("compaction"));
    }
    K2_TRY(table.Refresh());
    if (!done) continue;
    ++report.commits;
    report.files_in += static_cast<int64_t>(planned.removed.size());
    report.files_out += static_cast<int64_t>(planned.added.size());
    for (const DataFile& file : planned.removed) report.bytes_in += file.file_size_in_bytes;
    for (const DataFile& file : planned.added) {
      report.bytes_out += file.file_size_in_bytes;
      report.rows += file.record_count;
    }
  }
  return report;
}

}  // namespace k2::maintenance
