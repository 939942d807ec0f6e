#include "medallion/silver_layer.h"

#include <algorithm>

#include "base/time.h"
#include "base/uuid.h"
#include "iceberg/literal.h"
#include "task/market_tables.h"
#include "trade/decoder.h"

namespace k2 {

Result<std::unique_ptr<SilverLayer>> SilverLayer::Open(const Lakehouse& lakehouse, const LayerOptions& options,
                                                       std::shared_ptr<SchemaSource> schemas, BatchCache* cache) {
  K2_ASSIGN(Table bronze, lakehouse.Open(kBronzeTable));
  K2_ASSIGN(Table rejected, lakehouse.Open(kRejectedTable));
  std::vector<Table> silver;
  for (const ExchangeInfo& exchange : Exchanges()) {
    K2_ASSIGN(Table table, lakehouse.Open(exchange.silver_table));
    silver.push_back(std::move(table));
  }
  return std::unique_ptr<SilverLayer>(
      new SilverLayer(std::move(bronze), std::move(rejected), std::move(silver), options, std::move(schemas), cache));
}

Status SilverLayer::Refresh() {
  // Bronze last: what the others have read must be in it.
  K2_TRY(rejected_.Refresh());
  K2_ASSIGN(rejected_progress_, ReadProgress(rejected_.metadata()));
  silver_progress_.clear();
  for (Table& table : silver_) {
    K2_TRY(table.Refresh());
    K2_ASSIGN(LayerProgress progress, ReadProgress(table.metadata()));
    silver_progress_.push_back(std::move(progress));
  }
  K2_TRY(bronze_.Refresh());
  K2_ASSIGN(bronze_progress_, ReadProgress(bronze_.metadata()));
  return {};
}

Result<std::vector<SilverLayer::Range>> SilverLayer::PlanRanges() {
  std::vector<Range> ranges;
  for (const auto& [key, bronze_end] : bronze_progress_.positions) {
    const ExchangeInfo* exchange = ExchangeOfTopic(key.topic);
    if (exchange == nullptr) {
      return Fail(ErrorKind::kInvalidArgument,
                  "topic {} belongs to no exchange K2 knows; its name must end in .binance or .kraken", key.topic);
    }
    Range range;
    range.key = key;
    range.bronze_end = bronze_end;
    range.table = static_cast<size_t>(exchange - Exchanges().data());
    const LayerProgress& silver = silver_progress_[range.table];
    if (silver.rules_version > kRulesVersion || rejected_progress_.rules_version > kRulesVersion) {
      return Fail(ErrorKind::kUnsupported,
                  "{} was judged by rules of version {}, this k2 has version {}; use a newer k2",
                  exchange->silver_table, silver.rules_version, kRulesVersion);
    }
    const auto in_silver = silver.positions.find(key);
    range.in_silver = in_silver != silver.positions.end();
    if (range.in_silver) range.begin = in_silver->second;
    const auto in_rejected = rejected_progress_.positions.find(key);
    range.in_rejected = in_rejected != rejected_progress_.positions.end();
    if (range.in_rejected) range.rejected_begin = in_rejected->second;
    range.end = bronze_end;
    // A Bronze that was rolled back or made anew reads its sources again: until it is beyond where this table stands,
    // all it holds is known here.
    // rejected_trades is committed first: where it stands ahead, a crash came between the two.
    if (range.rejected_begin.next_offset > range.begin.next_offset) {
      range.already_judged = true;
      range.end = range.rejected_begin;
    }
    if (range.begin.next_offset < range.end.next_offset) ranges.push_back(std::move(range));
  }
  // Rows that are judged already are caught up alone, before anything is judged anew.
  if (std::ranges::any_of(ranges, &Range::already_judged)) {
    std::erase_if(ranges, [](const Range& range) { return !range.already_judged; });
  }
  return ranges;
}

UpstreamHint SilverLayer::Hint() const {
  return {.table = bronze_.name().ToString(),
          .table_uuid = bronze_.metadata().table_uuid,
          .snapshot_id = bronze_.metadata().current_snapshot_id.value_or(0)};
}

Status SilverLayer::PlanFiles(const std::vector<Range>& ranges) {
  const int64_t current = bronze_.metadata().current_snapshot_id.value_or(0);
  if (current == planned_snapshot_) return {};
  std::vector<ScanFile> files;
  bool known = false;
  if (planned_snapshot_ != 0) {
    K2_ASSIGN(Increment increment, PlanIncrement(bronze_.io(), bronze_.metadata(), planned_snapshot_, current));
    known = increment.complete;
    files = std::move(increment.files);
  }
  if (!known) {
    // First step of this process, or Bronze's history has moved on: find the files by the bounds of their offsets.
    pending_.clear();
    int64_t first = INT64_MAX;
    for (const Range& range : ranges) first = std::min(first, range.begin.next_offset);
    const int32_t offset_id = bronze_.metadata().CurrentSchema().Find("offset")->id;
    K2_ASSIGN(files, PlanScan(bronze_.io(), bronze_.metadata(), current,
                              {{.field_id = offset_id, .op = iceberg::CompareOp::kGe, .values = {first}}}));
  }
  for (const ScanFile& file : files) pending_.push_back(Describe(file.file));
  // By offset, so that a step can be cut between two files of a source.
  std::ranges::stable_sort(pending_, {}, &BronzeFile::first);
  planned_snapshot_ = current;
  return {};
}

SilverLayer::BronzeFile SilverLayer::Describe(const iceberg::DataFile& file) const {
  BronzeFile described{.path = file.file_path, .rows = file.record_count, .topic = {}};
  const iceberg::Schema& schema = bronze_.metadata().CurrentSchema();
  const auto bound = [&](const std::map<int32_t, std::string>& bounds, const char* column) -> iceberg::Literal {
    const iceberg::NestedField* field = schema.Find(column);
    const auto found = bounds.find(field->id);
    if (found == bounds.end()) return std::monostate{};
    return iceberg::FromBytes(found->second, field->type).value_or(iceberg::Literal{});
  };
  const iceberg::Literal first = bound(file.lower_bounds, "offset");
  const iceberg::Literal last = bound(file.upper_bounds, "offset");
  if (const auto* value = std::get_if<int64_t>(&first)) described.first = *value;
  if (const auto* value = std::get_if<int64_t>(&last)) described.last = *value;
  const iceberg::Literal topic = bound(file.lower_bounds, "topic");
  const iceberg::Literal partition = bound(file.lower_bounds, "partition");
  // Equal bounds that name a source we know are exact; cut-off ones name none.
  if (topic == bound(file.upper_bounds, "topic") && partition == bound(file.upper_bounds, "partition") &&
      std::holds_alternative<std::string>(topic) && std::holds_alternative<int32_t>(partition)) {
    for (const auto& [key, position] : bronze_progress_.positions) {
      if (key.topic == std::get<std::string>(topic) && key.partition == std::get<int32_t>(partition)) {
        described.topic = key.topic;
        described.partition = key.partition;
      }
    }
  }
  return described;
}

bool SilverLayer::Overlaps(const BronzeFile& file, const Range& range) {
  if (!file.topic.empty() && (file.topic != range.key.topic || file.partition != range.key.partition)) return false;
  return file.first < range.end.next_offset && file.last >= range.begin.next_offset;
}

// Shortens the ranges to about rows_per_step rows, at the bounds of files; the files to read for them.
std::vector<SilverLayer::BronzeFile> SilverLayer::Cut(std::vector<Range>& ranges) {
  const auto needed = [&](const BronzeFile& file) {
    return std::ranges::any_of(ranges, [&](const Range& range) { return Overlaps(file, range); });
  };
  // Only files of one source whose bounds are known can be cut at; with others the ranges stay whole.
  const bool can_cut =
      std::ranges::all_of(pending_, [&](const BronzeFile& file) { return !file.topic.empty() || !needed(file); });
  if (can_cut) {
    std::map<SourceKey, int64_t> end;
    for (const Range& range : ranges) end[range.key] = range.begin.next_offset;
    int64_t rows = 0;
    for (const BronzeFile& file : pending_) {
      if (rows >= options_.rows_per_step) break;
      for (const Range& range : ranges) {
        if (!Overlaps(file, range)) continue;
        rows += file.rows;
        end[range.key] = std::max(end[range.key], std::min(file.last + 1, range.end.next_offset));
      }
    }
    for (Range& range : ranges) {
      const int64_t to = end[range.key];
      range.whole = to >= range.end.next_offset;
      if (range.whole) continue;
      range.end = {.next_offset = to, .leader_epoch = range.end.leader_epoch};
    }
  } else {
    for (Range& range : ranges) range.whole = true;
  }
  std::erase_if(ranges, [](const Range& range) { return range.begin.next_offset >= range.end.next_offset; });
  std::vector<BronzeFile> files;
  for (const BronzeFile& file : pending_) {
    if (needed(file)) files.push_back(file);
  }
  return files;
}

Result<std::vector<Task>> SilverLayer::MakeTasks(const std::vector<Range>& ranges,
                                                 const std::vector<BronzeFile>& files) {
  SilverTask base;
  base.schema_folder = options_.schema_folder;
  base.input_schema = bronze_.metadata().CurrentSchema();
  base.rejected = OutputOf(rejected_);
  for (const Table& table : silver_) base.silver.push_back(OutputOf(table));
  bool judged = false;
  for (const Range& range : ranges) {
    base.ranges.push_back({.topic = range.key.topic,
                           .partition = range.key.partition,
                           .begin = range.begin.next_offset,
                           .end = range.end.next_offset,
                           .already_judged = range.already_judged});
    judged |= range.already_judged;
  }
  if (judged) {
    int64_t first = INT64_MAX;
    for (const Range& range : ranges) first = std::min(first, range.begin.next_offset);
    const int32_t offset_id = rejected_.metadata().CurrentSchema().Find("offset")->id;
    K2_ASSIGN(const auto rejected,
              PlanScan(rejected_.io(), rejected_.metadata(), rejected_.metadata().current_snapshot_id.value_or(0),
                       {{.field_id = offset_id, .op = iceberg::CompareOp::kGe, .values = {first}}}));
    for (const ScanFile& file : rejected) base.rejected_files.push_back(file.file.file_path);
  }
  // Files are dealt out to as many tasks as run at once, largest first, each to the task with the fewest rows; few rows
  // are one task's work, or the tables would fill with small files.
  constexpr int64_t kRowsWorthATask = 65'536;
  int64_t rows = 0;
  for (const BronzeFile& file : files) rows += file.rows;
  const auto count =
      static_cast<size_t>(std::clamp<int64_t>(rows / kRowsWorthATask, 1, std::max<int64_t>(options_.threads, 1)));
  std::vector<SilverTask> tasks(std::min(count, std::max<size_t>(files.size(), 1)), base);
  std::vector<int64_t> load(tasks.size(), 0);
  for (const BronzeFile& file : files) {
    const auto least = static_cast<size_t>(std::ranges::min_element(load) - load.begin());
    tasks[least].inputs.push_back({.path = file.path, .record_count = file.rows});
    load[least] += file.rows;
  }
  std::vector<Task> made;
  for (SilverTask& task : tasks) {
    task.attempt_id = RandomHex64();
    made.emplace_back(std::move(task));
  }
  return made;
}

Result<int64_t> SilverLayer::Step() {
  const int64_t started_us = MonotonicMicros();
  K2_TRY(Refresh());
  K2_ASSIGN(std::vector<Range> ranges, PlanRanges());
  if (ranges.empty()) return 0;
  K2_TRY(PlanFiles(ranges));
  const std::vector<BronzeFile> files = Cut(ranges);
  if (ranges.empty()) {
    return Fail(ErrorKind::kOffsetMismatch,
                "Bronze says it has read further than Silver, but holds no file with those rows: they were deleted "
                "before they were read. See `k2 offsets show`; `k2 offsets set --accept-loss` goes on without them");
  }
  K2_ASSIGN(const std::vector<Task> tasks, MakeTasks(ranges, files));
  const TaskContext context{.io = bronze_.io_ptr(), .schemas = schemas_, .cache = cache_};
  const int64_t run_us = MonotonicMicros();
  K2_ASSIGN(const auto results, RunTasks(tasks, std::vector<TaskContext>(tasks.size(), context), options_.threads));
  stats_.run_us += MonotonicMicros() - run_us;
  K2_TRY(CheckComplete(ranges, results));
  K2_TRY(Commit(ranges, results));
  int64_t rows = 0;
  for (const TaskResult& result : results) {
    AddResult(result, stats_);
    rows += result.rows_in;
  }
  // Files all of whose rows are judged now are not needed again.
  std::erase_if(pending_, [&](const BronzeFile& file) {
    return !file.topic.empty() && std::ranges::any_of(ranges, [&](const Range& range) {
      return file.topic == range.key.topic && file.partition == range.key.partition &&
             file.last < range.end.next_offset;
    });
  });
  ++stats_.steps;
  stats_.step_us.push_back(MonotonicMicros() - started_us);
  return std::max<int64_t>(rows, 1);
}

// Nothing is skipped in silence: a recording numbers its messages without gaps, so that a range has as many rows as
// offsets. (Kafka's offsets have gaps of their own, which a count cannot tell from lost rows.)
Status SilverLayer::CheckComplete(const std::vector<Range>& ranges, const std::vector<TaskResult>& results) {
  int64_t expected = 0;
  for (const Range& range : ranges) {
    if (range.key.cluster != kRecordingCluster) return {};
    expected += range.end.next_offset - range.begin.next_offset;
  }
  int64_t rows = 0;
  for (const TaskResult& result : results) rows += result.rows_in;
  if (rows == expected) return {};
  for (const TaskResult& result : results) {  // they were never named in a commit
    for (const TableFiles& output : result.outputs) {
      for (const iceberg::DataFile& file : output.files) (void)bronze_.io().Delete(file.file_path);
    }
  }
  const Range& first = ranges.front();
  return Fail(ErrorKind::kOffsetMismatch,
              "Bronze holds {} rows where it must hold {}, from offset {} of {} on: rows were deleted before they were "
              "read, or added twice. See `k2 offsets show`; `k2 offsets set --accept-loss` goes on without them",
              rows, expected, first.begin.next_offset, first.key.topic);
}

Status SilverLayer::Commit(const std::vector<Range>& ranges, const std::vector<TaskResult>& results) {
  // rejected_trades first: a crash after it leaves Silver behind, and Silver then takes what rejected_trades has not.
  LayerCommit rejected;
  rejected.added = FilesFor(results, kRejectedTable);
  rejected.next.rules_version = kRulesVersion;
  rejected.next.upstream[bronze_.name().ToString()] = Hint();
  for (const Range& range : ranges) {
    if (range.already_judged) continue;
    if (range.in_rejected) rejected.base.positions[range.key] = range.rejected_begin;
    rejected.next.positions[range.key] = range.end;
  }
  if (!rejected.added.empty()) {
    K2_TRY(CommitStep(rejected_, std::move(rejected), options_.commit, "rejected", stats_));
  }
  for (size_t i = 0; i < silver_.size(); ++i) {
    LayerCommit commit;
    commit.next.rules_version = kRulesVersion;
    commit.next.upstream[bronze_.name().ToString()] = Hint();
    commit.added = FilesFor(results, silver_[i].name().name);
    for (const Range& range : ranges) {
      if (range.table != i) continue;
      if (range.in_silver) commit.base.positions[range.key] = range.begin;
      commit.next.positions[range.key] = range.end;
    }
    if (commit.next.positions.empty()) continue;
    K2_TRY(CommitStep(silver_[i], std::move(commit), options_.commit, "silver", stats_));
  }
  return {};
}

Status SilverLayer::Settle() {
  return RetryRaces([&] { return TrySettle(); });
}

Status SilverLayer::TrySettle() {
  K2_TRY(Refresh());
  LayerCommit commit;
  for (const LayerProgress& progress : silver_progress_) {
    for (const auto& [key, position] : progress.positions) {
      const auto found = rejected_progress_.positions.find(key);
      const bool known = found != rejected_progress_.positions.end();
      if (known && found->second.next_offset >= position.next_offset) continue;
      if (known) commit.base.positions[key] = found->second;
      commit.next.positions[key] = position;
    }
  }
  if (commit.next.positions.empty()) return {};
  commit.next.rules_version = kRulesVersion;
  commit.next.upstream[bronze_.name().ToString()] = Hint();
  return CommitStep(rejected_, std::move(commit), options_.commit, "rejected", stats_);
}

}  // namespace k2
