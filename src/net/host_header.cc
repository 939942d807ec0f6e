#include "net/host_header.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "net/http_message.h"

namespace k2::net {
namespace {

constexpr size_t kHostBytesMax = 255;

// An address of either family, IPv4 within IPv6 as IPv4. Empty: it is none.
std::string CanonicalAddress(const std::string& text, bool six) {
  std::array<char, INET6_ADDRSTRLEN> shown{};
  if (!six) {
    in_addr four{};
    if (::inet_pton(AF_INET, text.c_str(), &four) != 1) return {};
    return ::inet_ntop(AF_INET, &four, shown.data(), shown.size());
  }
  in6_addr address{};
  if (::inet_pton(AF_INET6, text.c_str(), &address) != 1) return {};
  if (IN6_IS_ADDR_V4MAPPED(&address)) return ::inet_ntop(AF_INET, address.s6_addr + 12, shown.data(), shown.size());
  return ::inet_ntop(AF_INET6, &address, shown.data(), shown.size());
}

bool IsPort(std::string_view text) {
  return text.size() <= 5 && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

bool IsName(std::string_view text) {
  if (text.empty() || text.front() == '.' || text.back() == '.' || text.find("..") != std::string_view::npos)
    return false;
  return std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

}  // namespace

std::string CanonicalHost(std::string_view text) {
  if (text.empty() || text.size() > kHostBytesMax || text.find('\0') != std::string_view::npos) return {};
  if (text.front() == '[') {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return {};
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && (rest.front() != ':' || !IsPort(rest.substr(1)))) return {};
    return CanonicalAddress(std::string(text.substr(1, end - 1)), true);
  }
  const size_t colon = text.find(':');
  if (colon != std::string_view::npos && text.find(':', colon + 1) != std::string_view::npos) {
    return CanonicalAddress(std::string(text), true);  // without brackets: as settings and sockets have it
  }
  if (colon != std::string_view::npos && !IsPort(text.substr(colon + 1))) return {};
  std::string name = LowerAscii(text.substr(0, colon));
  if (name.size() > 1 && name.back() == '.') name.pop_back();  // the root's dot
  if (std::string address = CanonicalAddress(name, false); !address.empty()) return address;
  return IsName(name) ? name : std::string{};
}

bool IsLoopback(std::string_view host) {
  if (host == "localhost" || host == "::1") return true;
  in_addr four{};
  return ::inet_pton(AF_INET, std::string(host).c_str(), &four) == 1 && (ntohl(four.s_addr) >> 24) == 127;
}

Result<OwnHosts> OwnHosts::Create(std::string_view bound, const std::vector<std::string>& names) {
  OwnHosts own;
  own.hosts_.push_back(CanonicalHost(bound));
  for (const std::string& name : names) {
    const std::string host = CanonicalHost(name);
    const bool has_port = name.starts_with('[') ? !name.ends_with(']') : std::ranges::count(name, ':') == 1;
    if (host.empty() || has_port) {
      return Fail(ErrorKind::kInvalidArgument, "'{}' is not a host: expected a name or an address without a port",
                  name);
    }
    own.hosts_.push_back(host);
  }
  return own;
}

bool OwnHosts::Contains(std::string_view host, std::string_view local) const {
  const std::string canonical = CanonicalHost(host);
  if (canonical.empty()) return false;
  return IsLoopback(canonical) || canonical == CanonicalHost(local) ||
         std::ranges::find(hosts_, canonical) != hosts_.end();
}

}  // namespace k2::net
