// Silver again from Bronze, Gold again from Silver, after rules or code have changed: the rows of the target up to the
// offsets where it stands, replaced in one commit a table which the layer below passes over (docs/rebuild.md). Planned
// by SilverLayer::PlanRebuild and GoldLayer::PlanRebuild; its tasks are those of any step.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/result.h"
#include "pipeline/gold/gold_layer.h"
#include "pipeline/step_plan.h"
#include "registry/schema_source.h"

namespace k2::pipeline {

// `layer`: silver or gold; `days` of Gold alone. kInvalidArgument: another layer, or days of Silver: the rows of
// rejected_trades are of no day.
Result<StepPlan> PlanRebuild(const Lakehouse& lakehouse, const LayerOptions& options, LayerId layer,
                             const DayRange& days, int32_t tasks);

// Reads back what a completed rebuild has written: each message_id of the files that it removes must be in the files
// that it adds to the same table, or in a row that it rejects. Logs a warning where trades come in that the table does
// not hold now: those that somebody has deleted from it. `memory_bytes` bounds the ids held at once. Errors:
// kInvalidData: rows would vanish, with how many and one of their ids.
Status CheckNothingVanishes(const StepPlan& plan, const TableByName& table,
                            const std::shared_ptr<registry::SchemaSource>& schemas, int64_t memory_bytes);

// Runs the tasks of a planned rebuild in `threads` threads, checks what they have written, and commits it. What was
// written is deleted where the rebuild is refused.
Status RunRebuild(StepPlan plan, const TableByName& table, const task::TaskContext& context,
                  const LayerOptions& options, LayerStats& stats);

}  // namespace k2::pipeline
