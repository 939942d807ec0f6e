// Messages into Kafka: idempotent, acknowledged by all replicas, in order for each key.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "kafka/kafka_client.h"
#include "source/source.h"

struct rd_kafka_s;
struct rd_kafka_message_s;
struct rd_kafka_topic_s;

namespace k2::kafka {

struct DeliveryCounts {
  int64_t delivered = 0;
  int64_t failed = 0;
  std::string first_failure;
};

// Sending is for one thread.
class KafkaProducer {
 public:
  static Result<std::unique_ptr<KafkaProducer>> Create(const KafkaOptions& options);
  // Gives up what was not delivered.
  ~KafkaProducer();
  KafkaProducer(const KafkaProducer&) = delete;
  KafkaProducer& operator=(const KafkaProducer&) = delete;

  // A batch that is kept until all of its messages were delivered or given up.
  class Batch;
  static Batch* Keep(source::RawBatch&& messages);
  static const source::RawBatch& MessagesOf(const Batch& batch);

  // Hands over messages [from, to) of the batch; waits while too many are on their way. Kafka stamps them with the
  // present. A message that cannot be taken counts as failed.
  void Send(const std::string& topic, Batch* batch, size_t from, size_t to);
  // Lets go of a batch without sending its messages from `from` on.
  static void Drop(Batch* batch, size_t from);

  // Waits until all is delivered or given up; at most so long. False: some are still on their way.
  bool Flush(int64_t max_wait_us);
  [[nodiscard]] DeliveryCounts counts() const;
  [[nodiscard]] KafkaHealth health() const;

 private:
  struct Events;
  explicit KafkaProducer(std::unique_ptr<Events> events);
  static void OnDelivery(rd_kafka_s* handle, const rd_kafka_message_s* message, void* opaque);

  std::unique_ptr<Events> events_;
  rd_kafka_s* handle_ = nullptr;
  std::map<std::string, rd_kafka_topic_s*> topics_;
  std::thread poller_;  // takes delivery reports, so that sending may wait for room
  std::atomic<bool> stop_{false};
};

}  // namespace k2::kafka
