// UTC times as microseconds since 1970, civil dates, RFC 3339 text. No time zones, no locale.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace k2 {

inline constexpr int64_t kMicrosPerSecond = 1'000'000;
inline constexpr int64_t kMicrosPerHour = 3'600 * kMicrosPerSecond;
inline constexpr int64_t kMicrosPerDay = 24 * kMicrosPerHour;

// Floors towards minus infinity, so that times before 1970 fall on the right day (Iceberg spec, partition transforms).
constexpr int64_t FloorDiv(int64_t value, int64_t divisor) { return value / divisor - (value % divisor < 0 ? 1 : 0); }
// What is left of it: never negative.
constexpr int64_t FloorMod(int64_t value, int64_t divisor) {
  return value % divisor + (value % divisor < 0 ? divisor : 0);
}

// Days since 1970-01-01 of a time in microseconds.
constexpr int32_t DayOfMicros(int64_t micros) { return static_cast<int32_t>(FloorDiv(micros, kMicrosPerDay)); }
// Hours since 1970-01-01T00 of a time in microseconds; of times beyond the year 246952 they need more than 32 bits.
constexpr int64_t HourOfMicros(int64_t micros) { return FloorDiv(micros, kMicrosPerHour); }

// `count` spans of `span_us` as microseconds, cut to what 64 bits hold.
constexpr int64_t SaturatedMicros(int64_t count, int64_t span_us) {
  int64_t micros = 0;
  if (!__builtin_mul_overflow(count, span_us, &micros)) return micros;
  return (count < 0) == (span_us < 0) ? INT64_MAX : INT64_MIN;
}
// First and last microsecond of a day or an hour since 1970, as far as 64 bits go.
constexpr int64_t FirstMicros(int64_t number, int64_t span_us) { return SaturatedMicros(number, span_us); }
constexpr int64_t LastMicros(int64_t number, int64_t span_us) {
  const int64_t end = SaturatedMicros(number + 1, span_us);
  return end == INT64_MAX || end == INT64_MIN ? end : end - 1;
}

// Times that K2 takes for real: within 2000-01-01 and 2200-01-01. Others are mistaken units (nanoseconds for
// microseconds) or broken, and many engines cannot even list partitions of such years.
inline constexpr int64_t kRealTimeMinUs = 10'957 * kMicrosPerDay;
inline constexpr int64_t kRealTimeEndUs = 84'006 * kMicrosPerDay;  // exclusive
constexpr bool IsRealTime(int64_t micros) { return micros >= kRealTimeMinUs && micros < kRealTimeEndUs; }

int64_t NowMicros();        // wall clock
int64_t MonotonicMicros();  // may stand still while the machine is suspended
int64_t BootMicros();       // monotonic, and runs on while the machine is suspended

// For tests: moves NowMicros and BootMicros, of this process. The environment variable K2_TEST_CLOCK does the same from
// outside: it names a file of two whole numbers, seconds of both, which is read whenever one of them is asked.
struct ClockShift {
  int64_t wall_us = 0;
  int64_t boot_us = 0;
};
void ShiftClocksForTests(const ClockShift& shift);

std::string FormatDate(int32_t days);              // 2024-08-08
std::string FormatTimestamp(int64_t micros);       // 2024-08-08T23:54:15.342000Z
Result<int32_t> ParseDate(std::string_view text);  // YYYY-MM-DD

// RFC 3339 date-time, or a bare date (midnight UTC). Fractions of any length are cut to microseconds; years 0000 to
// 9999; a missing offset means UTC. Error: kInvalidData.
Result<int64_t> ParseTimestamp(std::string_view text);

// Days since 1970-01-01 of a proleptic Gregorian date, and back.
constexpr int64_t DaysFromCivil(int64_t year, unsigned month, unsigned day) {
  year -= month <= 2 ? 1 : 0;
  const int64_t era = FloorDiv(year, 400);
  const auto year_of_era = static_cast<unsigned>(year - era * 400);
  const unsigned day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + static_cast<int64_t>(day_of_era) - 719468;
}

struct CivilDate {
  int64_t year;
  unsigned month;
  unsigned day;
};
CivilDate CivilFromDays(int64_t days);

}  // namespace k2
