// SIGINT and SIGTERM set a flag, by a thread of their own: what runs then ends in order.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cstdint>
#include <thread>

#include "base/time.h"

namespace k2::cli {

// To be made before any other thread, which then inherits that these signals are not for it.
class StopOnSignal {
 public:
  StopOnSignal() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    thread_ = std::jthread([this](const std::stop_token& ended) {
      while (!ended.stop_requested()) {
        const timespec wait{.tv_sec = 0, .tv_nsec = 50'000'000};
        if (sigtimedwait(&signals_, nullptr, &wait) <= 0) continue;
        if (!stop_) stopped_us_ = MonotonicMicros();
        stop_ = true;
      }
    });
  }
  [[nodiscard]] const std::atomic<bool>& stop() const { return stop_; }
  // Whether the signal came so long ago.
  [[nodiscard]] bool StoppedFor(int64_t micros) const { return stop_ && MonotonicMicros() - stopped_us_ >= micros; }

 private:
  sigset_t signals_{};
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> stopped_us_{0};  // monotonic
  std::jthread thread_;
};

}  // namespace k2::cli
