// Who we are to a REST catalog: a bearer token that was given, or OAuth2 client credentials that one is fetched with.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "base/result.h"
#include "base/secret.h"
#include "net/http.h"

namespace k2::catalog {

struct RestAuthOptions {
  Secret token;       // used first, where it is set
  Secret credential;  // "ID:SECRET", or a secret alone
  std::string scope = "catalog";
  std::string token_uri;
  std::shared_ptr<net::HttpClient> http;
  int64_t timeout_ms = 30'000;
  std::function<int64_t()> now_us;  // empty: the machine's monotonic clock
};

// Safe to share between threads.
class RestAuth {
 public:
  explicit RestAuth(RestAuthOptions options);

  // The value of the header Authorization; empty where there is nothing to say. Fetches a token where there is none or
  // its end is near (60 s before, but not before 80 % of its life); while the old one is valid it serves if no new one
  // can be had. Errors: kUnavailable (the token service does not answer), kPermission (it refuses).
  Result<std::string> Header();

  // A catalog answered 401 to `header`. True: Header() gives another now.
  bool Reject(const std::string& header);

  // The address that the catalog's configuration names.
  void SetTokenUri(const std::string& uri);

 private:
  Status Fetch();
  [[nodiscard]] int64_t NowUs() const;

  RestAuthOptions options_;
  std::mutex mutex_;   // held while a token is fetched: the others wait for it
  bool given_;         // the token of the options serves
  std::string token_;  // that was fetched
  int64_t renew_at_us_ = INT64_MAX;
  int64_t ends_at_us_ = INT64_MAX;
};

}  // namespace k2::catalog
