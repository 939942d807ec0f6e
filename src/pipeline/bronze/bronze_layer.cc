#include "pipeline/bronze/bronze_layer.h"

#include <algorithm>
#include <future>
#include <map>
#include <system_error>

#include "base/error_text.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/time.h"
#include "base/uuid.h"
#include "pipeline/layer_metrics.h"
#include "task/market_tables.h"
#include "task/table_shape.h"

namespace k2::pipeline {

Status CommitStarts(table::Table& bronze, SourceSet& sources, const std::vector<table::SourceKey>& unknown,
                    const table::CommitPolicy& policy, LayerStats& stats) {
  if (unknown.empty()) return {};
  K2_ASSIGN(const table::LayerProgress progress, table::ReadProgress(bronze.metadata()));
  table::LayerCommit commit;
  K2_ASSIGN(commit.next.positions, sources.Starts(unknown, progress));
  if (commit.next.positions.empty()) return {};
  return CommitStep(bronze, std::move(commit), policy, LayerId::kBronze, stats);
}

Result<std::unique_ptr<BronzeLayer>> BronzeLayer::Open(const Lakehouse& lakehouse, const LayerOptions& options,
                                                       std::unique_ptr<SourceSet> sources, task::BatchCache* cache) {
  K2_ASSIGN(table::Table table, lakehouse.Open(task::kBronzeTable));
  if (const auto absent = task::AbsentColumns(task::kBronzeTable, table.metadata()); !absent.empty()) {
    log::Warn("the table lacks columns and their values are dropped; `k2 tables migrate` adds the columns",
              {{"table", task::kBronzeTable}, {"columns", fmt::to_string(fmt::join(absent, ", "))}});
  }
  std::unique_ptr<BronzeLayer> layer(
      new BronzeLayer(std::move(table), options, std::move(sources), cache, FinishedSources(lakehouse)));
  K2_TRY(RetryRaces([&] { return layer->Recover(); }));
  return layer;
}

Status BronzeLayer::Recover() {
  K2_TRY(table_.Refresh());
  for (Input& input : inputs_) input.placed = false;
  return TakeNewSources();
}

Result<std::string> BronzeLayer::Head() {
  return HeadOf(table_, [&](const table::SourceKey& key) {
    return std::ranges::any_of(inputs_, [&](const Input& input) { return input.source.reader->key() == key; });
  });
}

// Takes over what the set has got since, and places what is not placed.
Status BronzeLayer::TakeNewSources() {
  K2_ASSIGN(table::LayerProgress progress, table::ReadProgress(table_.metadata()));
  K2_ASSIGN(const std::vector<SourceSet::Source> sources, sources_->Sources(progress));
  for (size_t i = inputs_.size(); i < sources.size(); ++i) inputs_.push_back({.source = sources[i], .position = {}});
  for (Input& input : inputs_) {
    // A recreated topic that somebody has accepted is another source under the same reader.
    if (!input.placed || input.placed_in == input.source.reader->key()) continue;
    input.placed = input.failed = false;
    input.stopped.reset();
  }
  // Others may have been at a recording that was not named, and may have finished it again.
  if (progress.finished != finished_mark_) {
    for (Input& input : inputs_) {
      input.placed &= input.known || input.source.reader->key().cluster != table::kRecordingCluster;
    }
  }
  (void)LeaveOutStopped();
  const auto to_place = [](const Input& input) { return !input.placed && !input.failed; };
  if (std::ranges::none_of(inputs_, to_place)) return {};
  std::vector<table::SourceKey> unknown;
  for (const Input& input : inputs_) {
    const table::SourceKey& key = input.source.reader->key();
    if (to_place(input) && !progress.positions.contains(key)) unknown.push_back(key);
  }
  K2_TRY(CommitStarts(table_, *sources_, unknown, options_.commit, stats_));
  K2_ASSIGN(progress, table::ReadProgress(table_.metadata()));
  std::vector<table::SourceKey> keys;
  for (const Input& input : inputs_) {
    if (to_place(input)) keys.push_back(input.source.reader->key());
  }
  K2_ASSIGN(const table::SourcePositions finished, finished_.Find(table_, progress, keys));
  finished_mark_ = progress.finished;
  for (Input& input : inputs_) {
    if (to_place(input)) K2_TRY(Place(input, progress, finished));
  }
  return {};
}

// True when a source was found that must be left out from now on: it is not what it was, or no longer has its next
// offset.
bool BronzeLayer::LeaveOutStopped() {
  bool more = false;
  const std::map<table::SourceKey, Error> stopped = sources_->Stopped();
  for (Input& input : inputs_) {
    if (input.failed) continue;
    std::optional<Error> error = input.placed ? input.source.reader->failure() : std::nullopt;
    if (error && error->kind != ErrorKind::kOffsetMismatch) error.reset();
    if (const auto found = stopped.find(input.source.reader->key()); found != stopped.end()) error = found->second;
    if (!error) continue;
    if (!input.stopped) {
      log::Error("cannot continue reading a source; other sources continue",
                 {{"source", input.source.name}, {"error", MessageAndHint(*error)}});
    }
    input.source.reader->Leave();
    input.failed = more = true;
    input.stopped = std::move(error);
  }
  return more;
}

std::optional<Error> BronzeLayer::standing() const {
  const auto found = std::ranges::find_if(inputs_, [](const Input& input) { return input.stopped.has_value(); });
  return found == inputs_.end() ? std::nullopt : found->stopped;
}

Status BronzeLayer::LookAgain() {
  for (Input& input : inputs_) input.failed &= !input.stopped;
  return Recover();
}

std::vector<Error> BronzeLayer::failures() const {
  std::vector<Error> failures = failures_;
  for (const Input& input : inputs_) {
    const auto same = [&](const Error& one) { return one.message == input.stopped->message; };
    if (input.stopped && std::ranges::none_of(failures, same)) failures.push_back(*input.stopped);
  }
  return failures;
}

Status BronzeLayer::Place(Input& input, const table::LayerProgress& progress, const table::SourcePositions& finished) {
  const table::SourceKey& key = input.source.reader->key();
  const auto found = progress.positions.find(key);
  input.known = found != progress.positions.end();
  input.position = input.known ? found->second : table::SourcePosition{};
  if (const auto ended = finished.find(key); ended != finished.end()) input.position = ended->second;
  input.committed_offset = input.position.next_offset;
  if (const Status status = input.source.reader->Seek(input.position); !status) {
    return std::unexpected(status.error().With(input.source.name));
  }
  input.placed = true;
  input.placed_in = key;
  input.caught_up = false;
  return {};
}

// One task for each source that is to stand alone; of the others as many as run at once, but few messages are one
// task's work, or the table would fill with small files.
std::vector<BronzeLayer::Group> BronzeLayer::Divide(const std::vector<size_t>& open) const {
  constexpr int64_t kMessagesWorthATask = 32'768;
  size_t count = open.size();
  if (!sources_->FailIndependently()) {
    const int64_t available = std::min(std::max<int64_t>(sources_->Available(), 0), options_.rows_per_step);
    const int64_t tasks =
        std::clamp<int64_t>(available / kMessagesWorthATask, 1, std::max<int64_t>(options_.threads, 1));
    count = std::min(count, static_cast<size_t>(tasks));
  }
  std::vector<Group> groups(count);
  for (size_t i = 0; i < open.size(); ++i) groups[i % count].push_back(open[i]);
  return groups;
}

// The inputs that may have more, another one first at each step.
std::vector<size_t> BronzeLayer::Open() const {
  std::vector<size_t> open;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const size_t at = (first_ + i) % inputs_.size();
    if (!inputs_[at].failed && !inputs_[at].source.reader->AtEnd()) open.push_back(at);
  }
  return open;
}

Result<int64_t> BronzeLayer::Step(int64_t wait_us, const Moved& moved) {
  Result<int64_t> rows = TryStep(wait_us, moved);
  if (rows || !LeaveOutStopped()) return rows;
  K2_TRY(Recover());
  return 0;
}

Result<int64_t> BronzeLayer::TryStep(int64_t wait_us, const Moved& moved) {
  const auto unplaced = [](const Input& input) { return !input.placed && !input.failed; };
  if (sources_->MayGrow() || std::ranges::any_of(inputs_, unplaced)) K2_TRY(TakeNewSources());
  const std::vector<size_t> open = Open();
  if (open.empty()) {
    if (!AtEnd()) sources_->Wait(wait_us);
    return 0;
  }
  if (sources_->Available() == 0) sources_->Wait(wait_us);
  int64_t started_us = MonotonicMicros();
  // A commit that runs beside changes the table.
  K2_ASSIGN(const task::OutputTable output, OutputOf(table_));
  K2_ASSIGN(Written written, Write(open, output, wait_us));
  const int64_t overlap_until_us = started_us + options_.overlap_us_max;
  while (moved && written.worth_a_commit && WholeStepAvailable() && MonotonicMicros() < overlap_until_us) {
    std::future<Status> committed;
    try {
      committed = std::async(std::launch::async,
                             [&] { return Guarded("a commit of bronze", [&] { return Commit(written); }); });
    } catch (const std::system_error& error) {
      log::Warn("cannot start a thread to commit in parallel with the next step", {{"error", error.what()}});
      break;
    }
    const int64_t next_started_us = MonotonicMicros();
    Result<Written> next = Write(Open(), output, 0);
    if (const Status status = committed.get(); !status) {
      if (next) DeleteFiles(*next);
      return std::unexpected(status.error());
    }
    Account(written, started_us);
    if (!next) {
      (void)moved(written.rows);
      return std::unexpected(next.error());
    }
    const bool go_on = moved(written.rows);
    started_us = next_started_us;
    written = *std::move(next);
    if (!go_on) break;
  }
  if (written.worth_a_commit) K2_TRY(Commit(written));
  Account(written, started_us);
  return written.rows;
}

// Commits go by size as well as by time.
bool BronzeLayer::WholeStepAvailable() const {
  return sources_->Available() >= options_.rows_per_step || sources_->BufferFull();
}

// Plan and run: a part of the step's rows for each of the `open` inputs.
Result<BronzeLayer::Written> BronzeLayer::Write(const std::vector<size_t>& open, const task::OutputTable& output,
                                                int64_t wait_us) {
  Written written{.plan = {.layer = LayerId::kBronze, .tasks = {}, .ranges = {}, .commits = {}}};
  PlannedCommit planned{.table = table_.name().name, .commit = {}, .needs_rows = false};
  planned.commit.base.finished = finished_mark_;
  first_ = (first_ + 1) % inputs_.size();
  std::vector<Group> groups = Divide(open);
  const auto parts = static_cast<int64_t>(groups.size());
  std::vector<task::Task> tasks;
  std::vector<task::TaskContext> contexts;
  for (const Group& group : groups) {
    task::BronzeTask task{.inputs = {},
                          .max_messages = std::max<int64_t>(options_.rows_per_step / parts, 1),
                          .max_bytes = std::max<int64_t>(options_.bytes_per_step / parts, 1 << 20),
                          .output = output,
                          .attempt_id = RandomHex64()};
    task::TaskContext context{.io = table_.io_ptr(), .schemas = nullptr, .cache = cache_};
    if (sources_->FailIndependently()) context.wait_us = wait_us / parts;
    for (const size_t at : group) {
      const SourceSet::Source& source = inputs_[at].source;
      task.inputs.push_back({source.reader->key(), source.exchange, source.recording, inputs_[at].position});
      context.readers.push_back(source.reader);
    }
    tasks.emplace_back(std::move(task));
    contexts.push_back(std::move(context));
  }
  const int64_t started_us = MonotonicMicros();
  auto outcomes = RunEach(tasks, contexts, options_.threads);
  for (size_t i = 0; i < groups.size(); ++i) {
    if (outcomes[i]) {
      Take(groups[i], *outcomes[i], planned.commit, written);
      written.plan.tasks.push_back(std::move(tasks[i]));
      written.results.push_back(std::move(*outcomes[i]));
      continue;
    }
    // One recording that cannot be read on must not hold up the others.
    if (outcomes[i].error().kind != ErrorKind::kInvalidData || !sources_->FailIndependently()) {
      for (const auto& outcome : outcomes) {
        if (outcome) DeleteUnsent(outcome->outputs, table_.io());
      }
      DeleteFiles(written);
      return std::unexpected(outcomes[i].error());
    }
    Input& input = inputs_[groups[i].front()];
    input.failed = true;
    failures_.push_back(outcomes[i].error());
    log::Error("cannot continue reading a recording",
               {{"path", input.source.recording}, {"error", MessageAndHint(outcomes[i].error())}});
  }
  written.run_us = MonotonicMicros() - started_us;
  written.plan.commits.push_back(std::move(planned));
  if (const Status complete = Complete(written.results, written.plan); !complete) {
    DeleteFiles(written);
    return std::unexpected(complete.error());
  }
  table::LayerCommit& commit = written.plan.commits.front().commit;
  for (Input& input : inputs_) {
    const table::SourceKey& key = input.source.reader->key();
    const auto found = commit.next.positions.find(key);
    if (found == commit.next.positions.end()) continue;
    if (found->second == input.position) {  // nothing was read of it: it is no part of the commit
      commit.base.positions.erase(key);
      commit.next.positions.erase(found);
    } else if (written.worth_a_commit) {
      input.position = found->second;
      input.known = true;
    }
  }
  written.next = commit.next.positions;
  return written;
}

// Of files that no commit was asked to name.
void BronzeLayer::DeleteFiles(const Written& written) {
  for (const task::TaskResult& result : written.results) DeleteUnsent(result.outputs, table_.io());
}

Status BronzeLayer::Commit(Written& written) {
  if (const Status confirmed = sources_->Confirm(written.next); !confirmed) {
    DeleteFiles(written);
    return confirmed;
  }
  const auto table = [this](std::string_view) -> Result<table::Table*> { return &table_; };
  K2_TRY(CommitCompleted(std::move(written.plan), table, options_.commit, stats_));
  sources_->Committed(written.next);
  return {};
}

// After the commit.
void BronzeLayer::Account(const Written& written, int64_t started_us) {
  stats_.run_us += written.run_us;
  if (written.worth_a_commit) {
    for (Input& input : inputs_) {
      const auto found = written.next.find(input.source.reader->key());
      if (found != written.next.end()) input.committed_offset = found->second.next_offset;
    }
  }
  if (written.rows > 0) AddStep(started_us, stats_);
  ReportLags();
  for (const task::TaskResult& result : written.results) AddResult(result, stats_);
}

// What a task has read of its inputs, and where the commit finds them.
void BronzeLayer::Take(const Group& group, const task::TaskResult& result, table::LayerCommit& commit,
                       Written& written) {
  written.rows += result.rows_out;
  // Skipped frames or gaps alone move the position too; that is worth a commit only when the recording has ended.
  written.worth_a_commit |= result.rows_out > 0;
  for (size_t n = 0; n < group.size(); ++n) {
    Input& input = inputs_[group[n]];
    const table::SourcePosition& end = result.ends.at(n);
    input.caught_up |= input.source.reader->CaughtUp();
    if (end != input.position || input.source.reader->CaughtUp()) input.stopped.reset();
    written.worth_a_commit |= end != input.position && input.source.reader->AtEnd();
    if (input.known) commit.base.positions[input.source.reader->key()] = input.position;
  }
}

void BronzeLayer::ReportLags() const {
  std::vector<PartitionLag> lags;
  for (const Input& input : inputs_) {
    const table::SourceKey& key = input.source.reader->key();
    const auto end = sources_->EndOf(key);
    if (end) lags.push_back({.key = key, .messages = std::max<int64_t>(*end - input.committed_offset, 0)});
  }
  if (!lags.empty()) ReportLag(ToString(LayerId::kBronze), lags);
}

bool BronzeLayer::AtEnd() const {
  return !sources_->MayGrow() &&
         std::ranges::all_of(inputs_, [](const Input& input) { return input.failed || input.source.reader->AtEnd(); });
}

bool BronzeLayer::CaughtUp() const {
  return std::ranges::all_of(
      inputs_, [](const Input& input) { return input.failed || input.caught_up || input.source.reader->AtEnd(); });
}

int64_t BronzeLayer::stored_bytes() const {
  int64_t bytes = 0;
  for (const Input& input : inputs_) bytes += std::max<int64_t>(input.source.reader->stored_bytes(), 0);
  return bytes;
}

int64_t BronzeLayer::stored_bytes_read() const {
  int64_t bytes = 0;
  for (const Input& input : inputs_) bytes += std::max<int64_t>(input.source.reader->stored_bytes_read(), 0);
  return bytes;
}

}  // namespace k2::pipeline
