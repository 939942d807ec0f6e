// Whether a request's Host means this server. A page of a foreign name whose DNS answers with our address (DNS
// rebinding) could otherwise read what only this machine's programs may.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace k2::net {

class OwnHosts {
 public:
  // `bound`: the host that the server listens on, an address or a name. `names`: further names or addresses, without a
  // port. Error: kInvalidArgument, one of them is no host.
  static Result<OwnHosts> Create(std::string_view bound, const std::vector<std::string>& names);

  // `host`: NAME, NAME:PORT, ADDRESS, [ADDRESS]:PORT. Ours are localhost, the loopback addresses, the host that was
  // bound, the further names, and `local`: the address at which the connection came in. The port does not matter: it
  // differs where ports are forwarded.
  [[nodiscard]] bool Contains(std::string_view host, std::string_view local) const;

 private:
  std::vector<std::string> hosts_;  // as CanonicalHost has them
};

// A host without its port: a name in lower case, an address in its shortest form. Empty: `text` is no host.
std::string CanonicalHost(std::string_view text);

// 127.0.0.0/8, ::1, the same as IPv4 within IPv6, localhost. `host`: as CanonicalHost gives it.
bool IsLoopback(std::string_view host);

}  // namespace k2::net
