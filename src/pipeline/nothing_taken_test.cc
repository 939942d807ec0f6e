#include "pipeline/nothing_taken.h"

#include <gtest/gtest.h>

namespace k2::pipeline {
namespace {

bool Has(const std::optional<std::string>& text, std::string_view part) {
  return text && text->find(part) != std::string::npos;
}

TEST(NothingTaken, TellsWhatWasReadAndTheLikelyCause) {
  LayerStats bronze;
  LayerStats silver;
  EXPECT_FALSE(NothingTaken(&bronze, &silver)) << "nothing new";
  bronze.source.frames = bronze.source.frames_skipped = 20;
  EXPECT_FALSE(NothingTaken(&bronze, &silver)) << "heartbeats";
  bronze.source.frames_other = 12;
  bronze.source.other_channel = "\"aggTrade\"";
  const auto other = NothingTaken(&bronze, &silver);
  EXPECT_TRUE(Has(other, "20 frames") && Has(other, "12 are market data of other channels (first: \"aggTrade\")"));
  bronze.rows_in = silver.rows_in = 4;
  silver.rejected = {{"frame_bad_time", 3}, {"frame_not_json", 1}};
  const auto rejected = NothingTaken(&bronze, &silver);
  EXPECT_TRUE(Has(rejected, "4 messages") && Has(rejected, "3 frame_bad_time, 1 frame_not_json"));
  EXPECT_TRUE(Has(rejected, "nanoseconds")) << *rejected;
  EXPECT_FALSE(Has(rejected, "wrapped")) << "the cause of most of them";
  silver.rows_out = 1;
  EXPECT_FALSE(NothingTaken(&bronze, &silver));
}

TEST(NothingTaken, KnowsOfABronzeLayerAloneWhatItsFramesTell) {
  LayerStats bronze;
  bronze.rows_in = bronze.source.frames = bronze.source.frames_rejected = 7;
  EXPECT_TRUE(Has(NothingTaken(&bronze, nullptr), "7 could not be read"));
  bronze.source.trades = 1;
  EXPECT_FALSE(NothingTaken(&bronze, nullptr));
  LayerStats kafka;
  kafka.rows_in = 7;
  EXPECT_FALSE(NothingTaken(&kafka, nullptr)) << "Bronze decodes no message";
}

TEST(RefusalWatch, WarnsOnceUntilSomethingIsTaken) {
  RefusalWatch watch(LayerId::kSilver, 5'000'000);
  LayerStats stats;
  EXPECT_FALSE(watch.Look(stats, 1));
  stats.rows_in = 3;
  stats.rejected = {{"malformed", 3}};
  EXPECT_FALSE(watch.Look(stats, 1'000'000)) << "a trade may still come";
  EXPECT_FALSE(watch.Look(stats, 5'999'999));
  EXPECT_TRUE(watch.Look(stats, 6'000'000));
  stats.rows_in = 9;
  stats.rejected = {{"malformed", 9}};
  EXPECT_FALSE(watch.Look(stats, 60'000'000)) << "told already";
  stats.rows_in = 10;
  stats.rows_out = 1;
  EXPECT_FALSE(watch.Look(stats, 61'000'000));
  stats.rows_in = 11;
  stats.rejected = {{"malformed", 10}};
  EXPECT_FALSE(watch.Look(stats, 62'000'000));
  EXPECT_TRUE(watch.Look(stats, 67'000'000));
}

}  // namespace
}  // namespace k2::pipeline
