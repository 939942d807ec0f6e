#include "kafka/kafka_ranges.h"

#include <algorithm>
#include <set>

#include "kafka/kafka_consumer.h"
#include "kafka/kafka_partition_reader.h"

namespace k2::kafka {

KafkaRanges::KafkaRanges(KafkaOptions options) : options_(std::move(options)) {}
KafkaRanges::~KafkaRanges() = default;

Status KafkaRanges::Check(std::span<const Place> places) {
  std::set<std::string> names;
  for (const auto& [key, position] : places) names.insert(key.topic);
  K2_ASSIGN(const std::string cluster, admin_->ClusterId());
  K2_ASSIGN(const KafkaTopics found, admin_->Describe({names.begin(), names.end()}));
  for (const auto& [key, position] : places) {
    if (key.cluster != cluster) {
      return Fail(ErrorKind::kOffsetMismatch,
                  "the task reads Kafka topic {} of cluster {}, but the brokers at {} belong to cluster {}", key.topic,
                  key.cluster, options_.brokers, cluster);
    }
    const auto topic = std::ranges::find(found.topics, key.topic, &KafkaTopic::name);
    if (topic == found.topics.end() || topic->id != key.topic_id) {
      return Fail(ErrorKind::kOffsetMismatch, "the task reads Kafka topic {} with the id {}, but the brokers have {}",
                  key.topic, key.topic_id,
                  topic == found.topics.end() ? "no topic of that name" : "one with the id " + topic->id);
    }
  }
  return {};
}

Result<std::vector<std::unique_ptr<source::SourceReader>>> KafkaRanges::Open(std::span<const Place> places) {
  if (!admin_) {
    K2_ASSIGN(admin_, KafkaAdmin::Create(options_));
  }
  K2_TRY(Check(places));
  K2_ASSIGN(const std::shared_ptr<KafkaConsumer> consumer,
            KafkaConsumer::Create(options_, static_cast<int64_t>(places.size()), admin_.get()));
  consumer_ = consumer;
  std::vector<std::unique_ptr<source::SourceReader>> readers;
  for (const auto& [key, position] : places) {
    auto reader = std::make_unique<KafkaPartitionReader>(consumer, key);
    K2_TRY(reader->Seek(position));
    readers.push_back(std::move(reader));
  }
  return readers;
}

std::string KafkaRanges::Poll() {
  const std::shared_ptr<KafkaConsumer> consumer = consumer_.lock();
  if (!consumer) return {};
  consumer->Poll();
  const KafkaHealth health = consumer->events().health();
  return health.ok ? std::string() : health.last_error;
}

}  // namespace k2::kafka
