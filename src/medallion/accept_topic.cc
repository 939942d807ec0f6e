#include "medallion/accept_topic.h"

#include <algorithm>

#include "base/time.h"
#include "table/accepted.h"
#include "table/recreated_topics.h"
#include "task/market_tables.h"
#include "task/table_shape.h"

namespace k2 {
namespace {

// Rows of both topics can be told apart by their topic_id alone.
Status CheckTopicIdColumns(const Lakehouse& lakehouse) {
  for (const std::string_view name : {kBronzeTable, kRejectedTable}) {
    K2_ASSIGN(const Table table, lakehouse.Open(name));
    const std::vector<std::string> absent = AbsentColumns(name, table.metadata());
    if (std::ranges::find(absent, "topic_id") == absent.end()) continue;
    return Fail(ErrorKind::kUnsupported,
                "{} has no column topic_id, by which the rows of both topics are told apart: run `k2 tables migrate` "
                "first",
                table.name().ToString());
  }
  return {};
}

SourcePositions OfName(const LayerProgress& progress, const std::string& topic) {
  SourcePositions found;
  for (const auto& [key, position] : progress.positions) {
    if (key.topic == topic && key.cluster != kRecordingCluster) found.emplace(key, position);
  }
  return found;
}

}  // namespace

Result<AcceptTopicPlan> PlanAcceptTopic(const Lakehouse& lakehouse, const KafkaOptions& options,
                                        const std::string& topic) {
  K2_ASSIGN(const Table bronze, lakehouse.Open(kBronzeTable));
  K2_ASSIGN(const LayerProgress progress, ReadProgress(bronze.metadata()));
  AcceptTopicPlan plan{.now = {}, .before = OfName(progress, topic)};
  if (plan.before.empty()) {
    return Fail(ErrorKind::kNotFound,
                "Bronze has read no Kafka topic {}: there is nothing to accept. `k2 offsets show` lists what it has "
                "read, and `k2 run --topics {}` reads it",
                topic, topic);
  }
  K2_ASSIGN(const auto admin, KafkaAdmin::Create(options));
  K2_ASSIGN(std::string cluster, admin->ClusterId());
  K2_ASSIGN(const KafkaTopics found, admin->Describe({topic}));
  if (found.topics.empty()) {
    return Fail(ErrorKind::kNotFound, "there is no Kafka topic {} at {}", topic, options.brokers);
  }
  const KafkaTopic& now = found.topics.front();
  plan.now = {.cluster = std::move(cluster), .topic = now.name, .topic_id = now.id, .partition = 0};
  plan.partitions = now.partitions;
  if (now.id == kNoTopicId) {
    return Fail(ErrorKind::kUnsupported,
                "the brokers at {} tell no topic ids (Kafka does since 2.8), by which the rows of both topics are told "
                "apart: send to a topic of another name",
                options.brokers);
  }
  for (const auto& [key, position] : plan.before) {
    if (key.cluster != plan.now.cluster || key.topic_id != now.id) continue;
    return Fail(ErrorKind::kInvalidArgument,
                "Kafka topic {} (id {}) is the one that Bronze reads already: there is nothing to accept", topic,
                now.id);
  }
  K2_TRY(CheckTopicIdColumns(lakehouse));
  for (int32_t partition = 0; partition < now.partitions; ++partition) {
    K2_ASSIGN(const KafkaWatermarks holds, admin->Watermarks({topic, partition}));
    plan.holds.push_back(holds);
  }
  return plan;
}

Status ApplyAcceptTopic(const Lakehouse& lakehouse, const AcceptTopicPlan& plan) {
  K2_ASSIGN(Table bronze, lakehouse.Open(kBronzeTable));
  K2_ASSIGN(const LayerProgress progress, ReadProgress(bronze.metadata()));
  const std::string at = FormatTimestamp(NowMicros());
  LayerCommit commit;
  commit.base.finished = progress.finished;
  for (int32_t partition = 0; partition < plan.partitions; ++partition) {
    SourceKey key = plan.now;
    key.partition = partition;
    commit.next.positions[key] = {.next_offset = 0, .messages = 0};
  }
  commit.summary[kOffsetsAcceptedKey] =
      fmt::format("recreated topic {} of cluster {} at {}: read from offset 0 under the id {}", plan.now.topic,
                  plan.now.cluster, at, plan.now.topic_id);
  commit.make_properties = [&](const iceberg::TableMetadata& head) -> Result<std::map<std::string, std::string>> {
    K2_ASSIGN(RecreatedTopics topics, ReadRecreatedTopics(head));
    topics[plan.now.topic_id] = {.cluster = plan.now.cluster, .topic = plan.now.topic, .at = at};
    return std::map<std::string, std::string>{{kRecreatedTopicsKey, RecreatedTopicsToJson(topics)}};
  };
  const LayerCommitOutcome outcome = bronze.Commit(std::move(commit));
  if (const auto* failed = std::get_if<NotCommitted>(&outcome)) return std::unexpected(failed->error());
  if (const auto* unknown = std::get_if<OutcomeUnknown>(&outcome)) return std::unexpected(unknown->error);
  return {};
}

}  // namespace k2
