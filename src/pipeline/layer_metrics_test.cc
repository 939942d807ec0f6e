#include "pipeline/layer_metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "base/time.h"
#include "iceberg/table_metadata.h"

namespace k2::pipeline {
namespace {

// The value of a series; NaN where it is not shown.
double ValueOf(const std::string& series) {
  std::istringstream lines(ExposeMetrics());
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(series + " ")) return std::stod(line.substr(series.size() + 1));
  }
  return std::nan("");
}

PartitionLag Lag(std::string topic, int32_t partition, int64_t messages, std::string topic_id = "id") {
  return {.key = {.cluster = "c", .topic = std::move(topic), .topic_id = std::move(topic_id), .partition = partition},
          .messages = messages};
}

std::string MessagesSeries(const std::string& layer, const std::string& topic, int partition) {
  return fmt::format("k2_lag_messages{{layer=\"{}\",partition=\"{}\",topic=\"{}\"}}", layer, partition, topic);
}

TEST(LayerMetrics, TellsWhatATableHasComeTo) {
  iceberg::TableMetadata metadata;
  metadata.snapshots.resize(3);
  ReportTable("some_table", metadata);
  EXPECT_EQ(ValueOf("k2_table_snapshots{table=\"some_table\"}"), 3);
  const double bytes = ValueOf("k2_table_metadata_bytes{table=\"some_table\"}");
  EXPECT_EQ(bytes, static_cast<double>(iceberg::TableMetadataToJson(metadata).size()));
  metadata.snapshots.resize(4);
  ReportTable("some_table", metadata);
  EXPECT_EQ(ValueOf("k2_table_snapshots{table=\"some_table\"}"), 4);
  EXPECT_EQ(ValueOf("k2_table_metadata_bytes{table=\"some_table\"}"), bytes) << "not at each commit";
}

TEST(LayerMetrics, AllSeriesOfALayerAreThereFromTheFirstLook) {
  MetricsOf("silver");
  EXPECT_EQ(&MetricsOf("silver"), &MetricsOf("silver"));
  EXPECT_EQ(ValueOf("k2_rows_total{kind=\"in\",layer=\"silver\"}"), 0);
  EXPECT_EQ(ValueOf("k2_rejected_rows_total{reason=\"price_not_positive\"}"), 0);
  EXPECT_TRUE(std::isnan(ValueOf("k2_rejected_rows_total{reason=\"none\"}")));
  CountVerdicts({.rejected = {{"price_not_positive", 3}}, .duplicates = 2, .identity_conflicts = 1});
  EXPECT_EQ(ValueOf("k2_rejected_rows_total{reason=\"price_not_positive\"}"), 3);
  EXPECT_EQ(ValueOf("k2_duplicate_rows_total"), 2);
  EXPECT_EQ(ValueOf("k2_identity_conflicts_total"), 1);
}

TEST(LayerMetrics, LagIsShownByPartitionAndForgottenWithIt) {
  ReportLag("lag-a", {Lag("t", 0, 5), Lag("t", 1, 0), Lag("u", 0, -3)});
  EXPECT_EQ(ValueOf(MessagesSeries("lag-a", "t", 0)), 5);
  EXPECT_EQ(ValueOf(MessagesSeries("lag-a", "t", 1)), 0);
  EXPECT_EQ(ValueOf(MessagesSeries("lag-a", "u", 0)), 0) << "ahead is not behind";
  // A topic made anew: both of its lives are one series.
  ReportLag("lag-a", {Lag("t", 0, 2, "old"), Lag("t", 0, 4, "new")});
  EXPECT_EQ(ValueOf(MessagesSeries("lag-a", "t", 0)), 6);
  EXPECT_TRUE(std::isnan(ValueOf(MessagesSeries("lag-a", "t", 1)))) << "another process has taken it over";
}

TEST(LayerMetrics, LagInSecondsFollowsTheClockUntilTheLayerIsLevel) {
  const std::string series = "k2_lag_seconds{layer=\"lag-b\"}";
  ReportLag("lag-b", {Lag("t", 0, 5)});
  EXPECT_TRUE(std::isnan(ValueOf(series))) << "behind since before the start: by how much is not known";
  CountCommit(
      "lag-b", "a_table", table::CommitDone{.snapshot_id = 1, .attempts = 1}, 1000,
      MessageTimes{.oldest_us = NowMicros() - 90 * kMicrosPerSecond, .newest_us = NowMicros() - 60 * kMicrosPerSecond});
  const double behind = ValueOf(series);
  EXPECT_GE(behind, 60);
  EXPECT_LT(behind, 80);
  ReportLag("lag-b", {Lag("t", 0, 0)});
  EXPECT_EQ(ValueOf(series), 0);
  // Level a moment ago: the new message cannot be older than that, whatever was committed last.
  ReportLag("lag-b", {Lag("t", 0, 1)});
  EXPECT_LT(ValueOf(series), 10);
}

TEST(LayerMetrics, AMessageFromTheFutureDoesNotHideTheLag) {
  CountCommit("lag-c", "a_table", table::CommitDone{.snapshot_id = 1, .attempts = 1}, 1000,
              MessageTimes{.oldest_us = NowMicros(), .newest_us = NowMicros() + kMicrosPerDay});
  ReportLag("lag-c", {Lag("t", 0, 5)});
  const double first = ValueOf("k2_lag_seconds{layer=\"lag-c\"}");
  EXPECT_GT(ValueOf("k2_lag_seconds{layer=\"lag-c\"}"), first);
}

TEST(LayerMetrics, CommitsAreCountedByOutcome) {
  const auto commits = [](const char* outcome) {
    return ValueOf(fmt::format("k2_commits_total{{layer=\"commit-a\",outcome=\"{}\",table=\"a_table\"}}", outcome));
  };
  const int64_t oldest_us = NowMicros() - 2 * kMicrosPerSecond;
  CountCommit("commit-a", "a_table", table::CommitDone{.snapshot_id = 1, .attempts = 1}, 20'000,
              MessageTimes{.oldest_us = oldest_us, .newest_us = NowMicros()});
  CountCommit("commit-a", "a_table", table::OutcomeUnknown{{ErrorKind::kCommitUnknown, "lost"}}, 20'000,
              MessageTimes{.oldest_us = oldest_us, .newest_us = NowMicros()});
  EXPECT_EQ(commits("committed"), 1);
  EXPECT_EQ(commits("unknown"), 1);
  EXPECT_EQ(commits("conflict"), 0);
  EXPECT_EQ(commits("refused"), 0);
  EXPECT_EQ(ValueOf("k2_commit_duration_seconds_count{layer=\"commit-a\"}"), 2);
  EXPECT_EQ(ValueOf("k2_latency_seconds_count{layer=\"commit-a\"}"), 1) << "what may not be applied is not visible";
  EXPECT_GE(ValueOf("k2_latency_seconds_sum{layer=\"commit-a\"}"), 2);
  EXPECT_TRUE(std::isnan(ValueOf("k2_lag_seconds{layer=\"commit-a\"}"))) << "its lag was never told";
}

TEST(MessageTimesTest, GoThroughASummary) {
  std::map<std::string, std::string> summary;
  EXPECT_FALSE(ReadTimes(summary));
  WriteTimes({.oldest_us = -5, .newest_us = 1'704'153'600'000'000}, summary);
  const auto read = ReadTimes(summary);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->oldest_us, -5);
  EXPECT_EQ(read->newest_us, 1'704'153'600'000'000);
  summary[kOldestMessageKey] = "12x";  // of a foreign writer
  EXPECT_FALSE(ReadTimes(summary));
}

TEST(MessageTimesTest, JoinToTheWidest) {
  const MessageTimes a{.oldest_us = 2, .newest_us = 5};
  EXPECT_FALSE(Join(std::nullopt, std::nullopt));
  EXPECT_EQ(Join(a, std::nullopt)->oldest_us, 2);
  EXPECT_EQ(Join(std::nullopt, a)->newest_us, 5);
  const auto both = Join(a, MessageTimes{.oldest_us = 1, .newest_us = 4});
  EXPECT_EQ(both->oldest_us, 1);
  EXPECT_EQ(both->newest_us, 5);
}

}  // namespace
}  // namespace k2::pipeline
