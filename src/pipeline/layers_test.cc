// All layers together: the rows that come out are the same however they are driven.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "catalog/testing/drop_table.h"
#include "pipeline/layer_fixture.h"
#include "storage/location.h"
#include "table/progress_json.h"
#include "task/market_tables.h"

namespace k2::pipeline {
namespace {

class Layers : public LayerTest {
 protected:
  // A fresh set of tables filled from recordings_; Gold's contents.
  std::vector<std::string> Fill(const std::function<void(const Lakehouse&)>& fill) {
    ++warehouses_;
    root_ += fmt::format("/{}", warehouses_);
    MakeTables();
    const Lakehouse lakehouse = OpenLakehouse();
    fill(lakehouse);
    CheckTables(lakehouse, trades_);
    return GoldContents(lakehouse);
  }
  void TearDown() override {
    for (; warehouses_ > 0; --warehouses_) root_ = root_.substr(0, root_.rfind('/'));
    LayerTest::TearDown();
  }
  int warehouses_ = 0;
};

TEST_F(Layers, OneRunMovesEverythingAndASecondFindsNothing) {
  MakeTables();
  Simulate(400);
  const Lakehouse lakehouse = OpenLakehouse();
  const auto report = RunAll(lakehouse, Options());
  ASSERT_TRUE(report) << report.error().message;
  CheckTables(lakehouse, trades_);
  EXPECT_EQ(report->gold.rows_out, trades_);
  EXPECT_EQ(report->silver.rows_in, report->bronze.rows_out);
  EXPECT_EQ(report->gold.identity_conflicts, 0);
  EXPECT_EQ(static_cast<int64_t>(ReadRejected(lakehouse).size()), malformed_);
  const auto snapshots = [&] {
    std::vector<int64_t> heads;
    for (const std::string& name : task::AllTables())
      heads.push_back(*lakehouse.Open(name)->metadata().current_snapshot_id);
    return heads;
  };
  const auto before = snapshots();
  const auto again = RunAll(OpenLakehouse(), Options());
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->bronze.rows_out + again->silver.rows_in + again->gold.rows_in, 0);
  EXPECT_EQ(snapshots(), before) << "a run that finds nothing commits nothing";
}

TEST_F(Layers, EveryTableStandsAtTheSameOffsetsAtTheEnd) {
  MakeTables();
  Simulate(150);
  const Lakehouse lakehouse = OpenLakehouse();
  ASSERT_TRUE(RunAll(lakehouse, Options()));
  std::map<table::SourceKey, int64_t> bronze;
  for (const std::string& name : task::AllTables()) {
    const auto progress = table::ReadProgress(lakehouse.Open(name)->metadata());
    ASSERT_TRUE(progress);
    for (const auto& [key, position] : progress->positions) {
      if (name == task::kBronzeTable) bronze[key] = position.next_offset;
      EXPECT_EQ(position.next_offset, bronze[key]) << name << " lags in " << key.topic;
    }
  }
  EXPECT_EQ(bronze.size(), 2U);
}

TEST_F(Layers, TheSameRowsWithAnyCacheAndAnySteps) {
  Simulate(400);
  const auto run = [&](int64_t cache_bytes, int64_t rows_per_step, int32_t threads) {
    return Fill([&](const Lakehouse& lakehouse) {
      RunOptions options = Options();
      options.cache_bytes = cache_bytes;
      options.layer.rows_per_step = rows_per_step;
      options.layer.threads = threads;
      const auto report = RunAll(lakehouse, options);
      ASSERT_TRUE(report) << report.error().message;
      EXPECT_TRUE(cache_bytes > 0 || report->cache_hits == 0);
      EXPECT_TRUE(cache_bytes < 100'000'000 || report->cache_misses == 0);
    });
  };
  const auto expected = run(192 << 20, 100, 2);
  EXPECT_EQ(run(0, 100, 2), expected);
  EXPECT_EQ(run(192 << 20, 1'000'000, 1), expected);
  // Some files in memory, some not: a step joins both.
  EXPECT_EQ(run(60'000, 300, 2), expected);
  EXPECT_EQ(run(200'000, 1'000'000, 2), expected);
}

TEST_F(Layers, RowsFromMemoryAndFromStorageJoinInOneStep) {
  Simulate(300);
  Fill([&](const Lakehouse& lakehouse) {
    RunOptions options = Options();
    options.gold = false;
    ASSERT_TRUE(RunAll(lakehouse, options));  // of these Gold's part is read back
    Simulate(300, 2);
    task::BatchCache cache(1 << 30);
    auto bronze = BronzeLayer::Open(lakehouse, layer_, *OpenRecordings(recordings_, false), nullptr);
    ASSERT_TRUE(bronze);
    while (!(*bronze)->AtEnd()) ASSERT_TRUE((*bronze)->Step(0));
    auto silver = SilverLayer::Open(lakehouse, layer_, std::make_shared<registry::FileSchemaSource>(), &cache);
    ASSERT_TRUE(silver);
    while (true) {
      const auto rows = (*silver)->Step();
      ASSERT_TRUE(rows) << rows.error().message;
      if (*rows == 0) break;
    }
    LayerOptions all = layer_;
    all.rows_per_step = 1'000'000;
    auto gold = GoldLayer::Open(lakehouse, all, &cache);
    ASSERT_TRUE(gold);
    const auto rows = (*gold)->Step();
    ASSERT_TRUE(rows) << rows.error().message;
    EXPECT_GT(cache.hits(), 0);
    EXPECT_GT(cache.misses(), 0);
    EXPECT_EQ(*rows, LiveRows(lakehouse, "silver_binance_trades") + LiveRows(lakehouse, "silver_kraken_trades"));
  });
}

TEST_F(Layers, OneAtATimeIsTheSameAsAllAtOnce) {
  Simulate(300);
  const auto expected = Fill([&](const Lakehouse& lakehouse) { ASSERT_TRUE(RunAll(lakehouse, Options())); });
  const auto apart = [&](int64_t cache_bytes) {
    return Fill([&](const Lakehouse&) {
      for (int layer = 0; layer < 3; ++layer) {
        RunOptions options = Options();
        options.cache_bytes = cache_bytes;
        options.bronze = layer == 0;
        options.silver = layer == 1;
        options.gold = layer == 2;
        const auto report = RunAll(OpenLakehouse(), options);
        ASSERT_TRUE(report) << report.error().message;
        EXPECT_EQ(report->cache_hits > 0, options.gold && cache_bytes > 0) << "Gold reads ahead";
      }
    });
  };
  EXPECT_EQ(apart(192 << 20), expected);
  EXPECT_EQ(apart(50'000), expected) << "what was read ahead is dropped again";
  EXPECT_EQ(apart(0), expected);
}

TEST_F(Layers, AStoppedRunHasCommittedWhatItReadAndTheNextGoesOn) {
  MakeTables();
  Simulate(600);
  const Lakehouse lakehouse = OpenLakehouse();
  std::atomic<bool> stop{true};
  RunProgress progress;
  const auto none = k2::pipeline::Run(lakehouse, Options(), stop, progress);
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_EQ(none->bronze.rows_out, 0);
  stop = false;
  std::jthread stopper([&] {
    while (progress.bronze_rows < 300) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    stop = true;
  });
  const auto part = k2::pipeline::Run(lakehouse, Options(), stop, progress);
  ASSERT_TRUE(part) << part.error().message;
  EXPECT_GT(part->bronze.rows_out, 0);
  EXPECT_EQ(part->silver.rows_in, part->bronze.rows_out) << "the layers below have caught up";
  EXPECT_EQ(part->gold.rows_in, part->silver.rows_out);
  ASSERT_TRUE(RunAll(OpenLakehouse(), Options()));
  CheckTables(lakehouse, trades_);
}

TEST_F(Layers, TheSameRecordingAgainOrRenamedAddsNothing) {
  MakeTables();
  Simulate(200);
  const Lakehouse lakehouse = OpenLakehouse();
  ASSERT_TRUE(RunAll(lakehouse, Options()));
  for (RecordingSpec& spec : recordings_) {
    const std::string copy = spec.path + ".copy";
    std::filesystem::copy_file(spec.path, copy);
    spec.path = copy;
  }
  const auto again = RunAll(lakehouse, Options());
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->bronze.rows_out, 0);
  CheckTables(lakehouse, trades_);
}

// Silver's history no longer reaches back to where Gold stands: all of Silver is read, and deduplicated, in parts.
TEST_F(Layers, GoldReadsSilverWhollyWhenItsHintIsExpired) {
  MakeTables();
  Simulate(300);
  const Lakehouse lakehouse = OpenLakehouse();
  RunOptions options = Options();
  ASSERT_TRUE(RunAll(lakehouse, options));
  Simulate(300, 2);
  options = Options();
  options.gold = false;
  ASSERT_TRUE(RunAll(lakehouse, options));
  for (const exchange::Exchange* exchange : exchange::Exchanges()) {
    ForeignCompaction(lakehouse, exchange->silver_table);
    ForeignSnapshot(lakehouse, exchange->silver_table, "append", {}, {});
    ForeignExpiry(lakehouse, exchange->silver_table);
  }
  const auto report = RunAll(lakehouse, Options());
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(report->gold.duplicates, trades_ / 3) << "what Gold had was read again";
  EXPECT_EQ(report->gold.identity_conflicts, 0);
  CheckTables(lakehouse, trades_);
}

// Where its files stay, a table of the same name is not made beside them.
void DropWithFiles(const Lakehouse& lakehouse, std::string_view name) {
  const std::string folder = storage::LocalPath(lakehouse.Open(name)->metadata().location).value();
  const std::string warehouse = std::filesystem::path(folder).parent_path().parent_path().string();
  ASSERT_TRUE(catalog::DropTable(warehouse, {std::string(task::kNamespace), std::string(name)}));
  Lakehouse same = lakehouse;
  const auto refused = same.CreateTables();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("k2 tables recover"), std::string::npos) << refused.error().message;
  std::filesystem::remove_all(folder);
}

TEST_F(Layers, SilverMadeAnewIsFilledAgainAndGoldStaysAsItIs) {
  MakeTables();
  Simulate(300);
  const Lakehouse lakehouse = OpenLakehouse();
  ASSERT_TRUE(RunAll(lakehouse, Options()));
  const auto gold = GoldContents(lakehouse);
  for (const exchange::Exchange* exchange : exchange::Exchanges().first(2)) {  // the others are empty
    DropWithFiles(lakehouse, exchange->silver_table);
  }
  MakeTables();
  const auto report = RunAll(OpenLakehouse(), Options());
  ASSERT_TRUE(report) << report.error().message;
  CheckTables(lakehouse, trades_);
  EXPECT_EQ(GoldContents(lakehouse), gold);
}

TEST_F(Layers, GoldMadeAnewIsFilledAgain) {
  MakeTables();
  Simulate(300);
  const Lakehouse lakehouse = OpenLakehouse();
  ASSERT_TRUE(RunAll(lakehouse, Options()));
  const auto gold = GoldContents(lakehouse);
  DropWithFiles(lakehouse, task::kGoldTable);
  MakeTables();
  ASSERT_TRUE(RunAll(OpenLakehouse(), Options()));
  CheckTables(lakehouse, trades_);
  EXPECT_EQ(GoldContents(lakehouse), gold);
}

// Rows that are all rejected leave Gold without rows, not behind.
TEST_F(Layers, GoldTellsNoLagWhereThereAreNoRows) {
  MakeTables();
  const Lakehouse lakehouse = OpenLakehouse();
  const std::string topic = "market.crypto.trades.kraken";
  for (int64_t i = 0; i < 3; ++i) {
    CommitBronze(lakehouse, {{.topic = topic, .offset = i}});
    RunOptions options = Options();
    options.bronze = false;
    const auto report = RunAll(lakehouse, options);
    ASSERT_TRUE(report) << report.error().message;
    const auto progress = table::ReadProgress(lakehouse.Open(task::kGoldTable)->metadata());
    EXPECT_EQ(progress->positions.at(KafkaKey(topic)).next_offset, i + 1);
  }
}

// Rows that never reach Gold must not hold up the layers that wait for it.
TEST_F(Layers, MoreRejectedRowsThanALayerMayBeAheadByGoThrough) {
  MakeTables();
  const Lakehouse lakehouse = OpenLakehouse();
  const std::string path = root_ + "/broken.txt";
  std::ofstream file(path);
  for (int i = 0; i < 2'000; ++i) file << "1704153600000000000 {\"broken\": " << i << "\n";
  file.close();
  recordings_ = {{"binance", path}};
  const auto report = RunAll(lakehouse, Options());
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->silver.rows_in, 2'000);
  CheckTables(lakehouse, 0);
}

// Bronze made anew reads its sources again; Silver has those rows, and waits until Bronze is beyond them.
TEST_F(Layers, BronzeMadeAnewDoublesNothing) {
  MakeTables();
  Simulate(300);
  const Lakehouse lakehouse = OpenLakehouse();
  ASSERT_TRUE(RunAll(lakehouse, Options()));
  DropWithFiles(lakehouse, task::kBronzeTable);
  MakeTables();
  const auto report = RunAll(OpenLakehouse(), Options());
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->silver.rows_in, 0);
  CheckTables(lakehouse, trades_);
}

// What was not read and is gone is never skipped in silence.
TEST_F(Layers, SilverStopsWhereBronzeLostRowsItHadNotRead) {
  MakeTables();
  Simulate(300);
  const Lakehouse lakehouse = OpenLakehouse();
  RunOptions options = Options();
  options.silver = options.gold = false;
  ASSERT_TRUE(RunAll(lakehouse, options));
  const auto files = LiveFiles(lakehouse, task::kBronzeTable);
  ASSERT_GT(files.size(), 4U);
  ForeignSnapshot(lakehouse, task::kBronzeTable, "delete", {}, {files[2]});
  options = Options();
  options.bronze = options.gold = false;
  const auto report = RunAll(lakehouse, options);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind, ErrorKind::kUpstreamChanged) << report.error().message;
  EXPECT_NE(report.error().message.find("k2 offsets accept"), std::string::npos) << report.error().message;
}

}  // namespace
}  // namespace k2::pipeline
