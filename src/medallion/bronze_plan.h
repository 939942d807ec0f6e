// A Bronze step over Kafka as tasks that read ranges of offsets, for executors that share nothing with the planner.
#pragma once

#include <cstdint>

#include "medallion/lakehouse.h"
#include "medallion/layer.h"
#include "medallion/source_set.h"
#include "medallion/step_plan.h"

namespace k2 {

// At most `rows_max` offsets of what the topics hold beyond Bronze, as at most `tasks` tasks; an empty plan where there
// is nothing. Where Bronze begins in topics that it does not know is committed first. Errors: as OpenKafka and a
// commit.
Result<StepPlan> PlanBronze(const Lakehouse& lakehouse, const LayerOptions& options, const KafkaFeed& feed,
                            int64_t rows_max, int32_t tasks);

// Whether the topics are still those that the plan's tasks have read: to be asked between reading and committing.
// Errors: kOffsetMismatch; kUnavailable: nothing is known.
Status ConfirmSources(const StepPlan& plan, const KafkaOptions& options);

}  // namespace k2
