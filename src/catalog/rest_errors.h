// What a REST catalog's refusals mean (rest-catalog-open-api.yaml, IcebergErrorResponse).
#pragma once

#include <string>
#include <string_view>

#include "catalog/catalog.h"
#include "net/http.h"

namespace k2::catalog {

// A reply that is no success.
struct RestFailure {
  int status = 0;
  std::string type;     // "NoSuchTableException", …; empty where the body is not in the API's form
  std::string message;  // the server's words, cut to a line's length
};
RestFailure ReadFailure(const net::HttpResponse& reply);

// "`what`: 404 NoSuchTableException: …". Kinds: kNotFound 404, kAlreadyExists 409, kPermission 401 403 419,
// kUnsupported 405 406 501, kUnavailable 408 429 and the other 5xx, else kInvalidArgument.
Error ErrorOf(const RestFailure& failure, std::string_view what);

// The same of a commit's reply. What the server does not say for certain is Unknown: each 5xx (gateways make them after
// the catalog has applied the commit), and whatever calls itself CommitStateUnknownException.
CommitOutcome OutcomeOf(const RestFailure& failure, std::string_view what);

// Whether a request that changes nothing may go through when it is sent again.
bool IsPassing(int status);

}  // namespace k2::catalog
