// Topics of a Kafka cluster as sources: one reader a partition, placed by the table's own offsets, never by the
// group's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "kafka/kafka_client.h"
#include "kafka/kafka_partition_reader.h"

namespace k2::kafka {

// A thread of its own asks for topics, partitions and topic ids again and again, so that no call below waits for a
// broker unless it says so. A broker that is away is no error: librdkafka connects again; see health().
class KafkaSource {
 public:
  // Names of topics, or patterns that begin with ^. Errors: kInvalidArgument, kUnavailable, kPermission; kNotFound: a
  // topic that was named is not there, or no pattern fits any.
  static Result<std::unique_ptr<KafkaSource>> Open(const KafkaOptions& options, const std::vector<std::string>& topics);
  ~KafkaSource();
  KafkaSource(const KafkaSource&) = delete;
  KafkaSource& operator=(const KafkaSource&) = delete;

  [[nodiscard]] const std::string& cluster_id() const { return cluster_id_; }

  // All partitions, by topic and number; the readers live as long as the source. One reads nothing before its Seek.
  [[nodiscard]] const std::vector<std::unique_ptr<KafkaPartitionReader>>& readers() const { return readers_; }
  // Readers of partitions that have appeared since Open or the last call (also in readers() now). Does not wait.
  // Error kOffsetMismatch: the brokers belong to another cluster. It stays.
  Result<std::vector<KafkaPartitionReader*>> TakeNew();

  // Goes on with topics that were recreated while they were read, where a table has committed offsets of the new ones
  // by now (`k2 offsets accept`): their readers have other keys then, and read nothing before a Seek.
  void FollowAccepted(const table::SourcePositions& committed);

  // Topics of which a table has committed offsets under another id or cluster only, each with its error
  // (kOffsetMismatch).
  [[nodiscard]] std::map<std::string, Error> OthersThan(const table::SourcePositions& committed) const;
  // Topics that were recreated, or are gone, since they were opened, each with its error (kOffsetMismatch). One that is
  // back under its id is none of them. For any thread.
  [[nodiscard]] std::map<std::string, Error> StoppedTopics() const;
  // The offsets to begin with. Waits for the brokers.
  Result<table::SourcePositions> ResolveStart(const KafkaStart& start, std::span<const table::SourceKey> keys);

  // True when a reader that was placed has something to read; waits for that at most so long.
  bool WaitForMessages(int64_t max_wait_us);

  // Asks the brokers whether the topics are still those that were read, for librdkafka follows a topic that is
  // recreated without a word. Good for all batches read before the call: to be called between reading and committing
  // (one round trip). Errors: kOffsetMismatch as TakeNew, or of a stopped topic among those of `read`; kUnavailable: no
  // answer in time, nothing is known.
  Status ConfirmTopics(const table::SourcePositions& read, int64_t max_wait_us);

  // Shows committed offsets under options.group, some time later. Failures are only logged.
  void CommitGroupOffsets(const table::SourcePositions& committed);

  [[nodiscard]] KafkaHealth health() const;
  [[nodiscard]] int64_t queued_messages() const;
  // A partition's queue holds what it may. Not while readers are read.
  [[nodiscard]] bool QueueFull() const;

 private:
  KafkaSource(const KafkaOptions& options, const std::vector<std::string>& topics)
      : options_(options), topics_(topics) {}
  std::vector<KafkaPartitionReader*> AddReaders(const KafkaTopics& found);

  void Watch();
  bool Check(bool all);
  void FlushGroup();
  void FindStopped(const KafkaTopics& found);
  [[nodiscard]] bool Unsettled() const;
  [[nodiscard]] bool HasMessages() const;

  const KafkaOptions options_;
  const std::vector<std::string> topics_;
  std::unique_ptr<KafkaAdmin> admin_;
  std::shared_ptr<KafkaConsumer> consumer_;
  std::string cluster_id_;
  std::vector<std::unique_ptr<KafkaPartitionReader>> readers_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;     // the watcher
  std::condition_variable checked_;  // those who wait for it
  bool stop_ = false;
  bool group_failed_ = false;
  uint64_t checks_wanted_ = 0;  // a check that begins when this is n is good for all who asked up to n
  uint64_t checks_done_ = 0;
  std::optional<Error> failure_;  // stays
  std::map<std::string, std::string> topic_ids_;
  std::optional<KafkaTopics> found_;              // with more partitions than there are readers
  std::map<std::string, int> gone_;               // checks in a row that did not find a topic
  std::map<std::string, Error> stopped_;          // by topic
  std::map<std::string, std::string> recreated_;  // ids of topics that were recreated, by name
  table::SourcePositions group_positions_;        // to be shown
  std::thread watcher_;
};

}  // namespace k2::kafka
