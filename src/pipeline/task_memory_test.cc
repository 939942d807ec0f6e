// What a task holds in memory is bounded by bytes, whatever the size of messages: then its rows go to further files.
#include <gtest/gtest.h>

#include <numeric>

#include "exchange/exchange.h"
#include "pipeline/layer_fixture.h"
#include "recording/recording.h"
#include "task/market_tables.h"
#include "trade/encode.h"
#include "trade/identity.h"
#include "trade/trade_schema.h"

namespace k2::pipeline {
namespace {

const std::string kBronzeTopic = "market.crypto.trades.binance";

class TaskMemory : public LayerTest {
 protected:
  void SetUp() override {
    LayerTest::SetUp();
    MakeTables();
    lakehouse_.emplace(OpenLakehouse());
  }
  // Rows of the table's files, file by file.
  static std::vector<int64_t> RowsOf(const task::TaskResult& result, std::string_view table) {
    std::vector<int64_t> rows;
    for (const iceberg::DataFile& file : result.Find(table)->files) rows.push_back(file.record_count);
    return rows;
  }
  static int64_t Sum(const std::vector<int64_t>& rows) { return std::accumulate(rows.begin(), rows.end(), int64_t{0}); }

  std::optional<Lakehouse> lakehouse_;
};

std::string Good(int64_t number) {
  const std::string trade_id = fmt::format("BINANCE-{}", number);
  const trade::Trade trade{.message_id = trade::TradeMessageId("BINANCE", "BTCUSDT", trade_id),
                           .trade_id = trade_id,
                           .symbol = "BTCUSDT",
                           .exchange = "BINANCE",
                           .timestamp_us = BronzeRow{}.time_us,
                           .price_e14 = 100,
                           .quantity_e8 = 1,
                           .currency = "USDT",
                           .side = trade::TradeSide::kBuy,
                           .ingestion_timestamp_us = BronzeRow{}.time_us};
  std::string payload;
  trade::EncodeTrade(trade, trade::kTradeV3SchemaId, payload);
  return payload;
}

TEST_F(TaskMemory, OfSilver) {
  constexpr int64_t kRows = 2000;
  std::vector<BronzeRow> rows;
  for (int64_t i = 0; i < kRows; ++i)
    rows.push_back({kBronzeTopic, 0, i, i % 2 == 0 ? Good(i) : std::string(1000, 'x')});
  CommitBronze(*lakehouse_, rows);
  const auto schemas = std::make_shared<registry::FileSchemaSource>();
  const auto layer = SilverLayer::Open(*lakehouse_, {.rows_per_step = kRows}, schemas, nullptr);
  ASSERT_TRUE(layer);
  const auto plan = (*layer)->Plan(1);
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_EQ(plan->tasks.size(), 1U);
  const auto run = [&](int64_t flush_bytes) {
    task::SilverTask task = std::get<task::SilverTask>(plan->tasks[0]);
    task.attempt_id += fmt::format("-{}", flush_bytes);
    return task::RunTask(task, {.io = lakehouse_->io(), .schemas = schemas, .flush_bytes = flush_bytes});
  };
  const auto whole = run(task::TaskContext{}.flush_bytes);
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ(RowsOf(*whole, task::kRejectedTable).size(), 1U);
  EXPECT_EQ(RowsOf(*whole, "silver_binance_trades").size(), 1U);
  const auto cut = run(100'000);
  ASSERT_TRUE(cut) << cut.error().message;
  EXPECT_EQ(cut->rows_in, kRows);
  const std::vector<int64_t> rejected = RowsOf(*cut, task::kRejectedTable);
  EXPECT_EQ(Sum(rejected), kRows / 2);
  EXPECT_LE(std::ranges::max(rejected), 100);
  const std::vector<int64_t> good = RowsOf(*cut, "silver_binance_trades");
  EXPECT_EQ(Sum(good), kRows / 2);
  EXPECT_GE(good.size(), 2U);
}

TEST_F(TaskMemory, OfBronze) {
  Simulate(500);
  task::BronzeTask task{.inputs = {}, .max_messages = 10'000, .max_bytes = 10'000'000, .output = {}, .attempt_id = "a"};
  for (const RecordingSpec& recording : recordings_) {
    const auto reader = recording::RecordingReader::Open(*exchange::ExchangeByName(recording.exchange), recording.path);
    ASSERT_TRUE(reader);
    task.inputs.push_back(
        {.source = (*reader)->key(), .exchange = recording.exchange, .recording = recording.path, .begin = {}});
  }
  task.output = *OutputOf(*lakehouse_->Open(task::kBronzeTable));
  const auto whole = task::RunTask(task, {.io = lakehouse_->io(), .schemas = nullptr});
  ASSERT_TRUE(whole) << whole.error().message;
  task.attempt_id = "b";
  const auto cut = task::RunTask(task, {.io = lakehouse_->io(), .schemas = nullptr, .flush_bytes = 1});
  ASSERT_TRUE(cut) << cut.error().message;
  EXPECT_EQ(cut->ends, whole->ends);
  EXPECT_EQ(Sum(RowsOf(*cut, task::kBronzeTable)), Sum(RowsOf(*whole, task::kBronzeTable)));
  EXPECT_GT(RowsOf(*cut, task::kBronzeTable).size(), RowsOf(*whole, task::kBronzeTable).size());
}

}  // namespace
}  // namespace k2::pipeline
