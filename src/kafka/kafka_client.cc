#include "kafka/kafka_client.h"

#include <algorithm>
#include <regex>
#include <set>

#include "base/time.h"
#include "kafka/kafka_handle.h"

namespace k2::kafka {
namespace {

RdPartitions ToPartitions(const table::SourcePositions& positions) {
  RdPartitions list(rd_kafka_topic_partition_list_new(static_cast<int>(positions.size())));
  for (const auto& [key, position] : positions) {
    auto* entry = rd_kafka_topic_partition_list_add(list.get(), key.topic.c_str(), key.partition);
    entry->offset = position.next_offset;
    if (position.leader_epoch >= 0) rd_kafka_topic_partition_set_leader_epoch(entry, position.leader_epoch);
  }
  return list;
}

KafkaTopic ToTopic(const rd_kafka_TopicDescription_t* described) {
  size_t partitions = 0;
  rd_kafka_TopicDescription_partitions(described, &partitions);
  const rd_kafka_Uuid_t* id = rd_kafka_TopicDescription_topic_id(described);
  const bool has_id =
      id != nullptr && (rd_kafka_Uuid_most_significant_bits(id) != 0 || rd_kafka_Uuid_least_significant_bits(id) != 0);
  return {.name = rd_kafka_TopicDescription_name(described),
          .id = has_id ? rd_kafka_Uuid_base64str(id) : kNoTopicId,
          .partitions = static_cast<int32_t>(partitions)};
}

// One request of administration and its answer.
class Request {
 public:
  Request(rd_kafka_t* handle, KafkaEvents& events, const std::atomic<bool>& cancelled, const KafkaOptions& options,
          rd_kafka_admin_op_t operation)
      : handle_(handle),
        events_(events),
        cancelled_(cancelled),
        brokers_(options.brokers),
        timeout_ms_(KafkaMillis(options.request_timeout_us)),
        queue_(rd_kafka_queue_new(handle)),
        options_(rd_kafka_AdminOptions_new(handle, operation)) {
    std::array<char, kErrorTextSize> text{};
    rd_kafka_AdminOptions_set_request_timeout(options_.get(), timeout_ms_, text.data(), text.size());
  }
  [[nodiscard]] rd_kafka_queue_t* queue() const { return queue_.get(); }
  [[nodiscard]] rd_kafka_AdminOptions_t* options() const { return options_.get(); }

  Result<RdEvent> Wait(std::string_view what) {
    const int64_t deadline = MonotonicMicros() + (timeout_ms_ + kSlackMs) * int64_t{1000};
    RdEvent event;
    while (!event && MonotonicMicros() < deadline) {
      if (cancelled_) return Fail(ErrorKind::kCancelled, "Kafka at {}: {}: stopped", brokers_, what);
      event.reset(rd_kafka_queue_poll(queue_.get(), kSliceMs));
      rd_kafka_poll(handle_, 0);  // errors of connections reach `events_` by this
      if (auto lasting = events_.Lasting(kAuthPatienceUs); lasting && !event) return std::unexpected(*lasting);
    }
    const rd_kafka_resp_err_t code = event ? rd_kafka_event_error(event.get()) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
      events_.Answered();
      return event;
    }
    const KafkaHealth health = events_.health();
    return Fail(KafkaErrorKind(code), "Kafka at {}: {}: {}{}{}", brokers_, what,
                event ? rd_kafka_event_error_string(event.get()) : "no answer",
                health.ok ? "" : "; last error: ", health.ok ? "" : health.last_error);
  }

 private:
  static constexpr int kSlackMs = 1'000;  // the library's own time-out comes first
  static constexpr int kSliceMs = 100;
  static constexpr int64_t kAuthPatienceUs = 2'000'000;

  rd_kafka_t* handle_;
  KafkaEvents& events_;
  const std::atomic<bool>& cancelled_;
  std::string brokers_;
  int timeout_ms_;
  RdQueue queue_;
  std::unique_ptr<rd_kafka_AdminOptions_t, RdFree<rd_kafka_AdminOptions_destroy>> options_;
};

}  // namespace

Result<KafkaStart> ParseKafkaStart(std::string_view text) {
  if (text == "earliest") return KafkaStart{.from = KafkaStart::From::kEarliest};
  if (text == "latest") return KafkaStart{.from = KafkaStart::From::kLatest};
  const Result<int64_t> time = ParseTimestamp(text);
  if (!time) return Fail(ErrorKind::kInvalidArgument, "start '{}': earliest, latest, or a time as RFC 3339", text);
  return KafkaStart{.from = KafkaStart::From::kTime, .time_us = *time};
}

KafkaAdmin::KafkaAdmin(const KafkaOptions& options, std::unique_ptr<KafkaEvents> events)
    : options_(options), events_(std::move(events)) {}

KafkaAdmin::~KafkaAdmin() {
  if (handle_ != nullptr) rd_kafka_destroy(handle_);
}

Result<std::unique_ptr<KafkaAdmin>> KafkaAdmin::Create(const KafkaOptions& options) {
  std::unique_ptr<KafkaAdmin> admin(new KafkaAdmin(options, std::make_unique<KafkaEvents>()));
  K2_ASSIGN(admin->handle_, MakeKafkaHandle(RD_KAFKA_PRODUCER, options, {}, admin->events_.get()));
  return admin;
}

// Asks for metadata, in short tries; all topics' names, or none.
Result<std::vector<std::string>> KafkaAdmin::Metadata(bool all_topics) {
  constexpr int kTryMs = 500;
  constexpr int64_t kAuthPatienceUs = 2'000'000;
  const int64_t deadline = MonotonicMicros() + options_.request_timeout_us;
  const rd_kafka_metadata_t* metadata = nullptr;
  rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__TIMED_OUT;
  while (code != RD_KAFKA_RESP_ERR_NO_ERROR && MonotonicMicros() < deadline) {
    if (cancelled_) return Fail(ErrorKind::kCancelled, "Kafka at {}: asking for topics: stopped", options_.brokers);
    code = rd_kafka_metadata(handle_, all_topics ? 1 : 0, nullptr, &metadata, kTryMs);
    rd_kafka_poll(handle_, 0);  // errors of connections reach the events by this
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) break;
    if (auto lasting = events_->Lasting(kAuthPatienceUs)) return std::unexpected(std::move(*lasting));
  }
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
    const KafkaHealth now = events_->health();
    return Fail(KafkaErrorKind(code), "cannot connect to Kafka at {}: {}", options_.brokers,
                now.ok ? rd_kafka_err2str(code) : now.last_error);
  }
  events_->Answered();
  std::vector<std::string> names;
  for (int i = 0; i < metadata->topic_cnt; ++i) names.emplace_back(metadata->topics[i].topic);
  rd_kafka_metadata_destroy(metadata);
  return names;
}

// Before each request of administration: while one waits for a broker that refuses connections, librdkafka 2.15
// connects again and again without a pause, which takes most of a core, and has ended the process by an assertion of
// its own (rd_kafka_enq_once_del_source_return). A plain request that is answered makes that a matter of milliseconds.
Status KafkaAdmin::Probe() {
  K2_ASSIGN(const std::vector<std::string> names, Metadata(false));
  return {};
}

Result<std::string> KafkaAdmin::ClusterId() {
  // DescribeCluster would wait for the controller, which a reader needs not. Any metadata brings the id.
  K2_TRY(Metadata(false));
  char* text = rd_kafka_clusterid(handle_, 0);
  const std::string id = text == nullptr ? "" : text;
  if (text != nullptr) rd_kafka_mem_free(handle_, text);
  if (!id.empty()) return id;
  return Fail(ErrorKind::kUnsupported, "Kafka at {} reports no cluster id: K2 needs Kafka 0.10.1 or newer",
              options_.brokers);
}

Result<std::vector<std::string>> KafkaAdmin::Matching(const std::vector<std::string>& patterns) {
  std::set<std::string> names;
  std::vector<std::regex> expressions;
  for (const std::string& pattern : patterns) {
    if (!pattern.starts_with('^')) {
      names.insert(pattern);
      continue;
    }
    try {
      expressions.emplace_back(pattern, std::regex::extended);
    } catch (const std::regex_error& error) {
      return Fail(ErrorKind::kInvalidArgument, "topic pattern {}: {}", pattern, error.what());
    }
  }
  if (!expressions.empty()) {
    K2_ASSIGN(const std::vector<std::string> all, Metadata(true));
    for (const std::string& name : all) {
      const auto fits = [&](const std::regex& expression) { return std::regex_search(name, expression); };
      if (!name.starts_with("__") && std::ranges::any_of(expressions, fits)) names.insert(name);
    }
  }
  return std::vector<std::string>(names.begin(), names.end());
}

Result<KafkaTopics> KafkaAdmin::Describe(const std::vector<std::string>& patterns) {
  K2_TRY(Probe());
  K2_ASSIGN(const std::vector<std::string> names, Matching(patterns));
  KafkaTopics found;
  if (names.empty()) return found;
  std::vector<const char*> pointers;
  for (const std::string& name : names) pointers.push_back(name.c_str());
  const std::unique_ptr<rd_kafka_TopicCollection_t, RdFree<rd_kafka_TopicCollection_destroy>> asked(
      rd_kafka_TopicCollection_of_topic_names(pointers.data(), pointers.size()));
  Request request(handle_, *events_, cancelled_, options_, RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
  rd_kafka_DescribeTopics(handle_, asked.get(), request.options(), request.queue());
  K2_ASSIGN(const RdEvent event, request.Wait("asking for topics"));
  size_t count = 0;
  const auto* const* topics =
      rd_kafka_DescribeTopics_result_topics(rd_kafka_event_DescribeTopics_result(event.get()), &count);
  for (size_t i = 0; i < count; ++i) {
    const rd_kafka_error_t* error = rd_kafka_TopicDescription_error(topics[i]);
    const auto code = error == nullptr ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_error_code(error);
    const std::string name = rd_kafka_TopicDescription_name(topics[i]);
    if (KafkaErrorKind(code) == ErrorKind::kNotFound) {
      found.missing.push_back(name);
    } else if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return Fail(KafkaErrorKind(code), "Kafka topic {}: {}", name, rd_kafka_error_string(error));
    } else if (!rd_kafka_TopicDescription_is_internal(topics[i])) {
      found.topics.push_back(ToTopic(topics[i]));
    }
  }
  std::ranges::sort(found.topics, {}, &KafkaTopic::name);
  return found;
}

Status KafkaAdmin::CreateTopic(const std::string& name, int32_t partitions, int32_t replication) {
  std::array<char, kErrorTextSize> text{};
  const std::unique_ptr<rd_kafka_NewTopic_t, RdFree<rd_kafka_NewTopic_destroy>> topic(
      rd_kafka_NewTopic_new(name.c_str(), partitions, replication > 0 ? replication : -1, text.data(), text.size()));
  if (!topic) return Fail(ErrorKind::kInvalidArgument, "Kafka topic {}: {}", name, text.data());
  rd_kafka_NewTopic_t* topics[] = {topic.get()};
  K2_TRY(Probe());
  Request request(handle_, *events_, cancelled_, options_, RD_KAFKA_ADMIN_OP_CREATETOPICS);
  rd_kafka_CreateTopics(handle_, topics, 1, request.options(), request.queue());
  K2_ASSIGN(const RdEvent event, request.Wait(fmt::format("creating topic {}", name)));
  size_t count = 0;
  const auto* const* results =
      rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event.get()), &count);
  if (count != 1) return Fail(ErrorKind::kUnavailable, "Kafka topic {}: the reply contains {} topics", name, count);
  const auto code = rd_kafka_topic_result_error(results[0]);
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return {};
  const char* reason = rd_kafka_topic_result_error_string(results[0]);
  return Fail(KafkaErrorKind(code), "creating Kafka topic {} with {} partitions: {}", name, partitions,
              reason != nullptr ? reason : rd_kafka_err2str(code));
}

Result<std::map<KafkaPartition, int64_t>> KafkaAdmin::Offsets(const KafkaStart& start,
                                                              std::span<const KafkaPartition> of) {
  std::map<KafkaPartition, int64_t> offsets;
  if (of.empty()) return offsets;
  int64_t spec = RD_KAFKA_OFFSET_SPEC_EARLIEST;
  if (start.from == KafkaStart::From::kLatest) spec = RD_KAFKA_OFFSET_SPEC_LATEST;
  if (start.from == KafkaStart::From::kTime) spec = std::max<int64_t>(FloorDiv(start.time_us + 999, 1000), 0);
  const RdPartitions list(rd_kafka_topic_partition_list_new(static_cast<int>(of.size())));
  for (const auto& [topic, partition] : of) {
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = spec;
  }
  K2_TRY(Probe());
  Request request(handle_, *events_, cancelled_, options_, RD_KAFKA_ADMIN_OP_LISTOFFSETS);
  rd_kafka_AdminOptions_set_isolation_level(request.options(), RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED);
  rd_kafka_ListOffsets(handle_, list.get(), request.options(), request.queue());
  K2_ASSIGN(const RdEvent event, request.Wait("asking for offsets"));
  size_t count = 0;
  const auto* const* infos = rd_kafka_ListOffsets_result_infos(rd_kafka_event_ListOffsets_result(event.get()), &count);
  std::vector<KafkaPartition> later;  // than all messages
  for (size_t i = 0; i < count; ++i) {
    const rd_kafka_topic_partition_t* info = rd_kafka_ListOffsetsResultInfo_topic_partition(infos[i]);
    if (info->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return Fail(KafkaErrorKind(info->err), "Kafka topic {}, partition {}: asking for its offsets: {}", info->topic,
                  info->partition, rd_kafka_err2str(info->err));
    }
    if (info->offset >= 0) {
      offsets[{info->topic, info->partition}] = info->offset;
    } else {
      later.emplace_back(info->topic, info->partition);
    }
  }
  if (!later.empty() && start.from == KafkaStart::From::kTime) {
    K2_ASSIGN(auto ends, Offsets({.from = KafkaStart::From::kLatest}, later));
    offsets.merge(ends);
  }
  if (offsets.size() == of.size()) return offsets;
  return Fail(ErrorKind::kUnavailable, "Kafka at {} returned offsets for only {} of {} partitions", options_.brokers,
              offsets.size(), of.size());
}

Result<KafkaWatermarks> KafkaAdmin::Watermarks(const KafkaPartition& of) {
  const KafkaPartition partitions[] = {of};
  K2_ASSIGN(const auto low, Offsets({.from = KafkaStart::From::kEarliest}, partitions));
  K2_ASSIGN(const auto high, Offsets({.from = KafkaStart::From::kLatest}, partitions));
  return KafkaWatermarks{.low = low.at(of), .high = high.at(of)};
}

Status KafkaAdmin::CommitGroup(const std::string& group, const table::SourcePositions& positions) {
  if (positions.empty()) return {};
  K2_TRY(Probe());
  const RdPartitions list = ToPartitions(positions);
  rd_kafka_AlterConsumerGroupOffsets_t* wanted = rd_kafka_AlterConsumerGroupOffsets_new(group.c_str(), list.get());
  Request request(handle_, *events_, cancelled_, options_, RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS);
  rd_kafka_AlterConsumerGroupOffsets(handle_, &wanted, 1, request.options(), request.queue());
  rd_kafka_AlterConsumerGroupOffsets_destroy(wanted);
  K2_ASSIGN(const RdEvent event, request.Wait(fmt::format("writing offsets of group {}", group)));
  size_t count = 0;
  const auto* const* groups = rd_kafka_AlterConsumerGroupOffsets_result_groups(
      rd_kafka_event_AlterConsumerGroupOffsets_result(event.get()), &count);
  for (size_t i = 0; i < count; ++i) {
    if (const rd_kafka_error_t* error = rd_kafka_group_result_error(groups[i])) {
      return Fail(KafkaErrorKind(rd_kafka_error_code(error)), "offsets of group {}: {}", group,
                  rd_kafka_error_string(error));
    }
    const rd_kafka_topic_partition_list_t* written = rd_kafka_group_result_partitions(groups[i]);
    for (int j = 0; written != nullptr && j < written->cnt; ++j) {
      const auto code = written->elems[j].err;
      if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return Fail(KafkaErrorKind(code), "offsets of group {}: {}", group, rd_kafka_err2str(code));
      }
    }
  }
  return {};
}

KafkaHealth KafkaAdmin::health() const { return events_->health(); }

}  // namespace k2::kafka
