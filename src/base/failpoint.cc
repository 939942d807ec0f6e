#include "base/failpoint.h"

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <string>

namespace k2 {
namespace {

struct Plan {
  std::string name;
  int remaining = 1;
};

Plan ReadPlan(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return {};
  const std::string_view value(text);
  const size_t colon = value.rfind(':');
  Plan plan{.name = std::string(value.substr(0, colon)), .remaining = 1};
  if (colon != std::string_view::npos) {
    std::from_chars(value.data() + colon + 1, value.data() + value.size(), plan.remaining);
  }
  return plan;
}

class Trap {
 public:
  Trap(const char* variable, int signal) : plan_(ReadPlan(variable)), remaining_(plan_.remaining), signal_(signal) {}
  void Pass(std::string_view name) {
    if (!plan_.name.empty() && plan_.name == name && remaining_.fetch_sub(1) == 1) std::raise(signal_);
  }

 private:
  const Plan plan_;
  std::atomic<int> remaining_;
  const int signal_;
};

}  // namespace

void Failpoint(std::string_view name) {
  static Trap crash("K2_TEST_CRASH_AT", SIGKILL);
  static Trap stop("K2_TEST_STOP_AT", SIGSTOP);
  crash.Pass(name);
  stop.Pass(name);
}

}  // namespace k2
