// Gold: all exchanges in one table, each trade once, by hour.
#pragma once

#include <deque>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "pipeline/gold/gold_files.h"
#include "pipeline/gold/gold_shares.h"
#include "pipeline/layer.h"
#include "pipeline/layer_metrics.h"
#include "pipeline/standing.h"
#include "pipeline/step_plan.h"
#include "table/accepted.h"
#include "table/dropped_unread.h"
#include "table/scan.h"
#include "task/gold_index.h"
#include "task/market_tables.h"

namespace k2::pipeline {

// Values of exchange_date, as days since 1970, both included.
struct DayRange {
  int32_t first = INT32_MIN;
  int32_t last = INT32_MAX;
  [[nodiscard]] bool all() const { return first == INT32_MIN && last == INT32_MAX; }
};

class GoldLayer {
 public:
  static Result<std::unique_ptr<GoldLayer>> Open(const Lakehouse& lakehouse, const LayerOptions& options,
                                                 task::BatchCache* cache);

  // Moves at most about rows_per_step rows of Silver that Gold has not seen. The number read; 0: nothing is new. A
  // Silver table that Gold cannot read on does not stop the others: its error is Step's when nothing else is left to
  // do.
  Result<int64_t> Step();
  // The same in parts, for tasks that run elsewhere: what Step would do, as tasks that share the hours out; an empty
  // plan where nothing is new.
  Result<StepPlan> Plan(const GoldSpread& spread);
  // All of Gold's rows of these days again, out of what Silver holds now of the rows that Gold has read (rebuild.h).
  Result<StepPlan> PlanRebuild(const DayRange& days, int32_t tasks);
  // What CommitOffsets would commit; an empty plan where there is nothing.
  Result<StepPlan> PlanSettling();
  // Brings Gold to the offsets of Silver, when it stands behind for lack of rows.
  Status CommitOffsets();
  // Forgets what was planned and what is held in memory: after another writer was here.
  void Recover();
  // Reads Gold; a text that changes with each commit of new rows, whoever made it.
  Result<std::string> Head();

  // Of the Silver tables at which Gold stands; nullopt: at none.
  [[nodiscard]] std::optional<Error> standing() const { return standing_.error(); }
  // The layer as a whole stands: Silver keeps what it has not read.
  void StandsWholly();

  [[nodiscard]] const LayerStats& stats() const { return stats_; }
  [[nodiscard]] int64_t index_bytes() const { return index_.bytes(); }

 private:
  // One Silver table: the files that Gold has yet to read, and the snapshot it has read wholly when they are done.
  struct Upstream {
    table::Table table;
    task::TableShape shape{};                      // as CheckShapes() found it fit to be read
    iceberg::Schema rows{};                        // its columns under K2's names
    std::deque<table::ScanFile> pending;           // in the order of the snapshots that added them
    int64_t planned_sequence = 0;                  // sequence number of that snapshot
    int64_t planned_snapshot = 0;                  // up to which `pending` knows the files; 0: not planned yet
    std::optional<table::UpstreamHint> committed;  // as it stands in Gold
    int64_t stands_at = 0;  // a later snapshot that cannot be read, when what is before it was; 0: none
  };

  GoldLayer(table::Table gold, std::vector<Upstream> upstreams, LayerOptions options, task::BatchCache* cache)
      : gold_(std::move(gold)),
        upstreams_(std::move(upstreams)),
        options_(std::move(options)),
        cache_(cache),
        index_(options_.gold_index_bytes) {}

  Status TrySettle();
  Status FindInputs();
  Status CheckShapes();
  Status PlanUpstream(Upstream& upstream);
  Status ReadRewrites(Upstream& upstream, std::optional<int64_t> from, int64_t& to, table::Increment& increment) const;
  [[nodiscard]] Status CheckTagged(const Upstream& upstream, int64_t read) const;
  static void FollowRollback(const iceberg::TableMetadata& metadata, std::optional<int64_t>& from, int64_t& read);
  [[nodiscard]] int64_t AcceptedSequence(const Upstream& upstream) const;
  void UpdateTags();
  static Status CheckNothingLost(const Upstream& upstream);
  // A snapshot of an upstream table that may have expired since.
  struct ReadTo {
    int64_t snapshot_id = 0;
    int64_t sequence_number = 0;
  };
  using FilesByUpstream = std::vector<std::vector<table::ScanFile>>;
  Result<StepPlan> PlanStep(const GoldSpread& spread, bool whole_snapshots);
  FilesByUpstream TakeFiles(bool whole_snapshots, std::vector<std::optional<ReadTo>>& read_to);
  Result<std::vector<task::GoldFile>> ExistingFiles(const FilesByUpstream& inputs);
  [[nodiscard]] Result<std::vector<GoldSlice>> Slices(const FilesByUpstream& inputs, task::GoldTask& whole) const;
  Result<std::vector<task::GoldTask>> MakeTasks(const FilesByUpstream& inputs, const GoldSpread& spread);
  Result<std::vector<task::GoldTask>> MakeTasksAnew(const FilesByUpstream& inputs, const DayRange& days, int32_t tasks);
  static Result<std::vector<table::ScanFile>> FilesToReadAgain(const Upstream& upstream, const DayRange& days);
  Result<PlannedCommit> PlanCommit(const std::vector<std::optional<ReadTo>>& read_to,
                                   const std::optional<MessageTimes>& times) const;
  Result<int64_t> TryStep();
  Status DropFinished(const Upstream& upstream, const exchange::Exchange& exchange, table::LayerCommit& commit) const;
  Status Commit(StepPlan plan);
  [[nodiscard]] std::optional<MessageTimes> TimesOfInputs(const FilesByUpstream& inputs) const;
  Result<std::vector<PartitionLag>> Lags() const;
  void ReadAhead();

  table::Table gold_;
  std::vector<Upstream> upstreams_;
  LayerOptions options_;
  task::BatchCache* cache_;
  StandingTables standing_;  // Silver tables that cannot be read on
  table::Accepted accepted_;
  bool stands_wholly_ = false;
  bool doubled_ = false;  // the last commit was refused: another engine had added trades of it since the plan
  task::GoldIndex index_;
  bool gold_known_ = false;        // gold_ is as this layer's own commits, or a look since, have left it
  table::FoundProgress progress_;  // as planned from
  task::OutputTable output_;       // Gold, as CheckShapes() found it fit to be written
  iceberg::Schema gold_rows_;      // its columns under K2's names
  LayerStats stats_;
  GoldFiles gold_files_;
  std::future<void> reading_;  // last: it uses the others
};

}  // namespace k2::pipeline
