#include "base/metrics.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <regex>
#include <sstream>
#include <thread>

#include "base/process_figures.h"
#include "base/time.h"

namespace k2 {
namespace {

// The value of a sample line, by its text before the value; empty where there is none.
std::string ValueOf(const std::string& series) {
  std::istringstream lines(ExposeMetrics());
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(series + " ")) return line.substr(series.size() + 1);
  }
  return {};
}

TEST(Metrics, CountsFromManyThreads) {
  Counter& counter = CounterOf("test_threads_total", "Counted by threads.", {{"kind", "a"}});
  EXPECT_EQ(ValueOf("test_threads_total{kind=\"a\"}"), "0") << "a series is shown before it counts";
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 10'000; ++n) counter.Add();
    });
  }
  threads.clear();
  counter.Add(-5);  // a counter never falls
  EXPECT_EQ(ValueOf("test_threads_total{kind=\"a\"}"), "40000");
}

TEST(Metrics, SameNameAndLabelsAreOneSeries) {
  Counter& first = CounterOf("test_same_total", "Help of the first.", {{"a", "1"}, {"b", "2"}});
  EXPECT_EQ(&first, &CounterOf("test_same_total", "Another help.", {{"b", "2"}, {"a", "1"}}));
  EXPECT_NE(&first, &CounterOf("test_same_total", "Another help.", {{"a", "1"}, {"b", "3"}}));
  const std::string text = ExposeMetrics();
  EXPECT_NE(text.find("# HELP test_same_total Help of the first.\n# TYPE test_same_total counter\n"),
            std::string::npos);
  EXPECT_EQ(text.find("# TYPE test_same_total", text.find("# TYPE test_same_total") + 1), std::string::npos);
}

TEST(Metrics, HiddenGaugesAreNotShown) {
  Gauge& gauge = GaugeOf("test_level", "A level.");
  gauge.Set(2.5);
  gauge.Add(4);
  EXPECT_EQ(ValueOf("test_level"), "6.5");
  gauge.Hide();
  EXPECT_EQ(ExposeMetrics().find("test_level"), std::string::npos);
  gauge.Set(-1);
  EXPECT_EQ(ValueOf("test_level"), "-1");
}

TEST(Metrics, HistogramsHoldTheirBucketsSumAndCount) {
  Histogram& histogram = HistogramOf("test_duration_seconds", "A duration.", {}, {0.1, 1});
  histogram.ObserveMicros(50'000);
  histogram.ObserveMicros(500'000);
  histogram.ObserveMicros(5'000'000);
  EXPECT_EQ(ValueOf("test_duration_seconds_bucket{le=\"0.1\"}"), "1");
  EXPECT_EQ(ValueOf("test_duration_seconds_bucket{le=\"1\"}"), "2");
  EXPECT_EQ(ValueOf("test_duration_seconds_bucket{le=\"+Inf\"}"), "3");
  EXPECT_EQ(ValueOf("test_duration_seconds_count"), "3");
  EXPECT_DOUBLE_EQ(std::stod(ValueOf("test_duration_seconds_sum")), 5.55);
}

TEST(Metrics, ARefusedSeriesCountsNothingAndStopsNothing) {
  CounterOf("not a name", "Refused.").Add();
  CounterOf("test_kind_total", "A counter.").Add();
  GaugeOf("test_kind_total", "A gauge of the same name.").Set(7);
  EXPECT_EQ(ValueOf("test_kind_total"), "1");
  EXPECT_EQ(ExposeMetrics().find("not a name"), std::string::npos);
}

TEST(Metrics, LabelValuesAreEscaped) {
  GaugeOf("test_escaped", "A label of many signs.", {{"topic", "a\"b\\c\nd"}}).Set(1);
  EXPECT_EQ(ValueOf(R"(test_escaped{topic="a\"b\\c\nd"})"), "1");
}

TEST(Metrics, IsUpdatedAtEachScrape) {
  AtScrape([] { CounterOf("test_scrapes_total", "Scrapes.").Add(); });
  EXPECT_EQ(ValueOf("test_scrapes_total"), "1");
  EXPECT_EQ(ValueOf("test_scrapes_total"), "2");
}

TEST(Metrics, EveryLineIsWellFormedAndFamiliesAreSorted) {
  const std::regex form(
      R"(# (HELP|TYPE) [a-zA-Z_:][\w:]* .+|[a-zA-Z_:][\w:]*(\{\w+="(\\.|[^"\\])*"(,\w+="(\\.|[^"\\])*")*\})? [-+\w.]+)");
  std::istringstream lines(ExposeMetrics());
  std::string last;
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(std::regex_match(line, form)) << line;
    if (!line.starts_with("# TYPE ")) continue;
    EXPECT_LT(last, line);
    last = line;
  }
}

TEST(ProcessFigures, AreThoseOfThisProcess) {
  const ProcessFigures before = ReadProcessFigures();
  EXPECT_GT(before.resident_bytes, 1 << 20);
  EXPECT_GE(before.virtual_bytes, before.resident_bytes);
  EXPECT_GE(before.cpu_seconds, 0);
  EXPECT_GT(before.max_fds, before.open_fds);
  const double now = static_cast<double>(NowMicros()) / 1e6;
  EXPECT_LE(before.start_time_seconds, now + 1);
  EXPECT_GT(before.start_time_seconds, now - 600) << "the test has not run for ten minutes";
  const int copy = ::dup(STDERR_FILENO);
  EXPECT_EQ(ReadProcessFigures().open_fds, before.open_fds + 1);
  ::close(copy);
  EXPECT_FALSE(ValueOf("process_resident_memory_bytes").empty());
  EXPECT_FALSE(ValueOf("process_cpu_seconds_total").empty());
}

}  // namespace
}  // namespace k2
