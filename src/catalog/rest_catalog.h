// A catalog behind HTTP that speaks Iceberg's REST API (rest-catalog-open-api.yaml): the server keeps the pointer and
// writes the metadata; a commit is requirements and updates that it applies.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/secret.h"
#include "catalog/catalog.h"
#include "catalog/rest_signer.h"
#include "net/http.h"
#include "storage/storage_credentials.h"

namespace k2::catalog {

struct RestCatalogOptions {
  std::string uri;        // of the API's root: "/v1/config" lies below it
  std::string warehouse;  // what /v1/config is asked for; empty: the catalog's only or default one
  Secret credential;      // "ID:SECRET": OAuth2 client credentials
  Secret token;           // bearer token; used before `credential`
  std::string scope = "catalog";
  std::string oauth2_server_uri;  // empty: what the catalog's configuration says, else {uri}/v1/oauth/tokens
  RestSigning signing;  // where it has credentials, requests are signed, and neither token nor credential sent
  std::vector<std::pair<std::string, std::string>> headers;  // sent with every request to the catalog
  Secret header_lines;                                       // more of these, "Name: value" a line
  // Where tables lie that are created without a location: <table_root>/<namespace>/<table>. Empty: the catalog's
  // choice.
  std::string table_root;
  std::shared_ptr<net::HttpClient> http;                     // empty: a client of its own
  std::shared_ptr<storage::StorageCredentials> credentials;  // gets the keys that come with tables; may be empty
  int64_t request_timeout_ms = 30'000;
  int64_t commit_timeout_ms = 30'000;
  int64_t retry_budget_ms = 30'000;  // for requests that can be sent twice, all tries together
  // Where set and true, no request is tried again, and none that can be sent twice is waited for longer than 5 s. Any
  // thread asks it.
  std::function<bool()> stopping;
  // For tests. Steps of Commit: "before-swap", "after-swap".
  std::function<void(std::string_view step)> on_step;
};

// Asks the catalog for its configuration. Errors: kInvalidArgument (no address, no such API there), kPermission,
// kUnavailable. The catalog is safe to share between threads.
Result<std::shared_ptr<Catalog>> OpenRestCatalog(RestCatalogOptions options);

}  // namespace k2::catalog
