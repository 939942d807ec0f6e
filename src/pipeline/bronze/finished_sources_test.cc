// Recordings that leave the tables' documents when they are finished.
#include "pipeline/bronze/finished_sources.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "catalog/testing/drop_table.h"
#include "pipeline/bronze/bronze_layer.h"
#include "pipeline/layer_fixture.h"
#include "table/progress_json.h"
#include "task/market_tables.h"

namespace k2::pipeline {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kBinanceSilver = "silver_binance_trades";
constexpr std::string_view kKrakenSilver = "silver_kraken_trades";

class FinishedSourcesTest : public LayerTest {
 protected:
  void SetUp() override {
    LayerTest::SetUp();
    MakeTables();
    lakehouse_.emplace(OpenLakehouse());
  }
  // Runs two more recordings by themselves; nothing is archived by the run.
  void RunMore(uint64_t seed, int64_t trades = 20) {
    recordings_.clear();
    Simulate(trades, seed, 0);
    ASSERT_NO_FATAL_FAILURE(RunThem());
  }
  void RunThem() {
    const auto report = RunAll(OpenLakehouse(), Options());
    ASSERT_TRUE(report) << report.error().message;
    ASSERT_TRUE(report->failures.empty());
  }
  Result<int64_t> Archive(size_t recordings_max = 0) {
    return ArchiveFinished(*lakehouse_, {.recordings_max = recordings_max});
  }
  table::LayerProgress ProgressOf(std::string_view table) {
    const auto progress = table::ReadProgress(lakehouse_->Open(table)->metadata());
    EXPECT_TRUE(progress) << progress.error().message;
    return progress.value_or(table::LayerProgress{});
  }
  size_t NamedBy(std::string_view table) { return ProgressOf(table).positions.size(); }
  table::SourcePositions FinishedOf(std::string_view table) {
    FinishedSources finished(*lakehouse_);
    const auto all = finished.All(*lakehouse_->Open(table), ProgressOf(table));
    EXPECT_TRUE(all) << all.error().message;
    return all.value_or(table::SourcePositions{});
  }
  // With its files.
  void DropTable(std::string_view name) {
    ASSERT_TRUE(catalog::DropTable(root_ + "/warehouse", {std::string(task::kNamespace), std::string(name)}));
    fs::remove_all(fmt::format("{}/warehouse/{}/{}", root_, task::kNamespace, name));
  }
  int64_t RowsOfBronze() { return LiveRows(*lakehouse_, task::kBronzeTable); }
  // Brings main back to the snapshot that was current before the last `count` ones, tag and all: as somebody does who
  // wants that state and no other.
  void RollBack(std::string_view name, int count) {
    const auto table = lakehouse_->Open(name);
    const iceberg::Snapshot* to = table->metadata().CurrentSnapshot();
    for (int i = 0; i < count; ++i) to = table->metadata().FindSnapshot(*to->parent_snapshot_id);
    iceberg::SnapshotRef main = *table->metadata().FindRef("main");
    main.snapshot_id = to->snapshot_id;
    const auto outcome =
        lakehouse_->catalog()->Commit(table->name(), table->state(), {},
                                      {iceberg::SetSnapshotRef{"main", main},
                                       iceberg::SetSnapshotRef{std::string(table::kOffsetsTag), {to->snapshot_id}}});
    ASSERT_TRUE(std::holds_alternative<catalog::Committed>(outcome));
  }
  // The rest of a recording that was cut, in its place.
  void Append(const std::string& path, const std::string& rest) { std::ofstream(path, std::ios::app) << rest; }
  // Cuts a recording in half; what was cut off.
  std::string CutInHalf(const std::string& path) {
    std::ifstream in(path);
    const std::string all((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const size_t half = all.find('\n', all.size() / 2) + 1;
    std::ofstream(path, std::ios::trunc) << all.substr(0, half);
    return all.substr(half);
  }

  std::optional<Lakehouse> lakehouse_;
};

TEST_F(FinishedSourcesTest, LeaveTheDocumentsAndAreKnown) {
  RunMore(1);
  RunMore(2);
  const auto before = ProgressOf(task::kBronzeTable).positions;
  ASSERT_EQ(before.size(), 4U);
  EXPECT_EQ(Archive(64).value(), 0) << "few recordings stay";
  EXPECT_EQ(Archive().value(), 4);
  for (const std::string_view table : {task::kBronzeTable, task::kRejectedTable, kBinanceSilver, kKrakenSilver}) {
    EXPECT_EQ(NamedBy(table), 0U) << table;
    EXPECT_EQ(ProgressOf(table).finished.generation, 1) << table;
  }
  EXPECT_EQ(FinishedOf(task::kBronzeTable), before);
  EXPECT_EQ(FinishedOf(kBinanceSilver).size(), 2U);
  EXPECT_EQ(Archive().value(), 0) << "nothing is left";
  const int64_t rows = RowsOfBronze();
  ASSERT_NO_FATAL_FAILURE(RunThem());
  EXPECT_EQ(RowsOfBronze(), rows) << "the recording is known";
  EXPECT_EQ(NamedBy(task::kBronzeTable), 0U);
  // A new one beside them; Gold's document follows Silver's.
  RunMore(3);
  EXPECT_EQ(NamedBy(task::kBronzeTable), 2U);
  EXPECT_EQ(NamedBy(task::kGoldTable), 2U);
  CheckTables(*lakehouse_, trades_);
}

TEST_F(FinishedSourcesTest, ALongerCopyGoesOnWhereItEnded) {
  Simulate(60, 1, 0);
  const std::string rest = CutInHalf(recordings_[0].path);
  ASSERT_NO_FATAL_FAILURE(RunThem());
  const int64_t first = RowsOfBronze();
  ASSERT_EQ(Archive().value(), 2);
  Append(recordings_[0].path, rest);
  ASSERT_NO_FATAL_FAILURE(RunThem());
  EXPECT_GT(RowsOfBronze(), first);
  EXPECT_EQ(NamedBy(task::kBronzeTable), 1U) << "it is named again";
  CheckTables(*lakehouse_, trades_);
  EXPECT_EQ(Archive().value(), 1);
  EXPECT_EQ(FinishedOf(task::kBronzeTable).size(), 2U);
  const int64_t rows = RowsOfBronze();
  ASSERT_NO_FATAL_FAILURE(RunThem());
  EXPECT_EQ(RowsOfBronze(), rows) << "the row of the later generation counts";
}

TEST_F(FinishedSourcesTest, WhatIsNotLevelStays) {
  Simulate(40, 1, 0);
  RunOptions options = Options();
  options.silver = options.gold = false;
  ASSERT_TRUE(RunAll(OpenLakehouse(), options));
  EXPECT_EQ(Archive().value(), 0) << "Silver has yet to read them";
  options.silver = true;
  ASSERT_TRUE(RunAll(OpenLakehouse(), options));
  table::SourcePositions before = ProgressOf(task::kBronzeTable).positions;
  before.begin()->second.next_offset -= 1;
  EXPECT_EQ(ArchiveFinished(*lakehouse_, {.recordings_max = 0, .unmoved_since = &before}).value(), 1)
      << "the other one has moved since";
  options.gold = true;
  ASSERT_TRUE(RunAll(OpenLakehouse(), options));
  CheckTables(*lakehouse_, trades_);
}

// A process that has looked a recording up, and sleeps while another one reads it on and finishes it again.
TEST_F(FinishedSourcesTest, AStalePositionIsNotCommitted) {
  Simulate(60, 1, 0);
  const std::string rest = CutInHalf(recordings_[0].path);
  ASSERT_NO_FATAL_FAILURE(RunThem());
  ASSERT_EQ(Archive().value(), 2);
  Append(recordings_[0].path, rest);
  const auto open = [&] { return BronzeLayer::Open(OpenLakehouse(), layer_, *Options().sources(), nullptr); };
  const auto sleeper = open();
  ASSERT_TRUE(sleeper) << sleeper.error().message;
  ASSERT_NO_FATAL_FAILURE(RunThem());
  ASSERT_EQ(Archive().value(), 1);
  const int64_t rows = RowsOfBronze();
  const auto step = (*sleeper)->Step(0);
  ASSERT_FALSE(step) << "it would take the rows twice";
  EXPECT_EQ(step.error().kind, ErrorKind::kOffsetMismatch) << step.error().message;
  ASSERT_TRUE((*sleeper)->Recover());
  EXPECT_EQ((*sleeper)->Step(0).value(), 0);
  EXPECT_EQ(RowsOfBronze(), rows);
  CheckTables(*lakehouse_, trades_);
}

// Rows of a round that a table has not taken over count for nothing: it still names those recordings.
TEST_F(FinishedSourcesTest, ARoundThatIsCutShort) {
  for (const int refused : {0, 1, 2, 3, 4}) {
    SCOPED_TRACE(refused);
    RunMore(static_cast<uint64_t>(refused) + 1);
    // Commits of a round: finished_sources, bronze, rejected, binance, kraken.
    int commits = 0;
    ArchivePolicy policy{.recordings_max = 0};
    policy.commit.max_attempts = 1;
    policy.commit.on_step = [&](std::string_view step) {
      if (step != "manifests" || commits++ != refused) return;
      // Another writer comes in between, in each table: the only try of this commit is refused.
      const std::string_view names[] = {task::kFinishedTable, task::kBronzeTable, task::kRejectedTable, kBinanceSilver,
                                        kKrakenSilver};
      ForeignSnapshot(*lakehouse_, names[refused], "append", {}, {});
    };
    const auto round = ArchiveFinished(*lakehouse_, policy);
    ASSERT_FALSE(round) << "it was beaten";
    const int64_t rows = RowsOfBronze();
    ASSERT_NO_FATAL_FAILURE(RunThem());
    EXPECT_EQ(RowsOfBronze(), rows);
    CheckTables(*lakehouse_, trades_);
    ASSERT_GT(Archive().value(), 0);
    EXPECT_EQ(NamedBy(task::kBronzeTable) + NamedBy(kBinanceSilver) + NamedBy(task::kRejectedTable), 0U);
    ASSERT_NO_FATAL_FAILURE(RunThem());
    EXPECT_EQ(RowsOfBronze(), rows);
    CheckTables(*lakehouse_, trades_);
  }
  EXPECT_EQ(FinishedOf(task::kBronzeTable).size(), 10U);
}

TEST_F(FinishedSourcesTest, ARolledBackTableKnowsWhatItKnewThen) {
  Simulate(60, 1, 0);
  const std::string rest = CutInHalf(recordings_[0].path);
  ASSERT_NO_FATAL_FAILURE(RunThem());
  ASSERT_EQ(Archive().value(), 2);
  const table::SourcePositions first = FinishedOf(task::kBronzeTable);
  Append(recordings_[0].path, rest);
  const int64_t half = RowsOfBronze();
  RunOptions options = Options();
  options.silver = options.gold = false;
  ASSERT_TRUE(RunAll(OpenLakehouse(), options));
  const int64_t whole = RowsOfBronze();
  options.silver = options.gold = true;
  ASSERT_TRUE(RunAll(OpenLakehouse(), options));
  ASSERT_EQ(Archive().value(), 1);
  RollBack(task::kBronzeTable, 2);  // its rows, and what was archived of it
  ASSERT_EQ(RowsOfBronze(), half);
  EXPECT_EQ(FinishedOf(task::kBronzeTable), first);
  RunMore(7);
  ASSERT_GT(Archive().value(), 0) << "a further generation must not bring back the second one's row";
  recordings_ = {{"binance", root_ + "/binance-1.txt"}};
  const int64_t before = RowsOfBronze();
  ASSERT_NO_FATAL_FAILURE(RunThem());
  EXPECT_EQ(RowsOfBronze() - before, whole - half) << "its second half is read again";
}

TEST_F(FinishedSourcesTest, ASilverTableMadeAnewReadsThemAgain) {
  RunMore(1);
  ASSERT_EQ(Archive().value(), 2);
  DropTable(kBinanceSilver);
  ASSERT_TRUE(lakehouse_->CreateTables());
  RunMore(2);
  ASSERT_EQ(Archive().value(), 3) << "one of the first again, which Silver names now";
  CheckTables(*lakehouse_, trades_);
  ASSERT_NO_FATAL_FAILURE(RunThem());
  CheckTables(*lakehouse_, trades_);
}

TEST_F(FinishedSourcesTest, WithoutTheTableNothingIsGuessed) {
  RunMore(1);
  ASSERT_EQ(Archive().value(), 2);
  DropTable(task::kFinishedTable);
  for (const bool another : {false, true}) {
    if (another) {
      ASSERT_TRUE(lakehouse_->OpenOrCreate(task::kFinishedTable));
    }
    const auto report = RunAll(OpenLakehouse(), Options());
    ASSERT_FALSE(report) << "it may have been read, and would be read twice";
    EXPECT_NE(report.error().message.find("finished_sources"), std::string::npos) << report.error().message;
    EXPECT_NE(report.error().message.find("k2 offsets set"), std::string::npos) << report.error().message;
  }
}

// The files of finished_sources stay few, and each search reads little.
TEST_F(FinishedSourcesTest, FilesAreJoinedAsTheyGrow) {
  RunMore(1);
  ASSERT_EQ(Archive().value(), 2);
  size_t most = 0;
  for (int64_t generation = 2; generation <= 40; ++generation) {
    auto bronze = lakehouse_->Open(task::kBronzeTable);
    auto silver = lakehouse_->Open(kBinanceSilver);
    for (table::Table* table : {&*bronze, &*silver}) {
      table::LayerCommit commit;
      commit.base = *table::ReadProgress(table->metadata());
      for (int i = 0; i < 25; ++i) {
        const std::string hash =
            fmt::format("{:016x}{:016x}", (generation * 7919 + i * 104'729) * 0x9E3779B97F4A7C15ULL, i);
        commit.next.positions[{table::kRecordingCluster, "recording/binance/" + hash, hash, 0}] = {.next_offset = 1};
      }
      ASSERT_TRUE(std::holds_alternative<table::CommitDone>(table->Commit(std::move(commit))));
    }
    ASSERT_EQ(Archive().value(), 25);
    most = std::max(most, LiveFiles(*lakehouse_, task::kFinishedTable).size());
  }
  EXPECT_EQ(FinishedOf(task::kBronzeTable).size(), 2U + 39 * 25);
  EXPECT_EQ(ProgressOf(task::kBronzeTable).finished.without.size(), 0U);
  EXPECT_LE(most, 7U);
}

}  // namespace
}  // namespace k2::pipeline
