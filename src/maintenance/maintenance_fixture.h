// Tables filled by hand, for tests of their maintenance. The clock is an argument: commits are made now, and retention
// is asked about days to come.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/time.h"
#include "iceberg/reachable_files.h"
#include "maintenance/expiry.h"
#include "maintenance/retention.h"
#include "pipeline/layer_fixture.h"
#include "table/metadata_store.h"
#include "task/market_tables.h"
#include "trade/decimal.h"
#include "trade/encode.h"
#include "trade/identity.h"
#include "trade/trade_schema.h"

namespace k2::maintenance {

inline const std::string kTopic = "market.crypto.trades.binance";
inline const std::string kSilver = "silver_binance_trades";
inline constexpr int64_t kHour = kMicrosPerHour;
inline constexpr int64_t kDay = kMicrosPerDay;

class MaintainTest : public pipeline::LayerTest {
 protected:
  void SetUp() override {
    pipeline::LayerTest::SetUp();
    MakeTables();
    lakehouse_.emplace(OpenLakehouse());
  }

  // Trades `first` to `last` of one partition, received at a time; one Bronze file, one commit.
  void Bronze(int64_t first, int64_t last, int64_t time_us, int32_t partition = 0) {
    std::vector<pipeline::BronzeRow> rows;
    for (int64_t i = first; i <= last; ++i) rows.push_back(Row(i, time_us, partition));
    pipeline::CommitBronze(*lakehouse_, rows);
  }
  static pipeline::BronzeRow Row(int64_t offset, int64_t time_us, int32_t partition = 0) {
    const std::string trade_id = fmt::format("BINANCE-{}", partition * 1'000'000 + offset);
    const trade::Trade trade{.message_id = trade::TradeMessageId("BINANCE", "BTCUSDT", trade_id),
                             .trade_id = trade_id,
                             .symbol = "BTCUSDT",
                             .exchange = "BINANCE",
                             .timestamp_us = time_us,
                             .price_e14 = 100 * trade::PowerOfTen(6),
                             .quantity_e8 = 1,
                             .currency = "USDT",
                             .side = trade::TradeSide::kBuy,
                             .ingestion_timestamp_us = time_us};
    std::string payload;
    trade::EncodeTrade(trade, trade::kTradeV3SchemaId, payload);
    return {kTopic, partition, offset, payload, time_us};
  }

  Status StepSilver() { return Steps(*pipeline::SilverLayer::Open(*lakehouse_, layer_, schemas_, nullptr)); }
  Status StepGold() { return Steps(*pipeline::GoldLayer::Open(*lakehouse_, layer_, nullptr)); }
  void ReadByAll() {
    const Status silver = StepSilver();
    ASSERT_TRUE(silver) << silver.error().message;
    const Status gold = StepGold();
    ASSERT_TRUE(gold) << gold.error().message;
  }

  table::Table Open(std::string_view table) { return *lakehouse_->Open(table); }
  TableRetention Plan(std::string_view table, int64_t now_us) {
    auto plan = PlanRetention(Open(table), *lakehouse_, policy_, now_us, {.with_young = true});
    EXPECT_TRUE(plan) << plan.error().message;
    const auto narrow = PlanRetention(Open(table), *lakehouse_, policy_, now_us);
    EXPECT_TRUE(narrow);
    EXPECT_EQ(narrow->RowsOf(PartitionFate::kDropped), plan->RowsOf(PartitionFate::kDropped));
    EXPECT_EQ(narrow->RowsOf(PartitionFate::kHeld), plan->RowsOf(PartitionFate::kHeld));
    return *plan;
  }
  PartitionFate FateOf(std::string_view table, int64_t now_us) {
    const TableRetention plan = Plan(table, now_us);
    EXPECT_EQ(plan.partitions.size(), 1U);
    return plan.partitions.empty() ? PartitionFate::kKept : plan.partitions.front().fate;
  }
  TableRetention Apply(std::string_view table, int64_t now_us, const table::CommitPolicy& commit = {}) {
    auto done = ApplyRetention(*lakehouse_, table, policy_, now_us, commit);
    EXPECT_TRUE(done) << done.error().message;
    return done.value_or(TableRetention{});
  }
  ExpiryReport Expire(std::string_view name, int64_t older_than_us, int64_t now_us) {
    table::Table table = Open(name);
    const auto done = ExpireSnapshots(table, now_us, {.older_than_us = older_than_us});
    EXPECT_TRUE(done) << done.error().message;
    return done.value_or(ExpiryReport{});
  }

  std::set<std::string> OnDisk(std::string_view table) {
    std::set<std::string> files;
    const auto list = lakehouse_->io()->List(Open(table).metadata().location);
    EXPECT_TRUE(list);
    for (const storage::FileInfo& file : *list) files.insert(file.location);
    return files;
  }
  std::set<std::string> Named(std::string_view name) {
    const table::Table table = Open(name);
    std::set<std::string> files{table.state().metadata_location};
    for (const auto& entry : table.metadata().metadata_log) files.insert(entry.metadata_file);
    table::MetadataStore store(*lakehouse_->io(), table.metadata().location);
    EXPECT_TRUE(iceberg::ForEachReachable(store, table.metadata(), [&](auto, const std::string& path) {
      files.insert(path);
      return Status{};
    }));
    return files;
  }
  void ExpectNothingLiveMissing() {
    for (const std::string& table : task::AllTables()) {
      const auto on_disk = OnDisk(table);
      for (const std::string& file : Named(table)) EXPECT_TRUE(on_disk.contains(file)) << table << " lacks " << file;
    }
  }

  RetentionPolicy policy_;
  std::shared_ptr<registry::SchemaSource> schemas_ = std::make_shared<registry::FileSchemaSource>();
  std::optional<pipeline::Lakehouse> lakehouse_;
  int64_t now_us_ = NowMicros();
  int64_t midnight_us_ = now_us_ / kDay * kDay;  // the start of today

 private:
  template <typename Layer>
  static Status Steps(const std::unique_ptr<Layer>& layer) {
    for (int steps = 0; steps < 100; ++steps) {
      const Result<int64_t> rows = layer->Step();
      if (!rows) return std::unexpected(rows.error());
      if (*rows == 0) return {};
    }
    return Fail(ErrorKind::kInternal, "there is always something to do");
  }
};

}  // namespace k2::maintenance
