#include "kafka/kafka_partition_reader.h"

#include <algorithm>

#include "base/time.h"
#include "kafka/kafka_consumer.h"

namespace k2::kafka {
namespace {

constexpr size_t kTaken = 1024;  // messages taken from the queue at once
constexpr double kMeanWeight = 0.2;
constexpr double kReserveSlack = 1.1;
constexpr double kFullFrom = 0.8;  // of a queue's bound: messages are counted, their bytes are estimated

std::string_view Bytes(const void* data, size_t size) { return {static_cast<const char*>(data), size}; }

}  // namespace

KafkaPartitionReader::KafkaPartitionReader(std::shared_ptr<KafkaConsumer> consumer, table::SourceKey key)
    : consumer_(std::move(consumer)),
      key_(std::move(key)),
      queue_(consumer_->OpenQueue(key_.topic, key_.partition).release()) {}

KafkaPartitionReader::~KafkaPartitionReader() {
  DropPending();
  rd_kafka_queue_cb_event_enable(queue_, nullptr, nullptr);
  if (placed_) consumer_->Unplace(key_.topic, key_.partition);
  rd_kafka_queue_destroy(queue_);
}

void KafkaPartitionReader::Leave() {
  DropPending();
  if (placed_.exchange(false)) consumer_->Unplace(key_.topic, key_.partition);
}

void KafkaPartitionReader::Become(std::string topic_id) {
  Leave();
  failure_.reset();
  key_.topic_id = std::move(topic_id);
}

void KafkaPartitionReader::DropPending() {
  for (; next_pending_ < pending_.size(); ++next_pending_) rd_kafka_message_destroy(pending_[next_pending_]);
  pending_.clear();
  next_pending_ = 0;
  pending_count_ = 0;
}

Status KafkaPartitionReader::Seek(const table::SourcePosition& position) {
  if (position.next_offset < 0) {
    return Fail(ErrorKind::kInternal, "Kafka topic {}, partition {}: {} is not a valid offset", key_.topic,
                key_.partition, position.next_offset);
  }
  DropPending();
  failure_.reset();
  caught_up_ = false;
  const bool assigned = placed_.exchange(true);
  position_ = position;
  return consumer_->Place(key_.topic, key_.partition, position, assigned);
}

// Takes what the queue has, up to kTaken messages; waits for the first one only.
void KafkaPartitionReader::Fill(int64_t max_wait_us) {
  pending_.resize(kTaken);
  next_pending_ = 0;
  ssize_t taken = rd_kafka_consume_batch_queue(queue_, 0, pending_.data(), kTaken);
  if (taken <= 0 && max_wait_us > 0) {
    taken = rd_kafka_consume_batch_queue(queue_, KafkaMillis(max_wait_us + 999), pending_.data(), 1);
  }
  pending_.resize(static_cast<size_t>(std::max<ssize_t>(taken, 0)));
  pending_count_ = static_cast<int64_t>(pending_.size());
}

void KafkaPartitionReader::Reserve(const source::ReadLimits& limits, source::RawBatch& batch) const {
  const int64_t there = std::min(queued_messages(), limits.max_messages);
  const auto messages = static_cast<size_t>(std::max<int64_t>(there, 0));
  const auto bytes = static_cast<int64_t>(static_cast<double>(messages) * mean_bytes_ * kReserveSlack);
  constexpr size_t kKeySize = 10;
  batch.offsets.reserve(messages);
  batch.kafka_timestamps_us.reserve(messages);
  batch.ingestion_timestamps_us.reserve(messages);
  batch.keys.ends.reserve(messages);
  batch.keys.data.reserve(messages * kKeySize);
  batch.payloads.ends.reserve(messages);
  batch.payloads.data.reserve(
      static_cast<size_t>(std::clamp<int64_t>(bytes, 0, std::max<int64_t>(limits.max_bytes, 0))));
}

bool KafkaPartitionReader::Fits(const rd_kafka_message_s& message, const source::ReadLimits& limits,
                                const source::RawBatch& batch) const {
  if (static_cast<int64_t>(batch.size()) >= limits.max_messages) return false;
  const size_t bytes = batch.bytes();
  if (static_cast<int64_t>(bytes) >= limits.max_bytes) return false;
  return static_cast<int64_t>(bytes + message.len + message.key_len) < source::kMaxBatchBytes || batch.size() == 0;
}

Result<source::RawBatch> KafkaPartitionReader::Read(const source::ReadLimits& limits) {
  source::RawBatch batch;
  batch.source = key_;
  batch.begin = batch.end = position_;
  if (failure_) return std::unexpected(*failure_);
  if (!placed_) return batch;
  Reserve(limits, batch);
  const int64_t deadline = MonotonicMicros() + limits.max_wait_us;
  bool full = false;
  while (!full && !failure_) {
    if (next_pending_ == pending_.size()) {
      const int64_t wait_us = batch.size() > 0 ? 0 : std::max<int64_t>(deadline - MonotonicMicros(), 0);
      Fill(wait_us);
      if (pending_.empty()) break;
    }
    const int64_t now_us = NowMicros();
    for (; next_pending_ < pending_.size() && !failure_; ++next_pending_) {
      rd_kafka_message_t* message = pending_[next_pending_];
      if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        failure_ = TakeEvent(*message);
      } else if (Fits(*message, limits, batch)) {
        if (Status status = Append(*message, now_us, batch); !status) failure_ = std::move(status.error());
      } else {
        full = true;
        break;
      }
      rd_kafka_message_destroy(message);
    }
    pending_count_ = static_cast<int64_t>(pending_.size() - next_pending_);
  }
  if (batch.size() > 0) {
    const auto bytes = static_cast<int64_t>(batch.keys.data.size() + batch.payloads.data.size() +
                                            batch.headers.keys.data.size() + batch.headers.values.data.size());
    const double mean = static_cast<double>(batch.payloads.data.size()) / static_cast<double>(batch.size());
    mean_bytes_ += (counts_.messages == 0 ? 1 : kMeanWeight) * (mean - mean_bytes_);  // the first were a guess
    counts_.messages += static_cast<int64_t>(batch.size());
    counts_.bytes += bytes;
  }
  // What came before a failure is given first.
  if (failure_ && position_ == batch.begin) return std::unexpected(*failure_);
  batch.end = position_;
  return batch;
}

// Of the message that follows `before` others in the batch.
Status KafkaPartitionReader::AppendHeaders(const rd_kafka_message_s& message, source::HeaderColumn& headers,
                                           size_t before) const {
  rd_kafka_headers_t* found = nullptr;  // the message's own
  const rd_kafka_resp_err_t error = rd_kafka_message_headers(&message, &found);
  if (error == RD_KAFKA_RESP_ERR__NOENT) {
    if (!headers.empty()) headers.ends.push_back(headers.ends.back());
    return {};
  }
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return Fail(
        ErrorKind::kInvalidData,
        "Kafka topic {}, partition {}, at offset {}: cannot read the message's headers: {}; nothing was skipped",
        key_.topic, key_.partition, message.offset, rd_kafka_err2str(error));
  }
  if (headers.empty()) headers.ends.assign(before, 0);
  const char* key = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  for (size_t i = 0; rd_kafka_header_get_all(found, i, &key, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR; ++i) {
    headers.keys.Append(key);
    if (value == nullptr) {
      headers.values.AppendNull();
    } else {
      headers.values.Append(Bytes(value, size));
    }
  }
  headers.ends.push_back(static_cast<int32_t>(headers.keys.size()));
  return {};
}

Status KafkaPartitionReader::Append(const rd_kafka_message_s& message, int64_t now_us, source::RawBatch& batch) {
  caught_up_.store(false, std::memory_order_relaxed);
  // A broker answers with whole stored batches; librdkafka cuts off what lies before the wanted offset.
  if (message.offset < position_.next_offset) return {};
  K2_TRY(AppendHeaders(message, batch.headers, batch.size()));
  if (message.key == nullptr) {
    batch.keys.AppendNull();
  } else {
    batch.keys.Append(Bytes(message.key, message.key_len));
  }
  if (message.payload == nullptr) {
    batch.payloads.AppendNull();
  } else {
    batch.payloads.Append(Bytes(message.payload, message.len));
  }
  rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
  const int64_t millis = rd_kafka_message_timestamp(&message, &type);
  // Producers set it: of far times (nanoseconds for milliseconds, say) the time of receipt is nearer to the truth.
  const bool has_time = type != RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && millis >= 0 && millis < kRealTimeEndUs / 1000;
  batch.offsets.push_back(message.offset);
  batch.kafka_timestamps_us.push_back(has_time ? millis * 1000 : now_us);
  batch.ingestion_timestamps_us.push_back(now_us);
  position_.next_offset = message.offset + 1;
  position_.leader_epoch = rd_kafka_message_leader_epoch(&message);
  return {};
}

// What stands in the queue that is no message. An error when reading cannot go on.
std::optional<Error> KafkaPartitionReader::TakeEvent(const rd_kafka_message_s& message) {
  const char* reason = rd_kafka_message_errstr(&message);
  if (reason == nullptr) reason = rd_kafka_err2str(message.err);
  const auto failed = [&](ErrorKind kind, std::string_view advice) {
    return Error{kind, fmt::format("Kafka topic {}, partition {}, at offset {}: {}. {}", key_.topic, key_.partition,
                                   position_.next_offset, reason, advice)};
  };
  switch (message.err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
      // Beyond the last message when offsets follow it that carry none.
      position_.next_offset = std::max(position_.next_offset, message.offset);
      caught_up_ = true;
      return std::nullopt;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
    case RD_KAFKA_RESP_ERR__LOG_TRUNCATION: return PositionLost(reason);
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
      // librdkafka goes on behind such bytes; K2 does not.
      return failed(ErrorKind::kInvalidData, "The stored message is unreadable; nothing was skipped");
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
      return failed(ErrorKind::kInvalidArgument,
                    "Raise receive.message.max.bytes and fetch.message.max.bytes (--kafka-set)");
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
      return failed(ErrorKind::kPermission, "Grant the user permission to read the topic");
    case RD_KAFKA_RESP_ERR__FATAL: return failed(ErrorKind::kUnavailable, "Start again");
    default:
      // A leader that moves, a broker that is away, a topic that is gone (the source's own checks tell that).
      consumer_->events().Failed(message.err, reason);
      return std::nullopt;
  }
}

Error KafkaPartitionReader::PositionLost(std::string_view reason) const {
  std::string there = "its present offsets are unknown";
  std::string missing;
  std::string next = "OFFSET";
  if (const auto marks = consumer_->admin().Watermarks({key_.topic, key_.partition})) {
    there = fmt::format("it now has the offsets {} to {}", marks->low, marks->high);
    if (marks->low > position_.next_offset) {
      missing = fmt::format("; {} messages were deleted before they were read", marks->low - position_.next_offset);
      next = std::to_string(marks->low);
    }
  }
  return {ErrorKind::kOffsetMismatch,
          fmt::format("cannot continue reading Kafka topic {}, partition {} at offset {} (leader epoch {}): {}; {}{}. "
                      "Nothing was skipped. See `k2 offsets show`; to skip the missing messages: `k2 offsets set "
                      "--table bronze_trades --topic {} --partition {} --next {} --accept-loss`",
                      key_.topic, key_.partition, position_.next_offset, position_.leader_epoch, reason, there, missing,
                      key_.topic, key_.partition, next)};
}

KafkaWatermarks KafkaPartitionReader::watermarks() const {
  KafkaWatermarks marks;
  if (rd_kafka_get_watermark_offsets(consumer_->handle(), key_.topic.c_str(), key_.partition, &marks.low,
                                     &marks.high) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return {.low = -1, .high = -1};
  }
  marks.low = std::max<int64_t>(marks.low, -1);
  marks.high = std::max<int64_t>(marks.high, -1);
  return marks;
}

bool KafkaPartitionReader::QueueFull() const {
  return static_cast<double>(queued_messages()) * mean_bytes_ >=
         static_cast<double>(consumer_->queue_bytes_max()) * kFullFrom;
}

int64_t KafkaPartitionReader::queued_messages() const {
  return static_cast<int64_t>(rd_kafka_queue_length(queue_)) + pending_count_;
}

}  // namespace k2::kafka
