// What the system says of this process.
#pragma once

#include <cstdint>
#include <string>

namespace k2 {

// -1 where it cannot be read.
struct ProcessFigures {
  int64_t resident_bytes = -1;
  int64_t virtual_bytes = -1;
  double cpu_seconds = -1;
  double start_time_seconds = -1;  // since 1970
  int64_t open_fds = -1;
  int64_t max_fds = -1;
  int64_t memory_limit_bytes = -1;  // of the control group, or of one above it, where that is less than the machine has
};

// From /proc/self; some tens of microseconds.
ProcessFigures ReadProcessFigures();

// What the control group `group` ("/a/b", as /proc/self/cgroup has it) and those above it may use; -1: no limit there.
// `root` is where version 2 of control groups is mounted; the memory controller of version 1 lies in `memory` below it.
int64_t ControlGroupMemoryBytes(const std::string& root, const std::string& group);

}  // namespace k2
