// Silver: Bronze rows decoded and judged; each goes to its exchange's table or to rejected_trades.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "medallion/layer.h"
#include "medallion/layer_metrics.h"
#include "medallion/step_plan.h"
#include "source/schema_source.h"
#include "table/dropped_unread.h"
#include "table/scan.h"
#include "task/bronze_parts.h"

namespace k2 {

class SilverLayer {
 public:
  static Result<std::unique_ptr<SilverLayer>> Open(const Lakehouse& lakehouse, const LayerOptions& options,
                                                   std::shared_ptr<SchemaSource> schemas, BatchCache* cache);

  // Judges at most about rows_per_step rows of Bronze that were not yet. The number judged; 0: nothing is new.
  Result<int64_t> Step();
  // The same in parts, for tasks that run elsewhere: what Step would do, as at most `tasks` tasks; an empty plan where
  // nothing is new.
  Result<StepPlan> Plan(int32_t tasks);
  // All rows of Silver and rejected_trades again, out of Bronze's up to the offsets where Silver stands (rebuild.h).
  Result<StepPlan> PlanRebuild(int32_t tasks);
  // What Settle would commit; an empty plan where there is nothing.
  Result<StepPlan> PlanSettling();
  // Brings rejected_trades to the offsets of the others, when it stands behind for lack of rows.
  Status Settle();
  // Forgets what was planned: after another writer was here.
  void Recover() { planned_snapshot_ = 0, own_tables_known_ = false; }
  // Reads the tables this layer writes to; a text that changes with each commit of its own partitions, whoever made it.
  Result<std::string> Head();

  [[nodiscard]] const LayerStats& stats() const { return stats_; }

 private:
  // The offsets of one source partition that a step decides about.
  struct Range {
    SourceKey key;
    SourcePosition begin;           // as Silver has committed it
    SourcePosition rejected_begin;  // as rejected_trades has
    SourcePosition end;
    SourcePosition bronze_end;  // how far Bronze has it
    size_t table = 0;           // index in silver_
    bool already_judged = false;
    bool in_silver = false;        // Silver has committed this key before
    bool in_rejected = false;      // rejected_trades has
    bool whole = false;            // `end` is where Bronze stands
    std::optional<OffsetGap> gap;  // `end` is where retention has dropped rows that were not read
  };
  // A Bronze file and those of its rows that are not judged yet.
  struct BronzeFile {
    std::string path;
    int64_t rows = 0;
    std::vector<BronzePart> parts;
    std::optional<MessageTimes> times;
    bool whole = true;  // parts are all that it holds: none was judged since
  };

  SilverLayer(Table bronze, Table rejected, std::vector<Table> silver, LayerOptions options,
              std::shared_ptr<SchemaSource> schemas, BatchCache* cache)
      : bronze_(std::move(bronze)),
        rejected_(std::move(rejected)),
        silver_(std::move(silver)),
        options_(std::move(options)),
        schemas_(std::move(schemas)),
        cache_(cache) {}

  Status Refresh();
  Status CheckShapes();
  Result<std::vector<Range>> PlanRanges();
  static Status StopAtGap(const DroppedUnread& dropped, Range& range);
  static Error GapError(const Range& range, const OffsetGap& gap);
  [[nodiscard]] Status CheckGaps(const std::vector<Range>& ranges) const;
  Status PlanFiles();
  Status AddPending(const std::vector<ScanFile>& files, std::vector<BronzeFile> known);
  Result<BronzeFile> Describe(const iceberg::DataFile& file) const;
  std::optional<BronzePart> PartOfBounds(const iceberg::DataFile& file) const;
  [[nodiscard]] int64_t JudgedTo(const BronzePart& part) const;
  void ForgetJudged(const std::vector<PlannedRange>& ranges);
  std::vector<BronzeFile> Cut(std::vector<Range>& ranges) const;
  Result<std::vector<Task>> MakeTasks(const std::vector<Range>& ranges, const std::vector<BronzeFile>& files,
                                      int32_t tasks);
  [[nodiscard]] std::vector<PlannedCommit> PlanCommits(const std::vector<Range>& ranges,
                                                       const std::optional<MessageTimes>& times) const;
  int64_t TellLag() const;
  Table* Find(std::string_view name);
  Status TrySettle();
  [[nodiscard]] UpstreamHint Hint() const;

  Table bronze_;
  Table rejected_;
  std::vector<Table> silver_;  // in the order of Exchanges()
  LayerOptions options_;
  std::shared_ptr<SchemaSource> schemas_;
  BatchCache* cache_;
  bool own_tables_known_ = false;
  // As Refresh() found them fit to be read and written.
  TableShape bronze_shape_;
  iceberg::Schema bronze_rows_;  // its columns under K2's names
  OutputTable rejected_output_;
  std::vector<OutputTable> silver_outputs_;  // in the order of silver_
  LayerProgress bronze_progress_;
  LayerProgress rejected_progress_;
  std::vector<LayerProgress> silver_progress_;
  std::vector<BronzeFile> pending_;  // files of Bronze that may hold rows not yet judged, in commit order
  int64_t unjudged_from_ = 0;        // no row that is still to be judged has a lower offset
  int64_t planned_snapshot_ = 0;     // Bronze snapshot up to which pending_ knows the files; 0: none
  LayerStats stats_;
};

}  // namespace k2
