#include "medallion/bronze_layer.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/log.h"
#include "base/time.h"
#include "base/uuid.h"
#include "task/market_tables.h"

namespace k2 {

Result<std::unique_ptr<BronzeLayer>> BronzeLayer::Open(const Lakehouse& lakehouse, const LayerOptions& options,
                                                       const std::vector<RecordingSpec>& recordings, bool follow,
                                                       BatchCache* cache) {
  K2_ASSIGN(Table table, lakehouse.Open(kBronzeTable));
  std::unique_ptr<BronzeLayer> layer(new BronzeLayer(std::move(table), options, cache));
  for (const RecordingSpec& spec : recordings) {
    const auto exchange = ParseExchange(spec.exchange);
    if (!exchange) {
      return Fail(ErrorKind::kInvalidArgument, "unknown exchange '{}' for {}: binance or kraken", spec.exchange,
                  spec.path);
    }
    RecordingOptions open;
    open.follow = follow;
    K2_ASSIGN(auto reader, RecordingReader::Open(*exchange, spec.path, open));
    const auto same =
        std::ranges::find_if(layer->inputs_, [&](const Input& input) { return input.reader->key() == reader->key(); });
    if (same != layer->inputs_.end()) {
      // A renamed or longer copy is the same source: the longest copy holds all that the others do.
      log::Warn("recording given twice", {{"first", same->spec.path}, {"second", spec.path}});
      if (same->reader->stored_bytes() < reader->stored_bytes()) {
        same->spec = spec;
        same->reader = std::move(reader);
      }
      continue;
    }
    layer->inputs_.push_back({.spec = spec, .reader = std::move(reader), .position = {}, .failed = false});
  }
  K2_TRY(layer->Recover());
  return layer;
}

Status BronzeLayer::Recover() {
  K2_TRY(table_.Refresh());
  K2_ASSIGN(const LayerProgress progress, ReadProgress(table_.metadata()));
  for (Input& input : inputs_) {
    input.placed = false;
    K2_TRY(Place(input, progress));
  }
  return {};
}

// Goes to where Bronze stands. A followed file that has no whole line yet has no key: it is placed when it has.
Status BronzeLayer::Place(Input& input, const LayerProgress& progress) {
  if (const Result<bool> known = input.reader->WaitForKey(0); !known || !*known) {
    return known ? Status{} : std::unexpected(known.error().With(input.spec.path));
  }
  const auto found = progress.positions.find(input.reader->key());
  input.position = found == progress.positions.end() ? SourcePosition{} : found->second;
  if (const Status status = input.reader->Seek(input.position); !status) {
    return std::unexpected(status.error().With(input.spec.path));
  }
  input.placed = true;
  return {};
}

Result<int64_t> BronzeLayer::Step(int64_t wait_us) {
  // Plan: a part of the step's rows for each recording that has more.
  std::vector<size_t> open;
  for (Input& input : inputs_) {
    if (input.placed) continue;
    K2_ASSIGN(const LayerProgress progress, ReadProgress(table_.metadata()));
    K2_TRY(Place(input, progress));
  }
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const size_t at = (first_ + i) % inputs_.size();
    if (inputs_[at].placed && !inputs_[at].failed && !inputs_[at].reader->AtEnd()) open.push_back(at);
  }
  if (open.empty()) {
    if (!AtEnd()) std::this_thread::sleep_for(std::chrono::microseconds(wait_us));
    return 0;
  }
  first_ = (first_ + 1) % inputs_.size();
  const auto parts = static_cast<int64_t>(open.size());
  std::vector<Task> tasks;
  std::vector<TaskContext> contexts;
  for (const size_t at : open) {
    Input& input = inputs_[at];
    tasks.emplace_back(
        BronzeTask{.inputs = {{input.reader->key(), input.spec.exchange, input.spec.path, input.position}},
                   .max_messages = std::max<int64_t>(options_.rows_per_step / parts, 1),
                   .max_bytes = std::max<int64_t>(options_.bytes_per_step / parts, 1 << 20),
                   .output = OutputOf(table_),
                   .attempt_id = RandomHex64()});
    contexts.push_back({.io = table_.io_ptr(),
                        .schemas = nullptr,
                        .cache = cache_,
                        .readers = {input.reader.get()},
                        .index = nullptr,
                        .wait_us = wait_us / parts});
  }
  // Run.
  const int64_t started_us = MonotonicMicros();
  std::vector<size_t> chosen;
  std::vector<TaskResult> results;
  auto outcomes = RunEach(tasks, contexts, options_.threads);
  for (size_t i = 0; i < open.size(); ++i) {
    if (outcomes[i]) {
      chosen.push_back(open[i]);
      results.push_back(std::move(*outcomes[i]));
      continue;
    }
    // One recording that cannot be read on must not hold up the others.
    Input& input = inputs_[open[i]];
    if (outcomes[i].error().kind != ErrorKind::kInvalidData) return std::unexpected(outcomes[i].error());
    input.failed = true;
    failures_.push_back(outcomes[i].error());
    log::Error("recording cannot be read on", {{"path", input.spec.path}, {"error", outcomes[i].error().message}});
  }
  stats_.run_us += MonotonicMicros() - started_us;
  K2_ASSIGN(const int64_t rows, Commit(chosen, results));
  if (rows > 0) {
    ++stats_.steps;
    stats_.step_us.push_back(MonotonicMicros() - started_us);
  }
  return rows;
}

Result<int64_t> BronzeLayer::Commit(const std::vector<size_t>& chosen, const std::vector<TaskResult>& results) {
  LayerCommit commit;
  commit.added = FilesFor(results, kBronzeTable);
  int64_t rows = 0;
  bool moved_at_end = false;
  for (size_t i = 0; i < chosen.size(); ++i) {
    const Input& input = inputs_[chosen[i]];
    rows += results[i].rows_out;
    if (results[i].ends.at(0) == input.position) continue;
    moved_at_end |= input.reader->AtEnd();
    if (input.position.next_line > 0) commit.base.positions[input.reader->key()] = input.position;
    commit.next.positions[input.reader->key()] = results[i].ends.at(0);
  }
  // Skipped frames alone move the position too; that is worth a commit only when the recording has ended.
  if (rows > 0 || moved_at_end) {
    const LayerProgress next = commit.next;
    K2_TRY(CommitStep(table_, std::move(commit), options_.commit, "bronze", stats_));
    for (const size_t at : chosen) {
      const auto found = next.positions.find(inputs_[at].reader->key());
      if (found != next.positions.end()) inputs_[at].position = found->second;
    }
  }
  for (const TaskResult& result : results) AddResult(result, stats_);
  return rows;
}

bool BronzeLayer::AtEnd() const {
  return std::ranges::all_of(inputs_, [](const Input& input) { return input.failed || input.reader->AtEnd(); });
}

int64_t BronzeLayer::stored_bytes() const {
  int64_t bytes = 0;
  for (const Input& input : inputs_) bytes += std::max<int64_t>(input.reader->stored_bytes(), 0);
  return bytes;
}

int64_t BronzeLayer::stored_bytes_read() const {
  int64_t bytes = 0;
  for (const Input& input : inputs_) bytes += std::max<int64_t>(input.reader->stored_bytes_read(), 0);
  return bytes;
}

}  // namespace k2
