#include "kafka/kafka_source.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "base/guard.h"
#include "base/log.h"
#include "base/time.h"
#include "kafka/kafka_consumer.h"

namespace k2::kafka {
namespace {

constexpr int64_t kEventTickUs = 100'000;        // between looks at what librdkafka has to tell
constexpr int64_t kRetryUs = 200'000;            // after a check without an answer
constexpr int64_t kGroupIntervalUs = 1'000'000;  // between writes of the group's offsets
constexpr int64_t kAuthPatienceUs = 60'000'000;  // credentials may be rolled under a running process
constexpr int64_t kGoneIntervalUs = 1'000'000;
constexpr int kGoneChecks = 3;  // a broker that has just started may not know all topics yet

// Both have the same name, partitions and offsets, and only somebody who knows why can say that they belong together.
std::string HowToGoOn(const std::string& topic) {
  return fmt::format(
      "Nothing was skipped, and nothing of the other topic was read; `k2 offsets show` shows the committed offsets. If "
      "this is intended, `k2 offsets accept --topic {} --dry-run` shows what will be read; without --dry-run, the "
      "topic is read from its beginning into the same tables",
      topic);
}

constexpr char kWholeCluster[] =
    "Nothing was skipped, and nothing of this cluster was read; `k2 offsets show` shows the committed offsets. Give "
    "the former brokers, or accept the topics of this cluster one by one: `k2 offsets accept --topic NAME --dry-run`";

std::optional<Error> CheckNames(const std::vector<std::string>& topics) {
  constexpr size_t kMaxName = 249;  // Kafka's own rule
  for (const std::string& topic : topics) {
    if (topic.starts_with('^')) continue;
    const bool plain = std::ranges::all_of(
        topic, [](unsigned char c) { return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-'; });
    if (topic.empty() || topic.size() > kMaxName || !plain) {
      return Error{ErrorKind::kInvalidArgument,
                   fmt::format("'{}' is not a valid name of a Kafka topic (a pattern begins with ^)", topic)};
    }
  }
  return std::nullopt;
}

}  // namespace

Result<std::unique_ptr<KafkaSource>> KafkaSource::Open(const KafkaOptions& options,
                                                       const std::vector<std::string>& topics) {
  K2_TRY(CheckKafkaOptions(options));
  if (topics.empty()) return Fail(ErrorKind::kInvalidArgument, "no Kafka topics are given: --topics");
  if (auto error = CheckNames(topics)) return std::unexpected(std::move(*error));
  std::unique_ptr<KafkaSource> source(new KafkaSource(options, topics));
  K2_ASSIGN(source->admin_, KafkaAdmin::Create(options));
  K2_ASSIGN(source->cluster_id_, source->admin_->ClusterId());
  K2_ASSIGN(const KafkaTopics found, source->admin_->Describe(topics));
  if (!found.missing.empty() && (!options.topics_may_be_missing || found.topics.empty())) {
    return Fail(
        ErrorKind::kNotFound,
        "there is no Kafka topic {} at {}: choose another (--topics), or create it (`k2 produce --create-topics N`)",
        found.missing.front(), options.brokers);
  }
  if (found.topics.empty()) {
    return Fail(ErrorKind::kNotFound, "no Kafka topic at {} matches {}", options.brokers, fmt::join(topics, ", "));
  }
  int64_t partitions = 0;
  for (const KafkaTopic& topic : found.topics) partitions += topic.partitions;
  K2_ASSIGN(source->consumer_, KafkaConsumer::Create(options, partitions, source->admin_.get()));
  source->AddReaders(found);
  source->watcher_ = std::thread([raw = source.get()] {
    const Status watched = Guarded("the watch over Kafka's topics", [raw]() -> Status {
      raw->Watch();
      return {};
    });
    if (watched) return;
    const std::lock_guard lock(raw->mutex_);
    raw->failure_ = watched.error();
    raw->checks_done_ = raw->checks_wanted_;
    raw->wake_.notify_all();
  });
  return source;
}

KafkaSource::~KafkaSource() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (admin_ && !admin_->health().ok) admin_->Cancel();
  if (watcher_.joinable()) watcher_.join();
  readers_.clear();
  consumer_.reset();
}

// A reader for each partition that has none.
std::vector<KafkaPartitionReader*> KafkaSource::AddReaders(const KafkaTopics& found) {
  std::vector<KafkaPartitionReader*> added;
  for (const KafkaTopic& topic : found.topics) {
    {
      const std::lock_guard lock(mutex_);
      topic_ids_.emplace(topic.name, topic.id);
    }
    std::set<int32_t> have;
    for (const auto& reader : readers_) {
      if (reader->key().topic == topic.name) have.insert(reader->key().partition);
    }
    for (int32_t partition = 0; partition < topic.partitions; ++partition) {
      if (have.contains(partition)) continue;
      const table::SourceKey key{
          .cluster = cluster_id_, .topic = topic.name, .topic_id = topic.id, .partition = partition};
      readers_.push_back(std::make_unique<KafkaPartitionReader>(consumer_, key));
      added.push_back(readers_.back().get());
    }
  }
  std::ranges::sort(readers_, {}, [](const auto& reader) { return reader->key(); });
  return added;
}

Result<std::vector<KafkaPartitionReader*>> KafkaSource::TakeNew() {
  std::optional<KafkaTopics> found;
  {
    const std::lock_guard lock(mutex_);
    if (failure_) return std::unexpected(*failure_);
    found.swap(found_);
  }
  if (!found) return std::vector<KafkaPartitionReader*>{};
  return AddReaders(*found);
}

void KafkaSource::FollowAccepted(const table::SourcePositions& committed) {
  std::map<std::string, std::string> accepted;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, position] : committed) {
      const auto found = recreated_.find(key.topic);
      if (found == recreated_.end() || key.cluster != cluster_id_ || key.topic_id != found->second) continue;
      accepted.emplace(*found);
      topic_ids_[key.topic] = found->second;
      stopped_.erase(key.topic);
      recreated_.erase(found);
    }
  }
  if (accepted.empty()) return;
  for (const auto& reader : readers_) {
    const auto found = accepted.find(reader->key().topic);
    if (found != accepted.end()) reader->Become(found->second);
  }
  std::ranges::sort(readers_, {}, [](const auto& reader) { return reader->key(); });
}

std::map<std::string, Error> KafkaSource::OthersThan(const table::SourcePositions& committed) const {
  std::map<std::string, Error> others;
  std::map<std::string, std::string> now;
  for (const auto& reader : readers_) now[reader->key().topic] = reader->key().topic_id;
  for (const auto& [name, id] : now) {
    const table::SourceKey* other = nullptr;
    bool known = false;
    for (const auto& [key, position] : committed) {
      if (key.topic != name) continue;
      known |= key.cluster == cluster_id_ && key.topic_id == id;
      if (key.cluster != cluster_id_ || key.topic_id != id) other = &key;
    }
    if (known || other == nullptr) continue;
    std::string what;
    if (other->cluster != cluster_id_) {
      what = fmt::format("the table has read Kafka topic {} of cluster {}, but the brokers at {} belong to cluster {}",
                         name, other->cluster, options_.brokers, cluster_id_);
    } else {
      what =
          fmt::format("Kafka topic {} was recreated: the table has read the topic with the id {}, but its id is now {}",
                      name, other->topic_id, id);
    }
    others.emplace(name, Error{ErrorKind::kOffsetMismatch, fmt::format("{}. {}", what, HowToGoOn(name))});
  }
  return others;
}

std::map<std::string, Error> KafkaSource::StoppedTopics() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

Result<table::SourcePositions> KafkaSource::ResolveStart(const KafkaStart& start,
                                                         std::span<const table::SourceKey> keys) {
  std::vector<KafkaPartition> partitions;
  for (const table::SourceKey& key : keys) partitions.emplace_back(key.topic, key.partition);
  K2_ASSIGN(const auto offsets, admin_->Offsets(start, partitions));
  table::SourcePositions positions;
  for (const table::SourceKey& key : keys) positions[key].next_offset = offsets.at({key.topic, key.partition});
  return positions;
}

bool KafkaSource::HasMessages() const {
  return std::ranges::any_of(readers_,
                             [](const auto& reader) { return reader->placed() && reader->queued_messages() > 0; });
}

bool KafkaSource::WaitForMessages(int64_t max_wait_us) {
  const int64_t deadline = MonotonicMicros() + max_wait_us;
  for (;;) {
    const uint64_t before = consumer_->signals();
    if (HasMessages()) return true;
    const int64_t left_us = deadline - MonotonicMicros();
    if (left_us <= 0) return false;
    consumer_->WaitForSignal(before, left_us);
  }
}

Status KafkaSource::ConfirmTopics(const table::SourcePositions& read, int64_t max_wait_us) {
  std::unique_lock lock(mutex_);
  const uint64_t mine = ++checks_wanted_;
  wake_.notify_all();
  checked_.wait_for(lock, std::chrono::microseconds(max_wait_us),
                    [&] { return failure_.has_value() || checks_done_ >= mine; });
  if (failure_) return std::unexpected(*failure_);
  if (checks_done_ >= mine) {
    for (const auto& [key, position] : read) {
      if (const auto found = stopped_.find(key.topic); found != stopped_.end()) return std::unexpected(found->second);
    }
    return {};
  }
  lock.unlock();
  const KafkaHealth now = health();
  return Fail(ErrorKind::kUnavailable, "cannot confirm with Kafka at {} that the topics are still the same: {}",
              options_.brokers, now.ok ? "no answer in time" : now.last_error);
}

void KafkaSource::CommitGroupOffsets(const table::SourcePositions& committed) {
  if (options_.group.empty()) return;
  const std::lock_guard lock(mutex_);
  for (const auto& [key, position] : committed) {
    const auto id = topic_ids_.find(key.topic);
    if (key.cluster != cluster_id_ || id == topic_ids_.end() || id->second != key.topic_id) continue;
    group_positions_[key] = position;
  }
}

KafkaHealth KafkaSource::health() const {
  const KafkaHealth admin = admin_->health();
  const KafkaHealth consumer = consumer_->events().health();
  return admin.ok ? consumer : admin;
}

bool KafkaSource::QueueFull() const {
  return std::ranges::any_of(readers_, [](const auto& reader) { return reader->placed() && reader->QueueFull(); });
}

int64_t KafkaSource::queued_messages() const {
  int64_t messages = 0;
  for (const auto& reader : readers_) messages += reader->placed() ? reader->queued_messages() : 0;
  return messages;
}

// The watcher's loop: checks on time and when asked, the group's offsets, and what librdkafka has to tell.
void KafkaSource::Watch() {
  int64_t next_check_us = MonotonicMicros() + options_.check_interval_us;
  int64_t next_group_us = 0;
  int64_t not_before_us = 0;
  for (;;) {
    bool asked = false;
    bool stop = false;
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, std::chrono::microseconds(kEventTickUs),
                     [&] { return stop_ || (checks_wanted_ > checks_done_ && MonotonicMicros() >= not_before_us); });
      asked = checks_wanted_ > checks_done_;
      stop = stop_;
    }
    consumer_->Poll();
    const int64_t now_us = MonotonicMicros();
    if (stop || (now_us >= next_group_us && admin_->health().ok)) {
      FlushGroup();
      next_group_us = now_us + kGroupIntervalUs;
    }
    if (stop) return;
    const bool due = now_us >= next_check_us;
    if ((!due && !asked) || now_us < not_before_us) continue;
    if (Check(due)) {
      if (due) next_check_us = MonotonicMicros() + options_.check_interval_us;
      const std::lock_guard lock(mutex_);
      if (Unsettled()) next_check_us = not_before_us = MonotonicMicros() + kGoneIntervalUs;
    } else {
      not_before_us = MonotonicMicros() + kRetryUs;
    }
  }
}

// Asks the brokers about topics, and with `all` about the cluster and topics that are new. False: no answer.
bool KafkaSource::Check(bool all) {
  uint64_t serving = 0;
  std::vector<std::string> names = topics_;
  {
    const std::lock_guard lock(mutex_);
    serving = checks_wanted_;
    if (failure_) {
      checks_done_ = serving;
      return true;
    }
    if (!all) names.clear();
    for (const auto& [name, id] : topic_ids_) names.push_back(name);
  }
  Result<KafkaTopics> found = admin_->Describe(names);
  Result<std::string> cluster = found && all ? admin_->ClusterId() : cluster_id_;
  if (found && cluster) consumer_->events().Answered();
  const std::lock_guard lock(mutex_);
  if (!found || !cluster) {
    const Error& error = found ? cluster.error() : found.error();
    log::Debug("kafka: cannot check the topics", {{"error", error.message}});
    failure_ = admin_->events().Lasting(kAuthPatienceUs);
    if (!failure_) failure_ = consumer_->events().Lasting(kAuthPatienceUs);
    if (failure_) checked_.notify_all();
    return false;
  }
  if (*cluster != cluster_id_) {
    failure_ = Error{ErrorKind::kOffsetMismatch,
                     fmt::format("the Kafka brokers at {} now belong to cluster {}; before, they belonged to {}. {}",
                                 options_.brokers, *cluster, cluster_id_, kWholeCluster)};
  } else {
    FindStopped(*found);
  }
  if (failure_ || !Unsettled()) checks_done_ = serving;
  if (!failure_ && all) {
    std::erase_if(found->topics, [&](const KafkaTopic& topic) { return stopped_.contains(topic.name); });
    found_ = std::move(*found);
  }
  checked_.notify_all();
  return true;
}

// Compares topics with what they were. With the lock held.
void KafkaSource::FindStopped(const KafkaTopics& found) {
  for (const KafkaTopic& topic : found.topics) {
    const auto before = topic_ids_.find(topic.name);
    gone_.erase(topic.name);
    if (before == topic_ids_.end()) continue;
    if (before->second == topic.id) {
      stopped_.erase(topic.name);
      continue;
    }
    stopped_.insert_or_assign(
        topic.name, Error{ErrorKind::kOffsetMismatch,
                          fmt::format("Kafka topic {} was recreated while it was read: its id was {} and is now {}. {}",
                                      topic.name, before->second, topic.id, HowToGoOn(topic.name))});
    recreated_.insert_or_assign(topic.name, topic.id);
  }
  for (const std::string& name : found.missing) {
    if (!topic_ids_.contains(name) || ++gone_[name] < kGoneChecks) continue;
    stopped_.try_emplace(name,
                         Error{ErrorKind::kOffsetMismatch,
                               fmt::format("Kafka topic {} (id {}) no longer exists in cluster {}. Remove it from "
                                           "--topics; if a topic of this name is created again, it is another topic",
                                           name, topic_ids_[name], cluster_id_)});
  }
}

// A topic that was there is missing, and may yet be found. With the lock held.
bool KafkaSource::Unsettled() const {
  return std::ranges::any_of(gone_, [](const auto& one) { return one.second < kGoneChecks; });
}

void KafkaSource::FlushGroup() {
  table::SourcePositions positions;
  {
    const std::lock_guard lock(mutex_);
    positions.swap(group_positions_);
  }
  if (positions.empty()) return;
  const Status written = admin_->CommitGroup(options_.group, positions);
  if (!written && !group_failed_) {
    log::Warn("kafka: cannot write the group's offsets (best effort, for lag monitoring)",
              {{"group", options_.group}, {"error", written.error().message}});
  }
  group_failed_ = !written;
}

}  // namespace k2::kafka
