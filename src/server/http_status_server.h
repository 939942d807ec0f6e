// What a process tells over HTTP: GET /metrics (Prometheus text), /livez, /readyz[?verbose], and / that lists them.
// Read only, without authentication: bind it where only the monitoring comes. What no client can do to it:
// net/http_server.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/health.h"
#include "base/result.h"
#include "net/http_address.h"
#include "net/http_message.h"
#include "net/http_server.h"

namespace k2::server {

class HttpStatusServer {
 public:
  // Listens, and answers in a thread of its own until it is destroyed. `hosts`: names and addresses that a request's
  // Host may be, besides localhost and the address. `health` outlives it. Error: kInvalidArgument when it cannot listen
  // there (the address is in use, or not this machine's), or one of the hosts is none.
  static Result<std::unique_ptr<HttpStatusServer>> Start(const net::HttpAddress& address, const Health& health,
                                                         const std::vector<std::string>& hosts = {});

  // Closes the port and all connections at once.
  ~HttpStatusServer();
  HttpStatusServer(const HttpStatusServer&) = delete;
  HttpStatusServer& operator=(const HttpStatusServer&) = delete;

  [[nodiscard]] const net::HttpAddress& address() const { return server_->address(); }  // with the port that was taken

 private:
  explicit HttpStatusServer(std::unique_ptr<net::HttpServer> server);
  std::unique_ptr<net::HttpServer> server_;
};

// What it answers.
net::HttpServerResponse StatusResponse(const net::HttpServerRequest& request, const Health& health);

}  // namespace k2::server
