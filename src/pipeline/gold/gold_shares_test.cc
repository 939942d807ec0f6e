#include "pipeline/gold/gold_shares.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "pipeline/layer_fixture.h"

namespace k2::pipeline {
namespace {

task::GoldTask TaskOf(int32_t files, const std::vector<int64_t>& existing_hours = {}) {
  task::GoldTask task;
  task.inputs.resize(1);
  for (int32_t i = 0; i < files; ++i) task.inputs[0].files.push_back({.path = std::to_string(i), .record_count = 1});
  for (const int64_t hour : existing_hours) {
    task.existing.push_back({.path = "e" + std::to_string(hour), .first_hour = hour, .last_hour = hour});
  }
  return task;
}

// Every (file, hour, share) that rows may be in, and how many tasks take it.
std::map<std::tuple<std::string, int64_t, int32_t>, int> Coverage(const std::vector<task::GoldTask>& tasks) {
  std::map<std::tuple<std::string, int64_t, int32_t>, int> covered;
  constexpr int32_t kBuckets = 5040;  // divisible by all numbers of shares that are drawn here
  for (const task::GoldTask& task : tasks) {
    for (const task::GoldInput& input : task.inputs) {
      for (const task::InputFile& file : input.files) {
        for (const int64_t hour : task.hours) {
          for (int32_t bucket = task.share; bucket < kBuckets; bucket += task.shares) {
            if (bucket % 720 < 10) ++covered[{file.path, hour, bucket}];
          }
        }
      }
    }
  }
  return covered;
}

TEST(GoldShares, FewRowsAreOneTask) {
  const auto tasks = ShareOut(TaskOf(1), {{.first_hour = 5, .last_hour = 9, .rows = 1000}}, {.tasks = 8, .cores = 8});
  ASSERT_EQ(tasks.size(), 1U);
  EXPECT_TRUE(tasks[0].hours.empty());
  EXPECT_EQ(tasks[0].shares, 1);
}

TEST(GoldShares, UnknownHoursAreOneTask) {
  const auto tasks =
      ShareOut(TaskOf(2),
               {{.first_hour = 5, .last_hour = 5, .rows = 4'000'000},
                {.first_hour = -2'000'000'000, .last_hour = 2'000'000'000, .rows = 1, .input = 0, .file = 1}},
               {.tasks = 8, .cores = 8});
  ASSERT_EQ(tasks.size(), 1U);
  EXPECT_TRUE(tasks[0].hours.empty());
  EXPECT_EQ(tasks[0].inputs[0].files.size(), 2U);
}

TEST(GoldShares, OneLargeHourIsSharedOutByIds) {
  const auto tasks =
      ShareOut(TaskOf(1, {7, 8}), {{.first_hour = 7, .last_hour = 7, .rows = 4'000'000}}, {.tasks = 4, .cores = 4});
  ASSERT_EQ(tasks.size(), 4U);
  std::set<int32_t> shares;
  for (const task::GoldTask& task : tasks) {
    EXPECT_EQ(task.hours, std::vector<int64_t>{7});
    EXPECT_EQ(task.shares, 4);
    ASSERT_EQ(task.existing.size(), 1U);
    EXPECT_EQ(task.existing[0].first_hour, 7);
    shares.insert(task.share);
  }
  EXPECT_EQ(shares.size(), 4U);
}

// All of them read the whole hour, and none is done early.
TEST(GoldShares, OneHourHasAShareACore) {
  const GoldSpread spread{.tasks = 8, .cores = 4};
  const std::vector<GoldSlice> one = {{.first_hour = 7, .last_hour = 7, .rows = 2'000'000}};
  EXPECT_EQ(ShareOut(TaskOf(1), one, spread).size(), 4U);
  const std::vector<GoldSlice> two = {{.first_hour = 7, .last_hour = 7, .rows = 1'000'000},
                                      {.first_hour = 8, .last_hour = 8, .rows = 1'000'000, .file = 1}};
  EXPECT_EQ(ShareOut(TaskOf(2), two, spread).size(), 4U);
}

TEST(GoldShares, WhatIsTooMuchForMemoryHasMoreSharesThanCores) {
  const std::vector<GoldSlice> one = {{.first_hour = 7, .last_hour = 7, .rows = 6 << 20}};
  EXPECT_EQ(ShareOut(TaskOf(1), one, {.tasks = 8, .cores = 2}).size(), 6U);
  EXPECT_EQ(ShareOut(TaskOf(1), one, {.tasks = 4, .cores = 2}).size(), 4U);
}

// Each share opens all files of its hour.
TEST(GoldShares, VeryManyFilesOfOneHourAreFewShares) {
  constexpr size_t kFiles = 50'000;
  std::vector<GoldSlice> slices;
  for (size_t i = 0; i < kFiles; ++i) slices.push_back({.first_hour = 7, .last_hour = 7, .rows = 10'000, .file = i});
  const auto tasks = ShareOut(TaskOf(kFiles), slices, {.tasks = 1000, .cores = 1000});
  EXPECT_EQ(tasks.size(), 20U);
  for (size_t i = 0; i < tasks.size(); ++i) {
    EXPECT_EQ(tasks[i].share, static_cast<int32_t>(i));
    EXPECT_EQ(tasks[i].shares, 20);
  }
}

TEST(GoldShares, EveryRowIsInOneTaskWithAllThatGoldHoldsOfItsHour) {
  const uint64_t seed = TestSeed();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 50; ++round) {
    std::vector<GoldSlice> slices;
    std::vector<int64_t> existing;
    for (int64_t hour = 100; hour < 130; ++hour) existing.push_back(hour);
    const auto files = static_cast<int32_t>(random() % 12 + 1);
    for (int32_t i = 0; i < files; ++i) {
      const auto first = static_cast<int64_t>(100 + random() % 20);
      slices.push_back({.first_hour = first,
                        .last_hour = first + static_cast<int64_t>(random() % (random() % 3 == 0 ? 10 : 1)),
                        .rows = static_cast<int64_t>(random() % 900'000),
                        .input = 0,
                        .file = static_cast<size_t>(i)});
    }
    const GoldSpread spread{.tasks = static_cast<int32_t>(random() % 7 + 1),
                            .cores = static_cast<int32_t>(random() % 7 + 1)};
    task::GoldTask whole = TaskOf(files, existing);
    for (const auto& [first, last] : {std::pair{90, 105}, {110, 112}, {INT32_MIN, INT32_MAX}}) {
      whole.existing.push_back({.path = "wide", .first_hour = first, .last_hour = last});
    }
    const auto tasks = ShareOut(whole, slices, spread);
    if (tasks.size() == 1 && tasks[0].hours.empty()) continue;
    const auto covered = Coverage(tasks);
    for (const auto& [place, times] : covered) ASSERT_EQ(times, 1);
    for (size_t i = 0; i < slices.size(); ++i) {
      for (int64_t hour = slices[i].first_hour; hour <= slices[i].last_hour; ++hour) {
        for (int32_t bucket = 0; bucket < 7; ++bucket) {
          ASSERT_TRUE(covered.contains({std::to_string(i), hour, bucket})) << i << " " << hour << " " << bucket;
        }
      }
    }
    for (const task::GoldTask& task : tasks) {
      std::set<int64_t> held;
      std::set<std::pair<int64_t, int64_t>> wide;
      for (const task::GoldFile& file : task.existing) {
        if (file.OfOneHour()) {
          held.insert(file.first_hour);
        } else {
          wide.insert({file.first_hour, file.last_hour});
        }
      }
      EXPECT_EQ(held, std::set<int64_t>(task.hours.begin(), task.hours.end()));
      for (const auto& [first, last] : {std::pair{90, 105}, {110, 112}, {INT32_MIN, INT32_MAX}}) {
        const bool needed =
            std::ranges::any_of(task.hours, [&](int64_t hour) { return first <= hour && hour <= last; });
        EXPECT_EQ(wide.contains({first, last}), needed);
      }
    }
  }
}

}  // namespace
}  // namespace k2::pipeline
