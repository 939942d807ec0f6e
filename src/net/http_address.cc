#include "net/http_address.h"

#include <charconv>

namespace k2::net {

std::string HttpAddress::ToString() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

Result<HttpAddress> ParseHttpAddress(std::string_view text) {
  const auto bad = [&] {
    return Fail(ErrorKind::kInvalidArgument, "'{}' is not an address to listen on: expected HOST:PORT, such as :9464",
                text);
  };
  HttpAddress address;
  const size_t colon = text.rfind(':');
  std::string_view host = colon == std::string_view::npos ? std::string_view{} : text.substr(0, colon);
  const std::string_view port = colon == std::string_view::npos ? text : text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    if (host.empty()) return bad();
  } else if (host.find(':') != std::string_view::npos) {
    return bad();
  }
  if (!host.empty()) address.host = host;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (port.empty() || error != std::errc() || end != port.data() + port.size() || address.port < 0 ||
      address.port > 65'535) {
    return bad();
  }
  return address;
}

}  // namespace k2::net
