// What a service meets: partitions that come and go, gaps of offsets, outages, and other processes with the same work.
#include <random>
#include <thread>

#include "base/time.h"
#include "pipeline/cluster_fixture.h"
#include "pipeline/pipeline_state.h"
#include "pipeline/retry_policy.h"

namespace k2::pipeline {
namespace {

using namespace std::chrono_literals;

TEST_F(ServiceTest, PartitionsWithGapsGoThroughOnce) {
  MakeTables();
  const uint64_t seed = TestSeed();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  for (const int partitions : {1, 5, 12}) {  // new ones appear
    cluster_.Produce(700, partitions, random);
    const auto report = RunAll(OpenLakehouse(), OfCluster());
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->bronze.rows_out, 700);
  }
  CheckAll();
  // Many partitions share a file.
  EXPECT_LT(LiveFiles(OpenLakehouse(), task::kBronzeTable).size(), 60U);
  const auto again = RunAll(OpenLakehouse(), OfCluster());
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->bronze.rows_out + again->silver.rows_in + again->gold.rows_in, 0);
}

// With a backlog the next step is written while one is committed. Where that commit's outcome is not known, or it was
// certainly not taken, what was written after it has no place either: all is read again from where the table stands.
TEST_F(ServiceTest, CommitsThatFailWhileTheNextStepIsWritten) {
  MakeTables();
  const uint64_t seed = TestSeed();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  cluster_.Produce(3'000, 5, random);
  RunOptions options = OfCluster();
  options.layer.rows_per_step = 60;
  options.silver = options.gold = false;
  std::atomic<int> swaps{0};
  int ended = 0;
  for (bool done = false; !done && ended < 100; ++ended) {
    const auto lakehouse =
        OpenLakehouse(storage::MakeFileIo(), {.swap_fault = [&swaps] {
                        const int swap = ++swaps;
                        if (swap % 17 == 9) return catalog::SwapFault::kRequestLost;
                        return swap % 17 == 13 ? catalog::SwapFault::kReplyLost : catalog::SwapFault::kNone;
                      }});
    done = RunAll(lakehouse, options).has_value();
  }
  EXPECT_GT(swaps, 50);
  const Lakehouse lakehouse = OpenLakehouse();
  std::multiset<int64_t> offsets;
  for (const BronzeRow& row : ReadBronze(lakehouse)) offsets.insert(row.partition * 1'000'000'000LL + row.offset);
  EXPECT_EQ(offsets.size(), 3'000U);
  EXPECT_EQ(std::set<int64_t>(offsets.begin(), offsets.end()).size(), 3'000U);
  // No step but the last is smaller than it may be, so that a backlog does not become small files.
  EXPECT_LT(LiveFiles(lakehouse, task::kBronzeTable).size(), 2U * (3'000 / 60 + 40));
  options.silver = options.gold = true;
  ASSERT_TRUE(RunAll(OpenLakehouse(), options));
  CheckAll();
}

// Silver alone, with a backlog of files that hold several partitions each, and in small steps.
TEST_F(ServiceTest, SilverCutsABacklogOfMixedFiles) {
  MakeTables();
  std::mt19937_64 random(TestSeed());
  RunOptions bronze = OfCluster();
  bronze.silver = bronze.gold = false;
  for (int i = 0; i < 6; ++i) {
    cluster_.Produce(100, 4, random);
    ASSERT_TRUE(RunAll(OpenLakehouse(), bronze));
  }
  ForeignCompaction(OpenLakehouse(), task::kBronzeTable);  // one file of all rows
  for (int i = 0; i < 3; ++i) {
    cluster_.Produce(100, 4, random);
    ASSERT_TRUE(RunAll(OpenLakehouse(), bronze));
  }
  RunOptions below = OfCluster();
  below.bronze = false;
  below.layer.rows_per_step = 60;
  const auto report = RunAll(OpenLakehouse(), below);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(report->silver.steps, 3);
  CheckAll();
}

// Offsets have gaps, so that only the count tells that rows are missing.
TEST_F(ServiceTest, SilverNoticesRowsThatWereDeletedUnread) {
  MakeTables();
  std::mt19937_64 random(TestSeed());
  RunOptions bronze = OfCluster();
  bronze.silver = bronze.gold = false;
  cluster_.Produce(50, 3, random);
  ASSERT_TRUE(RunAll(OpenLakehouse(), bronze));
  const Lakehouse lakehouse = OpenLakehouse();
  ForeignSnapshot(lakehouse, task::kBronzeTable, "delete", {}, LiveFiles(lakehouse, task::kBronzeTable));
  RunOptions below = OfCluster();
  below.bronze = false;
  const auto report = RunAll(OpenLakehouse(), below);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind, ErrorKind::kUpstreamChanged);
  EXPECT_NE(report.error().message.find("k2 offsets accept"), std::string::npos) << report.error().message;
}

// Two processes, each with half of the partitions.
TEST_F(ServiceTest, ProcessesDivideThePartitions) {
  MakeTables();
  std::mt19937_64 random(TestSeed());
  cluster_.Produce(600, 6, random);
  std::vector<std::thread> threads;
  std::vector<Result<RunReport>> reports(2);
  for (int half = 0; half < 2; ++half) {
    threads.emplace_back([&, half] {
      const RunOptions options = OfPartitions([half](int32_t partition) { return partition % 2 == half; });
      reports[static_cast<size_t>(half)] = RunAll(OpenLakehouse(), options);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& report : reports) {
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_GT(report->silver.rows_in, 0);
  }
  RunOptions gold = OfCluster();
  gold.bronze = gold.silver = false;
  ASSERT_TRUE(RunAll(OpenLakehouse(), gold));
  CheckAll();
}

TEST_F(ServiceTest, AStandbyTakesOverWhenNothingMoves) {
  MakeTables();
  std::mt19937_64 random(TestSeed());
  RunOptions options = OfCluster();
  options.endless = true;
  options.takeover_us = 1'500'000;
  cluster_.Produce(100, 3, random);
  Process first(OpenLakehouse(), options);
  options.standby = true;
  Process second(OpenLakehouse(), options);
  for (int i = 0; i < 20; ++i) {
    cluster_.Produce(10, 3, random);
    std::this_thread::sleep_for(50ms);
  }
  WaitForGold();
  EXPECT_EQ(second.progress().bronze_rows, 0) << "it did not stand by";
  first.Stop();
  cluster_.Produce(100, 3, random);
  WaitForGold();
  EXPECT_GT(second.progress().bronze_rows, 0);
  second.Stop();
  CheckAll();
}

// Both begin at once and both take themselves for the only one: one of them soon leaves the work to the other.
TEST_F(ServiceTest, TwoThatAreActiveDoNotFightForEver) {
  MakeTables();
  std::mt19937_64 random(TestSeed());
  RunOptions options = OfCluster();
  options.endless = true;
  options.takeover_us = 60'000'000;
  cluster_.Produce(100, 3, random);
  Process first(OpenLakehouse(), options);
  Process second(OpenLakehouse(), options);
  for (int i = 0; i < 20; ++i) {
    cluster_.Produce(10, 3, random);
    std::this_thread::sleep_for(20ms);
  }
  WaitForGold();
  const auto counted = [&] { return first.progress().bronze_rows + second.progress().bronze_rows; };
  for (int i = 0; i < 600 && counted() != cluster_.produced(); ++i) std::this_thread::sleep_for(50ms);
  const int64_t before_first = first.progress().bronze_rows;
  const int64_t before_second = second.progress().bronze_rows;
  for (int i = 0; i < 20; ++i) {
    cluster_.Produce(10, 3, random);
    std::this_thread::sleep_for(20ms);
  }
  WaitForGold();
  for (int i = 0; i < 600 && counted() != cluster_.produced(); ++i) std::this_thread::sleep_for(50ms);
  const int64_t by_first = first.progress().bronze_rows - before_first;
  const int64_t by_second = second.progress().bronze_rows - before_second;
  EXPECT_EQ(by_first + by_second, 200);
  EXPECT_TRUE(by_first == 0 || by_second == 0) << by_first << " and " << by_second << ": both are at work still";
  first.Stop();
  second.Stop();
  CheckAll();
}

// A layer that has finished must not leave the next one asleep for a poll's time.
TEST(PipelineState, TheEndOfALayerWakesTheNextOne) {
  const std::atomic<bool> stop{false};
  PipelineState state(stop);
  const int64_t seen = state.changes();
  const int64_t started_us = MonotonicMicros();
  std::thread waiter([&] { state.Wait(seen, std::chrono::minutes(2)); });
  state.Finished(LayerId::kBronze);
  waiter.join();
  EXPECT_LT(MonotonicMicros() - started_us, 60'000'000);
}

TEST(RetryPolicy, TellsRacesFromWhatIsMissing) {
  const std::atomic<bool> stop{false};
  RetryPolicy batch({.endless = false}, LayerId::kBronze, stop);
  const Error moved{ErrorKind::kOffsetMismatch, "moved to 5"};
  EXPECT_EQ(batch.Judge(moved), RetryPolicy::Next::kAgain);
  EXPECT_EQ(batch.Judge(moved), RetryPolicy::Next::kFail);  // nothing has changed: it is no race
  batch.Reset();
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(batch.Judge({ErrorKind::kOffsetMismatch, std::to_string(i)}), RetryPolicy::Next::kAgain);
  }
  EXPECT_EQ(batch.Judge({ErrorKind::kOffsetMismatch, "40"}), RetryPolicy::Next::kFail);
  EXPECT_EQ(batch.Judge({ErrorKind::kIo, "disk"}), RetryPolicy::Next::kFail);
  RetryPolicy service({.endless = true, .takeover_us = 60'000'000}, LayerId::kBronze, stop);
  EXPECT_EQ(service.Judge(moved), RetryPolicy::Next::kAgain);
  service.Reset();  // a step in between does not make the other go away
  EXPECT_EQ(service.Judge({ErrorKind::kOffsetMismatch, "moved to 7"}), RetryPolicy::Next::kStandBy);
  EXPECT_EQ(service.Judge({ErrorKind::kIo, "disk"}), RetryPolicy::Next::kAgain);
  EXPECT_EQ(service.Judge({ErrorKind::kInvalidData, "bytes"}), RetryPolicy::Next::kFail);
}

TEST(RetryPolicy, WaitsForAServiceAsLongAsItMay) {
  std::atomic<bool> stop{false};
  RetryPolicy batch({.endless = false, .outage_us_max = 200'000}, LayerId::kGold, stop);
  const Error away{ErrorKind::kUnavailable, "no answer"};
  int tries = 0;
  while (batch.Judge(away) == RetryPolicy::Next::kAgain && tries < 100) ++tries;
  EXPECT_GT(tries, 0);
  EXPECT_LT(tries, 100);
}

}  // namespace
}  // namespace k2::pipeline
