// What a process tells over HTTP: GET /metrics (Prometheus text), /livez, /readyz[?verbose], and / that lists them.
// Read only, without authentication: bind it where only the monitoring comes.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/health.h"
#include "base/result.h"

namespace k2 {

struct HttpAddress {
  std::string host = "127.0.0.1";
  int port = 0;  // 0: any that is free

  [[nodiscard]] std::string ToString() const;  // host:port, [host]:port for IPv6
};

// "host:port", ":port" and "port" (on 127.0.0.1), "[::1]:port", "0.0.0.0:port". Error: kInvalidArgument.
Result<HttpAddress> ParseHttpAddress(std::string_view text);

class HttpStatusServer {
 public:
  // Listens, and answers in threads of its own until it is destroyed. `health` outlives it. Error: kInvalidArgument
  // when it cannot listen there (the address is in use, or not this machine's).
  static Result<std::unique_ptr<HttpStatusServer>> Start(const HttpAddress& address, const Health& health);

  // Ends what is being answered and closes the port, within a few seconds even where a client does not read.
  ~HttpStatusServer();
  HttpStatusServer(const HttpStatusServer&) = delete;
  HttpStatusServer& operator=(const HttpStatusServer&) = delete;

  [[nodiscard]] const HttpAddress& address() const { return address_; }  // with the port that was taken

 private:
  class Impl;
  HttpStatusServer(HttpAddress address, std::unique_ptr<Impl> impl);

  HttpAddress address_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace k2
