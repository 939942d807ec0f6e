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

Plan ReadPlan() {
  const char* text = std::getenv("K2_TEST_CRASH_AT");
  if (text == nullptr) return {};
  const std::string_view value(text);
  const size_t colon = value.rfind(':');
  Plan plan{.name = std::string(value.substr(0, colon)), .remaining = 1};
  if (colon != std::string_view::npos) {
    std::from_chars(value.data() + colon + 1, value.data() + value.size(), plan.remaining);
  }
  return plan;
}

}  // namespace

void Failpoint(std::string_view name) {
  static const Plan plan = ReadPlan();
  if (plan.name.empty() || plan.name != name) return;
  static std::atomic<int> remaining{plan.remaining};
  if (remaining.fetch_sub(1) == 1) std::raise(SIGKILL);
}

}  // namespace k2
