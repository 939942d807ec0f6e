// Orphans go when they are old enough; what any snapshot or metadata file names stays.
#include "maintenance/orphans.h"

#include <filesystem>
#include <fstream>

#include "maintenance/maintenance_fixture.h"
#include "storage/testing/faulty_file_io.h"

namespace k2::maintenance {
namespace {

namespace fs = std::filesystem;

class Orphans : public MaintainTest {
 protected:
  void SetUp() override {
    MaintainTest::SetUp();
    Bronze(0, 9, now_us_);
    Bronze(10, 19, now_us_);
    ReadByAll();
    later_us_ = NowMicros() + 3 * kDay + kHour;
  }
  OrphanReport Remove(std::string_view name, int64_t now_us, bool dry_run = false) {
    table::Table table = Open(name);
    const auto done = RemoveOrphans(table, now_us, {.dry_run = dry_run});
    EXPECT_TRUE(done) << done.error().message;
    return done.value_or(OrphanReport{});
  }
  // A file of a few bytes below a table's folder.
  std::string Leave(std::string_view name, const std::string& below) {
    const std::string location = Open(name).metadata().location + below;
    const fs::path path = location.substr(std::string_view("file://").size());
    fs::create_directories(path.parent_path());
    std::ofstream(path) << "left";
    return location;
  }

  int64_t later_us_ = 0;
};

TEST_F(Orphans, GoWhenTheyAreOldAndNothingElseDoes) {
  const std::set<std::string> left = {
      Leave(task::kGoldTable, "/data/exchange_date=2024-01-02/exchange_hour=3/0-0.parquet"),
      Leave(task::kGoldTable, "/data/deletes.avro"), Leave(task::kGoldTable, "/metadata/0-m0.avro"),
      Leave(task::kGoldTable, "/metadata/00009-0.metadata.json")};
  const std::set<std::string> others = {
      Leave(task::kGoldTable, "/data/README.txt"), Leave(task::kGoldTable, "/notes.parquet"),
      Leave(task::kGoldTable, "/metadata/version-hint.text"), Leave(task::kGoldTable, "/data-of-mine/rows.parquet")};
  const auto before = OnDisk(task::kGoldTable);
  EXPECT_TRUE(Remove(task::kGoldTable, NowMicros() + 2 * kDay).files.empty()) << "they are too young";
  const OrphanReport dry = Remove(task::kGoldTable, later_us_, /*dry_run=*/true);
  EXPECT_EQ(OnDisk(task::kGoldTable), before);
  const OrphanReport done = Remove(task::kGoldTable, later_us_);
  for (const OrphanReport& report : {dry, done}) {
    std::set<std::string> found;
    for (const storage::FileInfo& file : report.files) found.insert(file.location);
    EXPECT_EQ(found, left);
    EXPECT_EQ(report.bytes, 16);
    EXPECT_EQ(report.not_deleted, 0);
  }
  std::set<std::string> expected = before;
  for (const std::string& file : left) expected.erase(file);
  EXPECT_EQ(OnDisk(task::kGoldTable), expected);
  EXPECT_TRUE(Remove(task::kGoldTable, later_us_).files.empty());
  ExpectNothingLiveMissing();
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 20);
}

// Rows that retention has dropped are those of older snapshots still.
TEST_F(Orphans, WhatOlderSnapshotsNameStays) {
  policy_.bronze_us = kDay;
  const TableRetention dropped = Apply(task::kBronzeTable, NowMicros() + 3 * kDay);
  ASSERT_GT(dropped.FilesOf(PartitionFate::kDropped), 0);
  for (const std::string& name : task::AllTables()) {
    const auto before = OnDisk(name);
    EXPECT_TRUE(Remove(name, later_us_).files.empty()) << name;
    EXPECT_EQ(OnDisk(name), before) << name;
  }
  ExpectNothingLiveMissing();
}

TEST_F(Orphans, AStoreThatFails) {
  const std::string left = Leave(task::kGoldTable, "/data/left.parquet");
  const std::string other = Leave(task::kGoldTable, "/data/other.parquet");
  const auto before = OnDisk(task::kGoldTable);
  const auto io = storage::FaultyFileIo::Over(storage::MakeFileIo());
  const pipeline::Lakehouse lakehouse = OpenLakehouse(io);
  auto table = lakehouse.Open(task::kGoldTable);
  ASSERT_TRUE(table);
  io->Inject({.operation = "list", .errno_value = EIO});
  EXPECT_FALSE(RemoveOrphans(*table, later_us_));
  EXPECT_EQ(OnDisk(task::kGoldTable), before);
  io->ClearFaults();
  io->Inject({.operation = "delete", .location_contains = "left", .errno_value = EACCES});
  const auto done = RemoveOrphans(*table, later_us_);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->files.size(), 2U);
  EXPECT_EQ(done->not_deleted, 1);
  EXPECT_TRUE(OnDisk(task::kGoldTable).contains(left));
  EXPECT_FALSE(OnDisk(task::kGoldTable).contains(other));
}

TEST_F(Orphans, YoungOnesAreNotAskedFor) {
  table::Table table = Open(task::kGoldTable);
  const auto done = RemoveOrphans(table, later_us_, {.older_than_us = kDay - 1});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kInvalidArgument);
}

}  // namespace
}  // namespace k2::maintenance
