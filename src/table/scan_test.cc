#include "table/scan.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "iceberg/manifest.h"
#include "iceberg/manifest_list.h"
#include "iceberg/snapshot_producer.h"
#include "iceberg/table_fixture.h"
#include "table/manifest_cache.h"

namespace k2 {
namespace {

using iceberg::ColumnPredicate;
using iceberg::CompareOp;

using iceberg::DataFile;
using iceberg::Literal;
using iceberg::SnapshotRequest;
using iceberg::TestFile;

// Files of a MemoryStore as a FileIo.
class StoreIo : public FileIo {
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
  Result<std::vector<FileInfo>> List(const std::string& folder) override { return No(folder); }
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
  Commit(
      {.operation = "replace", .added = {TestFile("ab", 1, 2)}, .removed = {TestFile("a", 1, 1), TestFile("b", 1, 1)}});
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

TEST_F(ScanTest, DeleteFilesAreRefusedWhereTheyApply) {
  Commit({.added = {TestFile("a", 1, 1), TestFile("b", 2, 1)}});
  const int64_t before = next_id_;
  DataFile deletes = TestFile("deletes", 2, 1);
  deletes.content = iceberg::FileContent::kPositionDeletes;
  deletes.sort_order_id.reset();
  CommitDeletes(deletes);
  const auto kind = [&](int32_t day) {
    return PlanScan(io_, metadata_, next_id_, {{1, CompareOp::kEq, {Literal(day)}}});
  };
  EXPECT_EQ(kind(2).error().kind, ErrorKind::kUnsupported);
  EXPECT_TRUE(kind(1));
  EXPECT_TRUE(PlanScan(io_, metadata_, before, {}));
  EXPECT_EQ(PlanIncrement(io_, metadata_, std::nullopt, next_id_).error().kind, ErrorKind::kUnsupported);
  // Data that came later is not touched.
  const int64_t now = next_id_;
  Commit({.added = {TestFile("c", 2, 1)}});
  EXPECT_EQ(Paths(PlanIncrement(io_, metadata_, now, next_id_)->files), PathList{"c"});
}

TEST_F(ScanTest, PositionDeletesThatNameOneFileTouchNoOther) {
  Commit({.added = {TestFile("a", 2, 1)}});
  DataFile deletes = TestFile("deletes", 2, 1);
  deletes.content = iceberg::FileContent::kPositionDeletes;
  deletes.referenced_data_file = "gone";
  CommitDeletes(deletes);
  EXPECT_EQ(Scan(), PathList{"a"});
  deletes.referenced_data_file.reset();
  deletes.lower_bounds[2147483546] = "b";
  deletes.upper_bounds[2147483546] = "c";
  CommitDeletes(deletes);
  EXPECT_EQ(Scan(), PathList{"a"});
  deletes.lower_bounds[2147483546] = "a";
  CommitDeletes(deletes);
  EXPECT_EQ(PlanScan(io_, metadata_, next_id_, {}).error().kind, ErrorKind::kUnsupported);
}

TEST_F(ScanTest, EqualityDeletesTouchOlderDataOnly) {
  Commit({.added = {TestFile("a", 2, 1)}});
  DataFile deletes = TestFile("deletes", 2, 1);
  deletes.content = iceberg::FileContent::kEqualityDeletes;
  deletes.equality_ids = {1};
  CommitDeletes(deletes);
  EXPECT_EQ(PlanScan(io_, metadata_, next_id_, {}).error().kind, ErrorKind::kUnsupported);
  Commit({.operation = "delete", .removed = {TestFile("a", 2, 1)}});
  Commit({.added = {TestFile("b", 2, 1)}});
  EXPECT_EQ(Scan(), PathList{"b"});
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
}  // namespace k2
