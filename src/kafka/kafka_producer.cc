#include "kafka/kafka_producer.h"

#include <vector>

#include "base/guard.h"
#include "base/time.h"
#include "kafka/kafka_handle.h"

namespace k2::kafka {

class KafkaProducer::Batch {
 public:
  explicit Batch(source::RawBatch&& batch) : messages(std::move(batch)), open(static_cast<int64_t>(messages.size())) {}

  static void Release(Batch* batch, int64_t count) {
    if (batch->open.fetch_sub(count) == count) delete batch;
  }

  source::RawBatch messages;
  std::atomic<int64_t> open;  // messages that may still be read
};

struct KafkaProducer::Events : KafkaEvents {
  void Give(const rd_kafka_message_t& message, rd_kafka_resp_err_t code) {
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
      delivered.fetch_add(1, std::memory_order_relaxed);
    } else {
      const std::lock_guard lock(mutex);
      if (failed++ == 0) {
        first_failure = fmt::format("{} ({} bytes)", rd_kafka_err2str(code), message.len);
      }
    }
    Batch::Release(static_cast<Batch*>(message._private), 1);
  }
  std::atomic<int64_t> delivered{0};
  std::mutex mutex;
  int64_t failed = 0;
  std::string first_failure;
};

KafkaProducer::KafkaProducer(std::unique_ptr<Events> events) : events_(std::move(events)) {}

Result<std::unique_ptr<KafkaProducer>> KafkaProducer::Create(const KafkaOptions& options) {
  std::unique_ptr<KafkaProducer> producer(new KafkaProducer(std::make_unique<Events>()));
  KafkaSettings own = {{"enable.idempotence", "true"}, {"acks", "all"}, {"compression.type", options.compression}};
  const KafkaSettings defaults = {
      {"linger.ms", "5"},
      {"batch.num.messages", "20000"},
      {"batch.size", "1000000"},
      {"queue.buffering.max.messages", "200000"},
      {"queue.buffering.max.kbytes", "131072"},
      {"partitioner", "murmur2_random"},  // the one of Kafka's own clients: a key has its partition whoever writes
  };
  for (const auto& [name, value] : defaults) {
    if (!options.settings.contains(name)) own.emplace(name, value);
  }
  K2_ASSIGN(producer->handle_,
            MakeKafkaHandle(RD_KAFKA_PRODUCER, options, own, producer->events_.get(), &KafkaProducer::OnDelivery));
  producer->poller_ = std::thread([raw = producer.get()] {
    constexpr int kPollMs = 100;
    while (!raw->stop_) rd_kafka_poll(raw->handle_, kPollMs);
  });
  return producer;
}

KafkaProducer::~KafkaProducer() {
  if (handle_ == nullptr) return;
  rd_kafka_purge(handle_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  stop_ = true;
  if (poller_.joinable()) poller_.join();
  while (rd_kafka_outq_len(handle_) > 0 && rd_kafka_poll(handle_, 100) > 0) {
  }
  for (const auto& [name, topic] : topics_) rd_kafka_topic_destroy(topic);
  rd_kafka_destroy(handle_);
}

void KafkaProducer::OnDelivery(rd_kafka_s* /*handle*/, const rd_kafka_message_s* message, void* opaque) {
  GuardedOrLogged("a callback of Kafka's client",
                  [&] { static_cast<Events*>(static_cast<KafkaEvents*>(opaque))->Give(*message, message->err); });
}

KafkaProducer::Batch* KafkaProducer::Keep(source::RawBatch&& messages) {
  return messages.size() == 0 ? nullptr : new Batch(std::move(messages));
}

const source::RawBatch& KafkaProducer::MessagesOf(const Batch& batch) { return batch.messages; }

void KafkaProducer::Drop(Batch* batch, size_t from) {
  const size_t rest = batch->messages.size() - from;
  if (rest > 0) Batch::Release(batch, static_cast<int64_t>(rest));
}

void KafkaProducer::Send(const std::string& topic, Batch* batch, size_t from, size_t to) {
  rd_kafka_topic_t*& handle = topics_[topic];
  if (handle == nullptr) handle = rd_kafka_topic_new(handle_, topic.c_str(), nullptr);
  const source::RawBatch& source = batch->messages;
  std::vector<rd_kafka_message_t> messages(to - from);
  for (size_t i = from; i < to; ++i) {
    rd_kafka_message_t& message = messages[i - from];
    const std::string_view payload = source.payloads[i];
    const std::string_view key = source.keys[i];
    const bool has_key = source.keys.nulls.empty() || !source.keys.nulls[i];
    message.payload = const_cast<char*>(payload.data());  // librdkafka reads it only
    message.len = payload.size();
    message.key = has_key ? const_cast<char*>(key.data()) : nullptr;
    message.key_len = has_key ? key.size() : 0;
    message._private = batch;
  }
  // Without a copy: the batch lives until the last report. Waits for room, which the poller's reports make.
  const int taken = rd_kafka_produce_batch(handle, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_BLOCK, messages.data(),
                                           static_cast<int>(messages.size()));
  if (static_cast<size_t>(std::max(taken, 0)) == messages.size()) return;
  for (const rd_kafka_message_t& message : messages) {
    if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) events_->Give(message, message.err);
  }
}

bool KafkaProducer::Flush(int64_t max_wait_us) {
  return rd_kafka_flush(handle_, KafkaMillis(max_wait_us)) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

DeliveryCounts KafkaProducer::counts() const {
  const std::lock_guard lock(events_->mutex);
  return {.delivered = events_->delivered, .failed = events_->failed, .first_failure = events_->first_failure};
}

KafkaHealth KafkaProducer::health() const { return events_->health(); }

}  // namespace k2::kafka
