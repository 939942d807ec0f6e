#include <algorithm>
#include <set>

#include "base/health.h"
#include "kafka/kafka_source.h"
#include "pipeline/bronze/source_set.h"

namespace k2::pipeline {
namespace {

class KafkaSet final : public SourceSet {
 public:
  KafkaSet(KafkaFeed feed, std::unique_ptr<kafka::KafkaSource> source)
      : feed_(std::move(feed)), source_(std::move(source)) {}

  Result<std::vector<Source>> Sources(const table::LayerProgress& progress) override {
    const kafka::KafkaHealth health = source_->health();
    ProcessHealth().SetDependency("kafka", health.ok, health.last_error);
    source_->FollowAccepted(progress.positions);
    others_ = source_->OthersThan(progress.positions);
    std::set<std::string> topics_before;
    for (const auto& reader : source_->readers()) topics_before.insert(reader->key().topic);
    K2_ASSIGN(const auto added, source_->TakeNew());
    for (const kafka::KafkaPartitionReader* reader : added) {
      if (topics_before.contains(reader->key().topic)) appeared_.insert(reader->key());
    }
    for (const auto& reader : source_->readers()) {
      const table::SourceKey& key = reader->key();
      const auto known = [&](const Source& one) { return one.reader == reader.get(); };
      if (!InRange(key.partition) || std::ranges::any_of(sources_, known)) continue;
      sources_.push_back({.reader = reader.get(), .name = fmt::format("{}/{}", key.topic, key.partition)});
    }
    return sources_;
  }
  [[nodiscard]] std::map<table::SourceKey, Error> Stopped() const override {
    std::map<std::string, Error> topics = source_->StoppedTopics();
    topics.insert(others_.begin(), others_.end());
    std::map<table::SourceKey, Error> stopped;
    for (const Source& one : sources_) {
      const table::SourceKey& key = one.reader->key();
      if (const auto found = topics.find(key.topic); found != topics.end()) stopped.emplace(key, found->second);
    }
    return stopped;
  }
  [[nodiscard]] bool MayGrow() const override { return true; }

  Result<table::SourcePositions> Starts(const std::vector<table::SourceKey>& unknown,
                                        const table::LayerProgress& progress) override {
    std::vector<table::SourceKey> first_met;
    std::vector<table::SourceKey> later;
    for (const table::SourceKey& key : unknown) (IsLater(key, progress) ? later : first_met).push_back(key);
    table::SourcePositions starts;
    if (!first_met.empty()) {
      K2_ASSIGN(starts, source_->ResolveStart(feed_.start, first_met));
    }
    // At its very beginning: what its topic has deleted of it already is an error that tells so, and no silent skip.
    for (const table::SourceKey& key : later) starts[key] = {.next_offset = 0};
    for (auto& [key, position] : starts) position.messages = 0;
    return starts;
  }

  [[nodiscard]] bool FailIndependently() const override { return false; }
  void Wait(int64_t wait_us) override { (void)source_->WaitForMessages(wait_us); }
  [[nodiscard]] int64_t Available() const override { return source_->queued_messages(); }
  [[nodiscard]] bool BufferFull() const override { return source_->QueueFull(); }
  [[nodiscard]] std::optional<int64_t> EndOf(const table::SourceKey& key) const override {
    for (const auto& reader : source_->readers()) {
      if (reader->key() == key && reader->watermarks().high >= 0) return reader->watermarks().high;
    }
    return std::nullopt;
  }
  Status Confirm(const table::SourcePositions& read) override {
    return source_->ConfirmTopics(read, feed_.options.request_timeout_us);
  }
  void Committed(const table::SourcePositions& positions) override { source_->CommitGroupOffsets(positions); }

 private:
  [[nodiscard]] bool InRange(int32_t partition) const {
    return partition >= feed_.first_partition && partition <= feed_.last_partition;
  }
  // Whether the topic has got this partition after its reading began: while this process looked on, or, in the range
  // that is this process's work, since others of it were committed. What processes with other ranges have committed
  // tells nothing: they may have begun a moment ago.
  [[nodiscard]] bool IsLater(const table::SourceKey& key, const table::LayerProgress& progress) const {
    return appeared_.contains(key) || std::ranges::any_of(progress.positions, [&](const auto& committed) {
             const table::SourceKey& one = committed.first;
             return one.cluster == key.cluster && one.topic == key.topic && one.topic_id == key.topic_id &&
                    InRange(one.partition);
           });
  }

  KafkaFeed feed_;
  std::unique_ptr<kafka::KafkaSource> source_;
  std::map<std::string, Error> others_;  // topics that are not those of which Bronze has committed offsets
  std::set<table::SourceKey> appeared_;  // partitions that known topics have got since they were opened
  std::vector<Source> sources_;
};

}  // namespace

Result<std::unique_ptr<SourceSet>> OpenKafka(const KafkaFeed& feed) {
  K2_ASSIGN(auto source, kafka::KafkaSource::Open(feed.options, feed.topics));
  return std::make_unique<KafkaSet>(feed, std::move(source));
}

}  // namespace k2::pipeline
