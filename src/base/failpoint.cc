#include "base/failpoint.h"

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
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
  explicit Trap(const char* variable) : plan_(ReadPlan(variable)), remaining_(plan_.remaining) {}
  // Whether this passage is the one that is meant.
  bool Springs(std::string_view name) {
    return !plan_.name.empty() && plan_.name == name && remaining_.fetch_sub(1) == 1;
  }

 private:
  const Plan plan_;
  std::atomic<int> remaining_;
};

}  // namespace

void Failpoint(std::string_view name) {
  static Trap crash("K2_TEST_CRASH_AT");
  static Trap stop("K2_TEST_STOP_AT");
  static Trap exception("K2_TEST_THROW_AT");
  if (crash.Springs(name)) std::raise(SIGKILL);
  if (stop.Springs(name)) std::raise(SIGSTOP);
  if (exception.Springs(name)) throw std::logic_error(std::string("failpoint ") + std::string(name));
}

}  // namespace k2
