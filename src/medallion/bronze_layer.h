// Bronze: messages of the sources, as they came, with the offsets up to which they were read.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "medallion/layer.h"
#include "medallion/source_set.h"

namespace k2 {

class BronzeLayer {
 public:
  // Goes to where Bronze stands. What `sources` begins with, where that is not the beginning, is committed first.
  static Result<std::unique_ptr<BronzeLayer>> Open(const Lakehouse& lakehouse, const LayerOptions& options,
                                                   std::unique_ptr<SourceSet> sources, BatchCache* cache);

  // Moves at most rows_per_step messages into Bronze. The number moved; 0: nothing was there within `wait_us`.
  Result<int64_t> Step(int64_t wait_us);

  // Goes (again) to where Bronze stands: after another writer was here.
  Status Recover();
  // Reads Bronze; a text that changes with each commit of K2's, whoever made it.
  Result<std::string> Head() { return HeadOf(table_); }

  [[nodiscard]] bool AtEnd() const;  // nothing will follow: all recordings are at their end, or failed
  // Every source was seen at its end since the layer was opened; others may follow.
  [[nodiscard]] bool CaughtUp() const;
  [[nodiscard]] const LayerStats& stats() const { return stats_; }
  [[nodiscard]] const Table& table() const { return table_; }
  [[nodiscard]] SourceSet& sources() { return *sources_; }
  [[nodiscard]] int64_t stored_bytes() const;
  [[nodiscard]] int64_t stored_bytes_read() const;
  // Recordings that cannot be read on (cut files); what came before was committed.
  [[nodiscard]] const std::vector<Error>& failures() const { return failures_; }

 private:
  struct Input {
    SourceSet::Source source;
    SourcePosition position;  // committed
    bool committed = false;   // Bronze knows the source
    bool placed = false;      // the reader stands at `position`
    bool failed = false;
    bool caught_up = false;
  };
  using Group = std::vector<size_t>;  // inputs_ that one task reads

  BronzeLayer(Table table, LayerOptions options, std::unique_ptr<SourceSet> sources, BatchCache* cache)
      : table_(std::move(table)), options_(std::move(options)), sources_(std::move(sources)), cache_(cache) {}
  Status TakeNewSources();
  Status CommitStarts(const LayerProgress& progress);
  Status Place(Input& input, const LayerProgress& progress);
  [[nodiscard]] std::vector<Group> Divide(const std::vector<size_t>& open) const;
  void ReportLags() const;
  Result<int64_t> Commit(const std::vector<Group>& groups, const std::vector<TaskResult>& results);

  Table table_;
  LayerOptions options_;
  std::unique_ptr<SourceSet> sources_;
  BatchCache* cache_;
  std::vector<Input> inputs_;
  LayerStats stats_;
  std::vector<Error> failures_;
  size_t first_ = 0;  // input to begin the next step with
};

}  // namespace k2
