#include "base/age.h"

#include <algorithm>

namespace k2 {

int64_t AgeMicros(const StartTime& begun) {
  const int64_t by_wall = NowMicros() - begun.wall_us;
  return begun.boot_us == 0 ? by_wall : std::max(by_wall, BootMicros() - begun.boot_us);
}

Status CheckAttemptAge(const StartTime& begun) {
  const int64_t age_us = AgeMicros(begun);
  if (age_us <= kAttemptAgeMaxUs) return {};
  return Fail(ErrorKind::kConflict,
              "the attempt timed out: it began {} minutes ago, and after {} minutes its files may have been removed as "
              "orphan files; the commit was not sent to the catalog",
              age_us / (60 * kMicrosPerSecond), kAttemptAgeMaxUs / (60 * kMicrosPerSecond));
}

}  // namespace k2
