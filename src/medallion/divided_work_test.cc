// Several processes at one table: who watches whom, and what a step that fails leaves behind.
#include <random>
#include <thread>

#include "base/time.h"
#include "medallion/cluster_fixture.h"

namespace k2 {
namespace {

using namespace std::chrono_literals;

class DividedWork : public ServiceTest {};

bool Waited(const std::function<bool()>& until) {
  for (int i = 0; i < 300 && !until(); ++i) std::this_thread::sleep_for(50ms);
  return until();
}

// The work of others must not make one that is dead look alive.
TEST_F(DividedWork, AStandbyWatchesItsOwnPartitionsOnly) {
  MakeTables();
  std::mt19937_64 random(TestSeed());
  cluster_.Produce(100, 2, random);
  const auto of = [&](int32_t mine) {
    RunOptions options = OfPartitions([mine](int32_t partition) { return partition == mine; });
    options.endless = true;
    options.takeover_us = 1'000'000;
    return options;
  };
  Process first(OpenLakehouse(), of(0));
  Process other(OpenLakehouse(), of(1));
  RunOptions standing_by = of(0);
  standing_by.standby = true;
  ASSERT_TRUE(Waited([&] { return first.progress().silver_rows > 0 && other.progress().silver_rows > 0; }));
  Process second(OpenLakehouse(), standing_by);
  first.Stop();
  const bool taken_over = Waited([&] {
    cluster_.Produce(10, 2, random);
    return second.progress().bronze_rows > 0 && second.progress().silver_rows > 0;
  });
  EXPECT_TRUE(taken_over) << "the other one's commits keep it standing by";
  second.Stop();
  other.Stop();
  RunOptions rest = OfCluster();
  ASSERT_TRUE(RunAll(OpenLakehouse(), rest));
  CheckAll();
}

TEST_F(DividedWork, HeadsAreOfTheOwnKeys) {
  MakeTables();
  const Lakehouse lakehouse = OpenLakehouse();
  CommitBronze(lakehouse, {{.topic = kTopic, .partition = 0, .offset = 0}});
  auto table = lakehouse.Open(kBronzeTable);
  ASSERT_TRUE(table);
  const auto mine = [](const SourceKey& key) { return key.partition == 0; };
  const std::string before = HeadOf(*table, mine).value();
  const std::string all_before = HeadOf(*table).value();
  CommitBronze(lakehouse, {{.topic = kTopic, .partition = 1, .offset = 0}});
  EXPECT_EQ(HeadOf(*table, mine).value(), before);
  EXPECT_NE(HeadOf(*table).value(), all_before);
}

// What is away when a standby takes over is waited for, as at any other time.
TEST_F(DividedWork, ATakeoverOutlastsAnOutage) {
  MakeTables();
  std::mt19937_64 random(TestSeed());
  cluster_.Produce(100, 3, random);
  faults_.sources_away = {2, 3};  // the first one opens the layer
  RunOptions options = OfCluster();
  options.endless = true;
  options.standby = true;
  options.takeover_us = 200'000;
  Process process(OpenLakehouse(), options);
  EXPECT_TRUE(Waited([&] { return process.progress().gold_rows == cluster_.produced(); }));
  EXPECT_GT(faults_.sources_calls, 3);
  process.Stop();
  CheckAll();
}

}  // namespace
}  // namespace k2
