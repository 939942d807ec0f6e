// Silver: Bronze rows decoded and judged; each goes to its exchange's table or to rejected_trades.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "pipeline/bronze/finished_sources.h"
#include "pipeline/layer.h"
#include "pipeline/layer_metrics.h"
#include "pipeline/standing.h"
#include "pipeline/step_plan.h"
#include "registry/schema_source.h"
#include "table/accepted.h"
#include "table/dropped_unread.h"
#include "table/recreated_topics.h"
#include "table/scan.h"
#include "task/bronze_parts.h"
#include "task/held_partitions.h"
#include "task/market_tables.h"

namespace k2::pipeline {

class SilverLayer {
 public:
  static Result<std::unique_ptr<SilverLayer>> Open(const Lakehouse& lakehouse, const LayerOptions& options,
                                                   std::shared_ptr<registry::SchemaSource> schemas,
                                                   task::BatchCache* cache);

  // Judges at most about rows_per_step rows of Bronze that were not yet. The number judged; 0: nothing is new. A table
  // of an exchange that stands does not stop the others: its sources are left out, and its error is Step's when nothing
  // else is left to do.
  Result<int64_t> Step();
  // Of the tables that stand; nullopt: none does.
  [[nodiscard]] std::optional<Error> standing() const { return standing_.error(); }
  // Whether partitions wait for a schema that cannot be had at present. They do not stop the others: the error is
  // Step's when nothing else is left to do.
  [[nodiscard]] bool holds() const { return !held_.empty(); }
  // The layer as a whole stands: Bronze keeps what it has not read.
  void StandsWholly();
  // The same in parts, for tasks that run elsewhere: what Step would do, as at most `tasks` tasks; an empty plan where
  // nothing is new.
  Result<StepPlan> Plan(int32_t tasks);
  // All rows of Silver and rejected_trades again, out of Bronze's up to the offsets where Silver stands (rebuild.h).
  Result<StepPlan> PlanRebuild(int32_t tasks);
  // What CommitOffsets would commit; an empty plan where there is nothing.
  Result<StepPlan> PlanSettling();
  // Brings rejected_trades to the offsets of the others, when it stands behind for lack of rows.
  Status CommitOffsets();
  // Forgets what was planned: after another writer was here.
  void Recover() { planned_snapshot_ = 0, own_tables_known_ = false; }
  // Reads the tables this layer writes to; a text that changes with each commit of its own partitions, whoever made it.
  Result<std::string> Head();

  [[nodiscard]] const LayerStats& stats() const { return stats_; }

 private:
  // The offsets of one source partition that a step decides about.
  struct Range {
    table::SourceKey key;
    table::SourcePosition begin;           // as Silver has committed it
    table::SourcePosition rejected_begin;  // as rejected_trades has
    table::SourcePosition end;
    table::SourcePosition bronze_end;     // how far Bronze has it
    size_t table = 0;                     // index in silver_
    bool leave_out_rejected = false;      // rejected_trades stands ahead: of the rows that it holds, nothing is taken
    bool in_silver = false;               // Silver's document names it
    bool in_rejected = false;             // that of rejected_trades does
    bool whole = false;                   // `end` is where Bronze stands, or a count was accepted
    bool accepted = false;                // its rows are not counted: somebody has accepted what Bronze holds
    std::optional<table::OffsetGap> gap;  // `end` is where retention has dropped rows that were not read
  };
  // A Bronze file and those of its rows that are not judged yet.
  struct BronzeFile {
    std::string path;
    int64_t rows = 0;
    std::vector<task::BronzePart> parts;
    std::optional<MessageTimes> times;
    bool whole = true;  // parts are all that it holds: none was judged since
    iceberg::DeleteFiles deletes = {};
  };

  SilverLayer(table::Table bronze, table::Table rejected, std::vector<table::Table> silver, LayerOptions options,
              std::shared_ptr<registry::SchemaSource> schemas, task::BatchCache* cache, FinishedSources finished)
      : bronze_(std::move(bronze)),
        rejected_(std::move(rejected)),
        silver_(std::move(silver)),
        options_(std::move(options)),
        schemas_(std::move(schemas)),
        cache_(cache),
        finished_(std::move(finished)) {}

  Status Refresh();
  Status CheckShapes();
  Status FindFinished();
  Status FindFinishedOf(size_t table, const table::LayerProgress& in_document);
  [[nodiscard]] std::optional<table::SourcePosition> InSilver(const table::SourceKey& key) const;
  [[nodiscard]] Result<int64_t> LevelSnapshot() const;
  Result<std::vector<Range>> PlanRanges(bool ask);
  Result<Range> PlanRange(const table::SourceKey& key, const table::SourcePosition& bronze_end,
                          const exchange::Exchange& exchange, const std::optional<table::DroppedUnread>& dropped) const;
  void StopAtAccepted(Range& range) const;
  static task::HeldSource HeldSourceOf(const table::SourceKey& key);
  std::optional<task::HeldPartition> StopAtHeld(Range& range, bool ask) const;
  void Hold(task::HeldPartitions found);
  Result<StepPlan> PlanAsking(int32_t tasks, bool ask);
  static Status StopAtGap(const table::DroppedUnread& dropped, Range& range);
  static Error GapError(const Range& range, const table::OffsetGap& gap);
  bool CheckGaps(std::vector<Range>& ranges);
  void Stand(size_t table, Error error);
  bool StandMiscounted(const std::vector<task::TaskResult>& results, const StepPlan& plan, std::set<size_t>& seen);
  Status CommitTables(StepPlan plan, std::vector<PlannedRange>& ranges);
  Status CheckStanding(const std::optional<table::DroppedUnread>& dropped);
  Status CheckAccounted(size_t table);
  [[nodiscard]] Error MiscountOf(size_t table, const PlannedRange& range, const Miscount& miscount) const;
  void Level(size_t table);
  void UpdateTags();
  static std::vector<std::vector<const BronzeFile*>> Overlapping(const std::vector<BronzeFile>& files);
  [[nodiscard]] size_t TableOf(const table::SourceKey& key) const;
  [[nodiscard]] std::string NameOf(size_t table) const { return silver_[table].name().name; }
  Status PlanFiles();
  Status AddPending(const std::vector<table::ScanFile>& files, std::vector<BronzeFile> known);
  Result<BronzeFile> Describe(const table::ScanFile& scanned) const;
  std::optional<task::BronzePart> PartOfBounds(const iceberg::DataFile& file) const;
  [[nodiscard]] bool InBronze(const task::BronzePart& part) const;
  [[nodiscard]] std::string TopicIdOf(const task::BronzePart& part) const;
  [[nodiscard]] int64_t JudgedTo(const task::BronzePart& part) const;
  void ForgetJudged(const std::vector<PlannedRange>& ranges);
  std::vector<BronzeFile> Cut(std::vector<Range>& ranges) const;
  Result<std::vector<task::Task>> MakeTasks(const std::vector<Range>& ranges, const std::vector<BronzeFile>& files,
                                            int32_t tasks);
  [[nodiscard]] std::vector<PlannedCommit> PlanCommits(const std::vector<Range>& ranges,
                                                       const std::optional<MessageTimes>& times) const;
  int64_t TellLag() const;
  table::Table* Find(std::string_view name);
  Status TrySettle();
  [[nodiscard]] table::UpstreamHint Hint() const;

  table::Table bronze_;
  table::Table rejected_;
  std::vector<table::Table> silver_;  // in the order of Exchanges()
  LayerOptions options_;
  std::shared_ptr<registry::SchemaSource> schemas_;
  task::BatchCache* cache_;
  bool own_tables_known_ = false;
  // As Refresh() found them fit to be read and written.
  task::TableShape bronze_shape_;
  iceberg::Schema bronze_rows_;  // its columns under K2's names
  task::OutputTable rejected_output_;
  std::vector<task::OutputTable> silver_outputs_;  // in the order of silver_
  table::LayerProgress bronze_progress_;
  table::RecreatedTopics recreated_;
  table::LayerProgress rejected_progress_;
  std::vector<table::LayerProgress> silver_progress_;
  std::vector<table::Accepted> accepted_;  // by table
  StandingTables standing_;
  bool stands_wholly_ = false;
  task::HeldPartitions held_;
  std::set<size_t> level_;           // tables that have all that Bronze had at the last plan
  std::vector<BronzeFile> pending_;  // files of Bronze that may hold rows not yet judged, in commit order
  int64_t unjudged_from_ = 0;        // no row that is still to be judged has a lower offset
  int64_t planned_snapshot_ = 0;     // Bronze snapshot up to which pending_ knows the files; 0: none
  FinishedSources finished_;
  // By Silver table: where it stands in recordings that Bronze's document names and its own does not.
  std::vector<table::SourcePositions> silver_finished_;
  table::SourcePositions rejected_finished_;  // of rejected_trades, where Silver may have less
  LayerStats stats_;
};

// Of a plan whose completion is kUpstreamChanged: the error, with the snapshot of Bronze at which the table stands,
// which is tagged there.
Error StandAtMiscount(const Lakehouse& lakehouse, const std::vector<task::TaskResult>& results, const StepPlan& plan,
                      Error otherwise);

}  // namespace k2::pipeline
