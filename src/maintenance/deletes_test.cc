// Row-level deletes of other engines: what the layers read, what compaction writes away, what comes again.
#include "iceberg/manifest_store.h"
#include "iceberg/snapshot_summary.h"
#include "maintenance/compaction.h"
#include "maintenance/maintenance_fixture.h"
#include "pipeline/rebuild.h"
#include "task/market_tables.h"

namespace k2::maintenance {
namespace {

class Deletes : public MaintainTest {
 protected:
  static std::string IdOf(int64_t offset) {
    return trade::TradeMessageId("BINANCE", "BTCUSDT", fmt::format("BINANCE-{}", offset)).ToString();
  }
  // Offsets of the trades that a table holds, in order.
  std::vector<int64_t> Trades(std::string_view table) {
    std::map<std::string, int64_t> offsets;
    for (int64_t offset = 0; offset < 200; ++offset) offsets[IdOf(offset)] = offset;
    std::vector<int64_t> found;
    for (const pipeline::StoredTrade& trade : pipeline::ReadTrades(*lakehouse_, table))
      found.push_back(offsets.at(trade.message_id));
    std::ranges::sort(found);
    return found;
  }
  void DeleteFromGold(const std::vector<std::string>& ids) {
    pipeline::ForeignEqualityDeletes(*lakehouse_, task::kGoldTable,
                                     pipeline::LiveFiles(*lakehouse_, task::kGoldTable).front(), "message_id", ids);
  }
  Result<CompactionReport> Join(std::string_view table, const table::CommitPolicy& commit = {}) {
    return Compact(*lakehouse_, table, {.settled_us = 0}, now_us_ + kHour, {.threads = 2, .commit = commit});
  }
  iceberg::SnapshotTotals Totals(std::string_view table) {
    iceberg::SnapshotTotals totals;
    EXPECT_TRUE(iceberg::SnapshotTotals::Parse(Open(table).metadata().CurrentSnapshot()->summary, totals));
    return totals;
  }
  // Of the live files.
  void ExpectTotalsAreRight(std::string_view name) {
    const table::Table table = Open(name);
    table::MetadataStore store(*lakehouse_->io(), table.metadata().location);
    const auto manifests = iceberg::ReadManifests(store, *table.metadata().CurrentSnapshot());
    ASSERT_TRUE(manifests);
    EXPECT_EQ(Totals(name), iceberg::CountTotals(store, table.metadata(), *manifests).value()) << name;
  }
  static std::vector<int64_t> UpTo(int64_t last, const std::set<int64_t>& without) {
    std::vector<int64_t> offsets;
    for (int64_t offset = 0; offset <= last; ++offset) {
      if (!without.contains(offset)) offsets.push_back(offset);
    }
    return offsets;
  }
  const int64_t day_us_ = midnight_us_ - kDay;
};

// Silver accounts for the rows that were deleted from Bronze, and does not take them; Gold does the same with Silver's.
TEST_F(Deletes, TheLayersReadNoDeletedRow) {
  Bronze(0, 9, day_us_);
  pipeline::ForeignPositionDeletes(*lakehouse_, task::kBronzeTable,
                                   pipeline::LiveFiles(*lakehouse_, task::kBronzeTable).front(), {3, 7});
  ASSERT_TRUE(StepSilver());
  EXPECT_EQ(Trades(kSilver), UpTo(9, {3, 7}));
  pipeline::ForeignEqualityDeletes(*lakehouse_, kSilver, pipeline::LiveFiles(*lakehouse_, kSilver).front(),
                                   "message_id", {IdOf(0), IdOf(9), "no-such-id"});
  ASSERT_TRUE(StepGold());
  EXPECT_EQ(Trades(task::kGoldTable), UpTo(9, {0, 3, 7, 9}));
  Bronze(10, 19, day_us_);
  ReadByAll();
  EXPECT_EQ(Trades(kSilver), UpTo(19, {0, 3, 7, 9}));
  EXPECT_EQ(Trades(task::kGoldTable), UpTo(19, {0, 3, 7, 9}));
  ExpectNothingLiveMissing();
  for (const std::string& table : {std::string(task::kBronzeTable), kSilver, std::string(task::kGoldTable)}) {
    ExpectTotalsAreRight(table);
  }
}

// Without deletes in the way, the same trade a second time is a duplicate; one that was deleted from Gold comes again
// when Silver delivers it again, whether Gold holds its ids in memory or reads them back.
TEST_F(Deletes, ADeletedTradeComesAgainByAReplayAlone) {
  Bronze(0, 9, day_us_);
  ASSERT_TRUE(StepSilver());
  const auto gold = pipeline::GoldLayer::Open(*lakehouse_, layer_, nullptr);
  ASSERT_TRUE(gold);
  int planned_again = 0;
  const auto step = [&] {
    while (true) {
      const auto rows = (*gold)->Step();
      if (rows && *rows == 0) return;
      if (rows) continue;
      ASSERT_EQ(rows.error().kind, ErrorKind::kOffsetMismatch) << rows.error().message;
      ASSERT_LT(++planned_again, 3);
    }
  };
  step();
  EXPECT_EQ(planned_again, 0);
  DeleteFromGold({IdOf(2), IdOf(5)});
  Bronze(10, 10, day_us_);
  ASSERT_TRUE(StepSilver());
  step();
  EXPECT_EQ(planned_again, 1) << "a layer that runs looks at Gold again where rows were deleted";
  EXPECT_EQ(Trades(task::kGoldTable), UpTo(10, {2, 5})) << "nobody sent them again";
  // A replay: the same trades at later offsets of another partition.
  const auto replay = [&](int64_t offset, int64_t trade) {
    pipeline::BronzeRow row = Row(trade, day_us_);
    row.partition = 7;
    row.offset = offset;
    pipeline::CommitBronze(*lakehouse_, {row});
    ASSERT_TRUE(StepSilver());
  };
  replay(0, 2);
  replay(1, 3);
  step();
  EXPECT_EQ(Trades(task::kGoldTable), UpTo(10, {5})) << "in memory";
  replay(2, 5);
  replay(3, 4);
  ASSERT_TRUE(StepGold());
  EXPECT_EQ(Trades(task::kGoldTable), UpTo(10, {})) << "read back";
  DeleteFromGold({IdOf(1)});
  ASSERT_TRUE(Join(task::kGoldTable));
  replay(4, 0);
  replay(5, 1);
  ASSERT_TRUE(StepGold());
  EXPECT_EQ(Trades(task::kGoldTable), UpTo(10, {})) << "written away by compaction";
}

TEST_F(Deletes, CompactionWritesThemAway) {
  for (int64_t batch = 0; batch < 3; ++batch) {
    Bronze(batch * 10, batch * 10 + 9, day_us_);
    ReadByAll();
  }
  DeleteFromGold({IdOf(0), IdOf(15)});
  const std::vector<iceberg::DataFile> files = pipeline::LiveFiles(*lakehouse_, task::kGoldTable);
  pipeline::ForeignPositionDeletes(*lakehouse_, task::kGoldTable, files.back(), {0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  const std::vector<int64_t> left = Trades(task::kGoldTable);
  ASSERT_EQ(Totals(task::kGoldTable).delete_files, 2);
  const auto report = Join(task::kGoldTable);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->files_in, 3) << "few as they are";
  EXPECT_EQ(Trades(task::kGoldTable), left);
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), static_cast<int64_t>(left.size()));
  EXPECT_EQ(Totals(task::kGoldTable).delete_files, 0) << "they apply to nothing any more";
  ExpectTotalsAreRight(task::kGoldTable);
  EXPECT_EQ(Join(task::kGoldTable)->commits, 0);
  // Where all rows are deleted no file is written.
  std::vector<std::string> all;
  for (const int64_t offset : left) all.push_back(IdOf(offset));
  DeleteFromGold(all);
  ASSERT_TRUE(Join(task::kGoldTable));
  EXPECT_TRUE(pipeline::LiveFiles(*lakehouse_, task::kGoldTable).empty());
  ExpectTotalsAreRight(task::kGoldTable);
  Expire(task::kGoldTable, now_us_ + kHour, now_us_ + kHour);
  ExpectNothingLiveMissing();
  for (const std::string& file : OnDisk(task::kGoldTable)) EXPECT_TRUE(Named(task::kGoldTable).contains(file)) << file;
  Bronze(30, 30, day_us_);
  ReadByAll();
  EXPECT_EQ(Trades(task::kGoldTable), std::vector<int64_t>{30});
}

// What arrives while files are joined: an equality delete goes on applying to the joined rows, a position delete of one
// of the inputs makes the compaction plan again.
TEST_F(Deletes, ThatArriveDuringACompaction) {
  for (int64_t batch = 0; batch < 6; ++batch) {
    Bronze(batch * 10, batch * 10 + 9, day_us_);
    ReadByAll();
  }
  const std::vector<iceberg::DataFile> files = pipeline::LiveFiles(*lakehouse_, task::kGoldTable);
  int step = 0;
  table::CommitPolicy commit;
  commit.memory_us_max = 0;
  commit.on_step = [&](std::string_view at) {
    if (at != "manifests") return;
    if (step == 0) DeleteFromGold({IdOf(11), IdOf(59)});
    if (step == 1) pipeline::ForeignPositionDeletes(*lakehouse_, task::kGoldTable, files.front(), {0});
    ++step;
  };
  const auto report = Join(task::kGoldTable, commit);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(step, 3) << "refused with the head that moved, planned again";
  EXPECT_EQ(Trades(task::kGoldTable).size(), 57U);
  ExpectTotalsAreRight(task::kGoldTable);
}

TEST_F(Deletes, RetentionDropsThoseOfItsPartitions) {
  Bronze(0, 9, day_us_);
  ReadByAll();
  pipeline::ForeignPositionDeletes(*lakehouse_, task::kBronzeTable,
                                   pipeline::LiveFiles(*lakehouse_, task::kBronzeTable).front(), {3});
  EXPECT_EQ(Totals(task::kBronzeTable).position_deletes, 1);
  Apply(task::kBronzeTable, now_us_ + 30 * kDay);
  EXPECT_TRUE(pipeline::LiveFiles(*lakehouse_, task::kBronzeTable).empty());
  EXPECT_EQ(Totals(task::kBronzeTable).delete_files, 0);
  ExpectTotalsAreRight(task::kBronzeTable);
}

TEST_F(Deletes, DuringARebuildRefuseIt) {
  Bronze(0, 9, day_us_);
  ReadByAll();
  auto plan = pipeline::PlanRebuild(*lakehouse_, layer_, pipeline::LayerId::kGold, {}, 1);
  ASSERT_TRUE(plan) << plan.error().message;
  DeleteFromGold({IdOf(4)});
  table::Table table = Open(task::kGoldTable);
  const auto find = [&](std::string_view) -> Result<table::Table*> { return &table; };
  pipeline::LayerStats stats;
  const Status refused =
      pipeline::RunRebuild(*plan, find, {.io = lakehouse_->io(), .schemas = schemas_}, layer_, stats);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kOffsetMismatch) << refused.error().message;
  EXPECT_EQ(Trades(task::kGoldTable), UpTo(9, {4}));
  // Planned after it, the rebuild brings the row back out of Silver, and warns.
  plan = pipeline::PlanRebuild(*lakehouse_, layer_, pipeline::LayerId::kGold, {}, 1);
  testing::internal::CaptureStderr();
  const Status rebuilt =
      pipeline::RunRebuild(*plan, find, {.io = lakehouse_->io(), .schemas = schemas_}, layer_, stats);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("reappear"), std::string::npos);
  ASSERT_TRUE(rebuilt) << rebuilt.error().message;
  EXPECT_EQ(Trades(task::kGoldTable), UpTo(9, {}));
  EXPECT_EQ(Totals(task::kGoldTable).delete_files, 0);
}

}  // namespace
}  // namespace k2::maintenance
