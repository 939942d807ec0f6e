// Each clause of the rule: without it one of these fails.
#include "maintenance/retention.h"

#include "maintenance/commit_times.h"
#include "maintenance/maintenance_fixture.h"

namespace k2::maintenance {
namespace {

class Retention : public MaintainTest {
 protected:
  // What `k2 offsets set --accept-loss` does with a Silver table.
  void AcceptLossInSilver(int64_t next) {
    table::Table table = Open(kSilver);
    const auto progress = table::ReadProgress(table.metadata());
    ASSERT_TRUE(progress);
    table::LayerCommit commit;
    const table::SourceKey key = pipeline::KafkaKey(kTopic);
    if (progress->positions.contains(key)) commit.base.positions[key] = progress->positions.at(key);
    commit.next.positions[key] = {.next_offset = next};
    ASSERT_TRUE(std::holds_alternative<table::CommitDone>(table.Commit(commit)));
  }
};

TEST_F(Retention, AFreshReplayOfOldRowsStays) {
  Bronze(0, 9, now_us_ - 400 * kDay);
  ReadByAll();
  EXPECT_EQ(FateOf(task::kBronzeTable, now_us_), PartitionFate::kKept);
  EXPECT_EQ(FateOf(task::kBronzeTable, now_us_ + 7 * kDay - kHour), PartitionFate::kKept);
  EXPECT_EQ(FateOf(task::kBronzeTable, now_us_ + 7 * kDay + kHour), PartitionFate::kDropped);
  EXPECT_EQ(FateOf(kSilver, now_us_ + 30 * kDay - kHour), PartitionFate::kKept);
  EXPECT_EQ(FateOf(kSilver, now_us_ + 30 * kDay + kHour), PartitionFate::kDropped);
  EXPECT_EQ(FateOf(task::kGoldTable, now_us_ + 4'000 * kDay), PartitionFate::kKept);
}

TEST_F(Retention, AnOldCommitOfALaterDateStays) {
  const int64_t end_us = midnight_us_ + 6 * kDay;
  Bronze(0, 9, end_us - 1);
  ReadByAll();
  EXPECT_EQ(FateOf(task::kBronzeTable, now_us_ + 8 * kDay), PartitionFate::kKept);
  EXPECT_EQ(FateOf(task::kBronzeTable, end_us + 7 * kDay - 1), PartitionFate::kKept);
  EXPECT_EQ(FateOf(task::kBronzeTable, end_us + 7 * kDay), PartitionFate::kDropped);
}

TEST_F(Retention, OnlyPartitionsThatAreDueGoAndInOneCommit) {
  for (int64_t day = 0; day < 4; ++day) {
    Bronze(day * 10, day * 10 + 4, midnight_us_ + day * kDay);
    Bronze(day * 10 + 5, day * 10 + 9, midnight_us_ + day * kDay + kHour);
  }
  ReadByAll();
  const auto snapshots = Open(task::kBronzeTable).metadata().snapshots.size();
  const int64_t due_us = midnight_us_ + 9 * kDay + 2 * kHour;  // two days are past
  const TableRetention done = Apply(task::kBronzeTable, due_us);
  EXPECT_EQ(done.RowsOf(PartitionFate::kDropped), 20);
  EXPECT_EQ(done.FilesOf(PartitionFate::kDropped), 4);
  EXPECT_EQ(done.UnreadDropped(), 0);
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kBronzeTable), 20);
  const table::Table bronze = Open(task::kBronzeTable);
  EXPECT_EQ(bronze.metadata().snapshots.size(), snapshots + 1);
  EXPECT_EQ(bronze.metadata().CurrentSnapshot()->operation, "delete");
  EXPECT_TRUE(bronze.metadata().CurrentSnapshot()->summary.contains("k2.retention"));
  EXPECT_FALSE(bronze.metadata().properties.contains(table::kDroppedUnreadKey));
  EXPECT_EQ(table::ReadProgress(bronze.metadata())->positions.at(pipeline::KafkaKey(kTopic)).next_offset, 40)
      << "offsets are kept";
  Apply(task::kBronzeTable, due_us);
  EXPECT_EQ(Open(task::kBronzeTable).metadata().snapshots.size(), snapshots + 1) << "nothing to do is no commit";
  Bronze(40, 49, midnight_us_);
  ReadByAll();
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 50);
  ExpectNothingLiveMissing();
}

TEST_F(Retention, WhatSilverHasNotReadIsHeldThenDroppedAndSilverStops) {
  Bronze(0, 9, now_us_ - 20 * kDay);
  ReadByAll();
  Bronze(10, 29, now_us_ - 20 * kDay);
  Bronze(30, 39, now_us_ + 20 * kDay);
  const int64_t due_us = Plan(task::kBronzeTable, now_us_).partitions.front().due_us;
  EXPECT_NEAR(static_cast<double>(due_us), static_cast<double>(now_us_ + 7 * kDay), 60e6);
  TableRetention plan = Plan(task::kBronzeTable, due_us + kDay - 1);
  EXPECT_EQ(plan.partitions.front().fate, PartitionFate::kHeld);
  EXPECT_EQ(plan.partitions.front().unread.rows, 20);
  EXPECT_EQ(plan.LongestHeldUs(due_us + kDay - 1), kDay - 1);
  Apply(task::kBronzeTable, due_us + kDay - 1);
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kBronzeTable), 40);

  plan = Apply(task::kBronzeTable, due_us + kDay);
  EXPECT_EQ(plan.UnreadDropped(), 20);
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kBronzeTable), 10);
  EXPECT_EQ(Open(task::kBronzeTable).metadata().CurrentSnapshot()->summary.at(table::kDroppedUnreadKey), "20");
  for (int tries = 0; tries < 2; ++tries) {
    const Status stopped = StepSilver();
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().kind, ErrorKind::kUpstreamChanged);
    EXPECT_NE(stopped.error().message.find("--next 30 --accept-loss"), std::string::npos) << stopped.error().message;
  }
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, kSilver), 10);
  AcceptLossInSilver(30);
  const Status on = StepSilver();
  ASSERT_TRUE(on) << on.error().message;
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, kSilver), 20);
}

// Once Silver has caught up within the hold, nothing is lost.
TEST_F(Retention, WhatIsReadDuringTheHoldIsDroppedWithoutLoss) {
  Bronze(0, 9, now_us_ - 20 * kDay);
  EXPECT_EQ(FateOf(task::kBronzeTable, now_us_ + 7 * kDay + kHour), PartitionFate::kHeld);
  ReadByAll();
  EXPECT_EQ(Apply(task::kBronzeTable, now_us_ + 7 * kDay + kHour).UnreadDropped(), 0);
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kBronzeTable), 0);
  ASSERT_TRUE(StepSilver());
}

// Offsets without a message (of a transaction's end, or compacted away) lie between Silver and the gap.
TEST_F(Retention, SilverIsStoppedByAGapThatItStandsBeforeWithNothingInBetween) {
  Bronze(0, 9, now_us_ + kDay);
  ReadByAll();
  Bronze(12, 19, now_us_ - 20 * kDay);
  Bronze(20, 29, now_us_ + kDay);
  Apply(task::kBronzeTable, now_us_ + 8 * kDay + kHour);
  const Status stopped = StepSilver();
  ASSERT_FALSE(stopped);
  EXPECT_NE(stopped.error().message.find("--next 20 --accept-loss"), std::string::npos) << stopped.error().message;
  AcceptLossInSilver(20);
  const Status on = StepSilver();
  ASSERT_TRUE(on) << on.error().message;
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, kSilver), 20);
}

TEST_F(Retention, SilverReadsUpToTheGapAndTheGapsAddUp) {
  Bronze(0, 9, now_us_ + kDay);  // stays
  Bronze(10, 19, now_us_ - 20 * kDay);
  Bronze(20, 29, now_us_ - 19 * kDay);
  Bronze(30, 39, now_us_ + kDay);
  Apply(task::kBronzeTable, now_us_ + 8 * kDay + kHour);
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kBronzeTable), 20);
  const Status stopped = StepSilver();
  ASSERT_FALSE(stopped);
  EXPECT_NE(stopped.error().message.find("--next 30 "), std::string::npos) << stopped.error().message;
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, kSilver), 10);
  AcceptLossInSilver(30);
  ASSERT_TRUE(StepSilver());
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, kSilver), 20);
  // A later loss says nothing of the one that was accepted.
  Bronze(40, 49, now_us_ - 20 * kDay);
  Apply(task::kBronzeTable, now_us_ + 8 * kDay + kHour);
  const auto dropped = table::ReadDroppedUnread(Open(task::kBronzeTable).metadata());
  ASSERT_TRUE(dropped && *dropped);
  EXPECT_EQ((*dropped)->rows, 10);
  EXPECT_EQ((*dropped)->gaps.at(pipeline::KafkaKey(kTopic)), (table::OffsetGap{.first = 40, .last = 49, .rows = 10}));
}

TEST_F(Retention, AFileOfSeveralSourcesIsReadWhenAllOfItIs) {
  std::vector<pipeline::BronzeRow> rows;
  for (int64_t i = 0; i < 10; ++i) {
    rows.push_back(Row(i, now_us_ - 20 * kDay));
    rows.push_back(Row(i + 500, now_us_ - 20 * kDay, 1));
  }
  pipeline::CommitBronze(*lakehouse_, rows);
  ReadByAll();
  EXPECT_EQ(FateOf(task::kBronzeTable, now_us_ + 7 * kDay + kHour), PartitionFate::kDropped);
  for (pipeline::BronzeRow& row : rows) row.offset += 10;
  pipeline::CommitBronze(*lakehouse_, rows);
  AcceptLossInSilver(20);  // of partition 0; of partition 1 the new rows lack
  const TableRetention plan = Plan(task::kBronzeTable, now_us_ + 7 * kDay + kHour);
  EXPECT_EQ(plan.partitions.front().fate, PartitionFate::kHeld);
  EXPECT_EQ(plan.partitions.front().unread.rows, 10);
  ASSERT_EQ(plan.partitions.front().unread.gaps.size(), 1U);
  EXPECT_EQ(plan.partitions.front().unread.gaps.begin()->second,
            (table::OffsetGap{.first = 510, .last = 519, .rows = 10}));
}

TEST_F(Retention, WhatGoldHasNotReadIsHeldThenDroppedAndGoldStops) {
  Bronze(0, 9, now_us_ - 40 * kDay);
  ReadByAll();
  Bronze(10, 19, now_us_ - 40 * kDay);
  ASSERT_TRUE(StepSilver());
  const int64_t due_us = Plan(kSilver, now_us_).partitions.front().due_us;
  EXPECT_EQ(FateOf(kSilver, due_us + kDay - 1), PartitionFate::kHeld);
  EXPECT_EQ(Plan(kSilver, due_us).partitions.front().unread.rows, 10) << "the first file is read";
  EXPECT_EQ(Apply(kSilver, due_us + kDay).UnreadDropped(), 10);
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, kSilver), 0);
  Bronze(20, 29, now_us_);
  ASSERT_TRUE(StepSilver());
  Expire(kSilver, kHour, due_us + kDay);
  for (int tries = 0; tries < 2; ++tries) {
    const Status stopped = StepGold();
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().kind, ErrorKind::kUpstreamChanged);
    EXPECT_NE(stopped.error().message.find("dropped 10 rows"), std::string::npos) << stopped.error().message;
  }
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 10);
  table::Table silver = Open(kSilver);  // what `k2 offsets set --table gold_crypto_trades --accept-loss` does
  ASSERT_TRUE(silver.Update([](const auto&) -> Result<std::vector<iceberg::TableUpdate>> {
    return std::vector<iceberg::TableUpdate>{iceberg::RemoveProperties{{table::kDroppedUnreadKey}}};
  }));
  const Status on = StepGold();
  ASSERT_TRUE(on) << on.error().message;
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 20);
}

// As long as the snapshots are there, so are the files, and Gold finds them by their snapshots.
TEST_F(Retention, GoldStillReadsWhatWasDroppedButNotExpired) {
  Bronze(0, 9, now_us_ - 40 * kDay);
  ASSERT_TRUE(StepSilver());
  EXPECT_EQ(Apply(kSilver, now_us_ + 32 * kDay).UnreadDropped(), 10);
  const Status on = StepGold();
  ASSERT_TRUE(on) << on.error().message;
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 10);
  Bronze(10, 19, now_us_);
  ASSERT_TRUE(StepSilver());
  Expire(kSilver, 0, now_us_ + 32 * kDay);
  Bronze(20, 29, now_us_);
  ASSERT_TRUE(StepSilver());
  Expire(kSilver, 0, now_us_ + 32 * kDay);
  const Status after = StepGold();
  ASSERT_TRUE(after) << "it had read what is gone: " << after.error().message;
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kGoldTable), 30);
}

// The snapshot that Gold has read is expired; its sequence number still tells what was read.
TEST_F(Retention, WhatGoldHasReadIsNotHeldWhenItsSnapshotIsExpired) {
  Bronze(0, 9, now_us_ - 40 * kDay);
  ReadByAll();
  for (int i = 0; i < 3; ++i) {
    ForeignSnapshot(*lakehouse_, kSilver, "append", {}, {});
    ForeignExpiry(*lakehouse_, kSilver);
  }
  EXPECT_EQ(FateOf(kSilver, now_us_ + 32 * kDay), PartitionFate::kDropped);
  EXPECT_EQ(Plan(kSilver, now_us_ + 32 * kDay).UnreadDropped(), 0);
}

TEST_F(Retention, AFileThatWasRewrittenAfterGoldReadItIsRead) {
  Bronze(0, 9, now_us_ - 40 * kDay);
  Bronze(10, 19, now_us_ - 40 * kDay);
  layer_.rows_per_step = 10;
  ReadByAll();
  ASSERT_EQ(pipeline::LiveFiles(*lakehouse_, kSilver).size(), 2U);
  pipeline::ForeignCompaction(*lakehouse_, kSilver);
  ASSERT_EQ(pipeline::LiveFiles(*lakehouse_, kSilver).size(), 1U);
  EXPECT_EQ(Plan(kSilver, now_us_ + 32 * kDay).UnreadDropped(), 0);
  EXPECT_EQ(FateOf(kSilver, now_us_ + 32 * kDay), PartitionFate::kDropped);
  Bronze(20, 29, now_us_ - 40 * kDay);
  ASSERT_TRUE(StepSilver());
  pipeline::ForeignCompaction(*lakehouse_, kSilver);
  EXPECT_EQ(FateOf(kSilver, now_us_ + 30 * kDay + kHour), PartitionFate::kHeld) << "it holds new rows too";
}

// Silver takes what rejected_trades lacks: those rows must be there until it has.
TEST_F(Retention, RejectedRowsStayWhileSilverStandsBehindThem) {
  pipeline::CommitBronze(*lakehouse_, {Row(0, now_us_ - 40 * kDay), {kTopic, 0, 1, "broken", now_us_ - 40 * kDay}});
  ReadByAll();
  ASSERT_EQ(pipeline::LiveRows(*lakehouse_, task::kRejectedTable), 1);
  EXPECT_EQ(FateOf(task::kRejectedTable, now_us_ + 31 * kDay), PartitionFate::kDropped);
  table::Table rejected =
      Open(task::kRejectedTable);  // as a crash between the two commits leaves it, of a step from 0 to 2
  table::LayerCommit ahead;
  const table::SourceKey key = pipeline::KafkaKey(kTopic, 3);
  ahead.next.positions[key] = {.next_offset = 2};
  ASSERT_TRUE(std::holds_alternative<table::CommitDone>(rejected.Commit(ahead)));
  EXPECT_EQ(FateOf(task::kRejectedTable, now_us_ + 100 * kDay), PartitionFate::kHeld) << "however long it is";
  table::Table silver = Open(kSilver);
  ASSERT_TRUE(std::holds_alternative<table::CommitDone>(silver.Commit(ahead)));
  EXPECT_EQ(FateOf(task::kRejectedTable, now_us_ + 100 * kDay), PartitionFate::kDropped);
}

TEST_F(Retention, FilesThatCameInTheMeantimeStay) {
  Bronze(0, 9, now_us_ - 20 * kDay);
  ReadByAll();
  int steps = 0;
  table::CommitPolicy policy;
  policy.on_step = [&](std::string_view step) {
    if (step == "manifests" && ++steps == 1) Bronze(10, 19, now_us_ - 20 * kDay);
  };
  EXPECT_EQ(Apply(task::kBronzeTable, now_us_ + 8 * kDay, policy).RowsOf(PartitionFate::kDropped), 10);
  EXPECT_EQ(steps, 2) << "the first try lost";
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kBronzeTable), 10);
  ReadByAll();
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, kSilver), 20);
  ExpectNothingLiveMissing();
}

TEST_F(Retention, TwoAtOnceDropOnce) {
  Bronze(0, 9, now_us_ - 20 * kDay);  // unread: the loss must be told once
  int steps = 0;
  table::CommitPolicy policy;
  policy.on_step = [&](std::string_view step) {
    if (step == "manifests" && ++steps == 1) {
      EXPECT_EQ(Apply(task::kBronzeTable, now_us_ + 9 * kDay).UnreadDropped(), 10);
    }
  };
  EXPECT_EQ(Apply(task::kBronzeTable, now_us_ + 9 * kDay, policy).RowsOf(PartitionFate::kDropped), 0);
  EXPECT_EQ(steps, 1);
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kBronzeTable), 0);
  const auto dropped = table::ReadDroppedUnread(Open(task::kBronzeTable).metadata());
  ASSERT_TRUE(dropped && *dropped);
  EXPECT_EQ((*dropped)->rows, 10);
}

TEST_F(Retention, PlansAgainAfterACompaction) {
  Bronze(0, 9, now_us_ - 20 * kDay);
  Bronze(10, 19, now_us_ - 20 * kDay);
  ReadByAll();
  int steps = 0;
  table::CommitPolicy policy;
  policy.on_step = [&](std::string_view step) {
    if (step == "manifests" && ++steps == 1) pipeline::ForeignCompaction(*lakehouse_, task::kBronzeTable);
  };
  const TableRetention done = Apply(task::kBronzeTable, now_us_ + 8 * kDay, policy);
  EXPECT_EQ(done.FilesOf(PartitionFate::kDropped), 1);
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kBronzeTable), 0);
}

TEST_F(Retention, ALostReplyOfTheCatalogDropsOnce) {
  Bronze(0, 9, now_us_ - 20 * kDay);
  ReadByAll();
  auto faults = std::make_shared<std::vector<catalog::SwapFault>>(
      std::vector<catalog::SwapFault>{catalog::SwapFault::kReplyLost});
  const pipeline::Lakehouse lossy = OpenLakehouse(storage::MakeFileIo(), {.swap_fault = [faults] {
                                                    if (faults->empty()) return catalog::SwapFault::kNone;
                                                    const catalog::SwapFault fault = faults->back();
                                                    faults->pop_back();
                                                    return fault;
                                                  }});
  ASSERT_TRUE(ApplyRetention(*lakehouse_, task::kBronzeTable, policy_, now_us_));  // notes the commit times
  const auto done = ApplyRetention(lossy, task::kBronzeTable, policy_, now_us_ + 8 * kDay);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(faults->empty());
  EXPECT_EQ(pipeline::LiveRows(*lakehouse_, task::kBronzeTable), 0);
  ExpectNothingLiveMissing();
}

// A busy table keeps its snapshots for an hour: after that the noted times tell how old a file is.
TEST_F(Retention, KnowsTheTimeOfCommitsWhoseSnapshotsAreExpired) {
  Bronze(0, 9, now_us_ - 400 * kDay);
  ReadByAll();
  const int64_t added_us = Open(task::kBronzeTable).metadata().CurrentSnapshot()->timestamp_ms * 1000;
  Apply(task::kBronzeTable, now_us_);
  EXPECT_TRUE(Open(task::kBronzeTable).metadata().properties.contains(kCommitTimesKey));
  ForeignSnapshot(*lakehouse_, task::kBronzeTable, "append", {}, {});
  ForeignExpiry(*lakehouse_, task::kBronzeTable);
  ForeignSnapshot(*lakehouse_, task::kBronzeTable, "append", {}, {});
  ForeignExpiry(*lakehouse_, task::kBronzeTable);
  const TableRetention plan = Plan(task::kBronzeTable, now_us_ + 7 * kDay + kHour);
  ASSERT_EQ(plan.partitions.size(), 1U);
  EXPECT_EQ(plan.partitions.front().newest_commit_us, added_us);
  EXPECT_EQ(plan.partitions.front().fate, PartitionFate::kDropped);
}

TEST(CommitTimesTest, AnUpperBoundThatIsNeverTooEarly) {
  constexpr int64_t kHourMs = 3'600'000;
  iceberg::TableMetadata metadata;
  const auto commit = [&](int64_t sequence_number, int64_t hour) {
    metadata.snapshots.push_back(
        {.snapshot_id = sequence_number, .sequence_number = sequence_number, .timestamp_ms = hour * kHourMs});
    if (metadata.snapshots.size() > 3) metadata.snapshots.erase(metadata.snapshots.begin());
  };
  constexpr int64_t kHours = 24 * 40;
  for (int64_t hour = 1; hour <= kHours; ++hour) {  // four commits an hour, retention once
    for (int64_t i = 0; i < 4; ++i) commit(hour * 4 + i, hour);
    const auto renewed = CommitTimes(metadata).Renewed(hour * kHourMs);
    if (renewed) metadata.properties[kCommitTimesKey] = *renewed;
  }
  const CommitTimes times(metadata);
  for (int64_t hour = 1; hour <= kHours; ++hour) {
    for (int64_t i = 0; i < 4; ++i) {
      const auto time = times.Of({.file = {}, .snapshot_id = hour * 4 + i, .file_sequence_number = hour * 4 + i});
      const int64_t late_ms = time.us / 1000 - hour * kHourMs;
      EXPECT_GE(late_ms, 0);
      EXPECT_LE(late_ms, 2 * kHourMs + (kHours - hour) * kHourMs / 6) << "of hour " << hour;
    }
  }
  EXPECT_LT(metadata.properties[kCommitTimesKey].size(), 4'000U);
  EXPECT_FALSE(times.Renewed(kHours * kHourMs)) << "what is fresh is not written again";
  metadata.properties[kCommitTimesKey] = "5@nonsense";
  EXPECT_GE(CommitTimes(metadata).Of({.file = {}, .snapshot_id = 5, .file_sequence_number = 5}).us,
            metadata.snapshots.front().timestamp_ms * 1000);
}

TEST(DroppedUnreadTest, SurvivesJson) {
  table::DroppedUnread dropped{.rows = 7, .sequence_number = 3, .at = "2026-01-01T00:00:00.000000Z"};
  dropped.Add(pipeline::KafkaKey("a \"topic\"", 2), {.first = 1, .last = 5, .rows = 4});
  dropped.Add(pipeline::KafkaKey("a \"topic\"", 2), {.first = 0, .last = 3, .rows = 3});
  iceberg::TableMetadata metadata;
  EXPECT_FALSE(*table::ReadDroppedUnread(metadata));
  metadata.properties[table::kDroppedUnreadKey] = table::DroppedUnreadToJson(dropped);
  const auto read = table::ReadDroppedUnread(metadata);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(**read, dropped);
  EXPECT_EQ((*read)->gaps.begin()->second, (table::OffsetGap{.first = 0, .last = 5, .rows = 7}));
  for (const char* bad : {"", "[]", R"({"version":2,"rows":1,"sequence":1,"at":""})",
                          R"({"version":1,"rows":1,"sequence":1,"at":"","sources":[["c"]]})"}) {
    metadata.properties[table::kDroppedUnreadKey] = bad;
    EXPECT_FALSE(table::ReadDroppedUnread(metadata)) << bad;
  }
}

}  // namespace
}  // namespace k2::maintenance
