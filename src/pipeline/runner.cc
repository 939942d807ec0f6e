#include "pipeline/runner.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <optional>
#include <thread>

#include "base/error_text.h"
#include "base/guard.h"
#include "base/health.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/time.h"
#include "pipeline/bronze/finished_sources.h"
#include "pipeline/gold/gold_layer.h"
#include "pipeline/nothing_taken.h"
#include "pipeline/pipeline_state.h"
#include "pipeline/retry_policy.h"
#include "pipeline/silver/silver_layer.h"

namespace k2::pipeline {
namespace {

constexpr std::string_view kTables = "tables";  // catalog and storage, as a dependency
constexpr int64_t kWaitForMessagesUs = 50'000;
constexpr int64_t kCommitOffsetsIntervalUs = 30'000'000;
constexpr int64_t kDrainUsMax = 10'000'000;  // after the stop: what is left of a backlog then waits for the next start

// A step's batches are free at its end, but the allocator keeps their memory for the next ones, which saves page faults
// (a fifth of all CPU, were it given back after each step). What a burst has left behind goes back now and then; at
// once where it is much.
void TrimMemory() {
  constexpr int64_t kResidentBytesMax = 704LL << 20;
  constexpr int64_t kTrimIntervalUs = 10'000'000;
  static std::atomic<int64_t> last_us{MonotonicMicros()};
  const int64_t now_us = MonotonicMicros();
  int64_t last = last_us;
  if (now_us - last > kTrimIntervalUs && last_us.compare_exchange_strong(last, now_us)) {
    ::malloc_trim(0);
    return;
  }
  std::ifstream statm("/proc/self/statm");
  int64_t total_pages = 0;
  int64_t resident_pages = 0;
  if (statm >> total_pages >> resident_pages && resident_pages * 4096 > kResidentBytesMax) ::malloc_trim(0);
}

RetryOptions RetryOptionsOf(const RunOptions& options) {
  return {.endless = options.endless, .takeover_us = options.takeover_us, .outage_us_max = options.outage_us_max};
}

// Waits while another process moves the tables of this layer. True when none has done so for the time after which this
// one is to take over; false when the run ends before that. A catalog that does not answer tells nothing of the other.
template <typename Layer>
bool StandBy(Layer& layer, LayerId id, const RunOptions& options, PipelineState& state) {
  log::Info("standing by: another process writes this layer's tables", {{"layer", ToString(id)}});
  state.StandBy(id, true);
  std::string head;
  int64_t since_us = MonotonicMicros();
  // Two that stand by together must not come back together.
  const int64_t takeover_us = options.takeover_us + MonotonicMicros() % std::max<int64_t>(options.takeover_us / 2, 1);
  const std::chrono::microseconds poll(std::clamp<int64_t>(options.takeover_us / 8, 10'000, 1'000'000));
  while (!state.stopping() && !state.failed()) {
    const Result<std::string> now = layer.Head();
    if (!now || *now != head) {
      since_us = MonotonicMicros();
      if (now) head = *now;
    } else if (MonotonicMicros() - since_us > takeover_us) {
      log::Info("taking over: no other process has written this layer's tables",
                {{"layer", ToString(id)}, {"seconds", std::to_string(takeover_us / 1'000'000)}});
      break;
    }
    ProcessHealth().Beat(ToString(id));
    state.Wait(state.changes(), poll);
  }
  state.StandBy(id, false);
  return !state.stopping() && !state.failed();
}

// Tells of a layer that stands, or one of whose tables does: once, and once more when it goes on.
class StandingReport {
 public:
  StandingReport(LayerId id, PipelineState& state)
      : id_(id),
        state_(state),
        gauge_(GaugeOf("k2_layer_stands", "1 while the layer, or one of its tables, is blocked by an error.",
                       {{"layer", std::string(ToString(id))}})) {
    gauge_.Set(0);
  }

  void Tell(const std::optional<Error>& error) {
    const std::string why = error ? MessageAndHint(*error) : std::string{};
    if (why == told_) return;
    if (error) {
      log::Error("layer blocked; retrying, other layers continue", {{"layer", ToString(id_)}, {"error", why}});
    } else {
      log::Info("blocked layer resumed", {{"layer", ToString(id_)}});
    }
    gauge_.Set(error ? 1 : 0);
    state_.Stands(id_, error.has_value());
    ProcessHealth().Stands(ToString(id_), why);
    told_ = why;
  }
  // Whether it is time to look again at what stands beside the rest.
  [[nodiscard]] bool Due() {
    const int64_t now_us = MonotonicMicros();
    if (now_us < next_look_us_) return false;
    pause_us_ = std::clamp<int64_t>(pause_us_ * 2, kMicrosPerSecond, 30 * kMicrosPerSecond);
    const bool first = next_look_us_ == 0;
    next_look_us_ = now_us + pause_us_;
    return !first;
  }
  // After a step that went through whole.
  void GoesOn() {
    next_look_us_ = 0;
    pause_us_ = 0;
    Tell(std::nullopt);
  }
  // Waits until it is time to look again; false when the run ends before that.
  bool Wait() {
    pause_us_ = std::clamp<int64_t>(pause_us_ * 2, kMicrosPerSecond, 30 * kMicrosPerSecond);
    const int64_t until_us = MonotonicMicros() + pause_us_;
    while (!state_.stopping() && !state_.failed() && MonotonicMicros() < until_us) {
      ProcessHealth().Beat(ToString(id_));
      std::this_thread::sleep_for(PipelineState::kGlance);
    }
    return !state_.stopping() && !state_.failed();
  }

 private:
  LayerId id_;
  PipelineState& state_;
  Gauge& gauge_;
  std::string told_;
  int64_t pause_us_ = 0;
  int64_t next_look_us_ = 0;
};

// The layer downstream (1) or upstream (-1).
LayerId Neighbour(LayerId id, int step) { return static_cast<LayerId>(static_cast<int>(id) + step); }

// Rights of the source are the run's own: it must be started again with others.
bool EndsTheRun(LayerId id, const Error& error) {
  return id == LayerId::kBronze && error.kind == ErrorKind::kPermission;
}

// Deals with a failed step: true when the layer is to go on with the next one. What does not pass by itself makes the
// layer of a service stand, and look again until somebody has mended it; a run with an end goes on without the layer.
template <typename Layer, typename Recover>
bool HandleStepError(Layer& layer, LayerId id, const Error& error, RetryPolicy& retry, StandingReport& standing,
                     const RunOptions& options, PipelineState& state, const Recover& recover) {
  Error last = error;
  while (true) {
    ProcessHealth().Beat(ToString(id));
    if (last.kind == ErrorKind::kUnavailable) ProcessHealth().SetDependency(kTables, false, last.message);
    const RetryPolicy::Next next = retry.Judge(last);
    if (next == RetryPolicy::Next::kFail) {
      if (EndsTheRun(id, last)) {
        state.Failed(last.With(ToString(id)));
        return false;
      }
      if (options.endless) {
        if constexpr (requires { layer.StandsWholly(); }) layer.StandsWholly();
        standing.Tell(last);
      }
      if (!options.endless || !standing.Wait()) {
        state.Ended(id, last.With(ToString(id)));
        return false;
      }
      retry.Reset();
    }
    if (next == RetryPolicy::Next::kStandBy && !StandBy(layer, id, options, state)) return false;
    const Status recovered = recover();
    if (recovered) return true;
    last = recovered.error();
  }
}

// Commits go by time or by size, whichever comes first: waits until the interval has passed or a whole step is there,
// or as much as the buffers hold (of few partitions that is less than a step). A run with an end does so too, or it
// would commit each handful that a broker has just sent.
void WaitForCommit(int64_t last_commit_us, BronzeLayer& layer, const RunOptions& options, const PipelineState& state) {
  constexpr int64_t kSliceUs = 10'000;
  while (!state.stopping() && !state.failed()) {
    const int64_t left_us = last_commit_us + options.commit_interval_us - MonotonicMicros();
    if (left_us <= 0 || layer.sources().Available() >= options.layer.rows_per_step || layer.sources().BufferFull()) {
      return;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(std::min(left_us, kSliceUs)));
  }
}

// The top of a layer's thread: what no code of K2 should throw ends the run with an error that names the layer.
template <typename Run>
void RunLayer(LayerId id, PipelineState& state, const Run& run) {
  const Status status = Guarded(fmt::format("the layer {}", ToString(id)), [&]() -> Status {
    run();
    return {};
  });
  if (status) return;
  state.Failed(status.error());
  state.Finished(id);
  ProcessHealth().Finished(ToString(id));
}

void RunBronze(BronzeLayer& layer, const RunOptions& options, PipelineState& state, RunProgress& progress) {
  RetryPolicy retry(RetryOptionsOf(options), LayerId::kBronze, state.stop());
  StandingReport standing(LayerId::kBronze, state);
  RefusalWatch watch(LayerId::kBronze);
  const auto recover = [&] { return layer.Recover(); };
  int64_t last_commit_us = 0;
  const int64_t lead = options.layer.rows_per_step * options.lead_steps;
  const bool waits = options.endless || !layer.sources().FailIndependently();
  if (options.standby && StandBy(layer, LayerId::kBronze, options, state)) {
    // What is away at this moment is waited for, as at any other.
    if (const Status status = layer.Recover(); !status) {
      (void)HandleStepError(layer, LayerId::kBronze, status.error(), retry, standing, options, state, recover);
    }
  }
  const auto moved = [&](int64_t rows) {
    ProcessHealth().Beat(ToString(LayerId::kBronze));
    retry.Reset();
    ProcessHealth().SetDependency(kTables, true);
    progress.bronze_rows += rows;
    progress.bytes_read = layer.stored_bytes_read();
    last_commit_us = MonotonicMicros();
    state.Moved(LayerId::kBronze, rows);
    return !state.stopping() && !state.failed() &&
           !(options.silver && state.Ahead(LayerId::kBronze, LayerId::kSilver, lead));
  };
  while (!state.stopping() && !state.failed()) {
    ProcessHealth().Beat(ToString(LayerId::kBronze));
    if (options.silver) state.WaitForNext(LayerId::kBronze, LayerId::kSilver, lead);
    if (waits) WaitForCommit(last_commit_us, layer, options, state);
    Result<int64_t> rows = layer.Step(waits ? kWaitForMessagesUs : 0, waits ? moved : BronzeLayer::Moved{});
    const std::optional<Error> stopped = rows ? layer.standing() : std::nullopt;
    if (options.endless && stopped && standing.Due()) {
      if (const Status looked = layer.LookAgain(); !looked) rows = std::unexpected(looked.error());
    }
    if (!rows) {
      if (!HandleStepError(layer, LayerId::kBronze, rows.error(), retry, standing, options, state, recover)) break;
      continue;
    }
    if (options.endless && stopped) {
      standing.Tell(stopped);
    } else {
      standing.GoesOn();
    }
    ProcessHealth().SetDependency(kTables, true);
    if (options.endless) watch.Look(layer.stats(), MonotonicMicros());
    if (*rows > 0) (void)moved(*rows);  // a step without rows has asked neither source nor tables
    if (layer.AtEnd() || (!options.endless && *rows == 0 && layer.CaughtUp())) break;
  }
  state.Finished(LayerId::kBronze);
  ProcessHealth().Finished(ToString(LayerId::kBronze));
}

// Silver and Gold: step until nothing is new and the layer above has finished.
template <typename Layer>
void RunDownstreamLayer(Layer& layer, LayerId id, const RunOptions& options, bool upstream_runs, bool next_runs,
                        PipelineState& state, std::atomic<int64_t>& counter) {
  RetryPolicy retry(RetryOptionsOf(options), id, state.stop());
  StandingReport report(id, state);
  RefusalWatch watch(id);
  const auto recover = [&] {
    layer.Recover();
    return Status{};
  };
  const int64_t lead = options.layer.rows_per_step * options.lead_steps;
  // The layer above wakes this one when it is in the same process.
  const std::chrono::microseconds poll(upstream_runs ? std::max<int64_t>(options.poll_us, 1'000'000) : options.poll_us);
  int64_t settled_us = MonotonicMicros();
  if (options.standby) {
    (void)StandBy(layer, id, options, state);
    layer.Recover();
  }
  int64_t stopped_us = 0;
  while (!state.failed()) {
    ProcessHealth().Beat(ToString(id));
    if (state.stopping()) {
      if (stopped_us == 0) stopped_us = MonotonicMicros();
      if (MonotonicMicros() - stopped_us > kDrainUsMax) break;
    }
    if (next_runs) state.WaitForNext(id, Neighbour(id, 1), lead);
    const bool last_look = !upstream_runs || state.finished(Neighbour(id, -1));
    const int64_t seen = state.changes();
    const Result<int64_t> step = layer.Step();
    const std::optional<Error> standing = layer.standing();
    // Nothing is left to do but for tables that stand.
    const bool stands = !step && standing && step.error().message == standing->message;
    if (!step && !stands) {
      // Partitions that wait for a schema are no reason for the layer above to wait.
      if constexpr (requires { layer.holds(); }) {
        if (layer.holds()) state.CaughtUp(id, seen);
      }
      if (!HandleStepError(layer, id, step.error(), retry, report, options, state, recover)) break;
      continue;
    }
    if (standing) {
      report.Tell(standing);
    } else {
      report.GoesOn();
    }
    const int64_t rows = step.value_or(0);
    if (options.endless && id == LayerId::kSilver) watch.Look(layer.stats(), MonotonicMicros());
    retry.Reset();
    ProcessHealth().SetDependency(kTables, true);
    counter += rows;
    if (options.endless && MonotonicMicros() - settled_us > kCommitOffsetsIntervalUs) {
      settled_us = MonotonicMicros();
      if (const Status status = layer.CommitOffsets(); !status) {
        log::Warn("cannot yet commit offsets that have no rows",
                  {{"layer", ToString(id)}, {"error", status.error().message}});
        layer.Recover();
      }
    }
    if (rows > 0) {
      TrimMemory();
      state.Moved(id, rows);
      if (!upstream_runs && state.stopping()) break;
      continue;
    }
    state.CaughtUp(id, seen);
    if (last_look && (!options.endless || state.stopping() || upstream_runs)) {
      if (standing) state.Ended(id, standing->With(ToString(id)));
      break;
    }
    state.Wait(seen, poll);
  }
  state.Finished(id);
  ProcessHealth().Finished(ToString(id));
}

}  // namespace

Result<RunReport> Run(const Lakehouse& lakehouse, const RunOptions& options, const std::atomic<bool>& stop,
                      RunProgress& progress) {
  const int64_t started_us = MonotonicMicros();
  task::BatchCache cache(options.cache_bytes);
  std::unique_ptr<BronzeLayer> bronze;
  std::unique_ptr<SilverLayer> silver;
  std::unique_ptr<GoldLayer> gold;
  // Rows are handed on only where the next layer takes them.
  if (options.bronze) {
    K2_ASSIGN(auto sources, options.sources());
    K2_ASSIGN(bronze,
              BronzeLayer::Open(lakehouse, options.layer, std::move(sources), options.silver ? &cache : nullptr));
    progress.bytes_total = bronze->stored_bytes();
  }
  if (options.silver) {
    task::BatchCache* const shared = options.bronze || options.gold ? &cache : nullptr;
    K2_ASSIGN(silver, SilverLayer::Open(lakehouse, options.layer, options.schemas, shared));
  }
  if (options.gold) {
    LayerOptions layer = options.layer;
    layer.read_ahead = !options.silver && layer.threads > 1;
    K2_ASSIGN(gold, GoldLayer::Open(lakehouse, layer, &cache));
  }
  PipelineState state(stop);
  if (bronze) ProcessHealth().Expect(ToString(LayerId::kBronze));
  if (silver) ProcessHealth().Expect(ToString(LayerId::kSilver));
  if (gold) ProcessHealth().Expect(ToString(LayerId::kGold));
  {
    std::vector<std::jthread> threads;
    if (bronze) {
      threads.emplace_back(
          [&] { RunLayer(LayerId::kBronze, state, [&] { RunBronze(*bronze, options, state, progress); }); });
    }
    if (silver) {
      threads.emplace_back([&] {
        RunLayer(LayerId::kSilver, state, [&] {
          RunDownstreamLayer(*silver, LayerId::kSilver, options, options.bronze, options.gold, state,
                             progress.silver_rows);
        });
      });
    }
    if (gold) {
      threads.emplace_back([&] {
        RunLayer(LayerId::kGold, state, [&] {
          RunDownstreamLayer(*gold, LayerId::kGold, options, options.silver, false, state, progress.gold_rows);
        });
      });
    }
  }
  if (state.failed()) return std::unexpected(*state.error());
  if (silver && !state.ended(LayerId::kSilver)) K2_TRY(silver->CommitOffsets());
  if (gold && !state.ended(LayerId::kGold)) K2_TRY(gold->CommitOffsets());
  if (auto error = state.error()) return std::unexpected(std::move(*error));
  if (!options.endless && !stop.load()) {
    // Of the recordings that this run and earlier ones have finished. Nothing is lost where it fails.
    const Result<int64_t> archived = ArchiveFinished(lakehouse, {.commit = options.layer.commit});
    if (!archived) {
      log::Warn("cannot archive the positions of finished recordings", {{"error", archived.error().message}});
    }
  }
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

}  // namespace k2::pipeline
