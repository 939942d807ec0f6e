// Requests to one REST catalog: address, headers, token, and how often one is tried.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/secret.h"
#include "catalog/rest_auth.h"
#include "catalog/rest_signer.h"
#include "net/http.h"

namespace k2::catalog {

struct RestCall {
  std::string method = "GET";
  std::string path;  // below the base address: "/v1/…", encoded
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;  // JSON
  int64_t timeout_ms = 30'000;
  bool fresh_connection = false;
  std::function<Status()> before_send;  // as HttpRequest's
};

class RestSession {
 public:
  RestSession(std::string base_uri, std::vector<std::pair<std::string, std::string>> headers,
              std::shared_ptr<net::HttpClient> http, std::shared_ptr<RestAuth> auth, int64_t retry_budget_ms,
              std::function<bool()> stopping = nullptr, std::shared_ptr<RestSigner> signer = nullptr,
              Secret header_lines = {});

  // `header_lines`: more headers (ParseHeaderLines), read for each request.
  // One try, and one more with a new token, or another signature, where the catalog answers 401 or 419 (403 to what is
  // signed), which prove that nothing was done.
  // Errors: kUnavailable (nothing was done), kPermission (no token, nothing was done), kIo (may have been done).
  Result<net::HttpResponse> Once(const RestCall& call);

  // For requests that can be sent twice: tries with back-off and jitter while the catalog does not answer, answers 408,
  // 429 or 5xx, or answers 200 with what is no JSON object, until the budget is used up or the process is stopping;
  // then the last error or reply.
  Result<net::HttpResponse> Repeating(const RestCall& call);

  [[nodiscard]] const std::string& base_uri() const { return base_uri_; }
  void set_base_uri(std::string uri) { base_uri_ = std::move(uri); }

 private:
  Result<net::HttpResponse> Send(const RestCall& call, net::HttpRequest& request, bool& may_do_better);
  // Returns sooner when the process is stopping.
  void Pause(int64_t pause_ms) const;
  [[nodiscard]] bool stopping() const { return stopping_ && stopping_(); }

  std::string base_uri_;
  std::vector<std::pair<std::string, std::string>> headers_;
  std::shared_ptr<net::HttpClient> http_;
  std::shared_ptr<RestAuth> auth_;
  int64_t retry_budget_ms_;
  std::function<bool()> stopping_;
  Secret header_lines_;
  std::shared_ptr<RestSigner> signer_;  // may be empty; else it signs, and no token is sent
};

}  // namespace k2::catalog
