#include "kafka/kafka_consumer.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/time.h"

namespace k2::kafka {
namespace {

constexpr char kGroupOfNone[] = "k2";  // assigning by hand needs a name, no group is joined
constexpr int64_t kMinQueuedKbytes = 256;
constexpr int64_t kMaxQueuedKbytes = 2'097'151;
constexpr int64_t kMinFetchBytes = int64_t{1} << 20;
constexpr int64_t kMaxFetchBytes = int64_t{50} << 20;
constexpr int64_t kPlaceTimeoutUs = 5'000'000;
constexpr int kSeekTimeoutMs = 1'000;

int64_t ShareKbytes(const KafkaOptions& options, int64_t partitions) {
  return std::clamp<int64_t>(options.queued_bytes / 1024 / std::max<int64_t>(partitions, 1), kMinQueuedKbytes,
                             kMaxQueuedKbytes);
}

KafkaSettings ConsumerSettings(const KafkaOptions& options, int64_t share_kbytes) {
  // A fetch's answer is held whole, beside what is queued, while messages of it are.
  const int64_t fetch_bytes = std::clamp(options.queued_bytes / 4, kMinFetchBytes, kMaxFetchBytes);
  KafkaSettings settings = {
      {"group.id", options.group.empty() ? kGroupOfNone : options.group},
      {"enable.auto.commit", "false"},
      {"enable.auto.offset.store", "false"},
      {"auto.offset.reset", "error"},
      {"enable.partition.eof", "true"},
      {"check.crcs", "true"},
      // Of each queue of a partition.
      {"queued.max.messages.kbytes", std::to_string(share_kbytes)},
  };
  // A reader that pauses to write lets the queue fill; the default of 1 s before the next fetch would starve it. One
  // request to a broker is on its way at a time: while one asks only for partitions that have no more, the others,
  // read empty meanwhile, have to wait for it.
  const KafkaSettings defaults = {{"fetch.queue.backoff.ms", "5"},
                                  {"fetch.wait.max.ms", "20"},
                                  {"fetch.max.bytes", std::to_string(fetch_bytes)},
                                  {"isolation.level", "read_committed"}};
  for (const auto& [name, value] : defaults) {
    if (!options.settings.contains(name)) settings.emplace(name, value);
  }
  return settings;
}

RdPartitions OnePartition(const std::string& topic, int32_t partition, const table::SourcePosition* position) {
  RdPartitions list(rd_kafka_topic_partition_list_new(1));
  auto* entry = rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition);
  if (position != nullptr) {
    entry->offset = position->next_offset;
    if (position->leader_epoch >= 0) rd_kafka_topic_partition_set_leader_epoch(entry, position->leader_epoch);
  }
  return list;
}

void OnQueueEvent(rd_kafka_t* /*handle*/, void* consumer) { static_cast<KafkaConsumer*>(consumer)->Signal(); }

}  // namespace

ErrorKind PlaceErrorKind(rd_kafka_resp_err_t code) {
  const bool passes = code == RD_KAFKA_RESP_ERR__STATE || code == RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS ||
                      code == RD_KAFKA_RESP_ERR__TIMED_OUT;
  return passes ? ErrorKind::kUnavailable : ErrorKind::kInternal;
}

Result<std::shared_ptr<KafkaConsumer>> KafkaConsumer::Create(const KafkaOptions& options, int64_t partitions,
                                                             KafkaAdmin* admin) {
  std::shared_ptr<KafkaConsumer> consumer(new KafkaConsumer(admin));
  const int64_t share_kbytes = ShareKbytes(options, partitions);
  consumer->queue_bytes_max_ = share_kbytes * 1024;
  K2_ASSIGN(consumer->handle_,
            MakeKafkaHandle(RD_KAFKA_CONSUMER, options, ConsumerSettings(options, share_kbytes), &consumer->events_));
  rd_kafka_poll_set_consumer(consumer->handle_);
  return consumer;
}

KafkaConsumer::~KafkaConsumer() {
  if (handle_ == nullptr) return;
  rd_kafka_assign(handle_, nullptr);
  rd_kafka_destroy_flags(handle_, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);  // no group was joined
}

RdQueue KafkaConsumer::OpenQueue(const std::string& topic, int32_t partition) {
  RdQueue queue(rd_kafka_queue_get_partition(handle_, topic.c_str(), partition));
  rd_kafka_queue_forward(queue.get(), nullptr);
  rd_kafka_queue_cb_event_enable(queue.get(), OnQueueEvent, this);
  return queue;
}

Status KafkaConsumer::Place(const std::string& topic, int32_t partition, const table::SourcePosition& position,
                            bool assigned) {
  const auto failed = [&](const char* what, rd_kafka_resp_err_t code, const char* reason) {
    return Fail(PlaceErrorKind(code), "Kafka topic {}, partition {}: cannot {} at offset {}: {}", topic, partition,
                what, position.next_offset, reason);
  };
  if (assigned) Unplace(topic, partition);
  const RdPartitions wanted = OnePartition(topic, partition, &position);
  if (const RdError error(rd_kafka_incremental_assign(handle_, wanted.get())); error) {
    return failed("begin", rd_kafka_error_code(error.get()), rd_kafka_error_string(error.get()));
  }
  // Only a seek has the brokers compare the leader epoch where the topic is known already. An assignment that waits for
  // the end of the one before it has no state to seek in yet.
  const int64_t deadline = MonotonicMicros() + kPlaceTimeoutUs;
  for (;;) {
    const RdPartitions target = OnePartition(topic, partition, &position);
    const RdError error(rd_kafka_seek_partitions(handle_, target.get(), kSeekTimeoutMs));
    const auto code = error ? rd_kafka_error_code(error.get()) : target->elems[0].err;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return {};
    const bool passes = PlaceErrorKind(code) == ErrorKind::kUnavailable;
    if (!passes || MonotonicMicros() >= deadline) return failed("seek", code, rd_kafka_err2str(code));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void KafkaConsumer::Unplace(const std::string& topic, int32_t partition) {
  const RdPartitions list = OnePartition(topic, partition, nullptr);
  RdError(rd_kafka_incremental_unassign(handle_, list.get()));  // fails where it is not assigned, as is wanted
}

void KafkaConsumer::Poll() {
  while (rd_kafka_message_t* message = rd_kafka_consumer_poll(handle_, 0)) {
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      const char* text = rd_kafka_message_errstr(message);
      events_.Failed(message->err, text != nullptr ? text : rd_kafka_err2str(message->err));
    }
    rd_kafka_message_destroy(message);
  }
}

uint64_t KafkaConsumer::signals() const {
  const std::lock_guard lock(mutex_);
  return signals_;
}

void KafkaConsumer::Signal() {
  {
    const std::lock_guard lock(mutex_);
    ++signals_;
  }
  signalled_.notify_all();
}

void KafkaConsumer::WaitForSignal(uint64_t after, int64_t max_wait_us) {
  std::unique_lock lock(mutex_);
  signalled_.wait_for(lock, std::chrono::microseconds(max_wait_us), [&] { return signals_ != after; });
}

}  // namespace k2::kafka
