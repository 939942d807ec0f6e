// Expiry deletes what only expired snapshots named, when the catalog has certainly taken it, and nothing else.
#include "maintenance/expiry.h"

#include "catalog/testing/drop_table.h"
#include "maintenance/claim.h"
#include "maintenance/maintenance_fixture.h"
#include "maintenance/schedule.h"

namespace k2::maintenance {
namespace {

class Expiry : public MaintainTest {
 protected:
  void SetUp() override {
    MaintainTest::SetUp();
    young_us_ = now_us_ + kDay;
    Bronze(0, 9, now_us_ - 20 * kDay);
    Bronze(10, 19, young_us_);
    ReadByAll();
    files_ = pipeline::LiveFiles(*lakehouse_, task::kBronzeTable);
    ASSERT_EQ(files_.size(), 2U);
    std::ranges::sort(files_, {}, [](const iceberg::DataFile& file) { return std::get<int32_t>(file.partition[0]); });
    later_us_ = NowMicros() + 7 * kDay + kHour;
  }
  void DropTheOldPartition() {
    RetentionPolicy policy = policy_;
    const auto done = ApplyRetention(*lakehouse_, task::kBronzeTable, policy, later_us_);
    ASSERT_TRUE(done) << done.error().message;
    ASSERT_EQ(done->FilesOf(PartitionFate::kDropped), 1);
  }
  bool There(const iceberg::DataFile& file) { return OnDisk(task::kBronzeTable).contains(file.file_path); }

  std::vector<iceberg::DataFile> files_;  // the old partition's, the young one's
  int64_t later_us_ = 0;
  int64_t young_us_ = 0;  // of a date that is not past the limit at later_us_, at whatever hour of the day this runs
};

// A table without traffic: the deleting snapshot is the head and stays, and the files go all the same.
TEST_F(Expiry, DroppedFilesGoWithTheSnapshotsThatNamedThem) {
  DropTheOldPartition();
  EXPECT_TRUE(There(files_[0])) << "older snapshots name it yet";
  const auto by_policy = [&] {
    table::Table table = Open(task::kBronzeTable);
    return ExpireSnapshots(table, later_us_);
  }();
  ASSERT_TRUE(by_policy);
  EXPECT_TRUE(by_policy->snapshots.empty()) << "the policy keeps the newest ten";
  EXPECT_TRUE(There(files_[0]));
  table::Table table = Open(task::kBronzeTable);
  const auto before = OnDisk(task::kBronzeTable);
  const auto dry = ExpireSnapshots(table, later_us_, {.older_than_us = kHour, .dry_run = true});
  ASSERT_TRUE(dry) << dry.error().message;
  EXPECT_EQ(dry->snapshots.size(), 3U);
  EXPECT_EQ(dry->data_files, 1);
  EXPECT_EQ(OnDisk(task::kBronzeTable), before);
  EXPECT_EQ(Open(task::kBronzeTable).metadata().snapshots.size(), 4U);

  const ExpiryReport done = Expire(task::kBronzeTable, kHour, later_us_);
  EXPECT_EQ(done.snapshots, dry->snapshots);
  EXPECT_EQ(done.data_files, 1);
  EXPECT_EQ(done.metadata_files, dry->metadata_files);
  EXPECT_FALSE(There(files_[0]));
  EXPECT_TRUE(There(files_[1]));
  ExpectNothingLiveMissing();
  EXPECT_TRUE(Open(task::kBronzeTable).metadata().FindRef("k2-offsets") != nullptr);
  EXPECT_EQ(
      table::ReadProgress(Open(task::kBronzeTable).metadata())->positions.at(pipeline::KafkaKey(kTopic)).next_offset,
      20);
  Bronze(20, 29, young_us_);
  ReadByAll();
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 30);
  ExpectNothingLiveMissing();
}

TEST_F(Expiry, AgeByTheTablesOwnPolicyOnATableWithFewCommits) {
  table::Table table = Open(task::kBronzeTable);
  ASSERT_TRUE(table.Update([](const auto&) -> Result<std::vector<iceberg::TableUpdate>> {
    return std::vector<iceberg::TableUpdate>{iceberg::SetProperties{{{"history.expire.min-snapshots-to-keep", "1"}}}};
  }));
  DropTheOldPartition();
  ASSERT_TRUE(table.Refresh());
  const auto early = ExpireSnapshots(table, NowMicros() + kHour / 2);
  ASSERT_TRUE(early);
  EXPECT_TRUE(early->snapshots.empty());
  EXPECT_TRUE(There(files_[0]));
  const auto done = ExpireSnapshots(table, NowMicros() + 2 * kHour);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->snapshots.size(), 3U);
  EXPECT_FALSE(There(files_[0]));
  EXPECT_TRUE(There(files_[1]));
  ExpectNothingLiveMissing();
  const auto disk = OnDisk(task::kBronzeTable);
  const auto named = Named(task::kBronzeTable);
  for (const std::string& file : disk) EXPECT_TRUE(named.contains(file)) << file << " was left behind";
}

TEST_F(Expiry, WhatATagNamesStays) {
  table::Table table = Open(task::kBronzeTable);
  const int64_t tagged = *table.metadata().current_snapshot_id;
  ASSERT_TRUE(table.Update([&](const auto&) -> Result<std::vector<iceberg::TableUpdate>> {
    return std::vector<iceberg::TableUpdate>{iceberg::SetSnapshotRef{"audit", {.snapshot_id = tagged}}};
  }));
  DropTheOldPartition();
  Expire(task::kBronzeTable, 0, later_us_);
  EXPECT_TRUE(There(files_[0]));
  EXPECT_TRUE(Open(task::kBronzeTable).metadata().FindSnapshot(tagged) != nullptr);
  ExpectNothingLiveMissing();
  ASSERT_TRUE(table.Update([&](const auto&) -> Result<std::vector<iceberg::TableUpdate>> {
    return std::vector<iceberg::TableUpdate>{iceberg::RemoveSnapshotRef{"audit"}};
  }));
  Bronze(20, 29, young_us_);
  Expire(task::kBronzeTable, 0, later_us_);
  EXPECT_FALSE(There(files_[0]));
  ExpectNothingLiveMissing();
}

TEST_F(Expiry, TheTagOfTheOffsetsStaysWhereOthersHaveCommittedSince) {
  ForeignSnapshot(*lakehouse_, task::kBronzeTable, "append", {}, {});
  Expire(task::kBronzeTable, 0, later_us_);
  const table::Table table = Open(task::kBronzeTable);
  EXPECT_EQ(table.metadata().snapshots.size(), 2U);
  EXPECT_EQ(table::ReadProgress(table.metadata())->positions.at(pipeline::KafkaKey(kTopic)).next_offset, 20);
  ExpectNothingLiveMissing();
}

TEST_F(Expiry, DeletesNothingWhenTheOutcomeIsUnknown) {
  DropTheOldPartition();
  for (const catalog::SwapFault fault : {catalog::SwapFault::kRequestLost, catalog::SwapFault::kReplyLost}) {
    const auto before = OnDisk(task::kBronzeTable);
    auto lossy = OpenLakehouse(storage::MakeFileIo(), {.swap_fault = [fault] { return fault; }});
    table::Table table = *lossy.Open(task::kBronzeTable);
    const auto done = ExpireSnapshots(table, later_us_, {.older_than_us = 0});
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().kind, ErrorKind::kCommitUnknown);
    const auto after = OnDisk(task::kBronzeTable);
    for (const std::string& file : before) {
      EXPECT_TRUE(after.contains(file) || file.ends_with(".metadata.json")) << file;
    }
    ExpectNothingLiveMissing();
  }
}

TEST_F(Expiry, TwoAtOnceAndACommitBetween) {
  DropTheOldPartition();
  table::Table mine = Open(task::kBronzeTable);
  int acted = 0;
  auto catalog_hook = [&](std::string_view) {
    if (++acted != 1) return;
    Expire(task::kBronzeTable, 0, later_us_);
    Bronze(20, 29, young_us_);
  };
  auto slow = OpenLakehouse(storage::MakeFileIo(), {.on_step = catalog_hook});
  table::Table table = *slow.Open(task::kBronzeTable);
  const auto done = ExpireSnapshots(table, later_us_, {.older_than_us = 0});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_GE(acted, 1);
  EXPECT_FALSE(There(files_[0]));
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kBronzeTable), 20);
  ExpectNothingLiveMissing();
}

TEST_F(Expiry, MaintenanceDoesBothWhenTheyAreDue) {
  Maintenance maintenance(*lakehouse_, {.retention = policy_, .interval_us = kHour});
  maintenance.RunDue(later_us_);
  EXPECT_EQ(maintenance.status().rounds, 0) << "a minute after the start";
  maintenance.RunDue(later_us_ + 61 * kMicrosPerSecond);
  MaintenanceStatus status = maintenance.status();
  EXPECT_EQ(status.rounds, 1);
  EXPECT_EQ(status.failures, 0) << status.last_error;
  EXPECT_EQ(status.tables[std::string(task::kBronzeTable)].rows_dropped, 10);
  maintenance.RunDue(later_us_ + kHour);
  EXPECT_EQ(maintenance.status().rounds, 1);
  maintenance.RunDue(later_us_ + kHour + 61 * kMicrosPerSecond);
  EXPECT_EQ(maintenance.status().rounds, 2);
  ASSERT_TRUE(
      catalog::DropTable(root_ + "/warehouse", {std::string(task::kNamespace), std::string(task::kRejectedTable)}));
  maintenance.RunDue(later_us_ + 3 * kHour);
  status = maintenance.status();
  EXPECT_EQ(status.rounds, 3);
  EXPECT_EQ(status.failures, 2) << "of one table, and the others are looked after";
}

TEST_F(Expiry, MaintenanceShowsWhatItHolds) {
  Bronze(20, 29, now_us_ - 20 * kDay);
  Maintenance maintenance(*lakehouse_, {.retention = policy_, .interval_us = kMicrosPerSecond});
  maintenance.RunDue(later_us_);
  maintenance.RunDue(later_us_ + 2 * kMicrosPerSecond);
  const MaintenanceStatus::OfTable table = maintenance.status().tables[std::string(task::kBronzeTable)];
  EXPECT_EQ(table.rows_dropped, 0);
  EXPECT_EQ(table.rows_held, 20);
  EXPECT_GT(table.held_us, kHour / 2);
  const MaintenanceStatus before = maintenance.status();
  maintenance.Start();  // runs, and ends when it is destroyed
}

// Services that share tables: one looks after each, and another one when that one is gone.
TEST_F(Expiry, MaintenanceIsOneServices) {
  const MaintenanceOptions options{.retention = policy_, .interval_us = kHour, .claim_settles_us = 0};
  MaintenanceOptions joining = options;
  joining.compact = {std::string(task::kGoldTable)};
  Maintenance first(*lakehouse_, options);
  Maintenance second(*lakehouse_, options);
  Maintenance third(*lakehouse_, joining);
  const auto claims = [&](std::string_view table) {
    return ReadMaintenanceClaims(lakehouse_->Open(table)->metadata());
  };
  const auto run = [&](int64_t now_us) {
    for (Maintenance* one : {&first, &second, &third}) one->RunDue(now_us);
  };
  run(later_us_);
  run(later_us_ + 61 * kMicrosPerSecond);
  const std::string bronze(task::kBronzeTable);
  EXPECT_EQ(first.status().tables[bronze].rows_dropped, 10);
  EXPECT_EQ(second.status().tables.size() + second.status().failures, 0U) << "it has left all to the first one";
  const auto of_gold = claims(task::kGoldTable);
  EXPECT_EQ(of_gold.at("retention"), of_gold.at("expiry"));
  EXPECT_NE(of_gold.at("compaction").by, of_gold.at("retention").by) << "the first one does not do that";
  // While the first one lives, it goes on; the others ask again when its claim would end.
  const auto before = claims(bronze);
  for (int64_t hours = 1; hours < 5; ++hours) run(later_us_ + hours * kHour + 61 * kMicrosPerSecond);
  EXPECT_EQ(second.status().tables.size(), 0U);
  EXPECT_EQ(claims(bronze).at("retention").by, before.at("retention").by);
  EXPECT_GT(claims(bronze).at("retention").at_us, before.at("retention").at_us);
  // It is gone.
  const int64_t gone_us = later_us_ + 4 * kHour + 61 * kMicrosPerSecond;
  second.RunDue(gone_us + kHour + kMicrosPerSecond);
  EXPECT_EQ(second.status().tables.size(), 0U) << "the claim holds half a round longer";
  second.RunDue(gone_us + kHour + kHour / 2 + 2 * kMicrosPerSecond);
  EXPECT_GT(second.status().tables.size(), 0U);
  EXPECT_NE(claims(bronze).at("retention").by, before.at("retention").by);
}

TEST_F(Expiry, AClaimIsAHint) {
  auto table = lakehouse_->Open(task::kBronzeTable);
  const auto claim = [&](std::string_view by, int64_t now_us) {
    const auto outcome = ClaimMaintenance(*table, {"expiry"}, by, kHour, now_us);
    EXPECT_TRUE(outcome) << outcome.error().message;
    return outcome && outcome->mine.contains("expiry");
  };
  EXPECT_TRUE(claim("a", now_us_));
  EXPECT_FALSE(claim("b", now_us_ + kHour - 1));
  EXPECT_FALSE(claim("b", now_us_ - 60 * kMicrosPerSecond)) << "clocks differ a little";
  EXPECT_TRUE(claim("b", now_us_ - kDay)) << "the clock of the first one was a day ahead";
  EXPECT_TRUE(claim("a", now_us_)) << "and the second one's claim is long past";
  const std::string location = table->state().metadata_location;
  EXPECT_TRUE(claim("a", now_us_ + kHour / 4));
  EXPECT_EQ(table->state().metadata_location, location) << "most of it is left: nothing is written";
  for (const std::string text :
       {"", "{", "[]", R"({"version":2,"claims":{}})", R"({"version":1,"claims":{"expiry":7}})"}) {
    ASSERT_TRUE(table->Update([&](const auto&) -> Result<std::vector<iceberg::TableUpdate>> {
      return std::vector<iceberg::TableUpdate>{iceberg::SetProperties{{{kMaintenanceKey, text}}}};
    }));
    EXPECT_TRUE(claim("b", now_us_)) << text;
  }
}

}  // namespace
}  // namespace k2::maintenance
