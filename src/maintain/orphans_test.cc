// Orphans go when they are old enough; what any snapshot or metadata file names stays.
#include "maintain/orphans.h"

#include <filesystem>
#include <fstream>

#include "io/faulty_file_io.h"
#include "maintain/maintain_fixture.h"

namespace k2 {
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
    Table table = Open(name);
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
  const std::set<std::string> left = {Leave(kGoldTable, "/data/exchange_date=2024-01-02/exchange_hour=3/0-0.parquet"),
                                      Leave(kGoldTable, "/data/deletes.avro"), Leave(kGoldTable, "/metadata/0-m0.avro"),
                                      Leave(kGoldTable, "/metadata/00009-0.metadata.json")};
  const std::set<std::string> others = {Leave(kGoldTable, "/data/README.txt"), Leave(kGoldTable, "/notes.parquet"),
                                        Leave(kGoldTable, "/metadata/version-hint.text"),
                                        Leave(kGoldTable, "/data-of-mine/rows.parquet")};
  const auto before = OnDisk(kGoldTable);
  EXPECT_TRUE(Remove(kGoldTable, NowMicros() + 2 * kDay).files.empty()) << "they are too young";
  const OrphanReport dry = Remove(kGoldTable, later_us_, /*dry_run=*/true);
  EXPECT_EQ(OnDisk(kGoldTable), before);
  const OrphanReport done = Remove(kGoldTable, later_us_);
  for (const OrphanReport& report : {dry, done}) {
    std::set<std::string> found;
    for (const FileInfo& file : report.files) found.insert(file.location);
    EXPECT_EQ(found, left);
    EXPECT_EQ(report.bytes, 16);
    EXPECT_EQ(report.not_deleted, 0);
  }
  std::set<std::string> expected = before;
  for (const std::string& file : left) expected.erase(file);
  EXPECT_EQ(OnDisk(kGoldTable), expected);
  EXPECT_TRUE(Remove(kGoldTable, later_us_).files.empty());
  ExpectNothingLiveMissing();
  EXPECT_EQ(LiveRows(*lakehouse_, kGoldTable), 20);
}

// Rows that retention has dropped are those of older snapshots still.
TEST_F(Orphans, WhatOlderSnapshotsNameStays) {
  policy_.bronze_us = kDay;
  const TableRetention dropped = Apply(kBronzeTable, NowMicros() + 3 * kDay);
  ASSERT_GT(dropped.FilesOf(PartitionFate::kDropped), 0);
  for (const std::string& name : AllTables()) {
    const auto before = OnDisk(name);
    EXPECT_TRUE(Remove(name, later_us_).files.empty()) << name;
    EXPECT_EQ(OnDisk(name), before) << name;
  }
  ExpectNothingLiveMissing();
}

TEST_F(Orphans, AStoreThatFails) {
  const std::string left = Leave(kGoldTable, "/data/left.parquet");
  const std::string other = Leave(kGoldTable, "/data/other.parquet");
  const auto before = OnDisk(kGoldTable);
  const auto io = FaultyFileIo::Over(MakeFileIo());
  const Lakehouse lakehouse = OpenLakehouse(io);
  auto table = lakehouse.Open(kGoldTable);
  ASSERT_TRUE(table);
  io->Inject({.operation = "list", .errno_value = EIO});
  EXPECT_FALSE(RemoveOrphans(*table, later_us_));
  EXPECT_EQ(OnDisk(kGoldTable), before);
  io->ClearFaults();
  io->Inject({.operation = "delete", .location_contains = "left", .errno_value = EACCES});
  const auto done = RemoveOrphans(*table, later_us_);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->files.size(), 2U);
  EXPECT_EQ(done->not_deleted, 1);
  EXPECT_TRUE(OnDisk(kGoldTable).contains(left));
  EXPECT_FALSE(OnDisk(kGoldTable).contains(other));
}

TEST_F(Orphans, YoungOnesAreNotAskedFor) {
  Table table = Open(kGoldTable);
  const auto done = RemoveOrphans(table, later_us_, {.older_than_us = kDay - 1});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kInvalidArgument);
}

}  // namespace
}  // namespace k2
