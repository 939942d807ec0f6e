#include "task/interval_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace k2::task {
namespace {

TEST(IntervalSet, AgreesWithASetOfNumbers) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 50; ++round) {
    IntervalSet intervals;
    std::set<int64_t> model;
    int64_t next = 0;
    for (int i = 0; i < 2000; ++i) {
      const int64_t value = random() % 3 == 0 ? static_cast<int64_t>(random() % 400) : next++;
      ASSERT_EQ(intervals.Insert(value), model.insert(value).second) << value;
      const auto probe = static_cast<int64_t>(random() % 400);
      ASSERT_EQ(intervals.Contains(probe), model.contains(probe)) << probe;
    }
    int64_t previous = -10;
    for (const auto& [begin, last] : intervals.ranges()) {
      ASSERT_GT(begin, previous + 1);  // neighbours have grown together
      previous = last;
    }
    IntervalSet other;
    other.Insert(1000);
    other.Insert(5);
    IntervalSet merged = intervals;
    merged.InsertAll(other);
    for (int64_t value = 0; value < 1100; ++value) {
      ASSERT_EQ(merged.Contains(value), model.contains(value) || value == 1000 || value == 5);
    }
  }
}

}  // namespace
}  // namespace k2::task
