// What a service meets: partitions that come and go, gaps of offsets, outages, and other processes with the same work.
#include <deque>
#include <mutex>
#include <random>
#include <thread>

#include "base/time.h"
#include "medallion/floor.h"
#include "medallion/layer_fixture.h"
#include "medallion/patience.h"
#include "task/market_tables.h"
#include "trade/encode.h"
#include "trade/identity.h"
#include "trade/trade_schema.h"

namespace k2 {
namespace {

using namespace std::chrono_literals;

const std::string kTopic = "market.crypto.trades.binance";
constexpr int64_t kTime = 1'704'153'600'000'000;

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
      const Trade trade{.message_id = TradeMessageId("BINANCE", "BTCUSDT", trade_id),
                        .trade_id = trade_id,
                        .symbol = "BTCUSDT",
                        .exchange = "BINANCE",
                        .timestamp_us = kTime + produced_ * 1000,
                        .price_e8 = 1,
                        .quantity_e8 = 1,
                        .currency = "USDT",
                        .side = TradeSide::kBuy,
                        .ingestion_timestamp_us = kTime + produced_ * 1000};
      Message message{.offset = offset, .payload = {}};
      EncodeTrade(trade, kTradeV2SchemaId, message.payload);
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

class PartitionReader final : public SourceReader {
 public:
  PartitionReader(Cluster& cluster, int32_t partition) : cluster_(cluster), key_(KafkaKey(kTopic, partition)) {}
  [[nodiscard]] const SourceKey& key() const override { return key_; }
  Status Seek(const SourcePosition& position) override {
    position_ = position;
    return {};
  }
  Result<RawBatch> Read(const ReadLimits& limits) override {
    RawBatch batch;
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
  [[nodiscard]] SourceCounts counts() const override { return {}; }
  [[nodiscard]] int64_t stored_bytes() const override { return -1; }
  [[nodiscard]] int64_t stored_bytes_read() const override { return -1; }

 private:
  Cluster& cluster_;
  SourceKey key_;
  SourcePosition position_;
  bool caught_up_ = false;
};

class ClusterSet final : public SourceSet {
 public:
  explicit ClusterSet(Cluster& cluster) : cluster_(cluster) {}
  Result<std::vector<Source>> Sources(const LayerProgress& /*progress*/) override {
    for (const int32_t number : cluster_.Partitions()) {
      if (readers_.contains(number)) continue;
      readers_[number] = std::make_unique<PartitionReader>(cluster_, number);
      sources_.push_back({.reader = readers_[number].get(), .name = fmt::format("{}", number)});
    }
    return sources_;
  }
  [[nodiscard]] bool MayGrow() const override { return true; }
  Result<SourcePositions> Starts(const std::vector<SourceKey>& unknown, const LayerProgress& /*progress*/) override {
    SourcePositions starts;
    for (const SourceKey& key : unknown) starts[key] = {.next_offset = 1'000 * key.partition, .messages = 0};
    return starts;
  }
  [[nodiscard]] bool ApartFromEachOther() const override { return false; }
  void Wait(int64_t wait_us) override { std::this_thread::sleep_for(std::chrono::microseconds(wait_us / 10)); }
  [[nodiscard]] int64_t Available() const override { return 100'000; }
  [[nodiscard]] std::optional<int64_t> EndOf(const SourceKey& /*key*/) const override { return std::nullopt; }
  Status Confirm() override { return {}; }
  void Committed(const SourcePositions& /*positions*/) override {}

 private:
  Cluster& cluster_;
  std::map<int32_t, std::unique_ptr<PartitionReader>> readers_;
  std::vector<Source> sources_;
};

class ServiceTest : public LayerTest {
 protected:
  [[nodiscard]] RunOptions OfCluster() {
    RunOptions options = Options();
    options.sources = [this]() -> Result<std::unique_ptr<SourceSet>> { return std::make_unique<ClusterSet>(cluster_); };
    options.commit_interval_us = 5'000;
    options.poll_us = 5'000;
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
    EXPECT_EQ(LiveRows(lakehouse, kGoldTable), cluster_.produced());
  }
  // Waits until Gold has all that was produced.
  void WaitForGold() {
    const Lakehouse lakehouse = OpenLakehouse();
    for (int i = 0; i < 600; ++i) {
      if (LiveRows(lakehouse, kGoldTable) == cluster_.produced()) return;
      std::this_thread::sleep_for(50ms);
    }
    ADD_FAILURE() << "Gold has " << LiveRows(lakehouse, kGoldTable) << " of " << cluster_.produced() << " trades";
  }

  Cluster cluster_;
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

TEST_F(ServiceTest, PartitionsWithGapsGoThroughOnce) {
  MakeTables();
  const uint64_t seed = TestSeed();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  for (const int partitions : {1, 5, 12}) {  // new ones appear
    cluster_.Produce(700, partitions, random);
    const auto report = RunAll(OpenLakehouse(), OfCluster());
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->bronze.rows_out, 700);
  }
  CheckAll();
  // Many partitions share a file.
  EXPECT_LT(LiveFiles(OpenLakehouse(), kBronzeTable).size(), 60U);
  const auto again = RunAll(OpenLakehouse(), OfCluster());
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->bronze.rows_out + again->silver.rows_in + again->gold.rows_in, 0);
}

// With a backlog the next step is written while one is committed. Where that commit's outcome is not known, or it was
// certainly not taken, what was written after it has no place either: all is read again from where the table stands.
TEST_F(ServiceTest, CommitsThatFailWhileTheNextStepIsWritten) {
  MakeTables();
  const uint64_t seed = TestSeed();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  cluster_.Produce(3'000, 5, random);
  RunOptions options = OfCluster();
  options.layer.rows_per_step = 60;
  options.silver = options.gold = false;
  std::atomic<int> swaps{0};
  int ended = 0;
  for (bool done = false; !done && ended < 100; ++ended) {
    const auto lakehouse = OpenLakehouse(MakeFileIo(), {.swap_fault = [&swaps] {
                                           const int swap = ++swaps;
                                           if (swap % 17 == 9) return SwapFault::kRequestLost;
                                           return swap % 17 == 13 ? SwapFault::kReplyLost : SwapFault::kNone;
                                         }});
    done = RunAll(lakehouse, options).has_value();
  }
  EXPECT_GT(swaps, 50);
  const Lakehouse lakehouse = OpenLakehouse();
  std::multiset<int64_t> offsets;
  for (const BronzeRow& row : ReadBronze(lakehouse)) offsets.insert(row.partition * 1'000'000'000LL + row.offset);
  EXPECT_EQ(offsets.size(), 3'000U);
  EXPECT_EQ(std::set<int64_t>(offsets.begin(), offsets.end()).size(), 3'000U);
  // No step but the last is smaller than it may be, so that a backlog does not become small files.
  EXPECT_LT(LiveFiles(lakehouse, kBronzeTable).size(), 2U * (3'000 / 60 + 40));
  options.silver = options.gold = true;
  ASSERT_TRUE(RunAll(OpenLakehouse(), options));
  CheckAll();
}

// Silver alone, with a backlog of files that hold several partitions each, and in small steps.
TEST_F(ServiceTest, SilverCutsABacklogOfMixedFiles) {
  MakeTables();
  std::mt19937_64 random(TestSeed());
  RunOptions bronze = OfCluster();
  bronze.silver = bronze.gold = false;
  for (int i = 0; i < 6; ++i) {
    cluster_.Produce(100, 4, random);
    ASSERT_TRUE(RunAll(OpenLakehouse(), bronze));
  }
  ForeignCompaction(OpenLakehouse(), kBronzeTable);  // one file of all rows
  for (int i = 0; i < 3; ++i) {
    cluster_.Produce(100, 4, random);
    ASSERT_TRUE(RunAll(OpenLakehouse(), bronze));
  }
  RunOptions below = OfCluster();
  below.bronze = false;
  below.layer.rows_per_step = 60;
  const auto report = RunAll(OpenLakehouse(), below);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(report->silver.steps, 3);
  CheckAll();
}

// Offsets have gaps, so that only the count tells that rows are missing.
TEST_F(ServiceTest, SilverNoticesRowsThatWereDeletedUnread) {
  MakeTables();
  std::mt19937_64 random(TestSeed());
  RunOptions bronze = OfCluster();
  bronze.silver = bronze.gold = false;
  cluster_.Produce(50, 3, random);
  ASSERT_TRUE(RunAll(OpenLakehouse(), bronze));
  const Lakehouse lakehouse = OpenLakehouse();
  ForeignSnapshot(lakehouse, kBronzeTable, "delete", {}, LiveFiles(lakehouse, kBronzeTable));
  RunOptions below = OfCluster();
  below.bronze = false;
  const auto report = RunAll(OpenLakehouse(), below);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind, ErrorKind::kOffsetMismatch);
  EXPECT_NE(report.error().message.find("accept-loss"), std::string::npos) << report.error().message;
}

// Two processes, each with half of the partitions.
TEST_F(ServiceTest, ProcessesDivideThePartitions) {
  MakeTables();
  std::mt19937_64 random(TestSeed());
  cluster_.Produce(600, 6, random);
  std::vector<std::thread> threads;
  std::vector<Result<RunReport>> reports(2);
  for (int half = 0; half < 2; ++half) {
    threads.emplace_back([&, half] {
      RunOptions options = OfCluster();
      options.gold = false;
      options.layer.owns = [half](std::string_view, int32_t partition) { return partition % 2 == half; };
      options.sources = [this, half]() -> Result<std::unique_ptr<SourceSet>> {
        class Half final : public SourceSet {
         public:
          Half(Cluster& cluster, int half) : all_(cluster), half_(half) {}
          Result<std::vector<Source>> Sources(const LayerProgress& progress) override {
            K2_ASSIGN(auto sources, all_.Sources(progress));
            std::erase_if(sources, [&](const Source& one) { return one.reader->key().partition % 2 != half_; });
            return sources;
          }
          [[nodiscard]] bool MayGrow() const override { return true; }
          Result<SourcePositions> Starts(const std::vector<SourceKey>& unknown, const LayerProgress& known) override {
            return all_.Starts(unknown, known);
          }
          [[nodiscard]] bool ApartFromEachOther() const override { return false; }
          void Wait(int64_t wait_us) override { all_.Wait(wait_us); }
          [[nodiscard]] int64_t Available() const override { return all_.Available(); }
          [[nodiscard]] std::optional<int64_t> EndOf(const SourceKey& /*key*/) const override { return std::nullopt; }
          Status Confirm() override { return {}; }
          void Committed(const SourcePositions& /*positions*/) override {}

         private:
          ClusterSet all_;
          int half_;
        };
        return std::make_unique<Half>(cluster_, half);
      };
      reports[static_cast<size_t>(half)] = RunAll(OpenLakehouse(), options);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& report : reports) {
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_GT(report->silver.rows_in, 0);
  }
  RunOptions gold = OfCluster();
  gold.bronze = gold.silver = false;
  ASSERT_TRUE(RunAll(OpenLakehouse(), gold));
  CheckAll();
}

TEST_F(ServiceTest, AStandbyTakesOverWhenNothingMoves) {
  MakeTables();
  std::mt19937_64 random(TestSeed());
  RunOptions options = OfCluster();
  options.endless = true;
  options.takeover_us = 1'500'000;
  cluster_.Produce(100, 3, random);
  Process first(OpenLakehouse(), options);
  options.standby = true;
  Process second(OpenLakehouse(), options);
  for (int i = 0; i < 20; ++i) {
    cluster_.Produce(10, 3, random);
    std::this_thread::sleep_for(50ms);
  }
  WaitForGold();
  EXPECT_EQ(second.progress().bronze_rows, 0) << "it did not stand by";
  first.Stop();
  cluster_.Produce(100, 3, random);
  WaitForGold();
  EXPECT_GT(second.progress().bronze_rows, 0);
  second.Stop();
  CheckAll();
}

// Both begin at once and both take themselves for the only one: one of them soon leaves the work to the other.
TEST_F(ServiceTest, TwoThatAreActiveDoNotFightForEver) {
  MakeTables();
  std::mt19937_64 random(TestSeed());
  RunOptions options = OfCluster();
  options.endless = true;
  options.takeover_us = 60'000'000;
  cluster_.Produce(100, 3, random);
  Process first(OpenLakehouse(), options);
  Process second(OpenLakehouse(), options);
  for (int i = 0; i < 40; ++i) {
    cluster_.Produce(10, 3, random);
    std::this_thread::sleep_for(20ms);
  }
  WaitForGold();
  const int64_t before_first = first.progress().bronze_rows;
  const int64_t before_second = second.progress().bronze_rows;
  for (int i = 0; i < 20; ++i) {
    cluster_.Produce(10, 3, random);
    std::this_thread::sleep_for(20ms);
  }
  WaitForGold();
  const int64_t by_first = first.progress().bronze_rows - before_first;
  const int64_t by_second = second.progress().bronze_rows - before_second;
  EXPECT_EQ(by_first + by_second, 200);
  EXPECT_TRUE(by_first == 0 || by_second == 0) << by_first << " and " << by_second << ": both are at work still";
  first.Stop();
  second.Stop();
  CheckAll();
}

// A layer that has finished must not leave the next one asleep for a poll's time.
TEST(Floor, TheEndOfALayerWakesTheNextOne) {
  const std::atomic<bool> stop{false};
  Floor floor(stop);
  const int64_t seen = floor.changes();
  const int64_t started_us = MonotonicMicros();
  std::thread waiter([&] { floor.Wait(seen, std::chrono::minutes(2)); });
  floor.Finished(kBronze);
  waiter.join();
  EXPECT_LT(MonotonicMicros() - started_us, 60'000'000);
}

TEST(Patience, TellsRacesFromWhatIsMissing) {
  const std::atomic<bool> stop{false};
  Patience batch({.endless = false}, "bronze", stop);
  const Error moved{ErrorKind::kOffsetMismatch, "moved to 5"};
  EXPECT_EQ(batch.Judge(moved), Patience::Next::kAgain);
  EXPECT_EQ(batch.Judge(moved), Patience::Next::kFail);  // nothing has changed: it is no race
  batch.Reset();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(batch.Judge({ErrorKind::kOffsetMismatch, std::to_string(i)}), Patience::Next::kAgain);
  }
  EXPECT_EQ(batch.Judge({ErrorKind::kOffsetMismatch, "20"}), Patience::Next::kFail);
  EXPECT_EQ(batch.Judge({ErrorKind::kIo, "disk"}), Patience::Next::kFail);
  Patience service({.endless = true, .takeover_us = 60'000'000}, "bronze", stop);
  EXPECT_EQ(service.Judge(moved), Patience::Next::kAgain);
  service.Reset();  // a step in between does not make the other go away
  EXPECT_EQ(service.Judge({ErrorKind::kOffsetMismatch, "moved to 7"}), Patience::Next::kStandBy);
  EXPECT_EQ(service.Judge({ErrorKind::kIo, "disk"}), Patience::Next::kAgain);
  EXPECT_EQ(service.Judge({ErrorKind::kInvalidData, "bytes"}), Patience::Next::kFail);
}

TEST(Patience, WaitsForAServiceAsLongAsItMay) {
  std::atomic<bool> stop{false};
  Patience batch({.endless = false, .outage_us_max = 200'000}, "gold", stop);
  const Error away{ErrorKind::kUnavailable, "no answer"};
  int tries = 0;
  while (batch.Judge(away) == Patience::Next::kAgain && tries < 100) ++tries;
  EXPECT_GT(tries, 0);
  EXPECT_LT(tries, 100);
}

}  // namespace
}  // namespace k2
