// Settings of the status page: --http, --http-host, --liveness-timeout.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "base/result.h"
#include "cli/settings.h"
#include "server/http_status_server.h"

namespace k2::cli {

void AddServeSettings(CLI::App& command, Settings& settings);

// Starts the status page of this process (base/metrics.h, ProcessHealth()) where --http names an address; null where it
// does not. It ends with the object. Errors: kInvalidArgument when the address is none, or is in use,
// or a host is none.
Result<std::unique_ptr<server::HttpStatusServer>> StartStatusServer(const Settings& settings);

}  // namespace k2::cli
