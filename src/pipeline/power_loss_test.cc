// The power goes off at any step, the disk is full, the disk fails: afterwards everything is opened anew and run to the
// end. The catalog's SQLite file is real and keeps what it was told: that SQLite itself survives a power loss is its
// own promise (synchronous=FULL), not tested here; that it never names a file that did not survive, is.
#include <cerrno>
#include <filesystem>
#include <random>

#include "pipeline/layer_fixture.h"

namespace k2::pipeline {
namespace {

class PowerLoss : public LayerTest {
 protected:
  // A fresh folder for each trial; the recordings stay.
  void NextTrial() {
    if (trial_ > 0) std::filesystem::remove_all(root_);
    root_ = fmt::format("{}/{}", base_, ++trial_);
    std::filesystem::create_directories(root_);
    MakeTables();
  }
  void SetUp() override {
    LayerTest::SetUp();
    base_ = root_;
    Simulate(120);
    layer_.rows_per_step = 60;
  }
  void TearDown() override {
    root_ = base_;
    LayerTest::TearDown();
  }
  int64_t Operations() {
    NextTrial();
    const auto io = storage::FaultyFileIo::OverLocalDisk();
    const Lakehouse lakehouse = OpenLakehouse(io);
    const int64_t before = io->operations();
    EXPECT_TRUE(RunAll(lakehouse, Options()));
    return io->operations() - before;
  }
  void RunToTheEndAndCheck() {
    const Lakehouse lakehouse = OpenLakehouse();
    const auto report = RunAll(lakehouse, Options());
    ASSERT_TRUE(report) << report.error().message;
    CheckTables(lakehouse, trades_);
    EXPECT_EQ(static_cast<int64_t>(ReadRejected(lakehouse).size()), malformed_);
  }

  std::string base_;
  int trial_ = 0;
};

TEST_F(PowerLoss, AtAnyOperation) {
  const uint64_t seed = TestSeed();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  const int64_t operations = Operations();
  ASSERT_GT(operations, 200);
  constexpr int kTrials = 16;
  for (int trial = 0; trial < kTrials && !HasFailure(); ++trial) {
    NextTrial();
    const auto io = storage::FaultyFileIo::OverLocalDisk();
    const Lakehouse lakehouse = OpenLakehouse(io);
    // One place in each part of the run.
    const auto part = static_cast<uint64_t>(operations / kTrials + 1);
    const int64_t at = trial * static_cast<int64_t>(part) + static_cast<int64_t>(random() % part) + 1;
    SCOPED_TRACE(fmt::format("at operation {} of {}", at, operations));
    io->Inject({.operation = "", .first = at, .times = -1, .errno_value = EIO});
    const auto report = RunAll(lakehouse, Options());
    ASSERT_TRUE(io->PowerLoss(trial % 3 == 0 ? 0 : random() | 1));  // every third time all that is not synced goes
    EXPECT_TRUE(report || report.error().kind == ErrorKind::kIo) << report.error().message;
    RunToTheEndAndCheck();
  }
}

// Twice in a row, the second time during the run that mends the first.
TEST_F(PowerLoss, AgainWhileGoingOn) {
  const uint64_t seed = TestSeed();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  for (int trial = 0; trial < 4 && !HasFailure(); ++trial) {
    NextTrial();
    for (int loss = 0; loss < 3; ++loss) {
      const auto io = storage::FaultyFileIo::OverLocalDisk();
      const Lakehouse lakehouse = OpenLakehouse(io);
      io->Inject({.operation = "", .first = static_cast<int64_t>(random() % 150) + 1, .times = -1, .errno_value = EIO});
      (void)RunAll(lakehouse, Options());
      ASSERT_TRUE(io->PowerLoss(random() | 1));
    }
    RunToTheEndAndCheck();
  }
}

TEST_F(PowerLoss, AFullOrBrokenDiskAtEachKindOfOperation) {
  const uint64_t seed = TestSeed();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  for (const char* operation :
       {"create", "write-new", "sync", "read", "open", "size", "delete", "disk.open-new", "disk.write", "disk.close",
        "disk.sync-file", "disk.sync-folder", "disk.make-folder", "disk.remove"}) {
    const bool writes = std::string_view(operation).starts_with("disk.") || std::string_view(operation) == "write-new";
    const int error = writes && random() % 2 == 0 ? ENOSPC : EIO;
    const auto first = static_cast<int64_t>(random() % 6) + 1;
    SCOPED_TRACE(fmt::format("{} {} {}", operation, first, error));
    NextTrial();
    const auto io = storage::FaultyFileIo::OverLocalDisk();
    const Lakehouse lakehouse = OpenLakehouse(io);
    io->Inject({.operation = operation, .first = first, .times = 3, .errno_value = error});
    const auto report = RunAll(lakehouse, Options());
    if (!report) {
      EXPECT_EQ(report.error().kind, error == ENOSPC ? ErrorKind::kNoSpace : ErrorKind::kIo) << report.error().message;
    }
    io->ClearFaults();
    // The same process may go on, and so may another.
    if (random() % 2 == 0) {
      const auto again = RunAll(lakehouse, Options());
      EXPECT_TRUE(again) << again.error().message;
    }
    RunToTheEndAndCheck();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace k2::pipeline
