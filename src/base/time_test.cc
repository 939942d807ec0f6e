#include "base/time.h"

#include <gtest/gtest.h>

namespace k2 {
namespace {

TEST(Time, FloorsBefore1970) {
  EXPECT_EQ(DayOfMicros(-1), -1);
  EXPECT_EQ(DayOfMicros(-kMicrosPerDay), -1);
  EXPECT_EQ(DayOfMicros(-kMicrosPerDay - 1), -2);
  EXPECT_EQ(HourOfMicros(kMicrosPerHour - 1), 0);
}

TEST(Time, RoundTripsDates) {
  for (int32_t day = -800'000; day < 800'000; day += 97) {
    if (CivilFromDays(day).year < 0 || CivilFromDays(day).year > 9999) continue;
    ASSERT_EQ(ParseDate(FormatDate(day)).value(), day) << FormatDate(day);
  }
}

TEST(Time, ParsesRfc3339) {
  EXPECT_EQ(ParseTimestamp("2023-09-25T07:48:36.925533Z").value(), 1695628116925533);
  EXPECT_EQ(ParseTimestamp("2023-09-25T07:48:36.9255339Z").value(), 1695628116925533);
  EXPECT_EQ(ParseTimestamp("2023-09-25T07:48:36Z").value(), 1695628116000000);
  EXPECT_EQ(ParseTimestamp("2023-09-25T09:48:36+02:00").value(), 1695628116000000);
  EXPECT_EQ(ParseTimestamp("2023-09-25").value(), 1695600000000000);
  EXPECT_EQ(ParseTimestamp("1969-12-31T23:59:59.999999Z").value(), -1);
  EXPECT_EQ(FormatTimestamp(-1), "1969-12-31T23:59:59.999999Z");
  for (const char* bad : {"", "2023", "2023-02-29", "2023-13-01", "2023-09-25T24:00:00Z", "2023-09-25T07:48:36.Z",
                          "2023-09-25T07:48:36X", "2023-09-25X07:48:36Z", "2023-09-25T07:48:36+2:00"}) {
    EXPECT_FALSE(ParseTimestamp(bad)) << bad;
  }
}

}  // namespace
}  // namespace k2
