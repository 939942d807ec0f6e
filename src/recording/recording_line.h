// The two parts of a recording's line.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/time.h"

namespace k2::recording {

struct RecordingLine {
  bool has_time = false;
  int64_t receive_us = 0;      // floor of the nanoseconds
  std::string_view frame;      // the whole line when it has no time
  bool of_other_unit = false;  // there is a number, and as nanoseconds it is no real time
};

// `<digits> <frame>`; what is not within the years 2000 to 2199 as nanoseconds is no time.
inline RecordingLine SplitRecordingLine(std::string_view line) {
  constexpr size_t kMaxDigits = 19;
  uint64_t nanos = 0;
  size_t i = 0;
  for (; i < line.size() && i < kMaxDigits && line[i] >= '0' && line[i] <= '9'; ++i) {
    nanos = nanos * 10 + static_cast<uint64_t>(line[i] - '0');
  }
  if (i == 0 || i >= line.size() || line[i] != ' ' || nanos > static_cast<uint64_t>(INT64_MAX)) {
    return {.frame = line, .of_other_unit = false};
  }
  if (!IsRealTime(static_cast<int64_t>(nanos / 1000))) return {.frame = line, .of_other_unit = true};
  return {.has_time = true, .receive_us = static_cast<int64_t>(nanos / 1000), .frame = line.substr(i + 1)};
}

}  // namespace k2::recording
