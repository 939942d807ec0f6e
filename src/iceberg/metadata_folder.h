// Where a table's own files are written.
#pragma once

#include <string>

#include "iceberg/table_metadata.h"

namespace k2::iceberg {

// Of metadata files, manifest lists and manifests: the table's property write.metadata.path, else <location>/metadata.
// No slash at the end.
std::string MetadataFolder(const TableMetadata& metadata);

}  // namespace k2::iceberg
