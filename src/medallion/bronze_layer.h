// Bronze: messages of the sources, as they came, with the offsets up to which they were read.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "medallion/layer.h"
#include "source/recording.h"
#include "source/source.h"

namespace k2 {

struct RecordingSpec {
  std::string exchange;  // topic name: binance
  std::string path;
};

class BronzeLayer {
 public:
  // Opens the recordings and goes to where Bronze stands. A recording given twice (by content) is read once.
  static Result<std::unique_ptr<BronzeLayer>> Open(const Lakehouse& lakehouse, const LayerOptions& options,
                                                   const std::vector<RecordingSpec>& recordings, bool follow,
                                                   BatchCache* cache);

  // Moves at most rows_per_step messages into Bronze. The number moved; 0: nothing was there within `wait_us`.
  Result<int64_t> Step(int64_t wait_us);

  // Goes (again) to where Bronze stands: after another writer was here.
  Status Recover();

  [[nodiscard]] bool AtEnd() const;  // all recordings are at their end, or failed
  [[nodiscard]] const LayerStats& stats() const { return stats_; }
  [[nodiscard]] int64_t stored_bytes() const;
  [[nodiscard]] int64_t stored_bytes_read() const;
  // Recordings that cannot be read on (cut files); what came before was committed.
  [[nodiscard]] const std::vector<Error>& failures() const { return failures_; }

 private:
  struct Input {
    RecordingSpec spec;
    std::unique_ptr<RecordingReader> reader;
    SourcePosition position;  // committed
    bool failed = false;
    bool placed = false;  // the key is known, and the reader stands at `position`
  };
  BronzeLayer(Table table, LayerOptions options, BatchCache* cache)
      : table_(std::move(table)), options_(std::move(options)), cache_(cache) {}
  Status Place(Input& input, const LayerProgress& progress);
  Result<int64_t> Commit(const std::vector<size_t>& chosen, const std::vector<TaskResult>& results);

  Table table_;
  LayerOptions options_;
  BatchCache* cache_;
  std::vector<Input> inputs_;
  LayerStats stats_;
  std::vector<Error> failures_;
  size_t first_ = 0;  // input to begin the next step with
};

}  // namespace k2
