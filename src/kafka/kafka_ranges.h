// Parts of Kafka partitions, for tasks that run apart from the one that plans and commits.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kafka/kafka_client.h"
#include "source/source.h"

namespace k2::kafka {

class KafkaConsumer;

class KafkaRanges {
 public:
  explicit KafkaRanges(KafkaOptions options);
  ~KafkaRanges();
  KafkaRanges(const KafkaRanges&) = delete;
  KafkaRanges& operator=(const KafkaRanges&) = delete;

  using Place = std::pair<table::SourceKey, table::SourcePosition>;
  // A reader for each place, which has begun to fetch there; each partition once. They live no longer than this object,
  // and must be gone before the next call. Errors: kUnavailable, kPermission; kOffsetMismatch:
  // the brokers are of another cluster, or a topic was made anew or is gone.
  Result<std::vector<std::unique_ptr<source::SourceReader>>> Open(std::span<const Place> places);
  // Handles what the client has to tell beside messages (errors, tokens that end): to be called now and then while the
  // readers are read. What is wrong between it and the brokers; empty where nothing is known to be.
  std::string Poll();

 private:
  Status Check(std::span<const Place> places);

  const KafkaOptions options_;
  std::unique_ptr<KafkaAdmin> admin_;      // made at the first call
  std::weak_ptr<KafkaConsumer> consumer_;  // lives as long as the readers
};

}  // namespace k2::kafka
