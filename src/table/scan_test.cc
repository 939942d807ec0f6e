#include "table/scan.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "iceberg/manifest.h"
#include "iceberg/manifest_list.h"
#include "iceberg/snapshot_producer.h"
#include "iceberg/table_fixture.h"
#include "table/manifest_cache.h"

namespace k2::table {
namespace {

using iceberg::ColumnPredicate;
using iceberg::CompareOp;

using iceberg::DataFile;
using iceberg::Literal;
using iceberg::SnapshotRequest;
using iceberg::TestFile;

// Files of a MemoryStore as a FileIo.
class StoreIo : public storage::FileIo {
 public:
  explicit StoreIo(iceberg::MemoryStore& store) : store_(store) {}
  Result<std::string> Read(const std::string& location, int64_t /*max_bytes*/) override {
    return store_.Read(location);
  }
  Status WriteNew(const std::string& location, std::string_view bytes) override {
    return store_.WriteNew(location, bytes);
  }
  Result<std::shared_ptr<arrow::io::OutputStream>> Create(const std::string& location) override { return No(location); }
  Status Sync(const std::string& location) override { return No(location); }
  Result<std::shared_ptr<arrow::io::RandomAccessFile>> Open(const std::string& location) override {
    return No(location);
  }
  Result<int64_t> Size(const std::string& location) override { return No(location); }
  Result<std::vector<storage::FileInfo>> List(const std::string& folder) override { return No(folder); }
  Status Delete(const std::string& location) override { return No(location); }

 private:
  static std::unexpected<Error> No(const std::string& location) {
    return Fail(ErrorKind::kUnsupported, "not in this test: {}", location);
  }
  iceberg::MemoryStore& store_;
};

class ScanTest : public testing::Test {
 protected:
  // Names are never used twice in one process: the cache is shared.
  ScanTest() {
    static int tests = 0;
    store_.folder = fmt::format("mem://scan{}/", tests++);
  }

  int64_t Commit(SnapshotRequest request) {
    request.snapshot_id = ++next_id_;
    request.now_ms = next_id_ * 1000;
    auto produced = iceberg::ProduceSnapshot(store_, metadata_, request);
    EXPECT_TRUE(produced) << (produced ? "" : produced.error().message);
    iceberg::Apply(metadata_, produced->snapshot);
    return next_id_;
  }

  // A snapshot of another engine that adds a delete file.
  void CommitDeletes(DataFile file) {
    const iceberg::Snapshot* head = metadata_.CurrentSnapshot();
    std::vector<iceberg::ManifestFile> manifests = iceberg::ReadManifests(store_, *head).value();
    iceberg::ManifestEntry entry{.snapshot_id = ++next_id_, .file = std::move(file)};
    manifests.push_back(iceberg::WriteManifest(store_, metadata_, entry.file.spec_id,
                                               iceberg::ManifestContent::kDeletes, next_id_, {entry})
                            .value());
    iceberg::Snapshot snapshot{.snapshot_id = next_id_,
                               .parent_snapshot_id = head->snapshot_id,
                               .sequence_number = metadata_.last_sequence_number + 1,
                               .timestamp_ms = next_id_ * 1000,
                               .operation = "delete"};
    snapshot.manifest_list = store_.NewPath(iceberg::MetadataFileKind::kManifestList);
    ASSERT_TRUE(store_.WriteNew(
        snapshot.manifest_list,
        iceberg::EncodeManifestList(next_id_, head->snapshot_id, snapshot.sequence_number, manifests).value()));
    iceberg::Apply(metadata_, snapshot);
  }

  std::vector<std::string> Paths(const std::vector<ScanFile>& files) {
    std::vector<std::string> paths;
    for (const ScanFile& file : files) paths.push_back(file.file.file_path);
    std::ranges::sort(paths);
    return paths;
  }
  // Files and the deletes that apply to them.
  static std::string Deleted(const std::vector<ScanFile>& files) {
    std::vector<std::string> pairs;
    for (const ScanFile& file : files) {
      for (const auto& deletes : file.deletes) pairs.push_back(file.file.file_path + "<" + deletes->path);
    }
    std::ranges::sort(pairs);
    return fmt::format("{}", fmt::join(pairs, " "));
  }
  std::vector<std::string> Scan(std::vector<ColumnPredicate> conjuncts = {}) {
    auto files = PlanScan(io_, metadata_, *metadata_.current_snapshot_id, conjuncts);
    EXPECT_TRUE(files) << (files ? "" : files.error().message);
    return files ? Paths(*files) : std::vector<std::string>{};
  }

  iceberg::MemoryStore store_;
  StoreIo io_{store_};
  iceberg::TableMetadata metadata_ = iceberg::TestTable();
  int64_t next_id_ = 0;
};

using PathList = std::vector<std::string>;

TEST_F(ScanTest, PrunesAndReadsEachManifestOnce) {
  Commit({.added = {TestFile("a", 1, 1), TestFile("b", 2, 1)}});
  Commit({.added = {TestFile("c", 3, 1)}});
  EXPECT_EQ(Scan(), (PathList{"a", "b", "c"}));
  EXPECT_EQ(Scan({{1, CompareOp::kGe, {Literal(2)}}}), (PathList{"b", "c"}));
  EXPECT_EQ(Scan({{1, CompareOp::kEq, {Literal(2)}}, {2, CompareOp::kEq, {Literal(3)}}}), PathList{});
  EXPECT_EQ(Scan({{4, CompareOp::kGt, {Literal(std::string("zzz"))}}}), PathList{});
  const int64_t reads = store_.reads;
  EXPECT_EQ(Scan(), (PathList{"a", "b", "c"}));
  EXPECT_EQ(store_.reads, reads);
  EXPECT_EQ(PlanScan(io_, metadata_, 99, {}).error().kind, ErrorKind::kNotFound);
}

TEST_F(ScanTest, PruningSparesManifests) {
  Commit({.added = {TestFile("a", 1, 1)}});
  Commit({.added = {TestFile("b", 9, 1)}});
  const int64_t reads = store_.reads;
  EXPECT_EQ(Scan({{1, CompareOp::kEq, {Literal(9)}}}), PathList{"b"});
  EXPECT_EQ(store_.reads, reads + 2);  // the list and one manifest
}

TEST_F(ScanTest, Increments) {
  const int64_t first = Commit({.added = {TestFile("a", 1, 1)}});
  const int64_t second = Commit({.added = {TestFile("b", 1, 1)}});
  Commit({.operation = "replace",
          .added = {TestFile("ab", 1, 2)},
          .removed = {TestFile("a", 1, 1), TestFile("b", 1, 1)},
          .planned_sequence = metadata_.last_sequence_number});
  Commit({.operation = "delete", .removed = {TestFile("ab", 1, 2)}});
  const int64_t last = Commit({.added = {TestFile("c", 1, 1), TestFile("d", 1, 1)}});
  const auto since = [&](std::optional<int64_t> from) { return PlanIncrement(io_, metadata_, from, last).value(); };
  EXPECT_EQ(Paths(since(std::nullopt).files), (PathList{"a", "b", "c", "d"}));
  EXPECT_EQ(Paths(since(first).files), (PathList{"b", "c", "d"}));
  EXPECT_EQ(Paths(since(second).files), (PathList{"c", "d"}));
  EXPECT_EQ(since(second).files.front().snapshot_id, last);
  EXPECT_TRUE(since(last).files.empty());
  EXPECT_TRUE(since(last).complete);
  EXPECT_FALSE(since(77).complete);
  // The first snapshots expire: what came after them is still told apart, what came before is not.
  std::erase_if(metadata_.snapshots, [&](const iceberg::Snapshot& snapshot) { return snapshot.snapshot_id <= second; });
  EXPECT_EQ(Paths(since(second).files), (PathList{"c", "d"}));
  EXPECT_FALSE(since(first).complete);
  EXPECT_FALSE(since(std::nullopt).complete);
}

TEST_F(ScanTest, OthersOverwritesAreReadAndTold) {
  const int64_t first = Commit({.added = {TestFile("a", 1, 1)}});
  const int64_t ours = Commit({.operation = "overwrite",
                               .added = {TestFile("b", 1, 1)},
                               .removed = {TestFile("a", 1, 1)},
                               .commit_id = "mine"});
  EXPECT_EQ(Paths(PlanIncrement(io_, metadata_, first, ours)->files), PathList{"b"});
  const int64_t theirs =
      Commit({.operation = "overwrite", .added = {TestFile("c", 1, 1)}, .removed = {TestFile("b", 1, 1)}});
  const auto increment = PlanIncrement(io_, metadata_, first, theirs);
  ASSERT_TRUE(increment);
  EXPECT_EQ(Paths(increment->files), (PathList{"b", "c"}));
  EXPECT_EQ(increment->rewrites, std::vector<int64_t>{theirs});  // ours is none
  const auto files = FilesOfSnapshot(io_, metadata_, *metadata_.FindSnapshot(theirs));
  ASSERT_TRUE(files);
  EXPECT_EQ(Paths(files->added), PathList{"c"});
  EXPECT_EQ(Paths(files->removed), PathList{"b"});
  EXPECT_EQ(DescribeSnapshot(*metadata_.FindSnapshot(theirs)),
            fmt::format("snapshot {} (operation \"overwrite\", another engine)", theirs));
}

TEST_F(ScanTest, FilesComeWithTheDeletesThatApplyToThem) {
  Commit({.added = {TestFile("a", 1, 1), TestFile("b", 2, 1)}});
  const int64_t before = next_id_;
  DataFile deletes = TestFile("deletes", 2, 1);
  deletes.content = iceberg::FileContent::kPositionDeletes;
  deletes.sort_order_id.reset();
  CommitDeletes(deletes);
  EXPECT_EQ(Deleted(PlanScan(io_, metadata_, next_id_, {}).value()), "b<deletes");
  EXPECT_EQ(Deleted(PlanScan(io_, metadata_, before, {}).value()), "");
  EXPECT_EQ(Deleted(PlanIncrement(io_, metadata_, std::nullopt, next_id_)->files), "b<deletes");
  // Data that came later is not touched.
  const int64_t now = next_id_;
  Commit({.added = {TestFile("c", 2, 1)}});
  EXPECT_EQ(Paths(PlanIncrement(io_, metadata_, now, next_id_)->files), PathList{"c"});
  EXPECT_EQ(Deleted(PlanScan(io_, metadata_, next_id_, {}).value()), "b<deletes");
  deletes = TestFile("deletes.orc", 2, 1);
  deletes.content = iceberg::FileContent::kPositionDeletes;
  deletes.file_format = "ORC";
  CommitDeletes(deletes);
  const Error refused = PlanScan(io_, metadata_, next_id_, {}).error();
  EXPECT_EQ(refused.kind, ErrorKind::kUnsupported);
  EXPECT_NE(refused.message.find("deletes.orc"), std::string::npos) << refused.message;
  EXPECT_TRUE(PlanScan(io_, metadata_, next_id_, {{1, CompareOp::kEq, {Literal(1)}}})) << "it is of another partition";
}

TEST_F(ScanTest, PositionDeletesThatNameOneFileTouchNoOther) {
  Commit({.added = {TestFile("a", 2, 1)}});
  DataFile deletes = TestFile("deletes", 2, 1);
  deletes.content = iceberg::FileContent::kPositionDeletes;
  deletes.referenced_data_file = "gone";
  CommitDeletes(deletes);
  deletes.file_path = "others";
  deletes.referenced_data_file.reset();
  deletes.lower_bounds[2147483546] = "b";
  deletes.upper_bounds[2147483546] = "c";
  CommitDeletes(deletes);
  EXPECT_EQ(Deleted(PlanScan(io_, metadata_, next_id_, {}).value()), "");
  deletes.file_path = "a to c";
  deletes.lower_bounds[2147483546] = "a";
  CommitDeletes(deletes);
  EXPECT_EQ(Deleted(PlanScan(io_, metadata_, next_id_, {}).value()), "a<a to c");
}

TEST_F(ScanTest, EqualityDeletesTouchOlderDataOnly) {
  Commit({.added = {TestFile("a", 2, 1)}});
  DataFile deletes = TestFile("deletes", 2, 1);
  deletes.content = iceberg::FileContent::kEqualityDeletes;
  deletes.equality_ids = {1};
  CommitDeletes(deletes);
  Commit({.added = {TestFile("b", 2, 1)}});
  EXPECT_EQ(Deleted(PlanScan(io_, metadata_, next_id_, {}).value()), "a<deletes");
  // Bounds of the compared column that leave no equal value spare the file, where not both may hold null.
  deletes.file_path = "zzz";
  deletes.equality_ids = {4};
  deletes.lower_bounds[4] = deletes.upper_bounds[4] = "zzz";
  CommitDeletes(deletes);
  EXPECT_EQ(Deleted(PlanScan(io_, metadata_, next_id_, {}).value()), "a<deletes a<zzz b<zzz");
  deletes.file_path = "zzz, no null";
  deletes.null_value_counts[4] = 0;
  CommitDeletes(deletes);
  EXPECT_EQ(Deleted(PlanScan(io_, metadata_, next_id_, {}).value()), "a<deletes a<zzz b<zzz");
}

TEST_F(ScanTest, EqualityDeletesOfASpecWithoutFieldsAreGlobal) {
  metadata_.partition_specs.push_back({.spec_id = 1, .fields = {{1, 1000, "d", "void"}}});
  Commit({.added = {TestFile("a", 1, 1), TestFile("b", 2, 1)}});
  DataFile deletes = TestFile("deletes", 1, 1);
  deletes.content = iceberg::FileContent::kEqualityDeletes;
  deletes.equality_ids = {1};
  deletes.lower_bounds.clear();
  deletes.upper_bounds.clear();
  deletes.spec_id = 1;
  deletes.partition = {Literal()};
  CommitDeletes(deletes);
  EXPECT_EQ(Deleted(PlanScan(io_, metadata_, next_id_, {}).value()), "a<deletes b<deletes");
  deletes.content = iceberg::FileContent::kPositionDeletes;
  deletes.file_path = "positions";
  CommitDeletes(deletes);
  EXPECT_EQ(Deleted(PlanScan(io_, metadata_, next_id_, {}).value()), "a<deletes b<deletes");
}

// A row goes and comes again, then its files are joined: the delete that was applied is not applied again, and one that
// came after the plan is. By the lowest number of the inputs "deletes" would remove the row that came again.
TEST_F(ScanTest, JoinedFilesHaveTheSequenceNumberTheyWerePlannedAt) {
  const DataFile joined = TestFile("ab", 2, 2);
  Commit({.added = {TestFile("a", 2, 1), TestFile("c", 2, 1)}});
  DataFile deletes = TestFile("deletes", 2, 1);
  deletes.content = iceberg::FileContent::kEqualityDeletes;
  deletes.equality_ids = {1};
  CommitDeletes(deletes);
  Commit({.added = {TestFile("b", 2, 1)}});
  const int64_t planned = metadata_.last_sequence_number;
  deletes.file_path = "later";
  CommitDeletes(deletes);
  Commit({.operation = "replace",
          .added = {joined},
          .removed = {TestFile("a", 2, 1), TestFile("b", 2, 1)},
          .planned_sequence = planned});
  EXPECT_EQ(Deleted(PlanScan(io_, metadata_, next_id_, {}).value()), "ab<later c<deletes c<later");

  DataFile position = TestFile("position", 2, 1);
  position.content = iceberg::FileContent::kPositionDeletes;
  position.referenced_data_file = "c";
  CommitDeletes(position);
  const auto again = [&](int64_t at) {
    return SnapshotRequest{.operation = "replace",
                           .added = {TestFile("c2", 2, 1)},
                           .removed = {TestFile("c", 2, 1)},
                           .planned_sequence = at,
                           .snapshot_id = next_id_ + 1};
  };
  const auto refused = iceberg::ProduceSnapshot(store_, metadata_, again(metadata_.last_sequence_number - 1));
  ASSERT_FALSE(refused) << "a position delete of an input came after the plan";
  EXPECT_EQ(refused.error().kind, ErrorKind::kConflict);
  SnapshotRequest overwrite = again(planned + 1);
  overwrite.operation = "overwrite";
  EXPECT_EQ(iceberg::ProduceSnapshot(store_, metadata_, overwrite).error().kind, ErrorKind::kConflict);
  Commit(again(metadata_.last_sequence_number));
  EXPECT_EQ(Deleted(PlanScan(io_, metadata_, next_id_, {}).value()), "ab<later");
  const auto& summary = metadata_.CurrentSnapshot()->summary;
  EXPECT_EQ(summary.at("removed-delete-files"), "2") << "what applies to nothing any more goes";
  EXPECT_EQ(summary.at("total-records"), "3");
  Commit({.operation = "delete", .removed = {joined}});
  EXPECT_EQ(metadata_.CurrentSnapshot()->summary.at("removed-equality-deletes"), "1");
  Commit({});
  EXPECT_EQ(iceberg::ReadManifests(store_, *metadata_.CurrentSnapshot())->size(), 1U) << "of c2 alone";
}

TEST_F(ScanTest, TimeTravel) {
  const int64_t first = Commit({});
  const int64_t second = Commit({});
  EXPECT_EQ(SnapshotAsOf(metadata_, first * 1000).value(), first);
  EXPECT_EQ(SnapshotAsOf(metadata_, second * 1000 - 1).value(), first);
  EXPECT_EQ(SnapshotAsOf(metadata_, INT64_MAX / 2000).value(), second);
  const Error early = SnapshotAsOf(metadata_, first * 1000 - 1).error();
  EXPECT_EQ(early.kind, ErrorKind::kNotFound);
  EXPECT_NE(early.message.find("1970-01-01T00:00:01"), std::string::npos) << early.message;
  EXPECT_EQ(SnapshotAsOf(iceberg::TestTable(), 5).error().kind, ErrorKind::kNotFound);
}

TEST_F(ScanTest, TheCacheIsBoundedAndShared) {
  for (int i = 0; i < 20; ++i) Commit({.added = {TestFile(fmt::format("f{}", i), i, 1)}});
  ManifestCache cache(20'000);
  const auto read_all = [&] {
    const auto manifests = cache.ListOf(io_, *metadata_.CurrentSnapshot()).value();
    for (const iceberg::ManifestFile& manifest : *manifests) {
      EXPECT_EQ(cache.EntriesOf(io_, metadata_, manifest).value()->size(), 1U);
    }
  };
  read_all();
  EXPECT_LE(cache.bytes(), 20'000);
  EXPECT_GT(cache.bytes(), 0);
  ManifestCache large(10'000'000);
  std::ignore = large.ListOf(io_, *metadata_.CurrentSnapshot());
  std::vector<std::thread> threads;
  const auto shared = large.ListOf(io_, *metadata_.CurrentSnapshot()).value();
  EXPECT_EQ(large.misses(), 1);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) EXPECT_EQ(large.ListOf(io_, *metadata_.CurrentSnapshot()).value(), shared);
    });
  }
  for (std::thread& thread : threads) thread.join();
  large.Wrote("mem://written", "bytes");
  EXPECT_EQ(large.Read(io_, "mem://written").value(), "bytes");
  EXPECT_EQ(large.misses(), 1);
}

}  // namespace
}  // namespace k2::table
