// A small HTTP/1.1 server for what a process tells about itself: one thread, and nothing that a client can make grow.
// Each client and all together have a number of connections; beyond it the connection that has waited longest makes
// place for the new one, so that who asks and listens is answered beside any number of clients that do not. A request
// and a response have a time in all, a request a size; a client has a rate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "net/http_address.h"
#include "net/http_message.h"

namespace k2::net {

struct HttpLimits {
  size_t head_bytes_max = 8 * 1024;  // request line and headers; browsers send localhost the cookies of all its ports
  size_t body_bytes_max = 0;         // 0: requests have no body
  size_t connections_max = 256;
  size_t connections_per_client_max = 128;  // a client: an IPv4 address, or an IPv6 network of 64 bits
  int requests_per_connection_max = 100;
  double requests_per_second = 20;  // by client, in the long run
  double requests_burst = 100;      // by client, at once
  int64_t request_time_max_us =
      3 * kMicrosPerSecond;  // from its first byte, or the connection's beginning, to its last
  int64_t response_time_max_us = 5 * kMicrosPerSecond;  // until the client has taken it
  int64_t idle_time_max_us = 8 * kMicrosPerSecond;      // between two requests
};

// What holds for a path; of others, neither.
struct HttpPathRule {
  bool unlimited = false;                 // for probes: answered beyond the client's rate
  bool any_host_beyond_loopback = false;  // for monitoring, which uses names of its own: any Host where the server
                                          // listens beyond loopback
};

struct HttpServerOptions {
  HttpAddress address;
  std::vector<std::string> hosts;  // further names and addresses that a request's Host may be (net/host_header.h)
  std::map<std::string, HttpPathRule, std::less<>> paths = {};
  HttpLimits limits = {};
  int niceness = 0;  // of its thread: the process's own work comes first where cores are short
};

class HttpServer {
 public:
  // Runs in the server's thread, one call at a time, and must not wait: others are answered after it. What it throws
  // is logged and answered 500. Requests that are refused (400, 408, 411, 413, 414, 417, 421, 429, 431, 505) do not
  // come to it. The body of its answer to HEAD is not sent.
  using Handler = std::function<HttpServerResponse(const HttpServerRequest&)>;

  // Error: kInvalidArgument, it cannot listen there (the address is in use, or not this machine's), or a host is none.
  static Result<std::unique_ptr<HttpServer>> Start(HttpServerOptions options, Handler handler);

  // Closes the port and all connections at once.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  [[nodiscard]] const HttpAddress& address() const;  // with the port that was taken

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace k2::net
