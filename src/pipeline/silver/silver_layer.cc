#include "pipeline/silver/silver_layer.h"

#include <algorithm>

#include "base/time.h"
#include "base/uuid.h"
#include "iceberg/literal.h"
#include "task/market_tables.h"
#include "trade/decoder.h"

namespace k2::pipeline {

Result<std::unique_ptr<SilverLayer>> SilverLayer::Open(const Lakehouse& lakehouse, const LayerOptions& options,
                                                       std::shared_ptr<registry::SchemaSource> schemas,
                                                       task::BatchCache* cache) {
  K2_ASSIGN(table::Table bronze, lakehouse.Open(task::kBronzeTable));
  K2_ASSIGN(table::Table rejected, lakehouse.Open(task::kRejectedTable));
  std::vector<table::Table> silver;
  for (const exchange::Exchange* exchange : exchange::Exchanges()) {
    K2_ASSIGN(table::Table table, lakehouse.OpenOrCreate(exchange->silver_table));
    silver.push_back(std::move(table));
  }
  return std::unique_ptr<SilverLayer>(new SilverLayer(std::move(bronze), std::move(rejected), std::move(silver),
                                                      options, std::move(schemas), cache, FinishedSources(lakehouse)));
}

Status SilverLayer::Refresh() {
  // Bronze last: what the others have read must be in it. The tables this layer writes to are known from its own
  // commits; the fence tells when another writer has moved them.
  level_.clear();
  if (!own_tables_known_) K2_TRY(rejected_.Refresh());
  K2_ASSIGN(rejected_progress_, table::ReadProgress(rejected_.metadata()));
  silver_progress_.assign(silver_.size(), {});
  accepted_.assign(silver_.size(), {});
  for (size_t i = 0; i < silver_.size(); ++i) {
    const bool aside = standing_.IsAside(NameOf(i));
    const auto read = [&]() -> Status {
      // Somebody may have mended or accepted what a table stands on.
      if (!aside && (!own_tables_known_ || standing_.Contains(NameOf(i)))) K2_TRY(silver_[i].Refresh());
      K2_ASSIGN(silver_progress_[i], table::ReadProgress(silver_[i].metadata()));
      K2_ASSIGN(accepted_[i], table::ReadAccepted(silver_[i].metadata()));
      return {};
    };
    const Status status = read();
    if (!status && !IsOfTheTable(status.error())) return status;
    if (!status && !aside) Stand(i, status.error());
  }
  own_tables_known_ = true;
  K2_TRY(bronze_.Refresh());
  K2_ASSIGN(bronze_progress_, table::ReadProgress(bronze_.metadata()));
  K2_ASSIGN(recreated_, table::ReadRecreatedTopics(bronze_.metadata()));
  K2_TRY(CheckShapes());
  return FindFinished();
}

Status SilverLayer::CheckShapes() {
  K2_ASSIGN(bronze_shape_, ShapeOf(bronze_, task::TableUse::kRead));
  bronze_rows_ = bronze_shape_.Rows();
  K2_ASSIGN(rejected_output_, OutputOf(rejected_));
  silver_outputs_.clear();
  for (const table::Table& table : silver_) {
    K2_ASSIGN(task::OutputTable output, OutputOf(table));
    silver_outputs_.push_back(std::move(output));
  }
  return {};
}

// Recordings that a document no longer names. Tables of one generation were level when it began (archive_finished.cc):
// between them only the recordings matter that Bronze names. Else some may have left Bronze's document that Silver has
// yet to read: a Silver table that was recreated or rolled back.
Status SilverLayer::FindFinished() {
  silver_finished_.assign(silver_.size(), {});
  rejected_finished_.clear();
  const table::LayerProgress in_document = bronze_progress_;
  for (size_t i = 0; i < silver_.size(); ++i) {
    if (standing_.IsAside(NameOf(i))) continue;
    const Status status = FindFinishedOf(i, in_document);
    if (!status && !IsOfTheTable(status.error())) return status;
    if (!status) Stand(i, status.error());
  }
  return {};
}

Status SilverLayer::FindFinishedOf(size_t table, const table::LayerProgress& in_document) {
  const exchange::Exchange* exchange = exchange::Exchanges()[table];
  const bool level = silver_progress_[table].finished.generation == in_document.finished.generation;
  if (!level) {
    K2_ASSIGN(const table::SourcePositions ended, finished_.All(bronze_, in_document));
    for (const auto& [key, position] : ended) {
      if (exchange::ExchangeOfTopic(key.topic) == exchange) bronze_progress_.positions.emplace(key, position);
    }
  }
  std::vector<table::SourceKey> unnamed;
  for (const auto& [key, position] : bronze_progress_.positions) {
    if (key.cluster != table::kRecordingCluster || silver_progress_[table].positions.contains(key)) continue;
    if (exchange::ExchangeOfTopic(key.topic) == exchange) unnamed.push_back(key);
  }
  K2_ASSIGN(silver_finished_[table], finished_.Find(silver_[table], silver_progress_[table], unnamed));
  if (level) return {};
  K2_ASSIGN(const table::SourcePositions rejected, finished_.Find(rejected_, rejected_progress_, unnamed));
  rejected_finished_.insert(rejected.begin(), rejected.end());
  return {};
}

// Where Silver stands in one of the sources that Bronze's document names; nothing where it has not begun.
std::optional<table::SourcePosition> SilverLayer::InSilver(const table::SourceKey& key) const {
  const exchange::Exchange* exchange = exchange::ExchangeOfTopic(key.topic);
  if (exchange == nullptr) return std::nullopt;
  const auto table = exchange::IndexOf(*exchange);
  for (const table::SourcePositions* positions : {&silver_progress_[table].positions, &silver_finished_[table]}) {
    if (const auto found = positions->find(key); found != positions->end()) return found->second;
  }
  return std::nullopt;
}

// `ask`: of partitions that wait for a schema, whether it can be had now.
Result<std::vector<SilverLayer::Range>> SilverLayer::PlanRanges(bool ask) {
  std::vector<Range> ranges;
  unjudged_from_ = INT64_MAX;
  task::HeldPartitions still_held;
  std::set<size_t> waiting;  // tables that still_held has partitions of
  K2_ASSIGN(const std::optional<table::DroppedUnread> dropped, table::ReadDroppedUnread(bronze_.metadata()));
  K2_TRY(CheckStanding(dropped));
  for (const auto& [key, bronze_end] : bronze_progress_.positions) {
    if (!options_.Owns(key.topic, key.partition)) continue;
    const exchange::Exchange* exchange = exchange::ExchangeOfTopic(key.topic);
    if (exchange == nullptr) {
      return Fail(ErrorKind::kInvalidArgument, "topic {} belongs to no supported exchange; its name must end in {}",
                  key.topic, exchange::ExchangeNames(&exchange::Exchange::name, "."));
    }
    const auto table = exchange::IndexOf(*exchange);
    // Of all sources, also those that are left for a later step: PlanFiles finds each file once.
    const int64_t begin = InSilver(key).value_or(table::SourcePosition{}).next_offset;
    if (begin < bronze_end.next_offset) unjudged_from_ = std::min(unjudged_from_, begin);
    if (standing_.IsAside(NameOf(table))) continue;
    Result<Range> range = PlanRange(key, bronze_end, *exchange, dropped);
    if (range) {
      if (auto held = StopAtHeld(*range, ask)) {
        waiting.insert(table);
        still_held.emplace(HeldSourceOf(key), *std::move(held));
      }
    }
    if (!range) {
      Stand(table, range.error());
      std::erase_if(ranges, [&](const Range& one) { return one.table == table; });
    } else if (range->begin.next_offset < range->end.next_offset) {
      ranges.push_back(*std::move(range));
    }
  }
  held_ = std::move(still_held);
  for (size_t i = 0; i < silver_.size(); ++i) {
    const bool idle = std::ranges::none_of(ranges, [&](const Range& one) { return one.table == i; });
    if (idle && !waiting.contains(i) && !standing_.IsAside(NameOf(i))) Level(i);
  }
  // Such ranges are caught up alone: only for them rejected_trades is read.
  if (std::ranges::any_of(ranges, &Range::leave_out_rejected)) {
    std::erase_if(ranges, [](const Range& range) { return !range.leave_out_rejected; });
  }
  return ranges;
}

// What Silver has yet to decide of one source; begin and end are equal where that is nothing.
Result<SilverLayer::Range> SilverLayer::PlanRange(const table::SourceKey& key, const table::SourcePosition& bronze_end,
                                                  const exchange::Exchange& exchange,
                                                  const std::optional<table::DroppedUnread>& dropped) const {
  Range range;
  range.key = key;
  range.bronze_end = bronze_end;
  range.table = exchange::IndexOf(exchange);
  const table::LayerProgress& silver = silver_progress_[range.table];
  if (silver.rules_version > trade::kRulesVersion || rejected_progress_.rules_version > trade::kRulesVersion) {
    return Fail(ErrorKind::kUnsupported,
                "{} was validated by rules of version {}, but this k2 has version {}; use a newer k2",
                exchange.silver_table, silver.rules_version, trade::kRulesVersion);
  }
  range.in_silver = silver.positions.contains(key);
  range.begin = InSilver(key).value_or(table::SourcePosition{});
  const auto in_rejected = rejected_progress_.positions.find(key);
  range.in_rejected = in_rejected != rejected_progress_.positions.end();
  if (range.in_rejected) range.rejected_begin = in_rejected->second;
  const auto finished = rejected_finished_.find(key);
  if (finished != rejected_finished_.end()) range.rejected_begin = finished->second;
  range.end = bronze_end;
  // rejected_trades is committed first: where it stands ahead, a crash came between the two, or somebody has set its
  // offset. Neither proves that a row is valid: rows that it holds are left out, all others are validated.
  if (range.rejected_begin.next_offset > range.begin.next_offset) {
    range.leave_out_rejected = true;
    if (range.rejected_begin.next_offset < bronze_end.next_offset) range.end = range.rejected_begin;
  }
  range.whole = true;
  StopAtAccepted(range);
  if (dropped) K2_TRY(StopAtGap(*dropped, range));
  return range;
}

// Rows that retention has dropped from Bronze before they were read are no part of any range: what lies before them is
// judged, then the layer stops.
Status SilverLayer::StopAtGap(const table::DroppedUnread& dropped, Range& range) {
  const auto found = dropped.gaps.find(range.key);
  if (found == dropped.gaps.end()) return {};
  const table::OffsetGap& gap = found->second;
  if (range.begin.next_offset > gap.last || range.end.next_offset <= gap.first) return {};
  if (range.begin.next_offset < gap.first) {
    range.end = {.next_offset = gap.first, .leader_epoch = range.end.leader_epoch};
    range.whole = false;
    range.gap = gap;
    return {};
  }
  return std::unexpected(GapError(range, gap));
}

Error SilverLayer::GapError(const Range& range, const table::OffsetGap& gap) {
  const std::string_view table = exchange::Exchanges()[range.table]->silver_table;
  return {ErrorKind::kUpstreamChanged,
          fmt::format("retention of Bronze dropped rows before {} had read them: its committed offset is {} in {}, "
                      "partition {}, and offsets up to {} are gone ({} rows at most). To continue without them: `k2 "
                      "offsets set --table {} --topic {} --partition {} --next {} --accept-loss`",
                      table, range.begin.next_offset, range.key.topic, range.key.partition, gap.last, gap.rows, table,
                      range.key.topic, range.key.partition, gap.last + 1)};
}

table::UpstreamHint SilverLayer::Hint() const {
  return {.table = bronze_.name().ToString(),
          .table_uuid = bronze_.metadata().table_uuid,
          .snapshot_id = bronze_.metadata().current_snapshot_id.value_or(0),
          .sequence_number = table::SequenceOf(bronze_.metadata(), bronze_.metadata().current_snapshot_id.value_or(0))};
}

Result<std::vector<task::Task>> SilverLayer::MakeTasks(const std::vector<Range>& ranges,
                                                       const std::vector<BronzeFile>& files, int32_t tasks_max) {
  task::SilverTask base;
  base.schema_folder = options_.schema_folder;
  base.input_shape = bronze_shape_;
  base.rejected = rejected_output_;
  base.silver = silver_outputs_;
  bool ahead = false;
  for (const Range& range : ranges) {
    base.ranges.push_back({.topic = range.key.topic,
                           .topic_id = std::string(table::TopicIdOfRows(range.key)),
                           .partition = range.key.partition,
                           .begin = range.begin.next_offset,
                           .end = range.end.next_offset,
                           .leave_out_rejected = range.leave_out_rejected,
                           .without_topic_id = !recreated_.contains(range.key.topic_id)});
    ahead |= range.leave_out_rejected;
  }
  if (ahead) {
    int64_t first = INT64_MAX;
    for (const Range& range : ranges) first = std::min(first, range.begin.next_offset);
    const int32_t offset_id = rejected_output_.shape.Rows().Find("offset")->id;
    K2_ASSIGN(
        const auto rejected,
        table::PlanScan(rejected_.io(), rejected_.metadata(), rejected_.metadata().current_snapshot_id.value_or(0),
                        {{.field_id = offset_id, .op = iceberg::CompareOp::kGe, .values = {first}}}));
    for (const table::ScanFile& file : rejected) base.rejected_files.push_back(file.file.file_path);
  }
  // Files are dealt out to as many tasks as run at once, largest first, each to the task with the fewest rows; few rows
  // are one task's work, or the tables would fill with small files. Files that may hold the same offsets go together: a
  // task takes each offset once.
  constexpr int64_t kRowsWorthATask = 65'536;
  int64_t rows = 0;
  for (const BronzeFile& file : files) rows += file.rows;
  const auto count =
      static_cast<size_t>(std::clamp<int64_t>(rows / kRowsWorthATask, 1, std::max<int64_t>(tasks_max, 1)));
  const std::vector<std::vector<const BronzeFile*>> groups = Overlapping(files);
  std::vector<task::SilverTask> tasks(std::min(count, std::max<size_t>(groups.size(), 1)), base);
  std::vector<int64_t> load(tasks.size(), 0);
  for (const auto& group : groups) {
    const auto least = static_cast<size_t>(std::ranges::min_element(load) - load.begin());
    for (const BronzeFile* file : group) {
      tasks[least].inputs.push_back({.path = file->path, .record_count = file->rows, .deletes = file->deletes});
      load[least] += file->rows;
    }
  }
  std::vector<task::Task> made;
  for (task::SilverTask& task : tasks) {
    task.attempt_id = RandomHex64();
    made.emplace_back(std::move(task));
  }
  return made;
}

Result<StepPlan> SilverLayer::Plan(int32_t tasks) { return PlanAsking(tasks, /*ask=*/true); }

Result<StepPlan> SilverLayer::PlanAsking(int32_t tasks, bool ask) {
  StepPlan plan{.layer = LayerId::kSilver, .tasks = {}, .ranges = {}, .commits = {}};
  K2_TRY(Refresh());
  plan.behind = TellLag();
  K2_ASSIGN(std::vector<Range> ranges, PlanRanges(ask));
  std::vector<BronzeFile> files;
  while (!ranges.empty()) {
    K2_TRY(PlanFiles());
    if (CheckGaps(ranges)) continue;
    files = Cut(ranges);
    break;
  }
  UpdateTags();
  if (ranges.empty()) {
    if (!held_.empty()) return std::unexpected(held_.begin()->second.error);
    if (const auto standing = standing_.error()) return std::unexpected(*standing);
    return plan;
  }
  plan.left = plan.behind;
  for (const Range& range : ranges) plan.left -= range.end.next_offset - range.begin.next_offset;
  K2_ASSIGN(plan.tasks, MakeTasks(ranges, files, tasks));
  std::optional<MessageTimes> times;
  for (const BronzeFile& file : files) times = Join(times, file.times);
  for (const Range& range : ranges) {
    PlannedRange planned{.key = range.key,
                         .begin = range.begin,
                         .end = range.end,
                         .counted_at_end = range.whole,
                         .accepted = range.accepted};
    if (!range.in_silver) planned.begin.messages = 0;
    if (range.accepted) planned.begin.messages = -1;
    plan.ranges.push_back(std::move(planned));
  }
  plan.commits = PlanCommits(ranges, times);
  return plan;
}

Result<int64_t> SilverLayer::Step() {
  std::set<size_t>
      miscounted;  // tables whose rows did not come to what Bronze counts, once: it may be another writer's
  bool ask = true;
  while (true) {
    const int64_t started_us = MonotonicMicros();
    Result<StepPlan> plan = PlanAsking(options_.threads, ask);
    if (!plan || plan->empty()) {
      if (plan) stands_wholly_ = false;
      if (!plan) return std::unexpected(plan.error());
      return 0;
    }
    task::HeldByTasks found;
    const task::TaskContext context{.io = bronze_.io_ptr(), .schemas = schemas_, .cache = cache_, .held = &found};
    const int64_t run_us = MonotonicMicros();
    K2_ASSIGN(const auto results,
              RunTasks(plan->tasks, std::vector<task::TaskContext>(plan->tasks.size(), context), options_.threads));
    stats_.run_us += MonotonicMicros() - run_us;
    if (task::HeldPartitions held = found.Take(); !held.empty()) {
      // What comes before the messages that wait, and all other partitions, are planned again and go through.
      for (const task::TaskResult& result : results) DeleteUnsent(result.outputs, bronze_.io());
      Hold(std::move(held));
      ask = false;
      continue;
    }
    Status status;
    const bool miscount = StandMiscounted(results, *plan, miscounted);
    if (!miscount) status = Complete(results, *plan);
    if (miscount || !status) {
      for (const task::TaskResult& result : results) DeleteUnsent(result.outputs, bronze_.io());
      if (!status) return std::unexpected(status.error());
      continue;
    }
    std::vector<PlannedRange> ranges = plan->ranges;
    K2_TRY(CommitTables(*std::move(plan), ranges));
    int64_t rows = 0;
    for (const task::TaskResult& result : results) {
      AddResult(result, stats_);
      rows += result.rows_in;
    }
    ForgetJudged(ranges);
    AddStep(started_us, stats_);
    stands_wholly_ = false;
    UpdateTags();
    return std::max<int64_t>(rows, 1);
  }
}

table::Table* SilverLayer::Find(std::string_view name) {
  for (table::Table& table : silver_) {
    if (table.name().name == name) return &table;
  }
  return &rejected_;
}

// As the tables stood when they were read last.
int64_t SilverLayer::TellLag() const {
  std::vector<PartitionLag> lags;
  for (const auto& [key, bronze_end] : bronze_progress_.positions) {
    if (exchange::ExchangeOfTopic(key.topic) == nullptr || !options_.Owns(key.topic, key.partition)) continue;
    const int64_t from = InSilver(key).value_or(table::SourcePosition{}).next_offset;
    lags.push_back({.key = key, .messages = bronze_end.next_offset - from});
  }
  ReportLag(ToString(LayerId::kSilver), lags);
  return Total(lags);
}

std::vector<PlannedCommit> SilverLayer::PlanCommits(const std::vector<Range>& ranges,
                                                    const std::optional<MessageTimes>& times) const {
  // rejected_trades first: a crash after it leaves Silver behind, and Silver then leaves out what rejected_trades has.
  PlannedCommit rejected{.table = std::string(task::kRejectedTable), .commit = {}, .needs_rows = true};
  rejected.commit.base.finished = rejected_progress_.finished;
  rejected.commit.next.upstream[bronze_.name().ToString()] = Hint();
  for (const Range& range : ranges) {
    if (range.in_rejected) rejected.commit.base.positions[range.key] = range.rejected_begin;
    // It never goes back: beyond, too, it may hold rows.
    const bool ahead = range.rejected_begin.next_offset > range.end.next_offset;
    rejected.commit.next.positions[range.key] = ahead ? range.rejected_begin : range.end;
  }
  std::vector<PlannedCommit> commits{std::move(rejected)};
  for (size_t i = 0; i < silver_.size(); ++i) {
    PlannedCommit planned{.table = silver_[i].name().name, .commit = {}, .needs_rows = false};
    table::LayerCommit& commit = planned.commit;
    commit.base.finished = silver_progress_[i].finished;
    commit.next.rules_version = RulesOf(silver_[i]);
    commit.next.upstream[bronze_.name().ToString()] = Hint();
    for (const Range& range : ranges) {
      if (range.table != i) continue;
      if (range.in_silver) commit.base.positions[range.key] = range.begin;
      commit.next.positions[range.key] = range.end;
    }
    if (commit.next.positions.empty()) continue;
    table::LayerCommit& of_rejected = commits.front().commit;
    of_rejected.next.rules_version = std::max(of_rejected.next.rules_version, commit.next.rules_version);
    if (times) WriteTimes(*times, commit.summary);
    commits.push_back(std::move(planned));
  }
  return commits;
}

Result<std::string> SilverLayer::Head() {
  own_tables_known_ = false;
  K2_ASSIGN(std::string head, HeadOf(rejected_, options_.OwnsKey()));
  for (table::Table& table : silver_) {
    K2_ASSIGN(const std::string more, HeadOf(table, options_.OwnsKey()));
    head += more;
  }
  return head;
}

Status SilverLayer::CommitOffsets() {
  return RetryRaces([&] {
    own_tables_known_ = false;
    return TrySettle();
  });
}

Status SilverLayer::TrySettle() {
  K2_ASSIGN(StepPlan plan, PlanSettling());
  const auto table = [this](std::string_view name) -> Result<table::Table*> { return Find(name); };
  return CommitCompleted(std::move(plan), table, options_.commit, stats_);
}

Result<StepPlan> SilverLayer::PlanSettling() {
  K2_TRY(Refresh());
  StepPlan plan{.layer = LayerId::kSilver, .tasks = {}, .ranges = {}, .commits = {}};
  PlannedCommit planned{.table = std::string(task::kRejectedTable), .commit = {}, .needs_rows = false};
  table::LayerCommit& commit = planned.commit;
  commit.base.finished = rejected_progress_.finished;
  for (const table::LayerProgress& progress : silver_progress_) {
    for (const auto& [key, position] : progress.positions) {
      if (!options_.Owns(key.topic, key.partition)) continue;
      const auto found = rejected_progress_.positions.find(key);
      const bool known = found != rejected_progress_.positions.end();
      if (known && found->second.next_offset >= position.next_offset) continue;
      if (known) commit.base.positions[key] = found->second;
      commit.next.positions[key] = position;
      commit.next.rules_version = std::max(commit.next.rules_version, progress.rules_version);
    }
  }
  if (commit.next.positions.empty()) return plan;
  commit.next.upstream[bronze_.name().ToString()] = Hint();
  plan.commits.push_back(std::move(planned));
  return plan;
}

}  // namespace k2::pipeline
