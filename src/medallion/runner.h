// All layers in one process: each in a thread of its own, woken by the one above it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "medallion/bronze_layer.h"
#include "medallion/layer.h"
#include "source/schema_source.h"

namespace k2 {

struct RunOptions {
  LayerOptions layer;
  std::vector<RecordingSpec> recordings;
  bool bronze = true;
  bool silver = true;
  bool gold = true;
  bool follow = false;                   // wait for more at the end of the recordings, until stopped
  int64_t commit_interval_us = 400'000;  // while following: Bronze commits at most this often
  int64_t cache_bytes = 192LL << 20;     // rows handed on in memory
  int64_t lead_steps = 1;                // steps that a layer may be ahead of the next one
  std::shared_ptr<SchemaSource> schemas;
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

// Runs until the sources end (or `stop` is set) and the layers below have caught up with what was committed. The first
// error of a layer stops the run. A layer whose commit finds another writer's offsets plans again from the head, a
// bounded number of times in a row.
Result<RunReport> Run(const Lakehouse& lakehouse, const RunOptions& options, const std::atomic<bool>& stop,
                      RunProgress& progress);

}  // namespace k2
