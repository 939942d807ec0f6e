#include "base/this_process.h"

#include <unistd.h>

#include <utility>

#include "base/result.h"
#include "base/uuid.h"

namespace k2 {
namespace {

constexpr size_t kHostBytesMax = 64;
constexpr size_t kRunIdDigits = 8;

std::string HostName() {
  char host[256] = {};
  if (::gethostname(host, sizeof(host) - 1) != 0) host[0] = '\0';
  return std::string(host).substr(0, kHostBytesMax);
}

// A process id is used again after a restart, in containers always the same: the digits tell the runs apart.
ProcessIdentity& Identity() {
  static ProcessIdentity identity{.host = HostName(),
                                  .process = fmt::format("{}/{}", ::getpid(), RandomHex64().substr(0, kRunIdDigits))};
  return identity;
}

}  // namespace

const ProcessIdentity& ThisProcess() { return Identity(); }

void SetCommandOfThisProcess(const std::string& command) {
  if (!command.empty()) Identity().process += " " + command;
}

void SetThisProcessForTests(ProcessIdentity identity) { Identity() = std::move(identity); }

}  // namespace k2
