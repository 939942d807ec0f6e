// All layers in one process: each in a thread of its own, woken by the one above it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pipeline/bronze/bronze_layer.h"
#include "pipeline/layer.h"
#include "registry/schema_source.h"

namespace k2::pipeline {

struct RunOptions {
  LayerOptions layer;
  std::function<Result<std::unique_ptr<SourceSet>>()> sources;  // what Bronze reads
  bool bronze = true;
  bool silver = true;
  bool gold = true;
  bool endless = false;                  // at the end wait for more, until stopped, and outlast outages
  int64_t commit_interval_us = 400'000;  // endless: Bronze commits at most this often, unless a whole step is there
  bool standby = false;                  // begin by watching: another process does this work
  int64_t takeover_us = 10'000'000;      // that one is taken for dead when its tables have not moved for so long
  int64_t outage_us_max = 120'000'000;   // not endless: a service that does not answer is waited for so long
  int64_t poll_us = 50'000;              // a layer without the one above it looks for new rows this often
  int64_t cache_bytes = 192LL << 20;     // rows handed on in memory
  int64_t lead_steps = 2;                // steps that a layer may be ahead of the next one
  std::shared_ptr<registry::SchemaSource> schemas;
};

// Where a run stands, for a progress bar. Read by another thread.
struct RunProgress {
  std::atomic<int64_t> bytes_read{0};
  std::atomic<int64_t> bytes_total{0};
  std::atomic<int64_t> bronze_rows{0};
  std::atomic<int64_t> silver_rows{0};  // judged: accepted and rejected
  std::atomic<int64_t> gold_rows{0};    // read: kept and dropped
};

struct RunReport {
  LayerStats bronze;
  LayerStats silver;
  LayerStats gold;
  int64_t elapsed_us = 0;
  int64_t cache_hits = 0;
  int64_t cache_misses = 0;
  std::vector<Error> failures;  // sources that could not be read to their end; all else went through
};

// Runs until the sources end (or `stop` is set) and the layers below have caught up with what was committed. A layer
// with an error that does not pass by itself stands while the others go on: of an endless run it looks again at an
// interval, of one with an end it ends. The first such error that is there at the end is the run's. A layer whose
// commit finds another writer's offsets plans again from the head; an endless one that finds them twice in a short time
// stands by until they no longer move.
Result<RunReport> Run(const Lakehouse& lakehouse, const RunOptions& options, const std::atomic<bool>& stop,
                      RunProgress& progress);

}  // namespace k2::pipeline
