// A Bronze step over Kafka as tasks that read ranges of offsets, for executors that share nothing with the planner.
#pragma once

#include <cstdint>

#include "pipeline/bronze/source_set.h"
#include "pipeline/lakehouse.h"
#include "pipeline/layer.h"
#include "pipeline/step_plan.h"

namespace k2::pipeline {

// At most `rows_max` offsets of what the topics hold beyond Bronze, as at most `tasks` tasks; an empty plan where there
// is nothing. Where Bronze begins in topics that it does not know is committed first. Errors: as OpenKafka and a
// commit.
Result<StepPlan> PlanBronze(const Lakehouse& lakehouse, const LayerOptions& options, const KafkaFeed& feed,
                            int64_t rows_max, int32_t tasks);

// Whether the topics are still those that the plan's tasks have read: to be asked between reading and committing.
// Errors: kOffsetMismatch; kUnavailable: nothing is known.
Status ConfirmSources(const StepPlan& plan, const kafka::KafkaOptions& options);

}  // namespace k2::pipeline
