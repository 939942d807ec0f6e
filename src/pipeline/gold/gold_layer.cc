#include "pipeline/gold/gold_layer.h"

#include <algorithm>
#include <system_error>

#include "base/log.h"
#include "base/time.h"
#include "base/uuid.h"
#include "iceberg/literal.h"
#include "pipeline/gold/rewrites.h"
#include "task/market_tables.h"

namespace k2::pipeline {
namespace {

// How far a Silver table has come: of one that was rolled back, and stands, what main holds now. Gold reads that.
Result<table::LayerProgress> OffsetsOfSilver(const table::Table& silver) {
  Result<table::LayerProgress> progress = table::ReadProgress(silver.metadata());
  if (progress || progress.error().kind != ErrorKind::kOffsetMismatch) return progress;
  return table::ReadProgressOfMain(silver.metadata());
}

}  // namespace

Result<std::unique_ptr<GoldLayer>> GoldLayer::Open(const Lakehouse& lakehouse, const LayerOptions& options,
                                                   task::BatchCache* cache) {
  K2_ASSIGN(table::Table gold, lakehouse.Open(task::kGoldTable));
  std::vector<Upstream> upstreams;
  for (const exchange::Exchange* exchange : exchange::Exchanges()) {
    K2_ASSIGN(table::Table table, lakehouse.OpenOrCreate(exchange->silver_table));
    upstreams.push_back({.table = std::move(table), .pending = {}, .committed = {}});
  }
  return std::unique_ptr<GoldLayer>(new GoldLayer(std::move(gold), std::move(upstreams), options, cache));
}

Result<std::string> GoldLayer::Head() {
  gold_known_ = false;
  return HeadOf(gold_);
}

void GoldLayer::Recover() {
  gold_known_ = false;
  index_.Clear();
  gold_files_.Forget();
  for (Upstream& upstream : upstreams_) {
    upstream.pending.clear();
    upstream.planned_snapshot = 0;
  }
}

Status GoldLayer::FindInputs() {
  // Somebody may have accepted what it stands at.
  if (!gold_known_ || !standing_.empty()) K2_TRY(gold_.Refresh());
  gold_known_ = true;
  K2_ASSIGN(progress_, table::FindProgress(gold_.metadata()));
  K2_ASSIGN(accepted_, table::ReadAccepted(gold_.metadata()));
  for (Upstream& upstream : upstreams_) {
    const auto hint = progress_.progress.upstream.find(upstream.table.name().ToString());
    std::optional<table::UpstreamHint> committed;
    if (hint != progress_.progress.upstream.end()) committed = hint->second;
    if (upstream.planned_snapshot != 0 && committed != upstream.committed) {
      Recover();  // another writer moved Gold on
      return FindInputs();
    }
    upstream.committed = committed;
    const std::string& name = upstream.table.name().name;
    if (standing_.IsAside(name)) continue;
    const Status planned = PlanUpstream(upstream);
    if (planned) {
      standing_.Remove(name);
    } else if (planned.error().kind == ErrorKind::kUpstreamChanged) {
      standing_.Add(name, planned.error());
    } else {
      return planned;
    }
  }
  return CheckShapes();
}

Status GoldLayer::CheckShapes() {
  K2_ASSIGN(output_, OutputOf(gold_));
  gold_rows_ = output_.shape.Rows();
  for (Upstream& upstream : upstreams_) {
    K2_ASSIGN(upstream.shape, ShapeOf(upstream.table, task::TableUse::kRead));
    upstream.rows = upstream.shape.Rows();
  }
  return {};
}

Status GoldLayer::CheckNothingLost(const Upstream& upstream) {
  const iceberg::TableMetadata& metadata = upstream.table.metadata();
  K2_ASSIGN(const std::optional<table::DroppedUnread> dropped, table::ReadDroppedUnread(metadata));
  if (!dropped) return {};
  const bool known = upstream.committed && upstream.committed->table_uuid == metadata.table_uuid;
  if (known && upstream.committed->sequence_number >= dropped->sequence_number) return {};
  return Fail(ErrorKind::kUpstreamChanged,
              "retention of {} dropped {} rows before Gold had read them, last on {}. To continue without them: `k2 "
              "offsets set --table {} --accept-loss`",
              upstream.table.name().ToString(), dropped->rows, dropped->at, task::kGoldTable);
}

Status GoldLayer::PlanUpstream(Upstream& upstream) {
  if (!upstream.pending.empty()) return {};
  upstream.stands_at = 0;
  K2_TRY(upstream.table.Refresh());
  const iceberg::TableMetadata& metadata = upstream.table.metadata();
  int64_t current = metadata.current_snapshot_id.value_or(0);
  if (current == 0 || current == upstream.planned_snapshot) return {};
  std::optional<int64_t> from;
  int64_t read = 0;  // sequence number of `from`; 0: not known
  if (upstream.planned_snapshot != 0) {
    from = upstream.planned_snapshot;
    read = upstream.planned_sequence;
  } else if (upstream.committed && upstream.committed->table_uuid == metadata.table_uuid) {
    from = upstream.committed->snapshot_id;
    read = upstream.committed->sequence_number;
  }
  FollowRollback(metadata, from, read);
  if (from != current) {
    K2_ASSIGN(table::Increment increment, table::PlanIncrement(upstream.table.io(), metadata, from, current));
    if (!increment.complete) {
      // Silver's history no longer reaches back to where Gold stands. Files that were added by then are read; those
      // that others have rewritten since are read again, and deduplication drops what Gold has. What retention has
      // dropped unread is in neither.
      K2_TRY(CheckNothingLost(upstream));
      K2_TRY(CheckTagged(upstream, read));
      K2_ASSIGN(increment.files, table::PlanScan(upstream.table.io(), metadata, current, {}));
      std::erase_if(increment.files, [&](const table::ScanFile& file) { return file.file_sequence_number <= read; });
      std::ranges::stable_sort(increment.files, {}, &table::ScanFile::file_sequence_number);
    }
    K2_TRY(ReadRewrites(upstream, from, current, increment));
    upstream.pending.assign(increment.files.begin(), increment.files.end());
  }
  upstream.planned_snapshot = current;
  upstream.planned_sequence = table::SequenceOf(metadata, current);
  return {};
}

// Files of about rows_per_step rows, from each upstream in turn; with `whole_snapshots` as many as end one, for Gold's
// place within a snapshot is in this process's memory alone. `read_to`: by upstream, the snapshot that Gold has
// read wholly with them.
GoldLayer::FilesByUpstream GoldLayer::TakeFiles(bool whole_snapshots, std::vector<std::optional<ReadTo>>& read_to) {
  FilesByUpstream files(upstreams_.size());
  const int64_t share = options_.rows_per_step / static_cast<int64_t>(upstreams_.size());
  for (size_t i = 0; i < upstreams_.size(); ++i) {
    Upstream& upstream = upstreams_[i];
    int64_t rows = 0;
    ReadTo last;
    while (!upstream.pending.empty()) {
      const table::ScanFile& next = upstream.pending.front();
      const bool may_end = rows > 0 && !(whole_snapshots && next.snapshot_id == last.snapshot_id);
      if (may_end && rows + next.file.record_count > std::max(share, options_.rows_per_step)) break;
      rows += next.file.record_count;
      last = {.snapshot_id = next.snapshot_id, .sequence_number = next.file_sequence_number};
      files[i].push_back(next);
      upstream.pending.pop_front();
    }
    if (upstream.pending.empty()) {
      const bool moved = !upstream.committed || upstream.committed->snapshot_id != upstream.planned_snapshot;
      if (upstream.planned_snapshot != 0 && moved) {
        read_to[i] = {.snapshot_id = upstream.planned_snapshot, .sequence_number = upstream.planned_sequence};
      }
    } else if (last.snapshot_id != 0 && upstream.pending.front().snapshot_id != last.snapshot_id) {
      read_to[i] = last;
    }
  }
  return files;
}

// The Gold files of all hours that the inputs may have rows in.
Result<std::vector<task::GoldFile>> GoldLayer::ExistingFiles(const FilesByUpstream& inputs) {
  std::vector<HourRange> hours;
  for (size_t i = 0; i < inputs.size(); ++i) {
    for (const table::ScanFile& input : inputs[i]) {
      hours.push_back(HoursOf(upstreams_[i].table.metadata(), upstreams_[i].rows, input.file));
    }
  }
  return gold_files_.Of(gold_, gold_rows_, hours);
}

Result<StepPlan> GoldLayer::Plan(const GoldSpread& spread) { return PlanStep(spread, /*whole_snapshots=*/true); }

Result<StepPlan> GoldLayer::PlanStep(const GoldSpread& spread, bool whole_snapshots) {
  StepPlan plan{.layer = LayerId::kGold, .tasks = {}, .ranges = {}, .commits = {}};
  K2_TRY(FindInputs());
  UpdateTags();
  K2_ASSIGN(const std::vector<PartitionLag> behind, Lags());
  ReportLag(ToString(LayerId::kGold), behind);
  plan.behind = Total(behind);
  std::vector<std::optional<ReadTo>> read_to(upstreams_.size());
  const FilesByUpstream taken = TakeFiles(whole_snapshots, read_to);
  if (whole_snapshots) {  // of a plan that leaves the process; a running layer looks again with its next step
    K2_ASSIGN(const std::vector<PartitionLag> left, Lags());
    plan.left = Total(left);
  }
  // Snapshots without rows for us (offsets alone, compaction) are noted with the next rows, for a commit is not free.
  if (std::ranges::all_of(taken, &std::vector<table::ScanFile>::empty)) {
    if (const auto standing = standing_.error()) return std::unexpected(*standing);
    return plan;
  }
  K2_ASSIGN(std::vector<task::GoldTask> made, MakeTasks(taken, spread));
  for (task::GoldTask& task : made) plan.tasks.emplace_back(std::move(task));
  K2_ASSIGN(PlannedCommit commit, PlanCommit(read_to, TimesOfInputs(taken)));
  plan.commits.push_back(std::move(commit));
  return plan;
}

// The files as inputs of one task, and the hours that each may have rows of.
Result<std::vector<GoldSlice>> GoldLayer::Slices(const FilesByUpstream& inputs, task::GoldTask& whole) const {
  std::vector<GoldSlice> slices;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].empty()) continue;
    const Upstream& upstream = upstreams_[i];
    // One input a schema: files that are not read yet may be older than a migration of the table.
    std::map<int32_t, size_t> by_schema;
    for (const table::ScanFile& file : inputs[i]) {
      K2_ASSIGN(task::TableShape shape, task::ShapeOfFile(upstream.table.name().name, upstream.table.metadata(),
                                                          upstream.shape, file.snapshot_id));
      const auto [at, added] = by_schema.emplace(shape.schema.schema_id, whole.inputs.size());
      if (added) whole.inputs.push_back({.shape = std::move(shape), .files = {}});
      task::GoldInput& input = whole.inputs[at->second];
      const auto [first, last] = HoursOf(upstream.table.metadata(), upstream.rows, file.file);
      slices.push_back({.first_hour = first,
                        .last_hour = last,
                        .rows = file.file.record_count,
                        .input = at->second,
                        .file = input.files.size()});
      input.files.push_back(InputOf(upstream.table.metadata(), file));
    }
  }
  whole.output = output_;
  whole.memory_bytes = options_.gold_index_bytes;
  return slices;
}

Result<std::vector<task::GoldTask>> GoldLayer::MakeTasks(const FilesByUpstream& inputs, const GoldSpread& spread) {
  task::GoldTask whole;
  K2_ASSIGN(const std::vector<GoldSlice> slices, Slices(inputs, whole));
  K2_ASSIGN(whole.existing, ExistingFiles(inputs));
  std::vector<task::GoldTask> made = ShareOut(std::move(whole), slices, spread);
  for (task::GoldTask& task : made) task.attempt_id = RandomHex64();
  return made;
}

// A step whose trades another engine adds meanwhile is planned again at once: the next plan drops them.
Result<int64_t> GoldLayer::Step() {
  constexpr int kTries = 5;
  Result<int64_t> rows;
  for (int i = 0; i < kTries; ++i) {
    doubled_ = false;
    rows = TryStep();
    if (rows || !doubled_) break;
  }
  return rows;
}

Result<int64_t> GoldLayer::TryStep() {
  const int64_t started_us = MonotonicMicros();
  K2_ASSIGN(StepPlan plan, PlanStep({}, /*whole_snapshots=*/false));
  if (plan.empty()) {
    stands_wholly_ = false;
    return 0;
  }
  if (reading_.valid()) reading_.wait();
  ReadAhead();
  const task::TaskContext context{.io = gold_.io_ptr(), .schemas = nullptr, .cache = cache_, .index = &index_};
  const int64_t run_us = MonotonicMicros();
  const Result<std::vector<task::TaskResult>> results = RunTasks(plan.tasks, {context}, 1);
  stats_.run_us += MonotonicMicros() - run_us;
  Status status = results ? Complete(*results, plan) : std::unexpected(results.error());
  if (status) status = Commit(std::move(plan));
  if (!status) {
    // What the index took in is not in Gold, and the files taken are still to be read.
    Recover();
    return std::unexpected(status.error());
  }
  for (const task::TaskResult& result : *results) AddResult(result, stats_);
  AddStep(started_us, stats_);
  stands_wholly_ = false;
  GaugeOf("k2_dedup_memory_bytes", "Memory of the trades that Gold keeps to detect duplicates.")
      .Set(static_cast<double>(index_.bytes()));
  return std::max<int64_t>(results->front().rows_in, 1);
}

// Rows of the files that the next step will begin with, while this one runs and commits. One that cannot be read is
// the next step's to tell.
void GoldLayer::ReadAhead() {
  if (!options_.read_ahead || cache_ == nullptr) return;
  std::vector<std::pair<task::TableShape, std::vector<task::InputFile>>> wanted;
  for (const Upstream& upstream : upstreams_) {
    int64_t rows = 0;
    for (const table::ScanFile& next : upstream.pending) {
      const bool first = rows == 0;
      rows += next.file.record_count;
      if (!first && rows > options_.rows_per_step) break;
      Result<task::TableShape> shape =
          task::ShapeOfFile(upstream.table.name().name, upstream.table.metadata(), upstream.shape, next.snapshot_id);
      if (!shape) break;
      if (wanted.empty() || !(wanted.back().first.schema == shape->schema))
        wanted.emplace_back(*std::move(shape), std::vector<task::InputFile>{});
      wanted.back().second.push_back(InputOf(upstream.table.metadata(), next));
    }
  }
  if (wanted.empty()) return;
  const auto read = [context = task::TaskContext{.io = gold_.io_ptr(), .schemas = nullptr, .cache = cache_},
                     wanted = std::move(wanted)] {
    for (const auto& [shape, files] : wanted) {
      for (const task::InputFile& file : files) {
        if (!task::ReadIntoCache(context, file, shape)) return;
      }
    }
  };
  try {
    reading_ = std::async(std::launch::async, read);
  } catch (const std::system_error& error) {
    log::Warn("cannot start a read-ahead thread", {{"error", error.what()}});
  }
}

Status GoldLayer::CommitOffsets() {
  return RetryRaces([&] {
    gold_known_ = false;
    return TrySettle();
  });
}

Status GoldLayer::TrySettle() {
  K2_ASSIGN(StepPlan plan, PlanSettling());
  return plan.empty() ? Status{} : Commit(std::move(plan));
}

Result<StepPlan> GoldLayer::PlanSettling() {
  StepPlan plan{.layer = LayerId::kGold, .tasks = {}, .ranges = {}, .commits = {}};
  K2_TRY(FindInputs());
  std::vector<std::optional<ReadTo>> read_to(upstreams_.size());
  bool behind = false;
  for (size_t i = 0; i < upstreams_.size(); ++i) {
    const Upstream& upstream = upstreams_[i];
    if (!upstream.pending.empty()) return plan;  // there are rows: for the next step
    const bool moved = !upstream.committed || upstream.committed->snapshot_id != upstream.planned_snapshot;
    if (upstream.planned_snapshot == 0 || !moved) continue;
    read_to[i] = {.snapshot_id = upstream.planned_snapshot, .sequence_number = upstream.planned_sequence};
    K2_ASSIGN(const table::LayerProgress silver, OffsetsOfSilver(upstream.table));
    for (const auto& [key, position] : silver.positions) {
      const auto found = progress_.progress.positions.find(key);
      behind |= found == progress_.progress.positions.end() || found->second != position;
    }
  }
  if (!behind) return plan;
  K2_ASSIGN(PlannedCommit commit, PlanCommit(read_to, std::nullopt));
  plan.commits.push_back(std::move(commit));
  return plan;
}

// As Silver's snapshots that added the files tell; those that have expired tell nothing.
std::optional<MessageTimes> GoldLayer::TimesOfInputs(const FilesByUpstream& inputs) const {
  std::optional<MessageTimes> times;
  for (size_t i = 0; i < inputs.size(); ++i) {
    for (const table::ScanFile& file : inputs[i]) {
      const iceberg::Snapshot* snapshot = upstreams_[i].table.metadata().FindSnapshot(file.snapshot_id);
      if (snapshot != nullptr) times = Join(times, ReadTimes(snapshot->summary));
    }
  }
  return times;
}

// Behind Silver, by the offsets both have committed. Gold commits no offsets alone: without rows to read it is level.
// By the files that are pending: of a Silver table whose files were all taken there is none.
Result<std::vector<PartitionLag>> GoldLayer::Lags() const {
  std::vector<PartitionLag> lags;
  for (const Upstream& upstream : upstreams_) {
    if (upstream.table.metadata().CurrentSnapshot() == nullptr) continue;
    K2_ASSIGN(const table::LayerProgress silver, OffsetsOfSilver(upstream.table));
    for (const auto& [key, position] : silver.positions) {
      const auto found = progress_.progress.positions.find(key);
      const int64_t from = found == progress_.progress.positions.end() ? 0 : found->second.next_offset;
      lags.push_back({.key = key, .messages = upstream.pending.empty() ? 0 : position.next_offset - from});
    }
  }
  return lags;
}

Result<PlannedCommit> GoldLayer::PlanCommit(const std::vector<std::optional<ReadTo>>& read_to,
                                            const std::optional<MessageTimes>& times) const {
  PlannedCommit planned{.table = std::string(task::kGoldTable), .commit = {}, .needs_rows = false};
  table::LayerCommit& commit = planned.commit;
  commit.fence_upstream = true;
  commit.base_snapshot_id = progress_.snapshot_id;  // the rows were compared with Gold as it stood there
  commit.planned_snapshot_id = gold_.metadata().current_snapshot_id;  // and so did its files
  commit.planned_sequence = table::SequenceOf(gold_.metadata(), gold_.metadata().current_snapshot_id.value_or(0));
  if (times) WriteTimes(*times, commit.summary);
  for (size_t i = 0; i < upstreams_.size(); ++i) {
    const Upstream& upstream = upstreams_[i];
    const std::string name = upstream.table.name().ToString();
    if (upstream.committed) commit.base.upstream[name] = *upstream.committed;
    K2_TRY(DropFinished(upstream, *exchange::Exchanges()[i], commit));
    if (!read_to[i]) {
      if (upstream.committed) commit.next.upstream[name] = *upstream.committed;
      continue;
    }
    commit.next.upstream[name] = {.table = name,
                                  .table_uuid = upstream.table.metadata().table_uuid,
                                  .snapshot_id = read_to[i]->snapshot_id,
                                  .sequence_number = read_to[i]->sequence_number};
    if (upstream.pending.empty()) {
      // Gold has all that this Silver table has: it stands at the same offsets, which tells its lag.
      K2_ASSIGN(const table::LayerProgress silver, OffsetsOfSilver(upstream.table));
      for (const auto& [key, position] : silver.positions) commit.next.positions[key] = position;
    }
  }
  return planned;
}

// Recordings that Silver's document names no more are named here no more: they tell no lag.
Status GoldLayer::DropFinished(const Upstream& upstream, const exchange::Exchange& exchange,
                               table::LayerCommit& commit) const {
  if (upstream.table.metadata().CurrentSnapshot() == nullptr) return {};
  K2_ASSIGN(const table::LayerProgress silver, OffsetsOfSilver(upstream.table));
  if (silver.finished.generation == 0) return {};
  for (const auto& [key, position] : progress_.progress.positions) {
    const bool of_it = key.cluster == table::kRecordingCluster && exchange::ExchangeOfTopic(key.topic) == &exchange;
    if (of_it && !silver.positions.contains(key)) commit.drop.push_back(key);
  }
  return {};
}

Status GoldLayer::Commit(StepPlan plan) {
  const std::vector<iceberg::DataFile> added = plan.commits.front().commit.added;
  const std::map<std::string, table::UpstreamHint> next = plan.commits.front().commit.next.upstream;
  const auto table = [this](std::string_view) -> Result<table::Table*> { return &gold_; };
  plan.commits.front().commit.check_added = [this, refuse = RefuseDoubledTrades(gold_, added)](
                                                const iceberg::TableMetadata& head,
                                                const std::vector<iceberg::DataFile>& foreign) {
    const Status status = refuse(head, foreign);
    doubled_ = !status;
    return status;
  };
  K2_TRY(CommitCompleted(std::move(plan), table, options_.commit, stats_));
  for (Upstream& upstream : upstreams_) {
    const auto found = next.find(upstream.table.name().ToString());
    if (found != next.end()) upstream.committed = found->second;
  }
  gold_files_.Committed(gold_, gold_rows_, added);
  return {};
}

}  // namespace k2::pipeline
