// Bronze: messages of the sources, as they came, with the offsets up to which they were read.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/bronze/finished_sources.h"
#include "pipeline/bronze/source_set.h"
#include "pipeline/layer.h"
#include "pipeline/step_plan.h"

namespace k2::pipeline {

// Where sources begin that Bronze does not know yet: committed before anything is read of them, or a process that dies
// before its first commit would begin elsewhere the next time.
Status CommitStarts(table::Table& bronze, SourceSet& sources, const std::vector<table::SourceKey>& unknown,
                    const table::CommitPolicy& policy, LayerStats& stats);

class BronzeLayer {
 public:
  // Goes to where Bronze stands. What `sources` begins with, where that is not the beginning, is committed first.
  static Result<std::unique_ptr<BronzeLayer>> Open(const Lakehouse& lakehouse, const LayerOptions& options,
                                                   std::unique_ptr<SourceSet> sources, task::BatchCache* cache);

  // Told of the rows of a commit while a step goes on; false ends the step.
  using Moved = std::function<bool(int64_t rows)>;
  // Moves at most rows_per_step messages into Bronze. While a whole step more is there already, goes on with it at
  // once, so that the next messages are written while the ones before are committed, for overlap_us_max: `moved` is
  // told of each commit but the last. The number of rows that the last commit moved; 0: nothing was there within
  // `wait_us`. After an error the readers are ahead of the table: Recover.
  // A source that is Stopped is left out from then on: a step that was at work when it stopped moves nothing.
  Result<int64_t> Step(int64_t wait_us, const Moved& moved = nullptr);
  // Of the sources that are left out; nullopt: none is.
  [[nodiscard]] std::optional<Error> standing() const;
  // Reads the table, and tries again those that are left out: somebody may have set their offset.
  Status LookAgain();

  // Goes (again) to where Bronze stands: after another writer was here.
  Status Recover();
  // Reads Bronze; a text that changes with each commit of this layer's own sources, whoever made it.
  Result<std::string> Head();

  [[nodiscard]] bool AtEnd() const;  // nothing will follow: all recordings are at their end, or failed
  // Every source was seen at its end since the layer was opened; others may follow.
  [[nodiscard]] bool CaughtUp() const;
  [[nodiscard]] const LayerStats& stats() const { return stats_; }
  [[nodiscard]] const table::Table& table() const { return table_; }
  [[nodiscard]] SourceSet& sources() { return *sources_; }
  [[nodiscard]] int64_t stored_bytes() const;
  [[nodiscard]] int64_t stored_bytes_read() const;
  // Of sources that cannot be read on (cut files, recreated topics); what came before was committed.
  [[nodiscard]] std::vector<Error> failures() const;

 private:
  struct Input {
    SourceSet::Source source;
    table::SourcePosition position;   // the end of what was read: committed, or on its way there
    bool known = false;               // Bronze's document names it, or will with the commit that is on its way
    bool placed = false;              // the reader stands at `position`
    table::SourceKey placed_in = {};  // the reader's key at that time
    int64_t committed_offset = 0;
    bool failed = false;
    bool caught_up = false;
    std::optional<Error> stopped = {};  // why it is left out, or was until it is tried again
  };
  using Group = std::vector<size_t>;  // inputs_ that one task reads

  BronzeLayer(table::Table table, LayerOptions options, std::unique_ptr<SourceSet> sources, task::BatchCache* cache,
              FinishedSources finished)
      : table_(std::move(table)),
        options_(std::move(options)),
        sources_(std::move(sources)),
        cache_(cache),
        finished_(std::move(finished)) {}
  Result<int64_t> TryStep(int64_t wait_us, const Moved& moved);
  bool LeaveOutStopped();
  Status TakeNewSources();
  Status Place(Input& input, const table::LayerProgress& progress, const table::SourcePositions& finished);
  [[nodiscard]] std::vector<Group> Divide(const std::vector<size_t>& open) const;
  void ReportLags() const;
  // A step whose tasks have run: its plan, completed, and what they have written.
  struct Written {
    StepPlan plan;
    std::vector<task::TaskResult> results;
    table::SourcePositions next;  // the commit's
    int64_t rows = 0;
    int64_t run_us = 0;
    bool worth_a_commit = false;
  };
  Result<Written> Write(const std::vector<size_t>& open, const task::OutputTable& output, int64_t wait_us);
  void Take(const Group& group, const task::TaskResult& result, table::LayerCommit& commit, Written& written);
  Status Commit(Written& written);
  void DeleteFiles(const Written& written);
  void Account(const Written& written, int64_t started_us);
  [[nodiscard]] bool WholeStepAvailable() const;
  [[nodiscard]] std::vector<size_t> Open() const;

  table::Table table_;
  LayerOptions options_;
  std::unique_ptr<SourceSet> sources_;
  task::BatchCache* cache_;
  FinishedSources finished_;
  table::FinishedMark finished_mark_;  // of Bronze, as the inputs that it does not name were placed by
  std::vector<Input> inputs_;
  LayerStats stats_;
  std::vector<Error> failures_;
  size_t first_ = 0;  // input to begin the next step with
};

}  // namespace k2::pipeline
