// A layer's step as a value: its tasks, and the commits that their results complete. Planned in one place, run
// anywhere, committed in one place: in `k2 run` all three in a thread, on a cluster by `k2 plan`, `k2 task`, `k2
// commit`.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "pipeline/layer.h"
#include "table/table.h"
#include "task/task.h"

namespace k2::pipeline {

// Offsets of one source that a Silver step decides about; each of its tasks has the same ranges in the same order.
struct PlannedRange {
  table::SourceKey key;
  table::SourcePosition begin;  // `messages`: rows before it as Silver has counted them; -1: not known
  table::SourcePosition end;    // `messages`: as Bronze has counted them; -1: not known
  bool counted_at_end = false;  // `end` is where Bronze stands, or rejected_trades: its count is the one to reach
  bool accepted = false;        // what Bronze holds of it was accepted: it is not counted
  bool operator==(const PlannedRange&) const = default;
};

// What is known of a commit before the tasks have run: all but data files, and places that only reading tells.
struct PlannedCommit {
  std::string table;  // within the namespace
  table::LayerCommit commit;
  bool needs_rows = false;  // left out when no task has written to the table
};

// What a planned commit needs to know of a file that it removes.
iceberg::DataFile WithoutMetrics(const iceberg::DataFile& file);

struct StepPlan {
  LayerId layer = LayerId::kBronze;
  std::vector<task::Task> tasks;
  std::vector<PlannedRange> ranges;    // Silver
  std::vector<PlannedCommit> commits;  // in the order in which they are made
  StartTime begun = StartTime::Now();  // no file of its tasks is older
  bool rebuild = false;                // CheckNothingVanishes is asked before the commits (rebuild.h)
  int64_t behind = 0;                  // messages above the layer that were not in it when this was planned
  int64_t left = 0;                    // of them, those that will not be in it after this step, either
  [[nodiscard]] bool empty() const { return tasks.empty() && commits.empty(); }
};

// A range of a Silver plan whose rows do not come to what Bronze has counted.
struct Miscount {
  size_t range = 0;  // index
  int64_t rows = 0;
  int64_t expected = 0;
};
std::vector<Miscount> MiscountedRanges(const std::vector<task::TaskResult>& results, const StepPlan& plan);
// `changed`: the snapshot of Bronze to accept, and how it is told (DescribeSnapshot).
Error MiscountError(const PlannedRange& range, const Miscount& miscount, int64_t changed, std::string_view told);

// Completes the commits with what the tasks have written, read and counted. `results`: in the order of the tasks.
// Errors: kUpstreamChanged: rows are missing, or there are more than there may be; kOffsetMismatch: a task has not read
// to its end;
// kInvalidArgument: these are not the results of these tasks.
Status Complete(const std::vector<task::TaskResult>& results, StepPlan& plan);

// A table of the plan's, by its name within the namespace.
using TableByName = std::function<Result<table::Table*>(std::string_view name)>;

// Makes the commits of a completed plan one after the other; the first failure ends it.
Status CommitCompleted(StepPlan plan, const TableByName& table, const table::CommitPolicy& policy, LayerStats& stats);

// As `k2 plan` prints it (docs/task.md). The plan holds for the tables as `table` gives them.
Result<std::string> StepPlanToJson(const StepPlan& plan, const TableByName& table);
// Errors: kInvalidArgument: no plan; kOffsetMismatch: a table was dropped and made anew since.
Result<StepPlan> StepPlanFromJson(std::string_view json, const TableByName& table);

}  // namespace k2::pipeline
