// Where files lie other than on local disks: --s3-endpoint, --s3-region, --s3-path-style. Keys are no settings: they
// come from AWS_ACCESS_KEY_ID and the rest of the default chain, or from the catalog.
#pragma once

#include "cli/commands.h"
#include "storage/file_io.h"

namespace k2::cli {

void AddStorageSettings(Program& program);
Result<storage::StorageOptions> StorageOptionsOf(const Settings& settings);

}  // namespace k2::cli
