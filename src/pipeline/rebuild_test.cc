// Rebuilding: the same rows again, none lost or doubled by what runs beside it, and none vanishes.
#include "pipeline/rebuild.h"

#include "pipeline/layer_fixture.h"
#include "table/progress_json.h"
#include "task/market_tables.h"
#include "trade/encode.h"
#include "trade/identity.h"
#include "trade/trade_schema.h"

namespace k2::pipeline {
namespace {

const std::string kBinanceTopic = "market.crypto.trades.binance";
constexpr int64_t kTradeTime = 1'704'153'600'000'000;
constexpr int64_t kDay = 24 * 3600 * int64_t{1'000'000};

std::string TradeMessage(int64_t number, int64_t price = 100, int64_t time_us = kTradeTime) {
  const std::string trade_id = fmt::format("BINANCE-{}", number);
  const trade::Trade trade{.message_id = trade::TradeMessageId("BINANCE", "BTCUSDT", trade_id),
                           .trade_id = trade_id,
                           .symbol = "BTCUSDT",
                           .exchange = "BINANCE",
                           .timestamp_us = time_us,
                           .price_e14 = price,
                           .quantity_e8 = 1,
                           .currency = "USDT",
                           .side = trade::TradeSide::kBuy,
                           .ingestion_timestamp_us = time_us};
  std::string payload;
  trade::EncodeTrade(trade, trade::kTradeV3SchemaId, payload);
  return payload;
}

class Rebuild : public LayerTest {
 protected:
  // Without the file that they are in.
  static std::vector<StoredTrade> Rows(const Lakehouse& lakehouse, std::string_view table) {
    std::vector<StoredTrade> rows = ReadTrades(lakehouse, table);
    for (StoredTrade& row : rows) row.file.clear();
    std::ranges::sort(rows);
    return rows;
  }
  static std::map<std::string, std::vector<StoredTrade>> Silver(const Lakehouse& lakehouse) {
    std::map<std::string, std::vector<StoredTrade>> rows;
    for (const exchange::Exchange* exchange : exchange::Exchanges()) {
      rows[std::string(exchange->silver_table)] = Rows(lakehouse, exchange->silver_table);
    }
    return rows;
  }
  static std::set<std::string> Paths(const Lakehouse& lakehouse, std::string_view table) {
    std::set<std::string> paths;
    for (const iceberg::DataFile& file : LiveFiles(lakehouse, table)) paths.insert(file.file_path);
    return paths;
  }

  // Messages of one Kafka partition, counted, as Bronze's next ones.
  static void Send(const Lakehouse& lakehouse, const std::vector<std::string>& payloads) {
    table::Table table = *lakehouse.Open(task::kBronzeTable);
    const table::SourceKey key = KafkaKey(kBinanceTopic);
    const table::LayerProgress before = *table::ReadProgress(table.metadata());
    table::SourcePosition at{.next_offset = 0, .messages = 0};
    if (before.positions.contains(key)) at = before.positions.at(key);
    std::vector<BronzeRow> rows;
    table::LayerCommit commit;
    if (before.positions.contains(key)) commit.base.positions[key] = at;
    for (const std::string& payload : payloads) {
      rows.push_back({.topic = kBinanceTopic, .partition = 0, .offset = at.next_offset++, .payload = payload});
      ++at.messages;
    }
    commit.added = {WriteBronzeFile(lakehouse, rows)};
    commit.next.positions[key] = at;
    ASSERT_TRUE(std::holds_alternative<table::CommitDone>(table.Commit(commit)));
  }
  // What somebody has made of Bronze's rows since.
  static void Rewrite(const Lakehouse& lakehouse, const std::vector<BronzeRow>& rows) {
    ForeignSnapshot(lakehouse, task::kBronzeTable, "overwrite", {WriteBronzeFile(lakehouse, rows)},
                    LiveFiles(lakehouse, task::kBronzeTable));
  }

  void RunLayers(bool gold = true) {
    RunOptions options = Options();
    options.bronze = !recordings_.empty();
    options.gold = gold;
    const auto report = RunAll(OpenLakehouse(), options);
    ASSERT_TRUE(report) << report.error().message;
  }

  StepPlan Plan(const Lakehouse& lakehouse, LayerId layer, const DayRange& days = {}) {
    auto plan = PlanRebuild(lakehouse, layer_, layer, days, 2);
    EXPECT_TRUE(plan) << plan.error().message;
    return plan ? std::move(*plan) : StepPlan{};
  }
  Status Commit(const Lakehouse& lakehouse, StepPlan plan) {
    std::map<std::string, table::Table, std::less<>> tables;
    const auto table = [&](std::string_view name) -> Result<table::Table*> {
      if (!tables.contains(name)) tables.emplace(name, *lakehouse.Open(name));
      return &tables.at(std::string(name));
    };
    // As it goes from `k2 plan` to `k2 commit`.
    K2_ASSIGN(const std::string text, StepPlanToJson(plan, table));
    K2_ASSIGN(plan, StepPlanFromJson(text, table));
    LayerStats stats;
    const task::TaskContext context{.io = lakehouse.io(), .schemas = std::make_shared<registry::FileSchemaSource>()};
    return RunRebuild(std::move(plan), table, context, layer_, stats);
  }
  void Again(LayerId layer, const DayRange& days = {}) {
    const Lakehouse lakehouse = OpenLakehouse();
    const Status status = Commit(lakehouse, Plan(lakehouse, layer, days));
    ASSERT_TRUE(status) << status.error().message;
  }
};

TEST_F(Rebuild, TheSameRowsInOtherFiles) {
  MakeTables();
  Simulate(300);
  RunLayers();
  const Lakehouse lakehouse = OpenLakehouse();
  const auto silver = Silver(lakehouse);
  const auto gold = GoldContents(lakehouse);
  const auto rejected = ReadRejected(lakehouse).size();
  std::map<std::string, table::LayerProgress> stood;
  for (const std::string& name : task::AllTables())
    stood[name] = *table::ReadProgress(lakehouse.Open(name)->metadata());
  const auto silver_files = Paths(lakehouse, "silver_binance_trades");
  const auto gold_files = Paths(lakehouse, task::kGoldTable);
  Again(LayerId::kSilver);
  EXPECT_EQ(Silver(lakehouse), silver);
  EXPECT_EQ(ReadRejected(lakehouse).size(), rejected);
  for (const std::string& path : Paths(lakehouse, "silver_binance_trades")) EXPECT_FALSE(silver_files.contains(path));
  RunLayers();  // finds nothing
  EXPECT_EQ(Paths(lakehouse, task::kGoldTable), gold_files) << "Gold has read what was rebuilt";
  Again(LayerId::kGold);
  EXPECT_EQ(GoldContents(lakehouse), gold);
  for (const std::string& path : Paths(lakehouse, task::kGoldTable)) EXPECT_FALSE(gold_files.contains(path));
  for (const auto& [name, progress] : stood) {
    EXPECT_EQ(table::ReadProgress(lakehouse.Open(name)->metadata())->positions, progress.positions) << name;
  }
  CheckTables(lakehouse, trades_);
  Simulate(100, 2);
  RunLayers();
  CheckTables(lakehouse, trades_);
}

// Gold has yet to read what Silver has; the rebuild must neither hide it from Gold nor show it twice.
TEST_F(Rebuild, OfSilverBeforeGoldHasReadIt) {
  MakeTables();
  Simulate(200);
  RunLayers();
  Simulate(200, 2);
  RunLayers(/*gold=*/false);
  Again(LayerId::kSilver);
  Again(LayerId::kGold);
  Simulate(100, 3);
  RunLayers(/*gold=*/false);
  ForeignExpiry(OpenLakehouse(), "silver_binance_trades");  // nor by its history
  Again(LayerId::kGold);
  RunLayers();
  CheckTables(OpenLakehouse(), trades_);
}

TEST_F(Rebuild, BesideSilverThatGoesOn) {
  MakeTables();
  Simulate(200);
  RunLayers();
  const Lakehouse lakehouse = OpenLakehouse();
  StepPlan plan = Plan(lakehouse, LayerId::kSilver);
  Simulate(100, 2);
  RunLayers();
  const Status status = Commit(lakehouse, std::move(plan));
  ASSERT_TRUE(status) << status.error().message;
  CheckTables(lakehouse, trades_);
}

// A row that Gold takes in meanwhile may be one that the rebuild brings too.
TEST_F(Rebuild, OfGoldIsFencedAgainstGoldThatGoesOn) {
  MakeTables();
  Simulate(200);
  RunLayers();
  const Lakehouse lakehouse = OpenLakehouse();
  StepPlan plan = Plan(lakehouse, LayerId::kGold);
  Simulate(100, 2);
  RunLayers();
  const Status status = Commit(lakehouse, std::move(plan));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kOffsetMismatch);
  CheckTables(lakehouse, trades_);
}

TEST_F(Rebuild, TwoAtOnceAreOne) {
  MakeTables();
  Simulate(200);
  RunLayers();
  const Lakehouse lakehouse = OpenLakehouse();
  StepPlan first = Plan(lakehouse, LayerId::kSilver);
  StepPlan second = Plan(lakehouse, LayerId::kSilver);
  ASSERT_TRUE(Commit(lakehouse, std::move(first)));
  EXPECT_FALSE(Commit(lakehouse, std::move(second)));
  CheckTables(lakehouse, trades_);
}

// The tables are committed one by one: what a crash in between has left is made whole by the next rebuild.
TEST_F(Rebuild, AgainAfterACrashBetweenItsTables) {
  MakeTables();
  Simulate(200);
  RunLayers();
  const Lakehouse lakehouse = OpenLakehouse();
  StepPlan plan = Plan(lakehouse, LayerId::kSilver);
  ASSERT_EQ(plan.commits.size(), 1 + exchange::Exchanges().size());
  plan.commits[2].commit.removed.front().file_path += "-gone";  // rejected_trades and one exchange are committed
  ASSERT_FALSE(Commit(lakehouse, std::move(plan)));
  Again(LayerId::kSilver);
  CheckTables(lakehouse, trades_);
}

TEST_F(Rebuild, ARowThatIsRejectedNowMovesOver) {
  MakeTables();
  const Lakehouse lakehouse = OpenLakehouse();
  Send(lakehouse, {TradeMessage(1), TradeMessage(2), TradeMessage(3, /*price=*/0)});
  RunLayers();
  std::vector<BronzeRow> rows = ReadBronze(lakehouse);
  rows[1].payload = TradeMessage(2, /*price=*/0);
  rows[2].payload = TradeMessage(3);
  Rewrite(lakehouse, rows);
  Again(LayerId::kSilver);
  const auto silver = Rows(lakehouse, "silver_binance_trades");
  ASSERT_EQ(silver.size(), 2U);
  const auto rejected = ReadRejected(lakehouse);
  ASSERT_EQ(rejected.size(), 1U);
  EXPECT_EQ(rejected.begin()->first, OffsetKey(kBinanceTopic, 0, 1));
  // Gold holds trade 2, which no row of Silver stands for any more.
  const auto gold = GoldContents(lakehouse);
  const Status status = Commit(lakehouse, Plan(lakehouse, LayerId::kGold));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kInvalidData);
  EXPECT_NE(status.error().message.find("1 of its trades"), std::string::npos) << status.error().message;
  EXPECT_EQ(GoldContents(lakehouse), gold);
}

TEST_F(Rebuild, IsRefusedWhereATradeWouldVanish) {
  MakeTables();
  const Lakehouse lakehouse = OpenLakehouse();
  Send(lakehouse, {TradeMessage(1), TradeMessage(2)});
  RunLayers();
  std::vector<BronzeRow> rows = ReadBronze(lakehouse);
  rows[1].payload = "no message";  // nobody can tell which trade this was
  Rewrite(lakehouse, rows);
  const auto silver = Silver(lakehouse);
  const Status status = Commit(lakehouse, Plan(lakehouse, LayerId::kSilver));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kInvalidData);
  EXPECT_NE(status.error().message.find(trade::TradeMessageId("BINANCE", "BTCUSDT", "BINANCE-2").ToString()),
            std::string::npos)
      << status.error().message;
  EXPECT_EQ(Silver(lakehouse), silver);
  EXPECT_TRUE(ReadRejected(lakehouse).empty());
}

TEST_F(Rebuild, IsRefusedWhereBronzeLacksRows) {
  MakeTables();
  const Lakehouse lakehouse = OpenLakehouse();
  Send(lakehouse, {TradeMessage(1), TradeMessage(2)});
  Send(lakehouse, {TradeMessage(3)});
  RunLayers();
  ForeignSnapshot(lakehouse, task::kBronzeTable, "delete", {}, {LiveFiles(lakehouse, task::kBronzeTable).front()});
  const Status status = Commit(lakehouse, Plan(lakehouse, LayerId::kSilver));
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("was built from 3"), std::string::npos) << status.error().message;
  EXPECT_EQ(LiveRows(lakehouse, "silver_binance_trades"), 3);
}

TEST_F(Rebuild, OfADayOfGoldLeavesTheOthers) {
  MakeTables();
  const Lakehouse lakehouse = OpenLakehouse();
  const auto day = [](int64_t number) { return kTradeTime + number * kDay; };
  for (int64_t number = 0; number < 3; ++number) {
    Send(lakehouse,
         {TradeMessage(10 + number, 100, day(number)), TradeMessage(20 + number, 100, day(number) + 5 * kDay / 24)});
  }
  RunLayers();
  const auto gold = GoldContents(lakehouse);
  const auto before = Paths(lakehouse, task::kGoldTable);
  const int32_t second = DayOfMicros(day(1));
  Again(LayerId::kGold, {.first = second, .last = second});
  EXPECT_EQ(GoldContents(lakehouse), gold);
  std::map<bool, int> kept;  // by whether the file is of the second day
  for (const iceberg::DataFile& file : LiveFiles(lakehouse, task::kGoldTable)) {
    const bool of_second = std::get<int32_t>(file.partition[0]) == second;
    EXPECT_EQ(before.contains(file.file_path), !of_second) << file.file_path;
    ++kept[of_second];
  }
  EXPECT_EQ(kept[true], 2);
  EXPECT_EQ(kept[false], 4);
  EXPECT_EQ(PlanRebuild(lakehouse, layer_, LayerId::kSilver, {.first = second}, 1).error().kind,
            ErrorKind::kInvalidArgument);
  EXPECT_EQ(PlanRebuild(lakehouse, layer_, LayerId::kBronze, {}, 1).error().kind, ErrorKind::kInvalidArgument);
}

}  // namespace
}  // namespace k2::pipeline
