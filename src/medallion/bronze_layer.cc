#include "medallion/bronze_layer.h"

#include <algorithm>

#include "base/log.h"
#include "base/time.h"
#include "base/uuid.h"
#include "medallion/layer_metrics.h"
#include "task/market_tables.h"

namespace k2 {

Result<std::unique_ptr<BronzeLayer>> BronzeLayer::Open(const Lakehouse& lakehouse, const LayerOptions& options,
                                                       std::unique_ptr<SourceSet> sources, BatchCache* cache) {
  K2_ASSIGN(Table table, lakehouse.Open(kBronzeTable));
  std::unique_ptr<BronzeLayer> layer(new BronzeLayer(std::move(table), options, std::move(sources), cache));
  K2_TRY(RetryRaces([&] { return layer->Recover(); }));
  return layer;
}

Status BronzeLayer::Recover() {
  K2_TRY(table_.Refresh());
  for (Input& input : inputs_) input.placed = false;
  return TakeNewSources();
}

// Takes over what the set has got since, and places what is not placed.
Status BronzeLayer::TakeNewSources() {
  K2_ASSIGN(LayerProgress progress, ReadProgress(table_.metadata()));
  K2_ASSIGN(const std::vector<SourceSet::Source> sources, sources_->Sources(progress));
  for (size_t i = inputs_.size(); i < sources.size(); ++i) inputs_.push_back({.source = sources[i], .position = {}});
  if (std::ranges::all_of(inputs_, &Input::placed)) return {};
  K2_TRY(CommitStarts(progress));
  K2_ASSIGN(progress, ReadProgress(table_.metadata()));
  for (Input& input : inputs_) {
    if (!input.placed) K2_TRY(Place(input, progress));
  }
  return {};
}

// Where sources begin that Bronze does not know yet: committed before anything is read of them, or a process that dies
// before its first commit would begin elsewhere the next time.
Status BronzeLayer::CommitStarts(const LayerProgress& progress) {
  std::vector<SourceKey> unknown;
  for (const Input& input : inputs_) {
    const SourceKey& key = input.source.reader->key();
    if (!input.placed && !progress.positions.contains(key)) unknown.push_back(key);
  }
  if (unknown.empty()) return {};
  LayerCommit commit;
  K2_ASSIGN(commit.next.positions, sources_->Starts(unknown, progress));
  if (commit.next.positions.empty()) return {};
  return CommitStep(table_, std::move(commit), options_.commit, "bronze", stats_);
}

Status BronzeLayer::Place(Input& input, const LayerProgress& progress) {
  const auto found = progress.positions.find(input.source.reader->key());
  input.committed = found != progress.positions.end();
  input.position = input.committed ? found->second : SourcePosition{};
  if (const Status status = input.source.reader->Seek(input.position); !status) {
    return std::unexpected(status.error().With(input.source.name));
  }
  input.placed = true;
  return {};
}

// One task for each source that is to stand alone; of the others as many as run at once, but few messages are one
// task's work, or the table would fill with small files.
std::vector<BronzeLayer::Group> BronzeLayer::Divide(const std::vector<size_t>& open) const {
  constexpr int64_t kMessagesWorthATask = 32'768;
  size_t count = open.size();
  if (!sources_->ApartFromEachOther()) {
    const int64_t available = std::min(std::max<int64_t>(sources_->Available(), 0), options_.rows_per_step);
    const int64_t tasks =
        std::clamp<int64_t>(available / kMessagesWorthATask, 1, std::max<int64_t>(options_.threads, 1));
    count = std::min(count, static_cast<size_t>(tasks));
  }
  std::vector<Group> groups(count);
  for (size_t i = 0; i < open.size(); ++i) groups[i % count].push_back(open[i]);
  return groups;
}

Result<int64_t> BronzeLayer::Step(int64_t wait_us) {
  // Plan: a part of the step's rows for each source that has more.
  if (sources_->MayGrow() || !std::ranges::all_of(inputs_, &Input::placed)) K2_TRY(TakeNewSources());
  std::vector<size_t> open;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const size_t at = (first_ + i) % inputs_.size();
    if (!inputs_[at].failed && !inputs_[at].source.reader->AtEnd()) open.push_back(at);
  }
  if (open.empty()) {
    if (!AtEnd()) sources_->Wait(wait_us);
    return 0;
  }
  if (sources_->Available() == 0) sources_->Wait(wait_us);
  first_ = (first_ + 1) % inputs_.size();
  const std::vector<Group> groups = Divide(open);
  const auto parts = static_cast<int64_t>(groups.size());
  std::vector<Task> tasks;
  std::vector<TaskContext> contexts;
  for (const Group& group : groups) {
    BronzeTask task{.inputs = {},
                    .max_messages = std::max<int64_t>(options_.rows_per_step / parts, 1),
                    .max_bytes = std::max<int64_t>(options_.bytes_per_step / parts, 1 << 20),
                    .output = OutputOf(table_),
                    .attempt_id = RandomHex64()};
    TaskContext context{.io = table_.io_ptr(), .schemas = nullptr, .cache = cache_};
    if (sources_->ApartFromEachOther()) context.wait_us = wait_us / parts;
    for (const size_t at : group) {
      const SourceSet::Source& source = inputs_[at].source;
      task.inputs.push_back({source.reader->key(), source.exchange, source.recording, inputs_[at].position});
      context.readers.push_back(source.reader);
    }
    tasks.emplace_back(std::move(task));
    contexts.push_back(std::move(context));
  }
  // Run.
  const int64_t started_us = MonotonicMicros();
  std::vector<Group> done;
  std::vector<TaskResult> results;
  auto outcomes = RunEach(tasks, contexts, options_.threads);
  for (size_t i = 0; i < groups.size(); ++i) {
    if (outcomes[i]) {
      done.push_back(groups[i]);
      results.push_back(std::move(*outcomes[i]));
      continue;
    }
    // One recording that cannot be read on must not hold up the others.
    if (outcomes[i].error().kind != ErrorKind::kInvalidData || !sources_->ApartFromEachOther()) {
      return std::unexpected(outcomes[i].error());
    }
    Input& input = inputs_[groups[i].front()];
    input.failed = true;
    failures_.push_back(outcomes[i].error());
    log::Error("recording cannot be read on",
               {{"path", input.source.recording}, {"error", outcomes[i].error().message}});
  }
  stats_.run_us += MonotonicMicros() - started_us;
  K2_ASSIGN(const int64_t rows, Commit(done, results));
  if (rows > 0) AddStep(started_us, stats_);
  return rows;
}

Result<int64_t> BronzeLayer::Commit(const std::vector<Group>& groups, const std::vector<TaskResult>& results) {
  LayerCommit commit;
  commit.added = FilesFor(results, kBronzeTable);
  int64_t rows = 0;
  bool moved_at_end = false;
  for (size_t i = 0; i < groups.size(); ++i) {
    rows += results[i].rows_out;
    for (size_t n = 0; n < groups[i].size(); ++n) {
      const Input& input = inputs_[groups[i][n]];
      const SourcePosition& end = results[i].ends.at(n);
      if (end == input.position) continue;
      moved_at_end |= input.source.reader->AtEnd();
      if (input.committed) commit.base.positions[input.source.reader->key()] = input.position;
      commit.next.positions[input.source.reader->key()] = end;
    }
  }
  // Skipped frames or gaps alone move the position too; that is worth a commit only when the recording has ended.
  if (rows > 0 || moved_at_end) {
    K2_TRY(sources_->Confirm());
    const SourcePositions next = commit.next.positions;
    K2_TRY(CommitStep(table_, std::move(commit), options_.commit, "bronze", stats_));
    for (Input& input : inputs_) {
      const auto found = next.find(input.source.reader->key());
      if (found == next.end()) continue;
      input.position = found->second;
      input.committed = true;
    }
    sources_->Committed(next);
  }
  ReportLags();
  for (Input& input : inputs_) input.caught_up |= input.source.reader->CaughtUp();
  for (const TaskResult& result : results) AddResult(result, stats_);
  return rows;
}

void BronzeLayer::ReportLags() const {
  std::vector<PartitionLag> lags;
  for (const Input& input : inputs_) {
    const SourceKey& key = input.source.reader->key();
    const auto end = sources_->EndOf(key);
    if (end) lags.push_back({.key = key, .messages = std::max<int64_t>(*end - input.position.next_offset, 0)});
  }
  if (!lags.empty()) ReportLag("bronze", lags);
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

}  // namespace k2
