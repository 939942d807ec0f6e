// What to do when a step fails: a lost race, a service that is away, or the end.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/result.h"
#include "pipeline/layer_id.h"

namespace k2::pipeline {

struct RetryOptions {
  bool endless = false;                 // a service: it outlasts what its dependencies suffer
  int64_t takeover_us = 10'000'000;     // races lost within this time of each other mean that another writer is at work
  int64_t outage_us_max = 120'000'000;  // not endless: how long a service that does not answer is waited for
};

class RetryPolicy {
 public:
  enum class Next : uint8_t {
    kAgain,    // plan the step again; what was to be waited was waited
    kStandBy,  // another writer does this work
    kFail,     // nothing that passes by itself
  };

  RetryPolicy(const RetryOptions& options, LayerId layer, const std::atomic<bool>& stop)
      : options_(options), layer_(layer), stop_(stop) {}

  Next Judge(const Error& error);
  // A step went through that needed what the failed ones had lacked.
  void Reset();

 private:
  Next JudgeRace(const Error& error);
  Next JudgeOutage(const Error& error);
  void Sleep(int64_t micros) const;

  const RetryOptions options_;
  const LayerId layer_;
  const std::atomic<bool>& stop_;
  int races_in_a_row_ = 0;
  std::string last_race_;
  int64_t last_race_us_ = INT64_MIN / 2;
  int outages_in_a_row_ = 0;
  int64_t outage_since_us_ = 0;
};

}  // namespace k2::pipeline
