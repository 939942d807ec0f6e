#include "storage/request_counts.h"

#include <array>

#include "base/metrics.h"

namespace k2::storage {
namespace {

struct OutcomeCounters {
  explicit OutcomeCounters(const char* service)
      : by_outcome{&Of(service, "answered"), &Of(service, "denied"), &Of(service, "failed")} {}

  static Counter& Of(const char* service, const char* outcome) {
    return CounterOf("k2_service_requests_total", "Requests to the services that this process depends on.",
                     {{"service", service}, {"outcome", outcome}});
  }
  std::array<Counter*, 3> by_outcome;
};

}  // namespace

void CountRequest(Service service, RequestOutcome outcome) {
  static const std::array<OutcomeCounters, 2> counters = {OutcomeCounters("catalog"), OutcomeCounters("storage")};
  counters.at(static_cast<size_t>(service)).by_outcome.at(static_cast<size_t>(outcome))->Add();
}

void CountRequest(Service service, const Result<net::HttpResponse>& response) {
  if (!response) {
    const ErrorKind kind = response.error().kind;
    if (kind == ErrorKind::kUnavailable || kind == ErrorKind::kIo) CountRequest(service, RequestOutcome::kFailed);
    return;
  }
  const int status = response->status;
  if (status == 401 || status == 403 || status == 419) return CountRequest(service, RequestOutcome::kDenied);
  const bool failed = status == 408 || status == 429 || status >= 500;
  CountRequest(service, failed ? RequestOutcome::kFailed : RequestOutcome::kAnswered);
}

}  // namespace k2::storage
