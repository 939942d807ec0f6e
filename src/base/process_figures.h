// What the system says of this process.
#pragma once

#include <cstdint>

namespace k2 {

// -1 where it cannot be read.
struct ProcessFigures {
  int64_t resident_bytes = -1;
  int64_t virtual_bytes = -1;
  double cpu_seconds = -1;
  double start_time_seconds = -1;  // since 1970
  int64_t open_fds = -1;
  int64_t max_fds = -1;
};

// From /proc/self; some tens of microseconds.
ProcessFigures ReadProcessFigures();

}  // namespace k2
