#include "medallion/runner.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <optional>
#include <thread>

#include "base/log.h"
#include "base/time.h"
#include "medallion/gold_layer.h"
#include "medallion/silver_layer.h"

namespace k2 {
namespace {

constexpr int kConflictsInARow = 20;
constexpr std::chrono::milliseconds kPoll{50};

// What the layers' threads tell each other.
class Floor {
 public:
  explicit Floor(const std::atomic<bool>& stop) : stop_(stop) {}

  // `layer` has moved rows, or has nothing left to do.
  void Moved(int layer, int64_t rows) {
    const std::lock_guard lock(mutex_);
    rows_[layer] += rows;
    ++changes_;
    changed_.notify_all();
  }
  // `layer` found nothing to do, looking after `seen`: it is level with the one above it, however many of that one's
  // rows never came down (rejected, or known already). Without this the one above would wait for them for ever.
  void CaughtUp(int layer, int64_t seen) {
    const std::lock_guard lock(mutex_);
    if (changes_ != seen || layer == 0) return;
    rows_[layer] = std::max(rows_[layer], rows_[layer - 1]);
    changed_.notify_all();
  }
  void Finished(int layer) {
    const std::lock_guard lock(mutex_);
    finished_[layer] = true;
    changed_.notify_all();
  }
  void Failed(Error error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    changed_.notify_all();
  }

  [[nodiscard]] bool failed() const {
    const std::lock_guard lock(mutex_);
    return error_.has_value();
  }
  [[nodiscard]] std::optional<Error> error() const {
    const std::lock_guard lock(mutex_);
    return error_;
  }
  [[nodiscard]] bool finished(int layer) const {
    const std::lock_guard lock(mutex_);
    return finished_[layer];
  }
  [[nodiscard]] bool stopping() const { return stop_.load(); }
  [[nodiscard]] int64_t changes() const {
    const std::lock_guard lock(mutex_);
    return changes_;
  }

  // Waits until something has changed since `seen`, or a poll's time has passed.
  void Wait(int64_t seen) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kPoll, [&] { return changes_ != seen || error_.has_value(); });
  }

  // Waits while `layer` is more than `lead` rows ahead of the next one that runs.
  void WaitForNext(int layer, int next, int64_t lead) {
    std::unique_lock lock(mutex_);
    while (!error_ && !finished_[next] && rows_[layer] - rows_[next] > lead && !stop_.load()) {
      changed_.wait_for(lock, kPoll);
    }
  }

 private:
  const std::atomic<bool>& stop_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Error> error_;
  int64_t rows_[3] = {0, 0, 0};
  bool finished_[3] = {false, false, false};
  int64_t changes_ = 0;
};

// A step's batches are free at its end, but the allocator keeps their memory for the next ones, which saves page
// faults. Where it holds much more than is in use, it is given back.
void TrimMemory() {
  constexpr int64_t kResidentBytesMax = 480LL << 20;
  std::ifstream statm("/proc/self/statm");
  int64_t total_pages = 0;
  int64_t resident_pages = 0;
  if (statm >> total_pages >> resident_pages && resident_pages * 4096 > kResidentBytesMax) ::malloc_trim(0);
}

enum { kBronze = 0, kSilver = 1, kGold = 2 };

// Counts conflicts in a row; after a conflict waits a moment that differs between processes.
class Patience {
 public:
  // True when the step may be planned again.
  bool MayRetry(const Error& error, std::string_view layer) {
    // Not found: a planned file may be gone because another writer compacted its table and expired the old snapshots.
    if (error.kind != ErrorKind::kOffsetMismatch && error.kind != ErrorKind::kConflict &&
        error.kind != ErrorKind::kNotFound) {
      return false;
    }
    // The same again after planning anew is no race: what must be there is not there.
    if (error.kind != ErrorKind::kConflict && error.message == last_) return false;
    last_ = error.message;
    if (++in_a_row_ > kConflictsInARow) return false;
    log::Warn("a step found the tables changed, planning again", {{"layer", layer}, {"error", error.message}});
    std::this_thread::sleep_for(std::chrono::milliseconds(in_a_row_ * 5 + MonotonicMicros() % 20));
    return true;
  }
  void Reset() {
    in_a_row_ = 0;
    last_.clear();
  }

 private:
  int in_a_row_ = 0;
  std::string last_;
};

void RunBronze(BronzeLayer& layer, const RunOptions& options, Floor& floor, RunProgress& progress) {
  Patience patience;
  int64_t last_commit_us = 0;
  const int64_t lead = options.layer.rows_per_step * options.lead_steps;
  while (!floor.stopping() && !floor.failed()) {
    if (options.silver) floor.WaitForNext(kBronze, kSilver, lead);
    if (options.follow) {
      const int64_t due_us = last_commit_us + options.commit_interval_us - MonotonicMicros();
      if (due_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(std::min<int64_t>(due_us, 1'000'000)));
    }
    const Result<int64_t> rows = layer.Step(options.follow ? 50'000 : 0);
    if (!rows) {
      Status recovered = std::unexpected(rows.error());
      if (patience.MayRetry(rows.error(), "bronze")) recovered = layer.Recover();
      if (!recovered) return floor.Failed(recovered.error().With("bronze"));
      continue;
    }
    patience.Reset();
    progress.bronze_rows += *rows;
    progress.bytes_read = layer.stored_bytes_read();
    if (*rows > 0) {
      last_commit_us = MonotonicMicros();
      floor.Moved(kBronze, *rows);
    }
    if (layer.AtEnd()) break;
  }
  floor.Finished(kBronze);
}

// Silver and Gold: step until nothing is new and the layer above has finished.
template <typename Layer>
void RunBelow(Layer& layer, int number, std::string_view name, const RunOptions& options, bool upstream_runs,
              bool next_runs, Floor& floor, std::atomic<int64_t>& counter) {
  Patience patience;
  const int64_t lead = options.layer.rows_per_step * options.lead_steps;
  while (!floor.failed()) {
    if (next_runs) floor.WaitForNext(number, number + 1, lead);
    const bool last_look = !upstream_runs || floor.finished(number - 1);
    const int64_t seen = floor.changes();
    const Result<int64_t> rows = layer.Step();
    if (!rows) {
      if (!patience.MayRetry(rows.error(), name)) return floor.Failed(rows.error().With(name));
      layer.Recover();
      continue;
    }
    patience.Reset();
    counter += *rows;
    if (*rows > 0) {
      TrimMemory();
      floor.Moved(number, *rows);
      if (!upstream_runs && floor.stopping()) break;
      continue;
    }
    floor.CaughtUp(number, seen);
    if (last_look && (!options.follow || floor.stopping() || upstream_runs)) break;
    floor.Wait(seen);
  }
  floor.Finished(number);
}

}  // namespace

Result<RunReport> Run(const Lakehouse& lakehouse, const RunOptions& options, const std::atomic<bool>& stop,
                      RunProgress& progress) {
  const int64_t started_us = MonotonicMicros();
  BatchCache cache(options.cache_bytes);
  std::unique_ptr<BronzeLayer> bronze;
  std::unique_ptr<SilverLayer> silver;
  std::unique_ptr<GoldLayer> gold;
  // Rows are handed on only where the next layer takes them.
  if (options.bronze) {
    K2_ASSIGN(bronze, BronzeLayer::Open(lakehouse, options.layer, options.recordings, options.follow,
                                        options.silver ? &cache : nullptr));
    progress.bytes_total = bronze->stored_bytes();
  }
  if (options.silver) {
    K2_ASSIGN(silver, SilverLayer::Open(lakehouse, options.layer, options.schemas, &cache));
  }
  if (options.gold) {
    K2_ASSIGN(gold, GoldLayer::Open(lakehouse, options.layer, &cache));
  }
  Floor floor(stop);
  {
    std::vector<std::jthread> threads;
    if (bronze) threads.emplace_back([&] { RunBronze(*bronze, options, floor, progress); });
    if (silver) {
      threads.emplace_back([&] {
        RunBelow(*silver, kSilver, "silver", options, options.bronze, options.gold, floor, progress.silver_rows);
      });
    }
    if (gold) {
      threads.emplace_back(
          [&] { RunBelow(*gold, kGold, "gold", options, options.silver, false, floor, progress.gold_rows); });
    }
  }
  if (auto error = floor.error()) return std::unexpected(std::move(*error));
  if (silver) K2_TRY(silver->Settle());
  if (gold) K2_TRY(gold->Settle());
  RunReport report;
  if (bronze) {
    report.bronze = bronze->stats();
    report.failures = bronze->failures();
    progress.bytes_read = bronze->stored_bytes_read();
  }
  if (silver) report.silver = silver->stats();
  if (gold) report.gold = gold->stats();
  report.cache_hits = cache.hits();
  report.cache_misses = cache.misses();
  report.elapsed_us = MonotonicMicros() - started_us;
  return report;
}

}  // namespace k2
