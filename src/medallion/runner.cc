#include "medallion/runner.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <optional>
#include <thread>

#include "base/guard.h"
#include "base/health.h"
#include "base/log.h"
#include "base/time.h"
#include "medallion/floor.h"
#include "medallion/gold_layer.h"
#include "medallion/patience.h"
#include "medallion/silver_layer.h"

namespace k2 {
namespace {

constexpr std::string_view kTables = "tables";  // catalog and storage, as a dependency
constexpr int64_t kWaitForMessagesUs = 50'000;
constexpr int64_t kSettleIntervalUs = 30'000'000;
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

PatienceOptions PatienceOf(const RunOptions& options) {
  return {.endless = options.endless, .takeover_us = options.takeover_us, .outage_us_max = options.outage_us_max};
}

// Waits while another process moves the tables of this layer. True when none has done so for the time after which this
// one is to take over; false when the run ends before that. A catalog that does not answer tells nothing of the other.
template <typename Layer>
bool StandBy(Layer& layer, LayerNumber number, std::string_view name, const RunOptions& options, Floor& floor) {
  log::Info("standing by: another process moves this layer's tables", {{"layer", std::string(name)}});
  floor.StandBy(number, true);
  std::string head;
  int64_t since_us = MonotonicMicros();
  // Two that stand by together must not come back together.
  const int64_t takeover_us = options.takeover_us + MonotonicMicros() % std::max<int64_t>(options.takeover_us / 2, 1);
  const std::chrono::microseconds poll(std::clamp<int64_t>(options.takeover_us / 8, 10'000, 1'000'000));
  while (!floor.stopping() && !floor.failed()) {
    const Result<std::string> now = layer.Head();
    if (!now || *now != head) {
      since_us = MonotonicMicros();
      if (now) head = *now;
    } else if (MonotonicMicros() - since_us > takeover_us) {
      log::Info("taking over: no other process has moved this layer's tables",
                {{"layer", std::string(name)}, {"seconds", std::to_string(takeover_us / 1'000'000)}});
      break;
    }
    ProcessHealth().Beat(name);
    floor.Wait(floor.changes(), poll);
  }
  floor.StandBy(number, false);
  return !floor.stopping() && !floor.failed();
}

// Deals with a failed step: true when the layer is to go on with the next one.
template <typename Layer, typename Recover>
bool GoOn(Layer& layer, LayerNumber number, std::string_view name, const Error& error, Patience& patience,
          const RunOptions& options, Floor& floor, const Recover& recover) {
  Error last = error;
  while (true) {
    ProcessHealth().Beat(name);
    if (last.kind == ErrorKind::kUnavailable) ProcessHealth().SetDependency(kTables, false, last.message);
    const Patience::Next next = patience.Judge(last);
    if (next == Patience::Next::kFail) {
      floor.Failed(last.With(name));
      return false;
    }
    if (next == Patience::Next::kStandBy && !StandBy(layer, number, name, options, floor)) return false;
    const Status recovered = recover();
    if (recovered) return true;
    last = recovered.error();
  }
}

// Commits go by time or by size, whichever comes first: waits until the interval has passed or a whole step is there,
// or as much as the buffers hold (of few partitions that is less than a step). A run with an end does so too, or it
// would commit each handful that a broker has just sent.
void WaitForCommit(int64_t last_commit_us, BronzeLayer& layer, const RunOptions& options, const Floor& floor) {
  constexpr int64_t kSliceUs = 10'000;
  while (!floor.stopping() && !floor.failed()) {
    const int64_t left_us = last_commit_us + options.commit_interval_us - MonotonicMicros();
    if (left_us <= 0 || layer.sources().Available() >= options.layer.rows_per_step || layer.sources().BufferFull()) {
      return;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(std::min(left_us, kSliceUs)));
  }
}

// The top of a layer's thread: what no code of K2 should throw ends the run with an error that names the layer.
template <typename Run>
void RunLayer(LayerNumber number, Floor& floor, const Run& run) {
  const Status status = Guarded(fmt::format("the layer {}", kLayerNames[number]), [&]() -> Status {
    run();
    return {};
  });
  if (status) return;
  floor.Failed(status.error());
  floor.Finished(number);
  ProcessHealth().Finished(kLayerNames[number]);
}

void RunBronze(BronzeLayer& layer, const RunOptions& options, Floor& floor, RunProgress& progress) {
  Patience patience(PatienceOf(options), "bronze", floor.stop());
  const auto recover = [&] { return layer.Recover(); };
  int64_t last_commit_us = 0;
  const int64_t lead = options.layer.rows_per_step * options.lead_steps;
  const bool waits = options.endless || !layer.sources().ApartFromEachOther();
  if (options.standby && StandBy(layer, kBronze, "bronze", options, floor)) {
    // What is away at this moment is waited for, as at any other.
    if (const Status status = layer.Recover(); !status) {
      (void)GoOn(layer, kBronze, "bronze", status.error(), patience, options, floor, recover);
    }
  }
  const auto moved = [&](int64_t rows) {
    ProcessHealth().Beat("bronze");
    patience.Reset();
    ProcessHealth().SetDependency(kTables, true);
    progress.bronze_rows += rows;
    progress.bytes_read = layer.stored_bytes_read();
    last_commit_us = MonotonicMicros();
    floor.Moved(kBronze, rows);
    return !floor.stopping() && !floor.failed() && !(options.silver && floor.Ahead(kBronze, kSilver, lead));
  };
  while (!floor.stopping() && !floor.failed()) {
    ProcessHealth().Beat("bronze");
    if (options.silver) floor.WaitForNext(kBronze, kSilver, lead);
    if (waits) WaitForCommit(last_commit_us, layer, options, floor);
    const Result<int64_t> rows = layer.Step(waits ? kWaitForMessagesUs : 0, waits ? moved : BronzeLayer::Moved{});
    if (!rows) {
      if (!GoOn(layer, kBronze, "bronze", rows.error(), patience, options, floor, recover)) break;
      continue;
    }
    ProcessHealth().SetDependency(kTables, true);
    if (*rows > 0) (void)moved(*rows);  // a step without rows has asked neither source nor tables
    if (layer.AtEnd() || (!options.endless && *rows == 0 && layer.CaughtUp())) break;
  }
  floor.Finished(kBronze);
  ProcessHealth().Finished("bronze");
}

// Silver and Gold: step until nothing is new and the layer above has finished.
template <typename Layer>
void RunBelow(Layer& layer, LayerNumber number, std::string_view name, const RunOptions& options, bool upstream_runs,
              bool next_runs, Floor& floor, std::atomic<int64_t>& counter) {
  Patience patience(PatienceOf(options), name, floor.stop());
  const auto recover = [&] {
    layer.Recover();
    return Status{};
  };
  const int64_t lead = options.layer.rows_per_step * options.lead_steps;
  // The layer above wakes this one when it is in the same process.
  const std::chrono::microseconds poll(upstream_runs ? std::max<int64_t>(options.poll_us, 1'000'000) : options.poll_us);
  int64_t settled_us = MonotonicMicros();
  if (options.standby) {
    (void)StandBy(layer, number, name, options, floor);
    layer.Recover();
  }
  int64_t stopped_us = 0;
  while (!floor.failed()) {
    ProcessHealth().Beat(name);
    if (floor.stopping()) {
      if (stopped_us == 0) stopped_us = MonotonicMicros();
      if (MonotonicMicros() - stopped_us > kDrainUsMax) break;
    }
    if (next_runs) floor.WaitForNext(number, static_cast<LayerNumber>(number + 1), lead);
    const bool last_look = !upstream_runs || floor.finished(static_cast<LayerNumber>(number - 1));
    const int64_t seen = floor.changes();
    const Result<int64_t> rows = layer.Step();
    if (!rows) {
      if (!GoOn(layer, number, name, rows.error(), patience, options, floor, recover)) break;
      continue;
    }
    patience.Reset();
    ProcessHealth().SetDependency(kTables, true);
    counter += *rows;
    if (options.endless && MonotonicMicros() - settled_us > kSettleIntervalUs) {
      settled_us = MonotonicMicros();
      if (const Status status = layer.Settle(); !status) {
        log::Warn("offsets without rows are not committed yet",
                  {{"layer", std::string(name)}, {"error", status.error().message}});
        layer.Recover();
      }
    }
    if (*rows > 0) {
      TrimMemory();
      floor.Moved(number, *rows);
      if (!upstream_runs && floor.stopping()) break;
      continue;
    }
    floor.CaughtUp(number, seen);
    if (last_look && (!options.endless || floor.stopping() || upstream_runs)) break;
    floor.Wait(seen, poll);
  }
  floor.Finished(number);
  ProcessHealth().Finished(name);
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
    K2_ASSIGN(auto sources, options.sources());
    K2_ASSIGN(bronze,
              BronzeLayer::Open(lakehouse, options.layer, std::move(sources), options.silver ? &cache : nullptr));
    progress.bytes_total = bronze->stored_bytes();
  }
  if (options.silver) {
    BatchCache* const shared = options.bronze || options.gold ? &cache : nullptr;
    K2_ASSIGN(silver, SilverLayer::Open(lakehouse, options.layer, options.schemas, shared));
  }
  if (options.gold) {
    LayerOptions layer = options.layer;
    layer.read_ahead = !options.silver && layer.threads > 1;
    K2_ASSIGN(gold, GoldLayer::Open(lakehouse, layer, &cache));
  }
  Floor floor(stop);
  if (bronze) ProcessHealth().Expect("bronze");
  if (silver) ProcessHealth().Expect("silver");
  if (gold) ProcessHealth().Expect("gold");
  {
    std::vector<std::jthread> threads;
    if (bronze) {
      threads.emplace_back([&] { RunLayer(kBronze, floor, [&] { RunBronze(*bronze, options, floor, progress); }); });
    }
    if (silver) {
      threads.emplace_back([&] {
        RunLayer(kSilver, floor, [&] {
          RunBelow(*silver, kSilver, "silver", options, options.bronze, options.gold, floor, progress.silver_rows);
        });
      });
    }
    if (gold) {
      threads.emplace_back([&] {
        RunLayer(kGold, floor,
                 [&] { RunBelow(*gold, kGold, "gold", options, options.silver, false, floor, progress.gold_rows); });
      });
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
