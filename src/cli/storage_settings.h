// Where files lie other than on local disks: --s3-endpoint, --s3-region, --s3-path-style. Keys are no settings: they
// come from AWS_ACCESS_KEY_ID and the rest of the default chain, or from the catalog.
#pragma once

#include "cli/commands.h"
#include "io/file_io.h"

namespace k2 {

void AddStorageSettings(Program& program);
Result<StorageOptions> StorageOptionsOf(const Settings& settings);

}  // namespace k2
