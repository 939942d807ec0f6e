#include "iceberg/snapshot_producer.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "iceberg/manifest.h"
#include "iceberg/manifest_list.h"
#include "iceberg/manifest_merge.h"
#include "iceberg/reachable_files.h"
#include "iceberg/snapshot_summary.h"
#include "iceberg/table_fixture.h"

namespace k2::iceberg {
namespace {

struct Live {
  DataFile file;
  int64_t sequence_number = 0;
  int64_t snapshot_id = 0;
};
using LiveFiles = std::map<std::string, Live>;

LiveFiles ReadLive(MemoryStore& store, const TableMetadata& metadata, const Snapshot& snapshot) {
  LiveFiles live;
  const std::vector<ManifestFile> manifests = ReadManifests(store, snapshot).value();
  for (const ManifestFile& manifest : manifests) {
    int32_t added = 0;
    const std::vector<ManifestEntry> entries = ReadEntries(store, metadata, manifest).value();
    for (const ManifestEntry& entry : entries) {
      added += entry.status == EntryStatus::kAdded ? 1 : 0;
      if (!IsLive(entry)) continue;
      EXPECT_GE(*entry.sequence_number, manifest.min_sequence_number);
      const bool first =
          live.emplace(entry.file.file_path, Live{entry.file, *entry.sequence_number, *entry.snapshot_id}).second;
      EXPECT_TRUE(first) << entry.file.file_path << " is listed twice";
    }
    EXPECT_EQ(added, manifest.added_files_count);
  }
  return live;
}

class SnapshotProducerTest : public testing::Test {
 protected:
  ProducedSnapshot Commit(SnapshotRequest request) {
    request.snapshot_id = ++next_id_;
    auto produced = ProduceSnapshot(store_, metadata_, request);
    EXPECT_TRUE(produced) << (produced ? "" : produced.error().message);
    if (!produced) return {};
    Apply(metadata_, produced->snapshot);
    return *std::move(produced);
  }
  Error Refused(SnapshotRequest request) {
    request.snapshot_id = next_id_ + 1;
    auto produced = ProduceSnapshot(store_, metadata_, request);
    EXPECT_FALSE(produced);
    return produced ? Error{} : produced.error();
  }
  LiveFiles LiveNow() { return ReadLive(store_, metadata_, *metadata_.CurrentSnapshot()); }
  std::string Summary(const std::string& key) { return metadata_.CurrentSnapshot()->summary.at(key); }

  MemoryStore store_;
  TableMetadata metadata_ = TestTable();
  int64_t next_id_ = 100;
};

TEST_F(SnapshotProducerTest, AppendsDeletesReplaces) {
  Commit({});
  EXPECT_EQ(Summary("total-data-files"), "0");
  EXPECT_FALSE(metadata_.CurrentSnapshot()->parent_snapshot_id);
  const auto first = Commit({.added = {TestFile("a", 1, 10), TestFile("b", 2, 20)}, .commit_id = "c1", .now_ms = 5000});
  EXPECT_EQ(first.written.size(), 2U);
  EXPECT_EQ(Summary(kCommitIdKey), "c1");
  EXPECT_EQ(Summary("added-records"), "30");
  EXPECT_EQ(Summary("changed-partition-count"), "2");
  EXPECT_EQ(Summary("total-files-size"), "2030");
  EXPECT_FALSE(metadata_.CurrentSnapshot()->summary.contains("deleted-records"));
  Commit({.added = {TestFile("c", 1, 1)}, .now_ms = 4000});
  EXPECT_EQ(metadata_.CurrentSnapshot()->timestamp_ms, 5000);  // the log never goes back
  const int64_t planned = metadata_.CurrentSnapshot()->sequence_number;
  Commit({.added = {TestFile("d", 3, 5)}});
  Commit({.operation = "delete", .removed = {TestFile("d", 3, 5)}});
  Commit({.operation = "replace",
          .added = {TestFile("ac", 1, 11)},
          .removed = {TestFile("a", 1, 10), TestFile("c", 1, 1)},
          .planned_sequence = planned});
  EXPECT_EQ(LiveNow().at("ac").sequence_number, planned);
  EXPECT_EQ(Summary("total-records"), "31");
  EXPECT_EQ(Summary("deleted-data-files"), "2");
  EXPECT_EQ(Summary("removed-files-size"), "2011");
  Commit({.operation = "delete", .removed = {TestFile("ac", 1, 11)}});
  EXPECT_EQ(LiveNow().size(), 1U);
  EXPECT_EQ(Summary("total-records"), "20");
  // The manifests that held only what is gone are not carried on, but for the one that says so.
  EXPECT_EQ(ReadManifests(store_, *metadata_.CurrentSnapshot())->size(), 2U);
  Commit({});
  EXPECT_EQ(ReadManifests(store_, *metadata_.CurrentSnapshot())->size(), 1U);
}

TEST_F(SnapshotProducerTest, RefusesWhatContradictsItself) {
  Commit({.added = {TestFile("a", 1, 10)}});
  EXPECT_EQ(Refused({.operation = "delete", .removed = {TestFile("x", 1, 10)}}).kind, ErrorKind::kConflict);
  EXPECT_NE(Refused({.operation = "delete", .removed = {TestFile("x", 1, 10)}}).message.find("x"), std::string::npos);
  EXPECT_EQ(Refused({.removed = {TestFile("a", 1, 10)}}).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused({.operation = "delete", .added = {TestFile("b", 1, 1)}}).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused({.operation = "append", .added = {TestFile("b", 1, 1), TestFile("b", 1, 1)}}).kind,
            ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused({.operation = "replace",
                     .added = {TestFile("b", 1, 9)},
                     .removed = {TestFile("a", 1, 10)},
                     .planned_sequence = 1})
                .kind,
            ErrorKind::kInvalidArgument);
  EXPECT_NE(Refused({.operation = "replace", .added = {TestFile("b", 1, 10)}, .removed = {TestFile("a", 1, 10)}})
                .message.find("planned"),
            std::string::npos);
  EXPECT_EQ(Refused({.operation = "merge"}).kind, ErrorKind::kInvalidArgument);
  DataFile unpartitioned = TestFile("b", 1, 1);
  unpartitioned.partition.clear();
  EXPECT_EQ(Refused({.added = {unpartitioned}}).kind, ErrorKind::kInvalidArgument);
  metadata_.format_version = 1;
  EXPECT_EQ(Refused({}).kind, ErrorKind::kUnsupported);
}

TEST_F(SnapshotProducerTest, WrongPartitionOfARemovedFileIsNoConflict) {
  Commit({.added = {TestFile("a", 1, 10)}});
  Commit({.operation = "delete", .removed = {TestFile("a", 7, 10)}});
  EXPECT_TRUE(LiveNow().empty());
}

TEST_F(SnapshotProducerTest, DeletesByPredicate) {
  Commit({.added = {TestFile("a", 1, 10), TestFile("b", 2, 20), TestFile("c", 3, 30)}});
  Commit({.operation = "delete", .remove_where = {{1, CompareOp::kLt, {Literal(3)}}}});
  const LiveFiles live = LiveNow();
  EXPECT_EQ(live.size(), 1U);
  EXPECT_TRUE(live.contains("c"));
  EXPECT_EQ(Refused({.operation = "delete", .remove_where = {{4, CompareOp::kEq, {Literal(std::string("b"))}}}}).kind,
            ErrorKind::kInvalidArgument);
}

TEST_F(SnapshotProducerTest, ARetryUsesItsManifestAgain) {
  SnapshotRequest request{.added = {TestFile("mine", 1, 10)}, .snapshot_id = 7};
  const auto lost = ProduceSnapshot(store_, metadata_, request).value();
  Commit({.added = {TestFile("other", 1, 10)}});
  request.added_manifests = lost.added_manifests;
  const auto won = ProduceSnapshot(store_, metadata_, request).value();
  EXPECT_EQ(won.written.size(), 1U);  // the list alone
  Apply(metadata_, won.snapshot);
  EXPECT_EQ(LiveNow().at("mine").sequence_number, 2);
  EXPECT_EQ(LiveNow().size(), 2U);
}

TEST_F(SnapshotProducerTest, MissingTotalsAreCounted) {
  Commit({.added = {TestFile("a", 1, 10)}});
  metadata_.snapshots.back().summary.clear();
  Commit({.added = {TestFile("b", 1, 5)}});
  EXPECT_EQ(Summary("total-records"), "15");
  EXPECT_EQ(Summary("total-files-size"), "2015");
}

// Thousands of commits: the list stays short, and what is written stays in proportion.
TEST_F(SnapshotProducerTest, SmallManifestsAreMerged) {
  int64_t longest = 0;
  constexpr int kCommits = 1000;
  int64_t list_bytes = 0;
  for (int i = 0; i < kCommits; ++i) {
    const auto produced = Commit({.added = {TestFile(fmt::format("f{}", i), i / 100, 1)}});
    const std::string& list = store_.files[produced.snapshot.manifest_list];
    list_bytes += static_cast<int64_t>(list.size());
    longest = std::max<int64_t>(longest, static_cast<int64_t>(DecodeManifestList(list)->size()));
    if (metadata_.snapshots.size() > 3) metadata_.snapshots.erase(metadata_.snapshots.begin());
  }
  EXPECT_LE(longest, 110);
  EXPECT_EQ(LiveNow().size(), static_cast<size_t>(kCommits));
  EXPECT_EQ(Summary("total-data-files"), fmt::to_string(kCommits));
  const int64_t manifest_bytes = store_.written_bytes - list_bytes;
  int64_t first_bytes = 0;  // of the manifests that appends wrote
  for (const auto& [path, bytes] : store_.files)
    first_bytes += bytes.size() < 4000 ? static_cast<int64_t>(bytes.size()) : 0;
  RecordProperty("manifest_bytes_per_commit", std::to_string(manifest_bytes / kCommits));
  EXPECT_LT(manifest_bytes, 2 * first_bytes);
}

TEST(ManifestMergeTest, Choice) {
  const MergePolicy policy{.min_count = 4, .target_bytes = 1000};
  EXPECT_TRUE(ChooseMerge({1, 1, 1}, policy).empty());
  EXPECT_EQ(ChooseMerge({1, 1, 1, 1}, policy), (std::vector<size_t>{0, 1, 2, 3}));
  EXPECT_EQ(ChooseMerge({400, 1, 1, 1, 1}, policy), (std::vector<size_t>{1, 2, 3, 4}));
  EXPECT_EQ(ChooseMerge({8, 1, 1, 1, 1}, policy), (std::vector<size_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(ChooseMerge({499, 499, 499, 499, 900}, policy), (std::vector<size_t>{0, 1}));
  EXPECT_TRUE(ChooseMerge({600, 600, 600, 600, 600}, policy).empty());
  EXPECT_TRUE(ChooseMerge({1, 1, 1, 1}, {.enabled = false, .min_count = 4}).empty());
}

// Random commits against a model of what is live; every summary, every count, every expiry is checked against it.
class RandomHistory : public SnapshotProducerTest {
 protected:
  void Step() {
    const auto draw = random_() % 10;
    SnapshotRequest request;
    if (draw < 5 || model_.size() < 3) {
      AddFiles(request, random_() % 3);
    } else {
      request.operation = draw < 7 ? "replace" : (draw < 9 ? "delete" : "overwrite");
      int64_t rows = 0;
      for (auto n = 1 + random_() % 3; n > 0 && !model_.empty(); --n) {
        const auto victim = std::next(model_.begin(), static_cast<int64_t>(random_() % model_.size()));
        rows += victim->second.file.record_count;
        request.removed.push_back(victim->second.file);
        model_.erase(victim);
      }
      if (request.operation == "overwrite") AddFiles(request, 1);
      if (request.operation == "replace") {
        const DataFile file = TestFile(fmt::format("r{}", ++files_), static_cast<int32_t>(random_() % 6), rows);
        request.added.push_back(file);
        request.planned_sequence = metadata_.last_sequence_number;
        model_[file.file_path] = {file, metadata_.last_sequence_number, next_id_ + 1};
      }
    }
    Commit(request);
    Check();
  }

  void AddFiles(SnapshotRequest& request, uint64_t count) {
    for (; count > 0; --count) {
      const DataFile file = TestFile(fmt::format("f{}", ++files_), static_cast<int32_t>(random_() % 6),
                                     static_cast<int64_t>(random_() % 50));
      request.added.push_back(file);
      model_[file.file_path] = {file, metadata_.last_sequence_number + 1, next_id_ + 1};
    }
  }

  void Check() {
    const LiveFiles live = LiveNow();
    ASSERT_EQ(live.size(), model_.size());
    SnapshotTotals totals;
    for (const auto& [path, expected] : model_) {
      ASSERT_TRUE(live.contains(path)) << path;
      EXPECT_EQ(live.at(path).file, expected.file);
      EXPECT_EQ(live.at(path).sequence_number, expected.sequence_number) << path;
      EXPECT_EQ(live.at(path).snapshot_id, expected.snapshot_id) << path;
      totals.Add(expected.file);
    }
    SnapshotTotals said;
    ASSERT_TRUE(SnapshotTotals::Parse(metadata_.CurrentSnapshot()->summary, said));
    EXPECT_EQ(said, totals);
    live_of_[metadata_.CurrentSnapshot()->snapshot_id] = live;
  }

  std::set<std::string> Reachable(const TableMetadata& metadata) {
    std::set<std::string> paths;
    EXPECT_TRUE(ForEachReachable(store_, metadata, [&](ReachableKind, const std::string& path) -> Status {
      paths.insert(path);
      return {};
    }));
    return paths;
  }

  std::set<std::string> MarkedDeleted() {
    std::set<std::string> paths;
    for (const Snapshot& snapshot : metadata_.snapshots) {
      const std::vector<ManifestFile> manifests = ReadManifests(store_, snapshot).value();
      for (const ManifestFile& manifest : manifests) {
        const std::vector<ManifestEntry> entries = ReadEntries(store_, metadata_, manifest).value();
        for (const ManifestEntry& entry : entries) {
          if (entry.snapshot_id == snapshot.snapshot_id && !IsLive(entry)) paths.insert(entry.file.file_path);
        }
      }
    }
    return paths;
  }

  // Expires some snapshots, never the head, and compares with the difference of everything reachable.
  void Expire(bool oldest_first) {
    std::vector<int64_t> expired;
    for (const Snapshot& snapshot : metadata_.snapshots) {
      const bool head = snapshot.snapshot_id == metadata_.current_snapshot_id;
      const bool chosen = oldest_first ? expired.size() + 6 < metadata_.snapshots.size() : random_() % 3 == 0;
      if (!head && chosen) expired.push_back(snapshot.snapshot_id);
    }
    const std::set<std::string> before = Reachable(metadata_);
    const ExpiredFiles files = FilesOnlyIn(store_, metadata_, expired).value();
    std::erase_if(metadata_.snapshots,
                  [&](const Snapshot& snapshot) { return std::ranges::count(expired, snapshot.snapshot_id) > 0; });
    const std::set<std::string> after = Reachable(metadata_);
    std::set<std::string> gone;
    for (const auto* part : {&files.data_files, &files.manifests, &files.manifest_lists}) {
      for (const std::string& path : *part) {
        EXPECT_TRUE(gone.insert(path).second) << path << " twice";
        ASSERT_FALSE(after.contains(path)) << path << " is still needed";
      }
    }
    for (const std::string& path : before) {
      if (after.contains(path)) continue;
      const bool is_data = !path.starts_with("mem://");
      if (is_data && !gone.contains(path)) left_.insert(path);
      EXPECT_TRUE(is_data || gone.contains(path)) << path << " is left behind";
    }
    for (const std::string& path : files.data_files) left_.erase(path);
    // A data file goes with the snapshot that deleted it, which may be one that is left.
    if (oldest_first) {
      const std::set<std::string> marked = MarkedDeleted();
      for (const std::string& path : left_) EXPECT_TRUE(marked.contains(path)) << path << " is left behind";
    }
    deleted_ += static_cast<int64_t>(files.data_files.size());
    for (const std::string& path : files.manifests) store_.files.erase(path);
    for (const std::string& path : files.manifest_lists) store_.files.erase(path);
  }

  std::mt19937_64 random_;
  LiveFiles model_;
  std::map<int64_t, LiveFiles> live_of_;
  std::set<std::string> left_;  // data files that nothing holds live, not deleted yet
  int files_ = 0;
  int64_t deleted_ = 0;

  void SeedFrom(const char* given) {
    const uint64_t seed = given != nullptr ? std::stoull(given) : std::random_device{}();
    std::cout << "K2_TEST_SEED=" << seed << "\n";
    random_.seed(seed);
    metadata_.properties["commit.manifest.min-count-to-merge"] = "6";
  }
  // Main goes back to an older snapshot: what came after it is a dead branch.
  void RollBack() {
    const Snapshot& back = metadata_.snapshots[random_() % metadata_.snapshots.size()];
    metadata_.current_snapshot_id = back.snapshot_id;
    metadata_.refs["main"] = {.snapshot_id = back.snapshot_id, .is_branch = true};
    model_ = live_of_.at(back.snapshot_id);
  }
};

// A layer's table: history ends at the oldest, and every file that nothing names any more is found.
TEST_F(RandomHistory, ExpiryFromTheOldestLeavesNothingBehind) {
  SeedFrom(std::getenv("K2_TEST_SEED"));
  for (int round = 0; round < 120 && !HasFailure(); ++round) {
    Step();
    if (round % 3 == 2) Expire(true);
  }
  EXPECT_GT(deleted_, 20);
}

// Any history at all: nothing that is still named is deleted. Data files that an older, already expired snapshot held
// last may be left to orphan removal.
TEST_F(RandomHistory, ExpiryOfAnySnapshotsIsSafe) {
  SeedFrom(std::getenv("K2_TEST_SEED"));
  for (int round = 0; round < 120 && !HasFailure(); ++round) {
    Step();
    if (round % 10 == 9) Expire(false);
    if (round % 37 == 36) RollBack();
  }
  EXPECT_GT(deleted_, 5);
}

}  // namespace
}  // namespace k2::iceberg
