// Each rule by its facts alone; retention_test.cc has them on tables.
#include "maintenance/retention_rules.h"

#include <gtest/gtest.h>

namespace k2::maintenance {
namespace {

constexpr int64_t kToday = 20'000;
constexpr int64_t kNoonUs = kToday * kMicrosPerDay + 12 * kMicrosPerHour;
constexpr int64_t kWeekUs = 7 * kMicrosPerDay;

// A partition whose day ended, and that was committed last, so many days ago.
PartitionFacts Old(int64_t days) {
  const int64_t end_us = kNoonUs - days * kMicrosPerDay;
  return {.end_us = end_us, .first_days = {{FloorDiv(end_us - 1, kMicrosPerDay), 1}}, .newest_commit_us = end_us};
}

PartitionFacts OldAndUnread(int64_t days, UnreadFacts unread) {
  PartitionFacts facts = Old(days);
  facts.unread = unread;
  return facts;
}

RetentionTerms Terms(std::optional<int64_t> hold_us = kMicrosPerDay) {
  return {.limit_us = kWeekUs, .hold_us = hold_us, .now_us = kNoonUs};
}

void ExpectDecision(const Decision& decision, PartitionFate fate, std::string_view reason) {
  EXPECT_EQ(ToString(decision.fate), ToString(fate)) << decision.reason;
  EXPECT_EQ(decision.reason, reason);
}

TEST(RetentionRules, BothTheDateAndTheNewestCommitMustBePastTheLimit) {
  PartitionFacts facts = Old(7);
  ExpectDecision(DecideRetention(facts, Terms()), PartitionFate::kDropped,
                 "expired by retention (7 days) since 2024-10-04T12:00:00.000000Z");
  EXPECT_EQ(DecideRetention(facts, Terms()).due_us, kNoonUs);
  facts.end_us = *facts.end_us + 1;
  ExpectDecision(DecideRetention(facts, Terms()), PartitionFate::kKept, "its date is not 7 days past");
  EXPECT_EQ(DecideRetention(facts, Terms()).due_us, kNoonUs + 1);
  facts = Old(7);
  facts.newest_commit_us += 1;
  ExpectDecision(DecideRetention(facts, Terms()), PartitionFate::kKept,
                 "committed on 2024-09-27T12:00:00.000001Z, not 7 days ago");
  EXPECT_EQ(DecideRetention(facts, Terms()).due_us, kNoonUs + 1);
  facts.newest_commit_exact = false;
  ExpectDecision(DecideRetention(facts, Terms()), PartitionFate::kKept,
                 "committed by 2024-09-27T12:00:00.000001Z, not 7 days ago");
}

TEST(RetentionRules, WhatIsNotKnownIsKept) {
  PartitionFacts facts = Old(400);
  facts.newest_commit_us = kNever;
  ExpectDecision(DecideRetention(facts, Terms()), PartitionFate::kKept,
                 "when its newest file was committed is not known yet");
  EXPECT_EQ(DecideRetention(facts, Terms()).due_us, kNever);
  facts = Old(400);
  facts.end_us.reset();
  ExpectDecision(DecideRetention(facts, Terms()), PartitionFate::kKept,
                 "neither its partition nor the bounds of its columns tell the days of its rows");
  EXPECT_EQ(DecideRetention(PartitionFacts{}, Terms()).fate, PartitionFate::kKept);
}

TEST(RetentionRules, WhatMustStayIsKept) {
  PartitionFacts facts = Old(400);
  facts.may_drop = false;
  ExpectDecision(DecideRetention(facts, Terms()), PartitionFate::kKept,
                 "kept: the table's property gc.enabled is false");
  const Decision for_ever = DecideRetention(Old(400), {.limit_us = 0, .hold_us = 0, .now_us = kNoonUs});
  ExpectDecision(for_ever, PartitionFate::kKept, "kept for ever");
  EXPECT_EQ(for_ever.due_us, kNever);
}

TEST(RetentionRules, OldRowsInYoungFilesAreTold) {
  PartitionFacts facts = Old(1);
  facts.first_days = {{kToday - 30, 2}, {kToday - 8, 3}, {kToday - 7, 4}, {kToday - 1, 5}};
  ExpectDecision(DecideRetention(facts, Terms()), PartitionFate::kKept,
                 "its date is not 7 days past; 5 of its files hold rows since 2024-09-04 too, which stay as long as "
                 "the newest");
}

TEST(RetentionRules, UnreadRowsAreHeldForTheHold) {
  ExpectDecision(DecideRetention(OldAndUnread(7, {.rows = 5}), Terms(3 * kMicrosPerHour)), PartitionFate::kHeld,
                 "the downstream layer has not read 5 rows; dropped in 3 hours");
  ExpectDecision(DecideRetention(OldAndUnread(7, {.rows = 5}), Terms(1)), PartitionFate::kHeld,
                 "the downstream layer has not read 5 rows; dropped in 0 s");
  const Decision lost = DecideRetention(OldAndUnread(8, {.rows = 5}), Terms(kMicrosPerDay));
  ExpectDecision(lost, PartitionFate::kDropped,
                 "expired by retention (7 days) since 2024-10-03T12:00:00.000000Z; the downstream layer has not read "
                 "5 rows of it, and will be blocked");
  EXPECT_EQ(lost.due_us, kNoonUs - kMicrosPerDay);
  ExpectDecision(DecideRetention(OldAndUnread(400, {.rows = 5}), Terms(std::nullopt)), PartitionFate::kHeld,
                 "the downstream layer has not read 5 rows; `k2 maintain retention` drops them after its hold");
  EXPECT_EQ(DecideRetention(OldAndUnread(3, {.rows = 5}), Terms()).fate, PartitionFate::kKept);
}

TEST(RetentionRules, NoHoldEndsWhileRowsAreWaitedFor) {
  ExpectDecision(
      DecideRetention(OldAndUnread(400, {.rows = 5, .blocked = true}), Terms(0)), PartitionFate::kHeld,
      "the downstream layer is blocked and has not read 5 rows; its error names the command that resumes it");
  ExpectDecision(DecideRetention(OldAndUnread(400, {.rows = 5, .blocked = true, .needed = true}), Terms(0)),
                 PartitionFate::kHeld, "Silver is behind rejected_trades and needs these rows to catch up");
  EXPECT_EQ(DecideRetention(OldAndUnread(400, {.rows = 0, .blocked = true, .needed = true}), Terms(0)).fate,
            PartitionFate::kDropped)
      << "all of it is read";
}

TEST(RetentionRules, TimesAtTheEndOfTimeDoNotWrap) {
  PartitionFacts facts = Old(7);
  facts.end_us = kNever - 1;
  EXPECT_EQ(DecideRetention(facts, Terms()).due_us, kNever);
  EXPECT_EQ(DecideRetention(facts, Terms()).fate, PartitionFate::kKept);
}

TEST(RetentionRules, ASummaryNamesFourPartitions) {
  std::vector<DroppedPartition> dropped{{"a=1", 5}, {"a=2", 6}};
  EXPECT_EQ(DroppedText(dropped, Terms()),
            "older than 7 days at 2024-10-04T12:00:00.000000Z: a=1 (5 rows), a=2 (6 rows)");
  for (int i = 3; i < 7; ++i) dropped.push_back({"b", 1});
  EXPECT_EQ(DroppedText(dropped, Terms()),
            "older than 7 days at 2024-10-04T12:00:00.000000Z: a=1 (5 rows), a=2 (6 rows), b (1 rows), b (1 rows), "
            "and 2 more partitions");
}

TEST(RetentionRules, UnreadRowsOfARangeOfOffsets) {
  const OffsetRows held{.first = 10, .last = 19, .rows = 6};
  const auto unread = [&](int64_t read_to, int64_t end) {
    const OffsetRows left = UnreadOf(held, read_to, end);
    return std::vector<int64_t>{left.first, left.last, left.rows};
  };
  EXPECT_EQ(unread(0, 30), (std::vector<int64_t>{10, 19, 6}));
  EXPECT_EQ(unread(12, 30), (std::vector<int64_t>{12, 19, 6})) << "never too few";
  EXPECT_EQ(unread(17, 30), (std::vector<int64_t>{17, 19, 3}));
  EXPECT_EQ(unread(20, 30), (std::vector<int64_t>{0, 0, 0}));
  EXPECT_EQ(unread(18, 18), (std::vector<int64_t>{0, 0, 0})) << "all that Bronze has counted is read";
}

}  // namespace
}  // namespace k2::maintenance
