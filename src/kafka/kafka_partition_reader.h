// One partition of a topic, read in order through a queue of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kafka/kafka_client.h"
#include "source/source.h"

struct rd_kafka_message_s;
struct rd_kafka_queue_s;

namespace k2::kafka {

class KafkaConsumer;

// Reading is for one thread at a time; several readers of one source may be read by several threads at once.
class KafkaPartitionReader final : public source::SourceReader {
 public:
  KafkaPartitionReader(std::shared_ptr<KafkaConsumer> consumer, table::SourceKey key);
  ~KafkaPartitionReader() override;
  KafkaPartitionReader(const KafkaPartitionReader&) = delete;
  KafkaPartitionReader& operator=(const KafkaPartitionReader&) = delete;

  [[nodiscard]] const table::SourceKey& key() const override { return key_; }

  // Begins to fetch at the position, or goes there. Does not wait for a broker: that the position is not there any
  // more, or that the log was cut back behind it (leader epoch), is told by the next Read.
  Status Seek(const table::SourcePosition& position) override;
  [[nodiscard]] bool placed() const { return placed_; }

  // What was fetched; waits only for a first message. The end also moves past offsets that no message has (compacted,
  // of aborted transactions, control records). No broker: empty. Errors: kOffsetMismatch: the offset is not there any
  // more, or was written again; kInvalidData: bytes that break Kafka's format; kPermission. They stay until a Seek.
  Result<source::RawBatch> Read(const source::ReadLimits& limits) override;

  [[nodiscard]] std::optional<Error> failure() const override { return failure_; }
  void Leave() override;
  // The topic was recreated, and this id is to be read from now on: from where a Seek says.
  void Become(std::string topic_id);
  [[nodiscard]] bool AtEnd() const override { return false; }
  [[nodiscard]] bool CaughtUp() const override { return caught_up_; }
  [[nodiscard]] source::SourceCounts counts() const override { return counts_; }
  [[nodiscard]] int64_t stored_bytes() const override { return -1; }
  [[nodiscard]] int64_t stored_bytes_read() const override { return -1; }

  // Where reading stands: the next Read begins here.
  [[nodiscard]] const table::SourcePosition& position() const { return position_; }
  // The partition's first offset and the one after its last, as told with the last fetch; -1: not heard of yet.
  [[nodiscard]] KafkaWatermarks watermarks() const;
  [[nodiscard]] int64_t queued_messages() const;  // fetched and not yet read
  // The queue holds about what it may: more is fetched when some of it was read. Not while another thread reads.
  [[nodiscard]] bool QueueFull() const;

 private:
  void Fill(int64_t max_wait_us);
  [[nodiscard]] std::optional<Error> TakeEvent(const rd_kafka_message_s& message);
  Status Append(const rd_kafka_message_s& message, int64_t now_us, source::RawBatch& batch);
  Status AppendHeaders(const rd_kafka_message_s& message, source::HeaderColumn& headers, size_t before) const;
  [[nodiscard]] bool Fits(const rd_kafka_message_s& message, const source::ReadLimits& limits,
                          const source::RawBatch& batch) const;
  void Reserve(const source::ReadLimits& limits, source::RawBatch& batch) const;
  [[nodiscard]] Error PositionLost(std::string_view reason) const;
  void DropPending();

  std::shared_ptr<KafkaConsumer> consumer_;
  table::SourceKey key_;
  rd_kafka_queue_s* const queue_;
  table::SourcePosition position_;
  std::atomic<bool> placed_{false};
  std::atomic<bool> caught_up_{false};
  std::optional<Error> failure_;
  std::vector<rd_kafka_message_s*> pending_;  // taken from the queue, not yet given
  size_t next_pending_ = 0;
  std::atomic<int64_t> pending_count_{0};
  double mean_bytes_ = 300;  // of a message, as seen
  source::SourceCounts counts_;
};

}  // namespace k2::kafka
