#include "maintenance/compaction.h"

#include "iceberg/snapshot_producer.h"
#include "maintenance/maintenance_fixture.h"
#include "maintenance/schedule.h"
#include "task/market_tables.h"

namespace k2::maintenance {
namespace {

class Compaction : public MaintainTest {
 protected:
  // Many small files in all tables: ten commits, of which Gold has read all.
  void Fill() {
    for (int64_t batch = 0; batch < 10; ++batch) {
      Bronze(batch * 10, batch * 10 + 9, midnight_us_ - kDay);
      ReadByAll();
    }
  }
  int64_t Files(std::string_view table) { return static_cast<int64_t>(pipeline::LiveFiles(*lakehouse_, table).size()); }
  CompactionReport Join(std::string_view table, const CompactionPolicy& policy) {
    auto report = Compact(*lakehouse_, table, policy, now_us_ + kHour, {.threads = 2});
    EXPECT_TRUE(report) << report.error().message;
    return report.value_or(CompactionReport{});
  }
  const CompactionPolicy settled_{.settled_us = 0};
};

TEST_F(Compaction, JoinsFilesAndLeavesRowsOffsetsAndReadersAlone) {
  Fill();
  const auto gold = pipeline::GoldContents(*lakehouse_);
  const auto bronze = pipeline::ReadBronze(*lakehouse_).size();
  std::map<std::string, table::LayerProgress> stood;
  for (const std::string& name : task::AllTables()) stood[name] = *table::ReadProgress(Open(name).metadata());
  for (const std::string_view table :
       {std::string_view(task::kBronzeTable), std::string_view(kSilver), task::kGoldTable}) {
    const int64_t before = Files(table);
    EXPECT_EQ(before, 10) << table;
    const CompactionReport report = Join(table, settled_);
    EXPECT_EQ(report.files_in, 10);
    EXPECT_EQ(report.files_out, 1);
    EXPECT_EQ(report.rows, 100);
    EXPECT_EQ(report.commits, 1);
    EXPECT_LT(report.bytes_out, report.bytes_in);
    EXPECT_EQ(Files(table), 1);
    EXPECT_EQ(Open(table).metadata().CurrentSnapshot()->operation, "replace");
    EXPECT_EQ(Join(table, settled_).commits, 0) << "nothing is left to do";
  }
  EXPECT_EQ(pipeline::GoldContents(*lakehouse_), gold);
  EXPECT_EQ(pipeline::ReadBronze(*lakehouse_).size(), bronze);
  for (const auto& [name, progress] : stood) EXPECT_EQ(table::ReadProgress(Open(name).metadata()), progress) << name;
  ReadByAll();  // finds nothing
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 100);
  Bronze(100, 109, midnight_us_ - kDay);
  ReadByAll();
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, kSilver), 110);
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 110);
  ExpectNothingLiveMissing();
}

// What the downstream layer has not read is joined too: it reads the files as they were committed, or by offsets.
TEST_F(Compaction, OfWhatIsNotReadYet) {
  for (int64_t batch = 0; batch < 6; ++batch) Bronze(batch * 10, batch * 10 + 9, midnight_us_ - kDay);
  EXPECT_EQ(Join(task::kBronzeTable, settled_).files_out, 1);
  ASSERT_TRUE(StepSilver());
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, kSilver), 60);
  for (int64_t batch = 6; batch < 12; ++batch) {
    Bronze(batch * 10, batch * 10 + 9, midnight_us_ - kDay);
    ASSERT_TRUE(StepSilver());
  }
  EXPECT_EQ(Join(kSilver, settled_).files_out, 1);
  Expire(kSilver, now_us_ + kHour, now_us_ + kHour);
  ASSERT_TRUE(StepGold());
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 120);
}

TEST_F(Compaction, LeavesWhatIsNotWorthIt) {
  Fill();
  EXPECT_EQ(Join(task::kGoldTable, {.min_files = 11, .settled_us = 0}).commits, 0);
  EXPECT_EQ(Join(task::kGoldTable, {.settled_us = 2 * kHour}).commits, 0) << "rows may be coming in";
  EXPECT_EQ(Join(task::kGoldTable, {.target_bytes = 1, .settled_us = 0}).commits, 0) << "the files are large";
  // Rows bound a file, for they are held in memory.
  const CompactionReport report = Join(task::kGoldTable, {.target_rows = 35, .settled_us = 0});
  EXPECT_EQ(report.files_in, 9);  // three by three; one is left
  EXPECT_EQ(report.files_out, 3);
  EXPECT_EQ(Files(task::kGoldTable), 4);
}

TEST_F(Compaction, SeveralCommitsWhereThereIsMuch) {
  Fill();
  const CompactionReport report = Join(task::kGoldTable, {.target_rows = 20, .settled_us = 0, .rows_per_commit = 40});
  EXPECT_EQ(report.commits, 2);
  EXPECT_EQ(report.files_out, 4);
  EXPECT_EQ(Files(task::kGoldTable), 6) << "two are not worth a third one";
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 100);
}

// A step of Gold is planned and run while its files are joined: no row was added, so it is committed.
TEST_F(Compaction, BesideAStepOfGold) {
  Fill();
  Bronze(100, 109, midnight_us_ - kDay);
  Bronze(50, 59, midnight_us_ - kDay, 1);
  ASSERT_TRUE(StepSilver());
  const auto gold = pipeline::GoldLayer::Open(*lakehouse_, layer_, nullptr);
  auto plan = (*gold)->Plan({});
  ASSERT_TRUE(plan) << plan.error().message;
  const auto results = pipeline::RunTasks(plan->tasks, {{.io = lakehouse_->io()}}, 1);
  ASSERT_TRUE(results) << results.error().message;
  ASSERT_TRUE(pipeline::Complete(*results, *plan));
  EXPECT_EQ(Join(task::kGoldTable, settled_).files_out, 1);
  table::Table table = Open(task::kGoldTable);
  pipeline::LayerStats stats;
  const auto find = [&](std::string_view) -> Result<table::Table*> { return &table; };
  const Status done = pipeline::CommitCompleted(*plan, find, {}, stats);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 120);
  const Status again = pipeline::CommitCompleted(*plan, find, {}, stats);  // rows were added since
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kOffsetMismatch);
}

// Retention or another engine was faster: the files are planned anew, and none that is gone comes back.
TEST_F(Compaction, PlansAgainWhereAFileIsGone) {
  Fill();
  const std::vector<iceberg::DataFile> files = pipeline::LiveFiles(*lakehouse_, task::kGoldTable);
  bool once = false;
  table::CommitPolicy commit;
  commit.memory_us_max = 0;
  commit.on_step = [&](std::string_view step) {
    if (step != "manifests" || std::exchange(once, true)) return;
    ForeignSnapshot(*lakehouse_, task::kGoldTable, "delete", {}, {files.front()});
  };
  const auto report =
      Compact(*lakehouse_, task::kGoldTable, settled_, now_us_ + kHour, {.threads = 2, .commit = commit});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->files_in, 9);
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 100 - files.front().record_count);
}

TEST_F(Compaction, OnASchedule) {
  Fill();
  MaintenanceOptions options{.interval_us = kHour, .compact = {std::string(task::kGoldTable)}};
  options.retention = {.bronze_us = 0, .silver_us = 0, .rejected_us = 0, .gold_us = 0};
  Maintenance maintenance(*lakehouse_, options);
  maintenance.RunDue(now_us_);
  std::stop_source stop;
  stop.request_stop();
  maintenance.RunDue(now_us_ + 61 * kMicrosPerSecond, stop.get_token());
  EXPECT_EQ(Files(task::kGoldTable), 10) << "it was asked to stop";
  maintenance.RunDue(now_us_ + 2 * kHour);
  const MaintenanceStatus status = maintenance.status();
  EXPECT_EQ(status.failures, 0) << status.last_error;
  EXPECT_EQ(status.tables.at(std::string(task::kGoldTable)).files_joined, 10);
  EXPECT_EQ(status.tables.at(std::string(task::kGoldTable)).files_joined_into, 1);
  EXPECT_EQ(Files(task::kGoldTable), 1);
  EXPECT_EQ(Files(kSilver), 10) << "it was not named";
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 100);
  ExpectNothingLiveMissing();
}

}  // namespace
}  // namespace k2::maintenance
