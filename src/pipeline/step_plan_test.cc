#include "pipeline/step_plan.h"

#include <gtest/gtest.h>

#include "pipeline/bronze/bronze_plan.h"
#include "pipeline/layer_fixture.h"
#include "task/market_tables.h"

namespace k2::pipeline {
namespace {

const table::SourceKey kKey{.cluster = "c", .topic = "t.binance", .topic_id = "i", .partition = 3};

std::string AttemptAt(int64_t begin) { return "planned-" + std::to_string(begin); }

StepPlan BronzePlan() {
  StepPlan plan{.layer = LayerId::kBronze, .tasks = {}, .ranges = {}, .commits = {}};
  // Two tasks share one partition: from 10 to 15, from 15 to 20.
  for (const int64_t begin : {10, 15}) {
    table::SourcePosition at{.next_offset = begin, .messages = begin == 10 ? 7 : 0};
    task::BronzeTask task;
    task.attempt_id = AttemptAt(begin);
    task.inputs.push_back({.source = kKey, .exchange = {}, .recording = {}, .begin = at, .end_offset = begin + 5});
    plan.tasks.emplace_back(std::move(task));
  }
  PlannedCommit commit{.table = std::string(task::kBronzeTable), .commit = {}};
  commit.commit.base.positions[kKey] = {.next_offset = 10, .messages = 7};
  plan.commits.push_back(std::move(commit));
  return plan;
}

task::TaskResult Read(int64_t end, int64_t messages) {
  task::TaskResult result;
  result.attempt_id = AttemptAt(end > 15 ? 15 : 10) + "-again";
  result.ends.push_back({.next_offset = end, .leader_epoch = 4, .messages = messages});
  return result;
}

TEST(StepPlan, JoinsWhatTasksHaveReadOfOnePartition) {
  StepPlan plan = BronzePlan();
  ASSERT_TRUE(Complete({Read(15, 7 + 5), Read(20, 4)}, plan).has_value());
  const table::SourcePosition& end = plan.commits[0].commit.next.positions.at(kKey);
  EXPECT_EQ(end.next_offset, 20);
  EXPECT_EQ(end.leader_epoch, 4);
  EXPECT_EQ(end.messages, 16);  // a gap of one
}

TEST(StepPlan, RefusesATaskThatHasNotReadToItsEnd) {
  StepPlan plan = BronzePlan();
  const Status status = Complete({Read(14, 11), Read(20, 5)}, plan);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().kind, ErrorKind::kOffsetMismatch);
}

TEST(StepPlan, RefusesResultsOfOtherTasks) {
  StepPlan plan = BronzePlan();
  EXPECT_EQ(Complete({Read(15, 12)}, plan).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(Complete({Read(15, 12), task::TaskResult{}}, plan).error().kind, ErrorKind::kInvalidArgument);
  task::TaskResult foreign = Read(20, 5);
  foreign.outputs.push_back({.table = std::string(task::kGoldTable), .files = {iceberg::DataFile{}}});
  EXPECT_EQ(Complete({Read(15, 12), foreign}, plan).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(Complete({Read(20, 5), Read(15, 12)}, plan).error().kind, ErrorKind::kInvalidArgument);  // out of order
  task::TaskResult other = Read(20, 5);
  other.attempt_id = "of another plan";
  EXPECT_EQ(Complete({Read(15, 12), other}, plan).error().kind, ErrorKind::kInvalidArgument);
}

StepPlan SilverPlan(int64_t counted_before, int64_t counted_at_end) {
  StepPlan plan{.layer = LayerId::kSilver, .tasks = {}, .ranges = {}, .commits = {}};
  plan.tasks.emplace_back(task::SilverTask{});
  plan.tasks.emplace_back(task::SilverTask{});
  plan.ranges.push_back({.key = kKey,
                         .begin = {.next_offset = 100, .messages = counted_before},
                         .end = {.next_offset = 200, .messages = counted_at_end},
                         .counted_at_end = counted_at_end >= 0});
  for (const bool needs_rows : {true, false}) {
    PlannedCommit commit{.table = std::string(needs_rows ? task::kRejectedTable : "silver_binance_trades"),
                         .commit = {},
                         .needs_rows = needs_rows};
    commit.commit.next.positions[kKey] = plan.ranges[0].end;
    plan.commits.push_back(std::move(commit));
  }
  return plan;
}

task::TaskResult Judged(int64_t rows) {
  task::TaskResult result;
  result.range_rows = {rows};
  return result;
}

TEST(StepPlan, CountsTheRowsOfAllTasks) {
  StepPlan whole = SilverPlan(50, 130);
  ASSERT_TRUE(Complete({Judged(30), Judged(50)}, whole).has_value());
  ASSERT_EQ(whole.commits.size(), 1U);  // no row was rejected
  EXPECT_EQ(whole.commits[0].commit.next.positions.at(kKey).messages, 130);

  StepPlan lost = SilverPlan(50, 130);
  EXPECT_EQ(Complete({Judged(30), Judged(49)}, lost).error().kind, ErrorKind::kUpstreamChanged);
  StepPlan doubled = SilverPlan(50, 130);
  EXPECT_EQ(Complete({Judged(50), Judged(50)}, doubled).error().kind, ErrorKind::kUpstreamChanged);

  StepPlan accepted = SilverPlan(50, 130);  // what Bronze holds was accepted: its count at the end is taken over
  accepted.ranges[0].accepted = true;
  ASSERT_TRUE(Complete({Judged(30), Judged(49)}, accepted).has_value());
  EXPECT_EQ(accepted.commits[0].commit.next.positions.at(kKey).messages, 130);

  StepPlan cut = SilverPlan(50, -1);  // Bronze goes on behind it: what was counted is noted
  ASSERT_TRUE(Complete({Judged(30), Judged(40)}, cut).has_value());
  EXPECT_EQ(cut.commits[0].commit.next.positions.at(kKey).messages, 120);
}

// What failpoints and the documents of plans are called by.
TEST(StepPlan, NamesOfCommits) {
  EXPECT_EQ(CommitName(LayerId::kSilver, task::kRejectedTable), "rejected");
  EXPECT_EQ(CommitName(LayerId::kSilver, "silver_kraken_trades"), "silver");
  EXPECT_EQ(CommitName(LayerId::kCompaction, task::kRejectedTable), "compaction");
  EXPECT_EQ(CommitName(LayerId::kCompaction, task::kGoldTable), "compaction");
  EXPECT_EQ(CommitName(LayerId::kBronze, task::kBronzeTable), "bronze");
}

}  // namespace
}  // namespace k2::pipeline
