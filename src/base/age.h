// How old an attempt at a commit is, by clocks that do not stand still while its process does.
//
// Files that no snapshot names may be removed when they are old enough (maintenance/orphans.h). An attempt whose
// process was stopped, or whose machine was suspended, must not name such files when it wakes: past a limit it times
// out before the catalog is asked, and its step is planned again.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/time.h"

namespace k2 {

// From the plan of a step, before its files are written, to the swap in the catalog. Rebuilds and steps on a cluster
// take hours at most; no orphan file younger than four times as much is ever removed.
inline constexpr int64_t kAttemptAgeMaxUs = 6 * kMicrosPerHour;
// Files that were written, or looked at, longer ago are looked at once more before a commit names them.
inline constexpr int64_t kLookAgainAfterUs = 60 * kMicrosPerSecond;

// When something began, by both clocks.
struct StartTime {
  int64_t wall_us = 0;
  int64_t boot_us = 0;  // 0: another process's, or another machine's, and not known
  static StartTime Now() { return {.wall_us = NowMicros(), .boot_us = BootMicros()}; }
  [[nodiscard]] bool known() const { return wall_us != 0; }
};

// The larger of what the wall clock and the boot clock tell: either may be wrong, and neither stands still in suspend.
int64_t AgeMicros(const StartTime& begun);

// kConflict: the attempt has timed out.
Status CheckAttemptAge(const StartTime& begun);

}  // namespace k2
