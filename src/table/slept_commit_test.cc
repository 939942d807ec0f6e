// Commits whose process slept: stopped, or on a machine that was suspended.
#include "table/commit_fixture.h"

namespace k2::table {
namespace {

constexpr int64_t kTwoDaysUs = 2 * kMicrosPerDay;

class SleptCommitTest : public CommitTest {
 protected:
  void TearDown() override {
    ShiftClocksForTests({});
    CommitTest::TearDown();
  }
  // A catalog before whose first swap, or in front of whose step, something happens.
  std::shared_ptr<catalog::Catalog> OpenWith(std::function<void()> before_swap,
                                             std::vector<catalog::SwapFault> faults = {}) {
    catalog::SqliteCatalogOptions options;
    options.on_step = [before_swap = std::move(before_swap), happened = false](std::string_view step) mutable {
      if (step == "before-swap" && !std::exchange(happened, true)) before_swap();
    };
    options.swap_fault = [faults = std::move(faults), next = size_t{0}]() mutable {
      return next < faults.size() ? faults[next++] : catalog::SwapFault::kNone;
    };
    return Open(std::move(options));
  }
};

TEST_F(SleptCommitTest, TimesOutByEitherClock) {
  for (const ClockShift& shift : {ClockShift{.wall_us = kTwoDaysUs}, ClockShift{.boot_us = kTwoDaysUs}}) {
    const int64_t before = *Load().metadata().current_snapshot_id;
    LayerCommit commit = Move(1, 0, 10);
    const std::string file = commit.added.front().file_path;
    Table table = Load(OpenWith([&] {
      ShiftClocksForTests(shift);
      EXPECT_TRUE(io_->Delete(file));  // as an orphan
    }));
    const LayerCommitOutcome outcome = table.Commit(std::move(commit));
    const auto* failed = std::get_if<NotCommitted>(&outcome);
    ASSERT_NE(failed, nullptr) << ErrorOf(outcome).message;
    EXPECT_EQ(failed->error().kind, ErrorKind::kConflict) << "plan again";
    EXPECT_NE(failed->error().message.find("timed out"), std::string::npos) << failed->error().message;
    EXPECT_EQ(*Load().metadata().current_snapshot_id, before);
    ExpectDiskIsExactlyWhatIsNamed();
    ShiftClocksForTests({});
  }
}

TEST_F(SleptCommitTest, TheStepsPlanIsWhereItBegins) {
  LayerCommit commit = Move(1, 0, 10);
  commit.begun = {.wall_us = NowMicros() - kAttemptAgeMaxUs - kMicrosPerSecond};  // a plan of another process
  EXPECT_EQ(ErrorOf(Load().Commit(commit)).kind, ErrorKind::kConflict);
  commit.begun.wall_us += 60 * kMicrosPerSecond;
  EXPECT_COMMITTED(Load().Commit(commit));
  EXPECT_EQ(OffsetOf(1), 10);
}

TEST_F(SleptCommitTest, AClockThatIsSetBackAddsNoAge) {
  LayerCommit commit = Move(1, 0, 10);
  Table table = Load(OpenWith([] { ShiftClocksForTests({.wall_us = -kTwoDaysUs}); }));
  EXPECT_COMMITTED(table.Commit(std::move(commit)));
}

TEST_F(SleptCommitTest, FilesWrittenLongAgoAreLookedAtOnceMore) {
  for (const bool gone : {true, false}) {
    const int64_t from = OffsetOf(1);
    LayerCommit commit = Move(1, from, from + 10);
    const std::string file = commit.added.front().file_path;
    Table table = Load(OpenWith([&] {
      ShiftClocksForTests({.boot_us = 2 * kLookAgainAfterUs});
      if (gone) {
        EXPECT_TRUE(io_->Delete(file));
      }
    }));
    const LayerCommitOutcome outcome = table.Commit(std::move(commit));
    EXPECT_EQ(std::holds_alternative<NotCommitted>(outcome), gone) << ErrorOf(outcome).message;
    if (gone) {
      EXPECT_NE(ErrorOf(outcome).message.find(file), std::string::npos) << ErrorOf(outcome).message;
    }
    EXPECT_EQ(OffsetOf(1), gone ? from : from + 10);
    ExpectNoLiveFileMissing();
    ShiftClocksForTests({});
  }
}

TEST_F(SleptCommitTest, ItsOwnManifestsAndMetadataAreLookedAtToo) {
  for (const std::string_view ending : {".avro", ".metadata.json"}) {
    const std::set<std::string> before = OnDisk();
    Table table = Load(OpenWith([&] {
      ShiftClocksForTests({.boot_us = 2 * kLookAgainAfterUs});
      for (const std::string& file : OnDisk()) {
        if (file.ends_with(ending) && !before.contains(file)) {
          EXPECT_TRUE(io_->Delete(file));
        }
      }
    }));
    const LayerCommitOutcome outcome = table.Commit(Move(1, 0, 10));
    const bool committed = std::holds_alternative<CommitDone>(outcome);
    EXPECT_EQ(committed, ending == ".metadata.json") << "that one is written again: " << ErrorOf(outcome).message;
    EXPECT_EQ(OffsetOf(1), committed ? 10 : 0);
    ExpectNoLiveFileMissing();
    ShiftClocksForTests({});
  }
}

TEST_F(SleptCommitTest, AnUnknownOutcomeStaysUnknown) {
  LayerCommit commit = Move(1, 0, 10);
  const std::string file = commit.added.front().file_path;
  int swaps = 0;
  catalog::SqliteCatalogOptions options;
  options.on_step = [&](std::string_view step) {
    if (step == "before-swap" && ++swaps == 2) ShiftClocksForTests({.boot_us = kTwoDaysUs});
  };
  options.swap_fault = [&] { return swaps == 1 ? catalog::SwapFault::kRequestLost : catalog::SwapFault::kNone; };
  const LayerCommitOutcome outcome = Load(Open(std::move(options))).Commit(std::move(commit));
  EXPECT_TRUE(std::holds_alternative<OutcomeUnknown>(outcome)) << ErrorOf(outcome).message;
  EXPECT_GE(swaps, 2);
  EXPECT_TRUE(OnDisk().contains(file)) << "nothing of it may be deleted";
}

TEST_F(SleptCommitTest, ACommitThatWasAppliedBeforeTheSleepIsFound) {
  catalog::SqliteCatalogOptions options;
  options.on_step = [](std::string_view step) {
    if (step == "after-swap") ShiftClocksForTests({.boot_us = kTwoDaysUs});
  };
  options.swap_fault = [] { return catalog::SwapFault::kReplyLost; };
  EXPECT_COMMITTED(Load(Open(std::move(options))).Commit(Move(1, 0, 10)));
  EXPECT_EQ(OffsetOf(1), 10);
}

TEST_F(SleptCommitTest, AChangeOfPropertiesTriesAgain) {
  Table table = Load(OpenWith([] { ShiftClocksForTests({.wall_us = kTwoDaysUs}); }));
  ASSERT_TRUE(table.Update([](const iceberg::TableMetadata&) {
    return std::vector<iceberg::TableUpdate>{iceberg::SetProperties{{{"a", "1"}}}};
  }));
  EXPECT_EQ(Load().metadata().properties.at("a"), "1");
  ExpectDiskIsExactlyWhatIsNamed();
}

}  // namespace
}  // namespace k2::table
