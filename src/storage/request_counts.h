// How requests to the services that this process depends on were answered: k2_service_requests_total.
#pragma once

#include "base/result.h"
#include "net/http.h"

namespace k2::storage {

enum class Service { kCatalog, kStorage };

// `answered`: whatever the protocol provides for, "not found" and conflicts included; `denied`: 401, 403, 419, the
// credentials do not hold; `failed`: no answer, throttled, 408, 5xx.
enum class RequestOutcome { kAnswered, kDenied, kFailed };

// One try of a request. What was not sent because its sender changed its mind (before_send) does not count.
void CountRequest(Service service, const Result<net::HttpResponse>& response);
void CountRequest(Service service, RequestOutcome outcome);

}  // namespace k2::storage
