// Whether this process does its work: the layers' beats, and the answers of what it depends on. server/ shows it at
// /livez and /readyz. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace k2 {

struct HealthCheck {
  std::string name;
  bool ok = false;
  std::string detail;   // for people
  int64_t age_us = -1;  // since the last beat or answer; -1: there was none
};

struct HealthReport {
  bool ok = false;
  std::vector<HealthCheck> checks;  // by name, layers first
};

class Health {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  using Clock = std::function<int64_t()>;  // monotonic, in microseconds

  Health();
  explicit Health(Clock clock);

  // How old a layer's beat may be; 60 s unless set. Longer than anything a layer may rightly wait for.
  void SetBeatAgeMax(int64_t age_max_us);

  // `layer` runs in this process, and is to beat from now on; it is open once it has.
  void Expect(std::string_view layer);
  // `layer` has made another turn of its loop, with or without work.
  void Beat(std::string_view layer);
  // `layer`, or one of its tables, stands: it cannot go on until somebody mends what `why` says. Empty: it goes on.
  void Stands(std::string_view layer, std::string_view why);
  // `layer` has ended as it should: it is no longer watched.
  void Finished(std::string_view layer);

  // The last answer of something this process depends on ("kafka", "catalog", "storage", "registry"). Only those that
  // are asked regularly get an age beyond which silence counts as failure.
  void SetDependency(std::string_view name, bool ok, std::string_view detail = {}, int64_t age_max_us = kNever);

  // Every layer has beaten lately. Fine where no layer runs.
  [[nodiscard]] HealthReport Live() const;
  // Layers run, all are open and live, none stands, and all dependencies answered well the last time, lately enough.
  [[nodiscard]] HealthReport Ready() const;

 private:
  struct Layer {
    int64_t beat_us = 0;
    bool open = false;
    bool finished = false;
    std::string stands;  // why; empty: it does not
  };
  struct Dependency {
    bool ok = false;
    std::string detail;
    int64_t answered_us = 0;
    int64_t age_max_us = kNever;
  };
  [[nodiscard]] HealthReport Layers(bool must_work) const;  // open, and not standing; mutex_ is held

  Clock clock_;
  mutable std::mutex mutex_;
  int64_t beat_age_max_us_;
  std::map<std::string, Layer, std::less<>> layers_;
  std::map<std::string, Dependency, std::less<>> dependencies_;
};

// Of this process.
Health& ProcessHealth();

}  // namespace k2
