// A cluster in memory, shared by the "processes" of a test, for tests of services.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pipeline/layer_fixture.h"
#include "task/market_tables.h"
#include "trade/encode.h"
#include "trade/identity.h"
#include "trade/trade_schema.h"

namespace k2::pipeline {

inline const std::string kTopic = "market.crypto.trades.binance";
inline constexpr int64_t kTime = 1'704'153'600'000'000;

// A cluster in memory: partitions of messages at offsets with gaps, shared by the processes of a test.
class Cluster {
 public:
  struct Message {
    int64_t offset = 0;
    std::string payload;
  };
  // Appends trades to random partitions, after gaps of offsets now and then.
  void Produce(int trades, int partitions, std::mt19937_64& random) {
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < trades; ++i) {
      const auto partition = static_cast<int32_t>(random() % static_cast<uint64_t>(partitions));
      std::deque<Message>& messages = partitions_[partition];
      int64_t offset = messages.empty() ? 1'000 * partition : messages.back().offset + 1;
      if (random() % 7 == 0) offset += static_cast<int64_t>(random() % 50);
      const std::string trade_id = fmt::format("BINANCE-{}", ++produced_);
      const trade::Trade trade{.message_id = trade::TradeMessageId("BINANCE", "BTCUSDT", trade_id),
                               .trade_id = trade_id,
                               .symbol = "BTCUSDT",
                               .exchange = "BINANCE",
                               .timestamp_us = kTime + produced_ * 1000,
                               .price_e14 = 1,
                               .quantity_e8 = 1,
                               .currency = "USDT",
                               .side = trade::TradeSide::kBuy,
                               .ingestion_timestamp_us = kTime + produced_ * 1000};
      Message message{.offset = offset, .payload = {}};
      trade::EncodeTrade(trade, trade::kTradeV3SchemaId, message.payload);
      messages.push_back(std::move(message));
    }
  }
  std::vector<int32_t> Partitions() {
    const std::lock_guard lock(mutex_);
    std::vector<int32_t> numbers;
    for (const auto& [number, messages] : partitions_) numbers.push_back(number);
    return numbers;
  }
  std::vector<Message> From(int32_t partition, int64_t offset, size_t max) {
    const std::lock_guard lock(mutex_);
    std::vector<Message> found;
    for (const Message& message : partitions_[partition]) {
      if (message.offset >= offset && found.size() < max) found.push_back(message);
    }
    return found;
  }
  [[nodiscard]] int64_t produced() const { return produced_; }

 private:
  std::mutex mutex_;
  std::map<int32_t, std::deque<Message>> partitions_;
  std::atomic<int64_t> produced_{0};
};

// What shall go wrong with a source, counted over the sets that share it.
struct ClusterFaults {
  std::atomic<int> sources_calls{0};
  std::set<int> sources_away;                 // calls of Sources, from 1 on, that find the brokers away
  std::atomic<bool> confirm_fails{false};     // topics cannot be confirmed
  std::atomic<int32_t> broken_partition{-1};  // reading it fails
};

class PartitionReader final : public source::SourceReader {
 public:
  PartitionReader(Cluster& cluster, int32_t partition, const ClusterFaults* faults = nullptr)
      : cluster_(cluster), faults_(faults), key_(KafkaKey(kTopic, partition)) {}
  [[nodiscard]] const table::SourceKey& key() const override { return key_; }
  Status Seek(const table::SourcePosition& position) override {
    position_ = position;
    return {};
  }
  Result<source::RawBatch> Read(const source::ReadLimits& limits) override {
    if (faults_ != nullptr && faults_->broken_partition == key_.partition) {
      return Fail(ErrorKind::kIo, "partition {} cannot be read", key_.partition);
    }
    source::RawBatch batch;
    batch.source = key_;
    batch.begin = position_;
    for (auto& message :
         cluster_.From(key_.partition, position_.next_offset, static_cast<size_t>(limits.max_messages))) {
      batch.keys.Append("BTCUSDT");
      batch.payloads.Append(message.payload);
      batch.offsets.push_back(message.offset);
      batch.kafka_timestamps_us.push_back(kTime);
      batch.ingestion_timestamps_us.push_back(kTime);
      position_.next_offset = message.offset + 1;
    }
    caught_up_ = batch.size() == 0;
    batch.end = position_;
    return batch;
  }
  [[nodiscard]] bool AtEnd() const override { return false; }
  [[nodiscard]] bool CaughtUp() const override { return caught_up_; }
  [[nodiscard]] source::SourceCounts counts() const override { return {}; }
  [[nodiscard]] int64_t stored_bytes() const override { return -1; }
  [[nodiscard]] int64_t stored_bytes_read() const override { return -1; }

 private:
  Cluster& cluster_;
  const ClusterFaults* faults_;
  table::SourceKey key_;
  table::SourcePosition position_;
  bool caught_up_ = false;
};

class ClusterSet final : public SourceSet {
 public:
  // Without `owns`: of all partitions.
  explicit ClusterSet(Cluster& cluster, std::function<bool(int32_t)> owns = nullptr, ClusterFaults* faults = nullptr)
      : cluster_(cluster), owns_(std::move(owns)), faults_(faults) {}
  Result<std::vector<Source>> Sources(const table::LayerProgress& /*progress*/) override {
    if (faults_ != nullptr && faults_->sources_away.contains(++faults_->sources_calls)) {
      return Fail(ErrorKind::kUnavailable, "the brokers are away");
    }
    for (const int32_t number : cluster_.Partitions()) {
      if (readers_.contains(number) || (owns_ && !owns_(number))) continue;
      readers_[number] = std::make_unique<PartitionReader>(cluster_, number, faults_);
      sources_.push_back({.reader = readers_[number].get(), .name = fmt::format("{}", number)});
    }
    return sources_;
  }
  [[nodiscard]] bool MayGrow() const override { return true; }
  Result<table::SourcePositions> Starts(const std::vector<table::SourceKey>& unknown,
                                        const table::LayerProgress& /*progress*/) override {
    table::SourcePositions starts;
    for (const table::SourceKey& key : unknown) starts[key] = {.next_offset = 1'000 * key.partition, .messages = 0};
    return starts;
  }
  [[nodiscard]] bool FailIndependently() const override { return false; }
  void Wait(int64_t wait_us) override { std::this_thread::sleep_for(std::chrono::microseconds(wait_us / 10)); }
  [[nodiscard]] int64_t Available() const override { return 100'000; }
  [[nodiscard]] std::optional<int64_t> EndOf(const table::SourceKey& /*key*/) const override { return std::nullopt; }
  Status Confirm(const table::SourcePositions& /*read*/) override {
    if (faults_ == nullptr || !faults_->confirm_fails) return {};
    return Fail(ErrorKind::kUnavailable, "topics were not confirmed");
  }
  void Committed(const table::SourcePositions& /*positions*/) override {}

 private:
  Cluster& cluster_;
  std::function<bool(int32_t)> owns_;
  ClusterFaults* faults_;
  std::map<int32_t, std::unique_ptr<PartitionReader>> readers_;
  std::vector<Source> sources_;
};

class ServiceTest : public LayerTest {
 protected:
  [[nodiscard]] RunOptions OfCluster() {
    RunOptions options = Options();
    options.sources = [this]() -> Result<std::unique_ptr<SourceSet>> {
      return std::make_unique<ClusterSet>(cluster_, nullptr, &faults_);
    };
    options.commit_interval_us = 5'000;
    options.poll_us = 5'000;
    return options;
  }
  // The work of Bronze and Silver in these partitions.
  [[nodiscard]] RunOptions OfPartitions(const std::function<bool(int32_t)>& owns) {
    RunOptions options = OfCluster();
    options.gold = false;
    options.layer.owns = [owns](std::string_view, int32_t partition) { return owns(partition); };
    options.sources = [this, owns]() -> Result<std::unique_ptr<SourceSet>> {
      return std::make_unique<ClusterSet>(cluster_, owns, &faults_);
    };
    return options;
  }
  // Bronze holds each message of the cluster once; each is one row of Silver; Gold has each trade.
  void CheckAll() {
    const Lakehouse lakehouse = OpenLakehouse();
    std::multiset<OffsetKey> rows;
    for (const BronzeRow& row : ReadBronze(lakehouse)) rows.insert({row.topic, row.partition, row.offset});
    std::multiset<OffsetKey> expected;
    for (const int32_t number : cluster_.Partitions()) {
      for (const auto& message : cluster_.From(number, 0, SIZE_MAX)) expected.insert({kTopic, number, message.offset});
    }
    EXPECT_EQ(rows, expected);
    EXPECT_EQ(LiveRows(lakehouse, "silver_binance_trades"), cluster_.produced());
    EXPECT_EQ(LiveRows(lakehouse, task::kGoldTable), cluster_.produced());
  }
  // Waits until Gold has all that was produced.
  void WaitForGold() {
    const Lakehouse lakehouse = OpenLakehouse();
    for (int i = 0; i < 600; ++i) {
      if (LiveRows(lakehouse, task::kGoldTable) == cluster_.produced()) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    ADD_FAILURE() << "Gold has " << LiveRows(lakehouse, task::kGoldTable) << " of " << cluster_.produced() << " trades";
  }

  Cluster cluster_;
  ClusterFaults faults_;
};

// A process of its own kind: tables of its own opening, stopped by a flag.
class Process {
 public:
  Process(Lakehouse lakehouse, RunOptions options)
      : lakehouse_(std::move(lakehouse)),
        options_(std::move(options)),
        thread_([this] { result_ = Run(lakehouse_, options_, stop_, progress_); }) {}
  ~Process() { Stop(); }
  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    EXPECT_TRUE(result_) << result_.error().message;
  }
  [[nodiscard]] const RunProgress& progress() const { return progress_; }

 private:
  Lakehouse lakehouse_;
  RunOptions options_;
  std::atomic<bool> stop_{false};
  RunProgress progress_;
  Result<RunReport> result_ = std::unexpected(Error{});
  std::thread thread_;
};

}  // namespace k2::pipeline
