#include "maintenance/migrate.h"

#include <filesystem>

#include "catalog/testing/drop_table.h"
#include "iceberg/literal.h"
#include "maintenance/maintenance_fixture.h"
#include "pipeline/silver/revalidate.h"
#include "task/market_tables.h"
#include "trade/decoder.h"

namespace k2::maintenance {
namespace {

// A warehouse whose trades are decimal(18,8), as version 0.1 made it.
class OlderWarehouse : public MaintainTest {
 protected:
  void SetUp() override {
    pipeline::LayerTest::SetUp();
    const pipeline::Lakehouse empty = OpenLakehouse();
    ASSERT_TRUE(empty.catalog()->CreateNamespaceIfMissing(std::string(task::kNamespace)));
    ASSERT_TRUE(empty.catalog()->Create({std::string(task::kNamespace), std::string(task::kGoldTable)},
                                        *task::TableDefinition(task::kGoldTable, task::TableFormat::kOlder)));
    MakeTables();
    lakehouse_.emplace(OpenLakehouse());
  }

  task::TableFormat FormatNow(std::string_view table) { return task::FormatOf(table, Open(table).metadata()); }
  iceberg::Type TypeNow(std::string_view table, std::string_view column) {
    return Open(table).metadata().CurrentSchema().Find(column)->type;
  }
  int32_t RulesInSilver() { return table::ReadProgress(Open(kSilver).metadata())->rules_version; }
  Result<Migration> MigrateOne(std::string_view table, const table::CommitPolicy& commit = {}) {
    return Migrate(*lakehouse_, table, {}, {.threads = 2, .commit = commit});
  }
  void MigrateAll() {
    for (const std::string& table : MigrationOrder()) {
      const auto done = MigrateOne(table);
      ASSERT_TRUE(done) << table << ": " << done.error().message;
    }
  }
  // Trades with a price that the older format does not hold.
  void FinePrice(int64_t offset) {
    pipeline::BronzeRow row = Row(offset, midnight_us_ - kDay);
    const std::string trade_id = fmt::format("BINANCE-{}", offset);
    const trade::Trade trade{.message_id = trade::TradeMessageId("BINANCE", "BTCUSDT", trade_id),
                             .trade_id = trade_id,
                             .symbol = "BTCUSDT",
                             .exchange = "BINANCE",
                             .timestamp_us = midnight_us_ - kDay,
                             .price_e14 = 12345,
                             .quantity_e8 = trade::PowerOfTen(19),
                             .currency = "USDT",
                             .side = trade::TradeSide::kBuy,
                             .ingestion_timestamp_us = midnight_us_ - kDay};
    std::string payload;
    trade::EncodeTrade(trade, trade::kTradeV3SchemaId, payload);
    row.payload = payload;
    pipeline::CommitBronze(*lakehouse_, {row});
  }
};

TEST_F(OlderWarehouse, GoesOnAsItIsAndIsMigratedInPlace) {
  for (const std::string& table : task::AllTables()) {
    const bool trades = task::IsSilver(table) || table == task::kGoldTable;
    EXPECT_EQ(FormatNow(table), trades ? task::TableFormat::kOlder : task::TableFormat::kCurrent) << table;
  }
  Bronze(0, 9, midnight_us_ - kDay);
  FinePrice(10);
  ReadByAll();
  Bronze(11, 19, midnight_us_ - 2 * kDay);
  ReadByAll();
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 19);
  EXPECT_EQ(RulesInSilver(), trade::kRulesVersionOfOlderFormat);
  const auto rejected = pipeline::ReadRejected(*lakehouse_);
  ASSERT_EQ(rejected.size(), 1U);
  EXPECT_EQ(rejected.begin()->second.reason, "price_out_of_range");
  EXPECT_NE(rejected.begin()->second.detail.find("k2 tables migrate"), std::string::npos);

  pipeline::LayerStats none;
  const auto not_yet = pipeline::RevalidateRejected(*lakehouse_, layer_, schemas_, /*dry_run=*/false, none);
  ASSERT_TRUE(not_yet) << not_yet.error().message;
  EXPECT_EQ(not_yet->at("price_out_of_range").accepted, 0) << "the table does not hold it";

  const auto planned = PlanMigration(Open(task::kGoldTable));
  ASSERT_TRUE(planned) << planned.error().message;
  EXPECT_TRUE(planned->rewrites);
  EXPECT_EQ(planned->rows, 19);
  EXPECT_EQ(planned->files, 2);
  EXPECT_GT(planned->bytes, 0);
  EXPECT_EQ(FormatNow(task::kGoldTable), task::TableFormat::kOlder) << "a plan changes nothing";

  std::map<std::string, std::string> uuids;
  std::map<std::string, table::LayerProgress> stood;
  for (const std::string& name : task::AllTables()) {
    uuids[name] = Open(name).metadata().table_uuid;
    stood[name] = *table::ReadProgress(Open(name).metadata());
  }
  const auto ids = [&] {
    std::vector<std::string> all;
    for (const pipeline::StoredTrade& trade : pipeline::ReadTrades(*lakehouse_, task::kGoldTable))
      all.push_back(trade.message_id);
    return all;
  };
  const std::vector<std::string> before = ids();
  const int64_t last_snapshot = *Open(task::kGoldTable).metadata().current_snapshot_id;
  const int32_t last_id = Open(task::kGoldTable).metadata().CurrentSchema().Find("price")->id;
  MigrateAll();
  EXPECT_EQ(ids(), before);
  for (const std::string& name : task::AllTables()) {
    EXPECT_EQ(FormatNow(name), task::TableFormat::kCurrent) << name;
    EXPECT_EQ(Open(name).metadata().table_uuid, uuids[name]);
    EXPECT_EQ(table::ReadProgress(Open(name).metadata()), stood[name]) << name;
  }
  EXPECT_EQ(TypeNow(task::kGoldTable, "price"), iceberg::Type::Decimal(24, 14));
  EXPECT_EQ(TypeNow(kSilver, "quantity"), iceberg::Type::Decimal(24, 8));
  const table::Table gold = Open(task::kGoldTable);
  const iceberg::Snapshot& head = *gold.metadata().CurrentSnapshot();
  EXPECT_EQ(head.operation, "replace");
  EXPECT_EQ(head.schema_id, gold.metadata().current_schema_id);
  EXPECT_NE(gold.metadata().CurrentSchema().Find("price")->id, last_id);
  const iceberg::Snapshot& former = *gold.metadata().FindSnapshot(last_snapshot);
  EXPECT_EQ(gold.metadata().FindSchema(*former.schema_id)->Find("price")->type, iceberg::Type::Decimal(18, 8))
      << "time travel reads the schema of then";
  EXPECT_TRUE(pipeline::ShapeOf(gold, task::TableUse::kWrite));

  // What the older format did not hold is taken now, as after any change of the rules.
  pipeline::LayerStats stats;
  const auto taken = pipeline::RevalidateRejected(*lakehouse_, layer_, schemas_, /*dry_run=*/false, stats);
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_EQ(taken->at("price_out_of_range").accepted, 1);
  EXPECT_TRUE(pipeline::ReadRejected(*lakehouse_).empty());
  ReadByAll();
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 20);

  // Nobody sees new rows; the next ones are validated by the present rules.
  FinePrice(20);
  Bronze(0, 9, midnight_us_ - kDay, 1);
  ReadByAll();
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 31);
  EXPECT_EQ(RulesInSilver(), trade::kRulesVersion);
  EXPECT_TRUE(pipeline::ReadRejected(*lakehouse_).empty());
  for (const std::string& table : MigrationOrder()) {
    const auto again = MigrateOne(table);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_TRUE(again->changes.empty()) << table;
  }
  ExpectNothingLiveMissing();
}

TEST_F(OlderWarehouse, ReadersMayBeMigratedBeforeWhatTheyRead) {
  Bronze(0, 9, midnight_us_ - kDay);
  ReadByAll();
  ASSERT_TRUE(MigrateOne(task::kGoldTable));
  Bronze(0, 4, midnight_us_ - kDay, 1);
  Bronze(10, 19, midnight_us_ - kDay);
  ReadByAll();
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 25);
  ASSERT_TRUE(MigrateOne(kSilver));
  ReadByAll();
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 25);
  // What Gold has is compared with what comes again, whatever type it had.
  Bronze(20, 20, midnight_us_ - kDay);
  ReadByAll();
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 26);
}

// Field ids are given out by whoever is first: files that were written for those of before are of no use then.
TEST_F(OlderWarehouse, ColumnsThatOthersAddMeanwhile) {
  for (const bool drops : {false, true}) {
    SCOPED_TRACE(drops ? "added and dropped" : "added");
    const std::string name = drops ? kSilver : std::string(task::kGoldTable);
    Bronze(drops ? 10 : 0, drops ? 19 : 9, midnight_us_ - kDay);
    ReadByAll();
    bool once = false;
    table::CommitPolicy commit;
    commit.on_step = [&](std::string_view step) {
      if (step != "manifests" || std::exchange(once, true)) return;
      table::Table table = Open(name);
      const int32_t before = table.metadata().current_schema_id;
      ASSERT_TRUE(
          table.Update([&](const iceberg::TableMetadata& metadata) -> Result<std::vector<iceberg::TableUpdate>> {
            iceberg::Schema schema = metadata.CurrentSchema();
            const int32_t id = metadata.last_column_id + 1;
            schema.fields.push_back(
                {.id = id, .name = "theirs", .type = iceberg::Type::Primitive(iceberg::TypeId::kLong)});
            return std::vector<iceberg::TableUpdate>{iceberg::AddSchema{schema, id}, iceberg::SetCurrentSchema{-1}};
          }));
      if (!drops) return;
      ASSERT_TRUE(table.Update([&](const iceberg::TableMetadata&) -> Result<std::vector<iceberg::TableUpdate>> {
        return std::vector<iceberg::TableUpdate>{iceberg::SetCurrentSchema{before}};
      }));
    };
    const auto done = MigrateOne(name, commit);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_TRUE(once);
    EXPECT_EQ(FormatNow(name), task::TableFormat::kCurrent);
    const iceberg::Schema& schema = Open(name).metadata().CurrentSchema();
    for (const iceberg::DataFile& file : pipeline::LiveFiles(*lakehouse_, name)) {
      for (const std::string_view column : {"price", "quantity"}) {
        const int32_t id = schema.Find(column)->id;
        ASSERT_TRUE(file.lower_bounds.contains(id)) << column;
        EXPECT_EQ(iceberg::FromBytes(file.lower_bounds.at(id), schema.Find(column)->type).value(),
                  iceberg::Literal(Int128{column == "price" ? 100'000'000 : 1}))
            << column;
      }
    }
  }
}

// Beside trades of this format a table is made of it, whoever needs it first.
TEST_F(OlderWarehouse, ATableThatIsMadeLaterIsOfTheSameFormat) {
  const std::string name = "silver_coinbase_trades";
  ASSERT_TRUE(catalog::DropTable(root_ + "/warehouse", {std::string(task::kNamespace), name}));
  std::filesystem::remove_all(std::filesystem::path(root_) / "warehouse" / "market_data" / name);
  const auto made = lakehouse_->OpenOrCreate(name);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(FormatNow(name), task::TableFormat::kOlder);
  EXPECT_EQ(FormatNow(task::kBronzeTable), task::TableFormat::kCurrent);
}

// A service goes on: what it adds between the plan and the commit is written again, too.
TEST_F(OlderWarehouse, WhatIsAddedMeanwhileComesAlong) {
  Bronze(0, 9, midnight_us_ - kDay);
  ReadByAll();
  int added = 0;
  table::CommitPolicy commit;
  commit.on_step = [&](std::string_view step) {
    if (step != "manifests" || added == 3) return;
    ++added;
    Bronze(10 * added, 10 * added + 9, midnight_us_ - kDay);
    ASSERT_TRUE(StepSilver());
  };
  const auto done = MigrateOne(kSilver, commit);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(added, 3);
  EXPECT_EQ(done->rows, 40);
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, kSilver), 40);
  EXPECT_EQ(FormatNow(kSilver), task::TableFormat::kCurrent);
  ReadByAll();
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 40);
}

// Its files have the columns of before: nobody would find their prices.
TEST_F(OlderWarehouse, AStepThatWasPlannedBeforeIsNotCommittedAfter) {
  Bronze(0, 9, midnight_us_ - kDay);
  ReadByAll();
  Bronze(10, 19, midnight_us_ - kDay);
  const auto silver = *pipeline::SilverLayer::Open(*lakehouse_, layer_, schemas_, nullptr);
  auto plan = silver->Plan(1);
  ASSERT_TRUE(plan) << plan.error().message;
  const auto results = pipeline::RunTasks(plan->tasks, {{.io = lakehouse_->io(), .schemas = schemas_}}, 1);
  ASSERT_TRUE(results) << results.error().message;
  ASSERT_TRUE(pipeline::Complete(*results, *plan));
  ASSERT_TRUE(MigrateOne(kSilver));
  std::map<std::string, table::Table, std::less<>> tables;
  const auto find = [&](std::string_view name) -> Result<table::Table*> {
    return &tables.try_emplace(std::string(name), Open(name)).first->second;
  };
  pipeline::LayerStats stats;
  const Status done = pipeline::CommitCompleted(*plan, find, {}, stats);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kConflict);
  EXPECT_NE(done.error().message.find("has no price"), std::string::npos) << done.error().message;
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, kSilver), 10);
  ReadByAll();
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 20);
}

TEST_F(OlderWarehouse, DeletedRowsStayDeleted) {
  Bronze(0, 9, midnight_us_ - kDay);
  ReadByAll();
  pipeline::ForeignPositionDeletes(*lakehouse_, kSilver, pipeline::LiveFiles(*lakehouse_, kSilver).front(), {3, 7});
  const auto done = MigrateOne(kSilver);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(pipeline::ReadTrades(*lakehouse_, kSilver).size(), 8U);
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, kSilver), 8);
}

TEST_F(OlderWarehouse, IsRefusedWhereTheColumnIsUsed) {
  ReadByAll();
  table::Table gold = Open(task::kGoldTable);
  ASSERT_TRUE(gold.Update([&](const iceberg::TableMetadata& metadata) -> Result<std::vector<iceberg::TableUpdate>> {
    iceberg::SortOrder order;
    order.fields.push_back({.source_id = metadata.CurrentSchema().Find("price")->id});
    return std::vector<iceberg::TableUpdate>{iceberg::AddSortOrder{order}, iceberg::SetDefaultSortOrder{-1}};
  }));
  const auto done = MigrateOne(task::kGoldTable);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kUnsupported);
  EXPECT_NE(done.error().message.find("sorted, or was, by price"), std::string::npos) << done.error().message;
}

// Of files that importers may still add.
TEST_F(OlderWarehouse, AMappingOfNamesFollows) {
  Bronze(0, 9, midnight_us_ - kDay);
  ReadByAll();
  table::Table silver = Open(kSilver);
  const int32_t id = silver.metadata().CurrentSchema().Find("price")->id;
  ASSERT_TRUE(silver.Update([&](const iceberg::TableMetadata&) -> Result<std::vector<iceberg::TableUpdate>> {
    return std::vector<iceberg::TableUpdate>{iceberg::SetProperties{
        {{"schema.name-mapping.default",
          fmt::format(R"([{{"field-id":{},"names":["price"]}},{{"field-id":2,"names":["trade_id"]}}])", id)}}}};
  }));
  ASSERT_TRUE(MigrateOne(kSilver));
  silver = Open(kSilver);
  const int32_t now = silver.metadata().CurrentSchema().Find("price")->id;
  EXPECT_EQ(silver.metadata().properties.at("schema.name-mapping.default"),
            fmt::format(R"([{{"field-id":{},"names":["price"]}},{{"field-id":2,"names":["trade_id"]}}])", now));
}

}  // namespace
}  // namespace k2::maintenance
