#include "base/time.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <fstream>

namespace k2 {
namespace {

std::atomic<int64_t> wall_shift_us{0};
std::atomic<int64_t> boot_shift_us{0};

// A file that is not there yet, or is being written, moves nothing.
ClockShift ShiftOfFile() {
  static const char* const path = std::getenv("K2_TEST_CLOCK");
  int64_t wall_s = 0;
  int64_t boot_s = 0;
  if (path == nullptr || !(std::ifstream(path) >> wall_s >> boot_s)) return {};
  return {.wall_us = wall_s * kMicrosPerSecond, .boot_us = boot_s * kMicrosPerSecond};
}

}  // namespace

void ShiftClocksForTests(const ClockShift& shift) {
  wall_shift_us = shift.wall_us;
  boot_shift_us = shift.boot_us;
}

int64_t NowMicros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
             .count() +
         wall_shift_us + ShiftOfFile().wall_us;
}

int64_t BootMicros() {
  timespec time{};
  ::clock_gettime(CLOCK_BOOTTIME, &time);
  return time.tv_sec * kMicrosPerSecond + time.tv_nsec / 1000 + boot_shift_us + ShiftOfFile().boot_us;
}

int64_t MonotonicMicros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

CivilDate CivilFromDays(int64_t days) {
  days += 719468;
  const int64_t era = FloorDiv(days, 146097);
  const auto day_of_era = static_cast<unsigned>(days - era * 146097);
  const unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const unsigned shifted_month = (5 * day_of_year + 2) / 153;
  const unsigned month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
  return {.year = static_cast<int64_t>(year_of_era) + era * 400 + (month <= 2 ? 1 : 0),
          .month = month,
          .day = day_of_year - (153 * shifted_month + 2) / 5 + 1};
}

std::string FormatDate(int32_t days) {
  const CivilDate date = CivilFromDays(days);
  return fmt::format("{:04}-{:02}-{:02}", date.year, date.month, date.day);
}

std::string FormatTimestamp(int64_t micros) {
  const int64_t of_day = FloorMod(micros, kMicrosPerDay);
  const int64_t seconds = of_day / kMicrosPerSecond;
  return fmt::format("{}T{:02}:{:02}:{:02}.{:06}Z", FormatDate(DayOfMicros(micros)), seconds / 3600, seconds / 60 % 60,
                     seconds % 60, of_day % kMicrosPerSecond);
}

namespace {

bool ReadDigits(std::string_view text, size_t at, size_t count, int& out) {
  if (at + count > text.size()) return false;
  out = 0;
  for (size_t i = at; i < at + count; ++i) {
    if (text[i] < '0' || text[i] > '9') return false;
    out = out * 10 + (text[i] - '0');
  }
  return true;
}

int DaysInMonth(int year, int month) {
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return month == 2 && leap ? 29 : kDays[month - 1];
}

bool ReadDate(std::string_view text, int64_t& days) {
  int year = 0;
  int month = 0;
  int day = 0;
  if (!ReadDigits(text, 0, 4, year) || !ReadDigits(text, 5, 2, month) || !ReadDigits(text, 8, 2, day)) return false;
  if (text[4] != '-' || text[7] != '-' || month < 1 || month > 12) return false;
  if (day < 1 || day > DaysInMonth(year, month)) return false;
  days = DaysFromCivil(year, static_cast<unsigned>(month), static_cast<unsigned>(day));
  return true;
}

// Reads `Z`, `+hh:mm`, `-hh:mm` or nothing at the end of a time; false when it is none of these.
bool ReadOffset(std::string_view text, int64_t& seconds) {
  seconds = 0;
  if (text.empty() || text == "Z" || text == "z") return true;
  int hours = 0;
  int minutes = 0;
  if (text.size() != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':') return false;
  if (!ReadDigits(text, 1, 2, hours) || !ReadDigits(text, 4, 2, minutes) || hours > 23 || minutes > 59) return false;
  seconds = (hours * 3600 + minutes * 60) * (text[0] == '-' ? -1 : 1);
  return true;
}

}  // namespace

Result<int32_t> ParseDate(std::string_view text) {
  int64_t days = 0;
  if (text.size() != 10 || !ReadDate(text, days)) {
    return Fail(ErrorKind::kInvalidData, "'{}' is not a date of the form YYYY-MM-DD", text);
  }
  return static_cast<int32_t>(days);
}

Result<int64_t> ParseTimestamp(std::string_view text) {
  const auto bad = [&] { return Fail(ErrorKind::kInvalidData, "'{}' is not an RFC 3339 time", text); };
  int64_t days = 0;
  if (text.size() < 10 || !ReadDate(text, days)) return bad();
  if (text.size() == 10) return days * kMicrosPerDay;
  int hour = 0;
  int minute = 0;
  int second = 0;
  if (text[10] != 'T' && text[10] != 't' && text[10] != ' ') return bad();
  if (!ReadDigits(text, 11, 2, hour) || !ReadDigits(text, 14, 2, minute) || !ReadDigits(text, 17, 2, second)) {
    return bad();
  }
  if (text[13] != ':' || text[16] != ':' || hour > 23 || minute > 59 || second > 59) return bad();
  size_t at = 19;
  int64_t fraction = 0;
  if (at < text.size() && text[at] == '.') {
    int digits = 0;
    for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, ++digits) {
      if (digits < 6) fraction = fraction * 10 + (text[at] - '0');
    }
    if (digits == 0) return bad();
    for (; digits < 6; ++digits) fraction *= 10;
  }
  int64_t offset_s = 0;
  if (!ReadOffset(text.substr(at), offset_s)) return bad();
  const int64_t seconds = days * 86'400 + hour * 3600 + minute * 60 + second - offset_s;
  return seconds * kMicrosPerSecond + fraction;
}

}  // namespace k2
