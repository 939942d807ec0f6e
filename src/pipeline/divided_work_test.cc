// Several processes at one table: who watches whom, and what a step that fails leaves behind.
#include <filesystem>
#include <random>
#include <thread>

#include "pipeline/cluster_fixture.h"

namespace k2::pipeline {
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
  auto table = lakehouse.Open(task::kBronzeTable);
  ASSERT_TRUE(table);
  const auto mine = [](const table::SourceKey& key) { return key.partition == 0; };
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

size_t DataFilesOnDisk(const std::string& root) {
  size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    files += entry.path().extension() == ".parquet" ? 1U : 0U;
  }
  return files;
}

// Bronze alone, a step at a time.
class BronzeSteps : public DividedWork {
 protected:
  void Open(const LayerOptions& options) {
    auto layer =
        BronzeLayer::Open(*lakehouse_, options, std::make_unique<ClusterSet>(cluster_, nullptr, &faults_), nullptr);
    ASSERT_TRUE(layer) << layer.error().message;
    layer_ = std::move(*layer);
  }
  void SetUp() override {
    DividedWork::SetUp();
    MakeTables();
    lakehouse_.emplace(OpenLakehouse());
  }
  void TearDown() override {
    layer_.reset();
    lakehouse_.reset();
    DividedWork::TearDown();
  }
  std::mt19937_64 random_{TestSeed()};
  std::optional<Lakehouse> lakehouse_;
  std::unique_ptr<BronzeLayer> layer_;
};

// However long the backlog is, new partitions are taken in between.
TEST_F(BronzeSteps, ABacklogDoesNotKeepNewSourcesOut) {
  cluster_.Produce(4'000, 1, random_);
  Open({.rows_per_step = 10, .overlap_us_max = 50'000});
  int64_t rows = 0;
  const auto last = layer_->Step(0, [&](int64_t more) {
    rows += more;
    return true;
  });
  ASSERT_TRUE(last) << last.error().message;
  EXPECT_LT(rows + *last, 4'000) << "it went on to the end";
  cluster_.Produce(1'000, 2, random_);
  const int calls = faults_.sources_calls;
  ASSERT_TRUE(layer_->Step(0));
  EXPECT_GT(faults_.sources_calls, calls);
}

TEST_F(BronzeSteps, FilesThatWereNeverSentToACommitAreDeleted) {
  cluster_.Produce(100, 2, random_);
  Open({.rows_per_step = 100});
  faults_.confirm_fails = true;
  ASSERT_FALSE(layer_->Step(0));
  EXPECT_EQ(DataFilesOnDisk(root_), 0U) << "the topics were not confirmed";
  faults_.confirm_fails = false;
  faults_.broken_partition = 1;
  ASSERT_TRUE(layer_->Recover());
  layer_.reset();
  Open({.rows_per_step = 131'072, .threads = 2});  // a task for each partition
  ASSERT_FALSE(layer_->Step(0));
  EXPECT_EQ(DataFilesOnDisk(root_), 0U) << "the other partition could not be read";
  faults_.broken_partition = -1;
  ASSERT_TRUE(layer_->Recover());
  EXPECT_EQ(layer_->Step(0).value_or(0), 100);
  EXPECT_EQ(DataFilesOnDisk(root_), LiveFiles(*lakehouse_, task::kBronzeTable).size());
}

TEST_F(BronzeSteps, AFailedTaskTakesTheFilesOfTheOthersWithIt) {
  cluster_.Produce(100, 2, random_);
  faults_.broken_partition = 1;
  PartitionReader good(cluster_, 0, &faults_);
  PartitionReader broken(cluster_, 1, &faults_);
  auto table = lakehouse_->Open(task::kBronzeTable);
  ASSERT_TRUE(table);
  std::vector<task::Task> tasks;
  std::vector<task::TaskContext> contexts;
  for (PartitionReader* reader : {&good, &broken}) {
    task::BronzeTask task{.inputs = {},
                          .max_messages = 1'000,
                          .max_bytes = 1 << 20,
                          .output = *OutputOf(*table),
                          .attempt_id = fmt::format("{}", reader->key().partition)};
    task.inputs.push_back({reader->key(), "", "", {}});
    tasks.emplace_back(std::move(task));
    task::TaskContext context{.io = table->io_ptr(), .schemas = nullptr, .cache = nullptr};
    context.readers.push_back(reader);
    contexts.push_back(std::move(context));
  }
  const auto results = RunEach(tasks, contexts, 2);
  ASSERT_TRUE(results[0]) << results[0].error().message;
  EXPECT_GT(DataFilesOnDisk(root_), 0U);
  DeleteUnsent(results[0]->outputs, table->io());
  EXPECT_EQ(DataFilesOnDisk(root_), 0U);
  ASSERT_TRUE(good.Seek({}));
  EXPECT_FALSE(RunTasks(tasks, contexts, 2));
  EXPECT_EQ(DataFilesOnDisk(root_), 0U);
}

}  // namespace
}  // namespace k2::pipeline
