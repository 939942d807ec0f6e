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

TEST(Time, DaysAndHoursOfAnyTimeAreExact) {
  for (const int64_t us : {INT64_MIN, INT64_MIN + 1, int64_t{-1}, int64_t{0}, INT64_MAX - 1, INT64_MAX}) {
    const int64_t hour = HourOfMicros(us);
    EXPECT_EQ(FloorDiv(hour, 24), DayOfMicros(us)) << us;
    EXPECT_LE(FirstMicros(hour, kMicrosPerHour), us);
    EXPECT_GE(LastMicros(hour, kMicrosPerHour), us);
    EXPECT_LE(FirstMicros(DayOfMicros(us), kMicrosPerDay), us);
    EXPECT_GE(LastMicros(DayOfMicros(us), kMicrosPerDay), us);
    EXPECT_FALSE(FormatTimestamp(us).empty());
  }
  EXPECT_EQ(HourOfMicros(INT64_MAX), 2'562'047'788);
  EXPECT_EQ(FormatTimestamp(INT64_MAX), "294247-01-10T04:00:54.775807Z");
  EXPECT_EQ(LastMicros(0, kMicrosPerHour), kMicrosPerHour - 1);
  EXPECT_EQ(FirstMicros(INT64_MIN, kMicrosPerDay), INT64_MIN);
}

TEST(Time, RealTimesAreOfTheYears2000To2199) {
  EXPECT_TRUE(IsRealTime(ParseTimestamp("2000-01-01T00:00:00Z").value()));
  EXPECT_FALSE(IsRealTime(ParseTimestamp("1999-12-31T23:59:59.999999Z").value()));
  EXPECT_TRUE(IsRealTime(ParseTimestamp("2199-12-31T23:59:59.999999Z").value()));
  EXPECT_FALSE(IsRealTime(ParseTimestamp("2200-01-01T00:00:00Z").value()));
  for (const int64_t us : {INT64_MIN, int64_t{0}, INT64_MAX}) EXPECT_FALSE(IsRealTime(us));
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
