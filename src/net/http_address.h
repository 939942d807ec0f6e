// Where a server listens.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace k2::net {

struct HttpAddress {
  std::string host = "127.0.0.1";
  int port = 0;  // 0: any that is free

  [[nodiscard]] std::string ToString() const;  // host:port, [host]:port for IPv6
};

// "host:port", ":port" and "port" (on 127.0.0.1), "[::1]:port", "0.0.0.0:port". Error: kInvalidArgument.
Result<HttpAddress> ParseHttpAddress(std::string_view text);

}  // namespace k2::net
