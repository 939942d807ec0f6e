// What the threads of the layers tell each other while they run.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include "base/health.h"
#include "base/result.h"
#include "pipeline/layer_id.h"

namespace k2::pipeline {

// What the layers' threads tell each other.
class PipelineState {
 public:
  // How often a wait looks at the stop flag, which wakes nobody.
  static constexpr std::chrono::milliseconds kGlance{50};

  explicit PipelineState(const std::atomic<bool>& stop) : stop_(stop) {}

  // `layer` has moved rows, or has nothing left to do.
  void Moved(LayerId layer, int64_t rows) {
    const std::lock_guard lock(mutex_);
    rows_[At(layer)] += rows;
    ++changes_;
    changed_.notify_all();
  }
  // `layer` found nothing to do, looking after `seen`: it is level with the one above it, however many of that one's
  // rows never came down (rejected, or known already). Without this the one above would wait for them for ever.
  void CaughtUp(LayerId layer, int64_t seen) {
    const std::lock_guard lock(mutex_);
    if (changes_ != seen || layer == LayerId::kBronze) return;
    rows_[At(layer)] = std::max(rows_[At(layer)], rows_[At(layer) - 1]);
    changed_.notify_all();
  }
  // Another process does the work of `layer` (or no longer): the one above it need not wait for it.
  void StandBy(LayerId layer, bool standing_by) {
    const std::lock_guard lock(mutex_);
    standing_by_[At(layer)] = standing_by;
    changed_.notify_all();
  }
  // `layer`, or one of its tables, stands (or no longer): the one above it does not wait for it.
  void Stands(LayerId layer, bool stands) {
    const std::lock_guard lock(mutex_);
    if (stands_[At(layer)] == stands) return;
    stands_[At(layer)] = stands;
    if (!stands && layer != LayerId::kBronze) rows_[At(layer)] = std::max(rows_[At(layer)], rows_[At(layer) - 1]);
    changed_.notify_all();
  }
  // `layer` has ended by an error; the others go on to their end.
  void Ended(LayerId layer, Error error) {
    const std::lock_guard lock(mutex_);
    ended_[At(layer)] = true;
    if (!first_) first_ = std::move(error);
  }
  void Finished(LayerId layer) {
    const std::lock_guard lock(mutex_);
    finished_[At(layer)] = true;
    ++changes_;
    changed_.notify_all();
  }
  // All of them end.
  void Failed(Error error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    changed_.notify_all();
  }

  [[nodiscard]] bool failed() const {
    const std::lock_guard lock(mutex_);
    return error_.has_value();
  }
  // Of the run: the first one.
  [[nodiscard]] std::optional<Error> error() const {
    const std::lock_guard lock(mutex_);
    return error_ ? error_ : first_;
  }
  [[nodiscard]] bool ended(LayerId layer) const {
    const std::lock_guard lock(mutex_);
    return ended_[At(layer)];
  }
  [[nodiscard]] bool finished(LayerId layer) const {
    const std::lock_guard lock(mutex_);
    return finished_[At(layer)];
  }
  [[nodiscard]] bool stopping() const { return stop_.load(); }
  [[nodiscard]] const std::atomic<bool>& stop() const { return stop_; }
  [[nodiscard]] int64_t changes() const {
    const std::lock_guard lock(mutex_);
    return changes_;
  }

  // Waits until something has changed since `seen`, or a poll's time has passed, or the run is to stop.
  void Wait(int64_t seen, std::chrono::microseconds poll) {
    const auto until = std::chrono::steady_clock::now() + poll;
    std::unique_lock lock(mutex_);
    while (!stop_.load() && std::chrono::steady_clock::now() < until) {
      const auto slice = std::min(until, std::chrono::steady_clock::now() + kGlance);
      if (changed_.wait_until(lock, slice, [&] { return changes_ != seen || error_.has_value(); })) return;
    }
  }

  // Whether `layer` is more than `lead` rows ahead of the next one that runs.
  [[nodiscard]] bool Ahead(LayerId layer, LayerId next, int64_t lead) const {
    const std::lock_guard lock(mutex_);
    return IsAhead(layer, next, lead);
  }
  // Waits while it is.
  void WaitForNext(LayerId layer, LayerId next, int64_t lead) {
    std::unique_lock lock(mutex_);
    while (!error_ && IsAhead(layer, next, lead) && !stop_.load()) {
      ProcessHealth().Beat(ToString(layer));  // it is well: the one below is slow
      changed_.wait_for(lock, kGlance);
    }
  }

 private:
  static size_t At(LayerId layer) { return static_cast<size_t>(layer); }
  [[nodiscard]] bool IsAhead(LayerId layer, LayerId next, int64_t lead) const {
    return !finished_[At(next)] && !standing_by_[At(next)] && !stands_[At(next)] &&
           rows_[At(layer)] - rows_[At(next)] > lead;
  }

  const std::atomic<bool>& stop_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Error> error_;
  std::optional<Error> first_;
  int64_t rows_[kLayers] = {};
  bool finished_[kLayers] = {};
  bool standing_by_[kLayers] = {};
  bool stands_[kLayers] = {};
  bool ended_[kLayers] = {};
  int64_t changes_ = 0;
};

}  // namespace k2::pipeline
