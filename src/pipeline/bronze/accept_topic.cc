#include "pipeline/bronze/accept_topic.h"

#include <algorithm>

#include "base/time.h"
#include "table/accepted.h"
#include "table/recreated_topics.h"
#include "task/market_tables.h"
#include "task/table_shape.h"

namespace k2::pipeline {
namespace {

// Rows of both topics can be told apart by their topic_id alone.
Status CheckTopicIdColumns(const Lakehouse& lakehouse) {
  for (const std::string_view name : {task::kBronzeTable, task::kRejectedTable}) {
    K2_ASSIGN(const table::Table table, lakehouse.Open(name));
    const std::vector<std::string> absent = task::AbsentColumns(name, table.metadata());
    if (std::ranges::find(absent, "topic_id") == absent.end()) continue;
    return Fail(
        ErrorKind::kUnsupported,
        "{} has no column topic_id, which distinguishes the rows of the two topics: run `k2 tables migrate` first",
        table.name().ToString());
  }
  return {};
}

table::SourcePositions OfName(const table::LayerProgress& progress, const std::string& topic) {
  table::SourcePositions found;
  for (const auto& [key, position] : progress.positions) {
    if (key.topic == topic && key.cluster != table::kRecordingCluster) found.emplace(key, position);
  }
  return found;
}

}  // namespace

Result<AcceptTopicPlan> PlanAcceptTopic(const Lakehouse& lakehouse, const kafka::KafkaOptions& options,
                                        const std::string& topic) {
  K2_ASSIGN(const table::Table bronze, lakehouse.Open(task::kBronzeTable));
  K2_ASSIGN(const table::LayerProgress progress, table::ReadProgress(bronze.metadata()));
  AcceptTopicPlan plan{.now = {}, .before = OfName(progress, topic)};
  if (plan.before.empty()) {
    return Fail(ErrorKind::kNotFound,
                "Bronze has read no Kafka topic {}: there is nothing to accept. `k2 offsets show` lists what it has "
                "read, and `k2 run --topics {}` reads it",
                topic, topic);
  }
  K2_ASSIGN(const auto admin, kafka::KafkaAdmin::Create(options));
  K2_ASSIGN(std::string cluster, admin->ClusterId());
  K2_ASSIGN(const kafka::KafkaTopics found, admin->Describe({topic}));
  if (found.topics.empty()) {
    return Fail(ErrorKind::kNotFound, "there is no Kafka topic {} at {}", topic, options.brokers);
  }
  const kafka::KafkaTopic& now = found.topics.front();
  plan.now = {.cluster = std::move(cluster), .topic = now.name, .topic_id = now.id, .partition = 0};
  plan.partitions = now.partitions;
  if (now.id == kafka::kNoTopicId) {
    return Fail(ErrorKind::kUnsupported,
                "the brokers at {} report no topic ids (Kafka has them since 2.8), which distinguish the rows of the "
                "two topics: use a topic with another name",
                options.brokers);
  }
  for (const auto& [key, position] : plan.before) {
    if (key.cluster != plan.now.cluster || key.topic_id != now.id) continue;
    return Fail(ErrorKind::kInvalidArgument, "Bronze already reads Kafka topic {} (id {}): there is nothing to accept",
                topic, now.id);
  }
  K2_TRY(CheckTopicIdColumns(lakehouse));
  for (int32_t partition = 0; partition < now.partitions; ++partition) {
    K2_ASSIGN(const kafka::KafkaWatermarks holds, admin->Watermarks({topic, partition}));
    plan.holds.push_back(holds);
  }
  return plan;
}

Status ApplyAcceptTopic(const Lakehouse& lakehouse, const AcceptTopicPlan& plan) {
  K2_ASSIGN(table::Table bronze, lakehouse.Open(task::kBronzeTable));
  K2_ASSIGN(const table::LayerProgress progress, table::ReadProgress(bronze.metadata()));
  const std::string at = FormatTimestamp(NowMicros());
  table::LayerCommit commit;
  commit.base.finished = progress.finished;
  for (int32_t partition = 0; partition < plan.partitions; ++partition) {
    table::SourceKey key = plan.now;
    key.partition = partition;
    commit.next.positions[key] = {.next_offset = 0, .messages = 0};
  }
  commit.summary[table::kOffsetsAcceptedKey] =
      fmt::format("recreated topic {} of cluster {} at {}: read from offset 0 under the id {}", plan.now.topic,
                  plan.now.cluster, at, plan.now.topic_id);
  commit.make_properties = [&](const iceberg::TableMetadata& head) -> Result<std::map<std::string, std::string>> {
    K2_ASSIGN(table::RecreatedTopics topics, table::ReadRecreatedTopics(head));
    topics[plan.now.topic_id] = {.cluster = plan.now.cluster, .topic = plan.now.topic, .at = at};
    return std::map<std::string, std::string>{{table::kRecreatedTopicsKey, table::RecreatedTopicsToJson(topics)}};
  };
  const table::LayerCommitOutcome outcome = bronze.Commit(std::move(commit));
  if (const auto* failed = std::get_if<table::NotCommitted>(&outcome)) return std::unexpected(failed->error());
  if (const auto* unknown = std::get_if<table::OutcomeUnknown>(&outcome)) return std::unexpected(unknown->error);
  return {};
}

}  // namespace k2::pipeline
