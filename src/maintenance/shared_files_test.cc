// Nothing that may be another table's is ever deleted: gc.enabled, and files outside the table's own places.
#include <filesystem>
#include <fstream>

#include "maintenance/maintenance_fixture.h"
#include "maintenance/orphans.h"

namespace k2::maintenance {
namespace {

namespace fs = std::filesystem;

class SharedFiles : public MaintainTest {
 protected:
  void Set(std::string_view name, std::map<std::string, std::string> properties) {
    table::Table table = Open(name);
    ASSERT_TRUE(table.Update([&](const auto&) -> Result<std::vector<iceberg::TableUpdate>> {
      return std::vector<iceberg::TableUpdate>{iceberg::SetProperties{properties}};
    }));
  }
  // A history that would be cut with each commit.
  static std::map<std::string, std::string> Short(std::map<std::string, std::string> also = {}) {
    also.insert({{"k2.history.max-snapshots", "1"},
                 {"history.expire.min-snapshots-to-keep", "1"},
                 {"write.metadata.previous-versions-max", "1"}});
    return also;
  }
};

TEST_F(SharedFiles, WithoutGarbageCollectionNothingIsDeleted) {
  Set(task::kBronzeTable, Short({{"gc.enabled", "false"}}));
  const size_t snapshots = Open(task::kBronzeTable).metadata().snapshots.size();
  std::set<std::string> before = OnDisk(task::kBronzeTable);
  for (int64_t i = 0; i < 5; ++i) {
    Bronze(10 * i, 10 * i + 9, now_us_ - 20 * kDay);
    const std::set<std::string> after = OnDisk(task::kBronzeTable);
    EXPECT_TRUE(std::ranges::includes(after, before)) << "metadata files, manifests and data files all stay";
    before = after;
  }
  EXPECT_EQ(Open(task::kBronzeTable).metadata().snapshots.size(), snapshots + 5);
  ReadByAll();

  const int64_t later_us = NowMicros() + 40 * kDay;
  table::Table table = Open(task::kBronzeTable);
  const auto expired = ExpireSnapshots(table, later_us, {.older_than_us = 0});
  ASSERT_FALSE(expired);
  EXPECT_EQ(expired.error().kind, ErrorKind::kUnsupported);
  EXPECT_NE(expired.error().message.find("bronze_trades: no snapshot was expired: the table's property gc.enabled"),
            std::string::npos);
  const auto orphans = RemoveOrphans(table, later_us);
  ASSERT_FALSE(orphans);
  EXPECT_EQ(orphans.error().kind, ErrorKind::kUnsupported);
  const TableRetention kept = Apply(task::kBronzeTable, later_us);
  EXPECT_EQ(kept.FilesOf(PartitionFate::kDropped), 0);
  const TableRetention plan = Plan(task::kBronzeTable, later_us);
  ASSERT_FALSE(plan.partitions.empty());
  EXPECT_EQ(plan.partitions.front().reason, "kept: the table's property gc.enabled is false");
  EXPECT_TRUE(std::ranges::includes(OnDisk(task::kBronzeTable), before));

  Set(task::kBronzeTable, {{"gc.enabled", "true"}});
  EXPECT_GT(Apply(task::kBronzeTable, later_us).FilesOf(PartitionFate::kDropped), 0);
  EXPECT_GT(Expire(task::kBronzeTable, 0, later_us).data_files, 0);
  ExpectNothingLiveMissing();
}

TEST_F(SharedFiles, AFileElsewhereIsLetGoAndStays) {
  Bronze(0, 9, now_us_);
  // As after `cp -r` of another table's metadata: the snapshot names a data file that lies in another place.
  const iceberg::DataFile own = pipeline::LiveFiles(*lakehouse_, task::kBronzeTable).front();
  const std::string elsewhere = root_ + "/elsewhere.parquet";
  fs::copy_file(own.file_path.substr(std::string_view("file://").size()), elsewhere);
  iceberg::DataFile foreign = own;
  foreign.file_path = "file://" + elsewhere;
  table::Table table = Open(task::kBronzeTable);
  ASSERT_TRUE(std::holds_alternative<table::CommitDone>(table.Commit({.operation = "append", .added = {foreign}})));
  ASSERT_TRUE(
      std::holds_alternative<table::CommitDone>(table.Commit({.operation = "delete", .removed = {own, foreign}})));
  const ExpiryReport done = Expire(task::kBronzeTable, 0, NowMicros() + kHour);
  EXPECT_EQ(done.data_files, 1);
  EXPECT_FALSE(OnDisk(task::kBronzeTable).contains(own.file_path));
  EXPECT_TRUE(fs::exists(elsewhere));
}

TEST_F(SharedFiles, AMetadataLogThatNamesAForeignFileDeletesNothing) {
  Set(task::kBronzeTable, Short());
  const std::string location = Open(task::kBronzeTable).state().metadata_location;
  const std::string path = location.substr(std::string_view("file://").size());
  const std::string folder = fs::path(path).parent_path();
  const std::string elsewhere = root_ + "/00000-elsewhere.metadata.json";
  const std::string no_metadata = folder + "/notes.json";  // below the table, and no metadata file
  for (const std::string& foreign : {elsewhere, no_metadata}) {
    std::ofstream(foreign) << "{}";
    std::ifstream in(Open(task::kBronzeTable).state().metadata_location.substr(std::string_view("file://").size()));
    std::string text{std::istreambuf_iterator<char>(in), {}};
    const auto metadata = iceberg::ParseTableMetadata(text);
    ASSERT_TRUE(metadata);
    iceberg::TableMetadata changed = *metadata;
    ASSERT_FALSE(changed.metadata_log.empty());
    for (auto& entry : changed.metadata_log) entry.metadata_file = "file://" + foreign;
    std::ofstream(Open(task::kBronzeTable).state().metadata_location.substr(std::string_view("file://").size()))
        << iceberg::TableMetadataToJson(changed);
    lakehouse_.emplace(OpenLakehouse());  // another process, which has nothing in memory
    Bronze(100, 101, now_us_);
    Bronze(102, 103, now_us_);
    EXPECT_TRUE(fs::exists(foreign)) << foreign;
  }
  EXPECT_FALSE(fs::exists(path)) << "its own old metadata is deleted";
}

}  // namespace
}  // namespace k2::maintenance
