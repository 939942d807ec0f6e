#include <gtest/gtest.h>

#include <algorithm>

#include "iceberg/metadata_samples.h"

namespace k2::iceberg {
namespace {

// Snapshots 1 to n on main, one a minute, the last at kNow.
constexpr int64_t kNow = 1'000'000'000;
constexpr int64_t kMinute = 60'000;

TableMetadata History(int64_t count) {
  TableMetadata table;
  for (int64_t id = 1; id <= count; ++id) {
    table.snapshots.push_back({.snapshot_id = id,
                               .parent_snapshot_id = id == 1 ? std::nullopt : std::optional(id - 1),
                               .sequence_number = id,
                               .timestamp_ms = kNow - (count - id) * kMinute});
  }
  table.refs["main"] = {.snapshot_id = count, .is_branch = true};
  table.current_snapshot_id = count;
  return table;
}

std::vector<int64_t> Range(int64_t first, int64_t last) {
  std::vector<int64_t> ids;
  for (int64_t id = first; id <= last; ++id) ids.push_back(id);
  return ids;
}

TEST(SnapshotsToExpire, KeepsYoungOnesUpToAMaximum) {
  const HistoryPolicy policy{.max_age_ms = 20 * kMinute, .min_to_keep = 3, .max_to_keep = 100};
  EXPECT_EQ(SnapshotsToExpire(History(30), policy, kNow), Range(1, 9)) << "20 minutes old is not too old";
  EXPECT_EQ(SnapshotsToExpire(History(10), policy, kNow), Range(1, 0));
  EXPECT_EQ(SnapshotsToExpire(History(30), policy, kNow + 300 * kMinute), Range(1, 27)) << "the minimum stays";
  EXPECT_EQ(SnapshotsToExpire(History(30), {.max_age_ms = 20 * kMinute, .min_to_keep = 3, .max_to_keep = 5}, kNow),
            Range(1, 25));
  EXPECT_EQ(SnapshotsToExpire(History(30), {.max_age_ms = 0, .min_to_keep = 0, .max_to_keep = 0}, kNow), Range(1, 29))
      << "the head always stays";
  EXPECT_TRUE(SnapshotsToExpire(TableMetadata{}, policy, kNow).empty());
}

TEST(SnapshotsToExpire, KeepsWhatReferencesName) {
  const HistoryPolicy policy{.max_age_ms = 2 * kMinute, .min_to_keep = 1, .max_to_keep = 100};
  TableMetadata table = History(10);
  table.refs["k2-offsets"] = {.snapshot_id = 4};
  auto expected = Range(1, 7);
  std::erase(expected, 4);
  EXPECT_EQ(SnapshotsToExpire(table, policy, kNow), expected);
}

TEST(SnapshotsToExpire, KeepsWhatOtherBranchesCommitted) {
  const HistoryPolicy policy{.max_age_ms = 2 * kMinute, .min_to_keep = 1, .max_to_keep = 100};
  TableMetadata table = History(10);  // main: 1 … 10; audit leaves it at 3 with 103, 104, 105
  for (int64_t id : {103, 104, 105}) {
    table.snapshots.push_back({.snapshot_id = id,
                               .parent_snapshot_id = id == 103 ? 3 : id - 1,
                               .sequence_number = id,
                               .timestamp_ms = kNow - 100 * kMinute});
  }
  table.refs["audit"] = {.snapshot_id = 105, .is_branch = true};
  EXPECT_EQ(SnapshotsToExpire(table, policy, kNow), Range(1, 7)) << "shared history follows main's policy";
  table.refs["audit"].min_snapshots_to_keep = 2;
  auto expected = Range(1, 7);
  expected.push_back(103);
  EXPECT_EQ(SnapshotsToExpire(table, policy, kNow), expected) << "unless the branch says what to keep";
}

TEST(SnapshotsToExpire, ARetentionOfMainGoesFirst) {
  TableMetadata table = History(30);
  table.refs["main"].min_snapshots_to_keep = 12;
  table.refs["main"].max_snapshot_age_ms = kMinute;
  EXPECT_EQ(SnapshotsToExpire(table, {}, kNow), Range(1, 18));
}

TEST(SnapshotsToExpire, StraysGoWhenTheyAreOld) {
  const HistoryPolicy policy{.max_age_ms = 5 * kMinute, .min_to_keep = 100, .max_to_keep = 100};
  TableMetadata table = History(10);
  table.snapshots.push_back({.snapshot_id = 50, .sequence_number = 50, .timestamp_ms = kNow - 4 * kMinute});
  table.snapshots.push_back({.snapshot_id = 51, .sequence_number = 51, .timestamp_ms = kNow - 6 * kMinute});
  EXPECT_EQ(SnapshotsToExpire(table, policy, kNow), std::vector<int64_t>{51});
}

TEST(SnapshotsToExpire, EndsOnParentsThatFormARing) {
  TableMetadata table = History(3);
  table.snapshots[0].parent_snapshot_id = 3;
  EXPECT_TRUE(SnapshotsToExpire(table, {}, kNow).empty());
}

}  // namespace
}  // namespace k2::iceberg
