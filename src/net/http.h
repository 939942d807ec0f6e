// HTTP requests over one pool of connections.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace k2::net {

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  int64_t timeout_ms = 30'000;  // of the whole exchange
  int64_t connect_timeout_ms = 5'000;
  // A connection of its own: on a reused one that dies unanswered libcurl sends a request again by itself, which a
  // commit must not be.
  bool fresh_connection = false;
  // The reply's body as it comes, whatever its Content-Encoding says. Else gzip is asked for and undone.
  bool body_as_sent = false;
  // Not over a proxy that the environment names: for addresses of this very machine or network.
  bool direct = false;
  // Asked when the connection stands, before anything of the request goes out. An error ends the request unsent, and is
  // what Send returns.
  std::function<Status()> before_send;
};

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class HttpClient {
 public:
  virtual ~HttpClient() = default;
  // One try; any status is a response. Error kUnavailable: the request certainly was not sent (no address, refused, no
  // TLS). Error kIo: it may have been received and done (time-out, reset, a reply cut short).
  // Safe to call from several threads.
  virtual Result<HttpResponse> Send(const HttpRequest& request) = 0;
};

struct HttpOptions {
  std::string ca_file;  // PEM; empty: the system's
  std::string user_agent = "k2";
  int64_t max_response_bytes = int64_t{256} << 20;
};

std::shared_ptr<HttpClient> MakeHttpClient(const HttpOptions& options = {});

// "Name: value", one a line. Error kInvalidArgument shows no value: a line without a name, or one of a header that the
// client itself sets.
Result<std::vector<std::pair<std::string, std::string>>> ParseHeaderLines(std::string_view text);

// The address as it may stand in messages: no user, password or query, which can hold secrets.
std::string WithoutSecrets(const std::string& url);

// Percent-encodes everything but unreserved characters (RFC 3986 2.3).
std::string UrlEncode(std::string_view text);

}  // namespace k2::net
