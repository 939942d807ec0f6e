#include "pipeline/retry_policy.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error_text.h"
#include "base/log.h"
#include "base/time.h"

namespace k2::pipeline {
namespace {

constexpr int kRacesInARow = 40;  // each means that another writer has got on
constexpr int64_t kOutageAtStopUsMax = 10'000'000;

// A planned file that is not found may be gone because another writer compacted its table and expired the snapshots.
bool MayBeARace(ErrorKind kind) {
  return kind == ErrorKind::kOffsetMismatch || kind == ErrorKind::kConflict || kind == ErrorKind::kNotFound;
}

bool MayBeAnOutage(ErrorKind kind, bool endless) {
  if (kind == ErrorKind::kUnavailable) return true;
  // What a batch run reports at once, a service waits out: the next step begins again from what the tables hold, which
  // is safe whatever became of this one.
  return endless && (kind == ErrorKind::kIo || kind == ErrorKind::kNoSpace || kind == ErrorKind::kCommitUnknown);
}

}  // namespace

RetryPolicy::Next RetryPolicy::Judge(const Error& error) {
  if (MayBeARace(error.kind)) return JudgeRace(error);
  if (MayBeAnOutage(error.kind, options_.endless)) return JudgeOutage(error);
  return Next::kFail;
}

RetryPolicy::Next RetryPolicy::JudgeRace(const Error& error) {
  // The same again after planning anew is no race: what must be there is not there.
  if (error.kind != ErrorKind::kConflict && error.message == last_race_) return Next::kFail;
  last_race_ = error.message;
  const int64_t now_us = MonotonicMicros();
  const bool again = now_us - last_race_us_ < options_.takeover_us;
  last_race_us_ = now_us;
  if (options_.endless && again) return Next::kStandBy;
  if (!options_.endless && ++races_in_a_row_ > kRacesInARow) return Next::kFail;
  log::Warn("tables changed during a step; planning it again",
            {{"layer", ToString(layer_)}, {"error", MessageAndHint(error)}});
  Sleep((races_in_a_row_ * 5 + now_us % 20) * 1000);
  return Next::kAgain;
}

RetryPolicy::Next RetryPolicy::JudgeOutage(const Error& error) {
  const int64_t now_us = MonotonicMicros();
  if (outages_in_a_row_++ == 0) outage_since_us_ = now_us;
  const int64_t lasted_us = now_us - outage_since_us_;
  if (stop_.load() && lasted_us > kOutageAtStopUsMax) return Next::kFail;
  if (!options_.endless && lasted_us > options_.outage_us_max) return Next::kFail;
  log::Warn("a step failed; retrying", {{"layer", ToString(layer_)}, {"error", MessageAndHint(error)}});
  constexpr int64_t kWaitUsMax = 5'000'000;
  const int64_t wait_us = std::min<int64_t>(kWaitUsMax, int64_t{100'000} << std::min(outages_in_a_row_ - 1, 6));
  Sleep(wait_us / 2 + now_us % (wait_us / 2));
  return Next::kAgain;
}

void RetryPolicy::Reset() {
  outages_in_a_row_ = 0;
  races_in_a_row_ = 0;
  last_race_.clear();
}

void RetryPolicy::Sleep(int64_t micros) const {
  constexpr int64_t kSliceUs = 50'000;
  for (int64_t left = micros; left > 0 && !stop_.load(); left -= kSliceUs) {
    std::this_thread::sleep_for(std::chrono::microseconds(std::min(left, kSliceUs)));
  }
}

}  // namespace k2::pipeline
