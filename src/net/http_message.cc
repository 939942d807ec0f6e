#include "net/http_message.h"

#include <algorithm>

namespace k2::net {

std::string LowerAscii(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return lower;
}

std::string_view HttpServerRequest::Header(std::string_view name) const {
  const std::string wanted = LowerAscii(name);
  for (const auto& [header, value] : headers) {
    if (LowerAscii(header) == wanted) return value;
  }
  return {};
}

bool HttpServerRequest::HasParameter(std::string_view name) const {
  std::string_view rest = query;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view parameter = rest.substr(0, end);
    if (parameter.substr(0, parameter.find('=')) == name) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

}  // namespace k2::net
