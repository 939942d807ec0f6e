// The consumer handle that the partitions of a source share: assignment, and the signal that a queue has something.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "kafka/kafka_handle.h"

namespace k2::kafka {

// Of an assignment or a seek that failed: kUnavailable where another try may do, as when librdkafka's threads are held
// up for long; kInternal where K2 asked for what cannot be.
ErrorKind PlaceErrorKind(rd_kafka_resp_err_t code);

class KafkaConsumer {
 public:
  // `partitions` share options.queued_bytes. `admin` is asked for watermarks in error texts; it outlives the consumer.
  static Result<std::shared_ptr<KafkaConsumer>> Create(const KafkaOptions& options, int64_t partitions,
                                                       KafkaAdmin* admin);
  ~KafkaConsumer();
  KafkaConsumer(const KafkaConsumer&) = delete;
  KafkaConsumer& operator=(const KafkaConsumer&) = delete;

  // The partition's own queue, cut off from the common one; its first message wakes who waits below.
  RdQueue OpenQueue(const std::string& topic, int32_t partition);
  // Fetches from the position on, into that queue; what is in it from before is dropped by librdkafka. Errors: as
  // PlaceErrorKind says.
  Status Place(const std::string& topic, int32_t partition, const table::SourcePosition& position, bool assigned);
  void Unplace(const std::string& topic, int32_t partition);

  // Handles what librdkafka has to tell beside messages.
  void Poll();

  // Counts the times that a queue which was empty got something.
  [[nodiscard]] uint64_t signals() const;
  void WaitForSignal(uint64_t after, int64_t max_wait_us);
  void Signal();

  // The bytes that each partition's queue holds at most, but for the fetch that fills it.
  [[nodiscard]] int64_t queue_bytes_max() const { return queue_bytes_max_; }
  [[nodiscard]] rd_kafka_t* handle() const { return handle_; }
  [[nodiscard]] KafkaAdmin& admin() const { return *admin_; }
  [[nodiscard]] KafkaEvents& events() { return events_; }

 private:
  explicit KafkaConsumer(KafkaAdmin* admin) : admin_(admin) {}

  KafkaAdmin* admin_;
  KafkaEvents events_;
  rd_kafka_t* handle_ = nullptr;
  int64_t queue_bytes_max_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable signalled_;
  uint64_t signals_ = 0;
};

}  // namespace k2::kafka
