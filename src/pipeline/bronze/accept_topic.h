// Accepting a Kafka topic that was deleted and created again under its name: it is read into the same tables from its
// beginning (docs/source-offsets.md, "A topic that was recreated").
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "kafka/kafka_client.h"
#include "pipeline/lakehouse.h"

namespace k2::pipeline {

struct AcceptTopicPlan {
  table::SourceKey now;  // of its first partition
  int32_t partitions = 0;
  std::vector<kafka::KafkaWatermarks> holds{};  // by partition: what the topic has now
  table::SourcePositions before{};              // how far Bronze came in those that had the name before
};

// Asks the brokers for the topic as it is now. Errors: kNotFound: there is none, or Bronze has read none of that name;
// kInvalidArgument: it is the one that Bronze reads, or was accepted before; kUnsupported: the brokers tell no topic
// ids, or the tables lack the column for them; those of KafkaAdmin.
Result<AcceptTopicPlan> PlanAcceptTopic(const Lakehouse& lakehouse, const kafka::KafkaOptions& options,
                                        const std::string& topic);

// Records it in a commit of Bronze, whose offsets begin at 0 in each partition.
Status ApplyAcceptTopic(const Lakehouse& lakehouse, const AcceptTopicPlan& plan);

}  // namespace k2::pipeline
