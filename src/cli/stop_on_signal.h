// SIGINT and SIGTERM set a flag, by a thread of their own: what runs then ends in order.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <thread>

namespace k2 {

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
        if (sigtimedwait(&signals_, nullptr, &wait) > 0) stop_ = true;
      }
    });
  }
  [[nodiscard]] const std::atomic<bool>& stop() const { return stop_; }

 private:
  sigset_t signals_{};
  std::atomic<bool> stop_{false};
  std::jthread thread_;
};

}  // namespace k2
