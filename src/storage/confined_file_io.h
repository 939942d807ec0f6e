// Keeps the paths in a remote table's metadata away from this machine's disks.
#pragma once

#include <memory>
#include <string_view>

#include "storage/file_io.h"

namespace k2::storage {

// Whether a location is on a local disk: a file: URI or an absolute path.
bool IsLocalLocation(std::string_view location);

// The same files for a table at `table_location`. Where that is on a remote store, local files are refused with
// kPermission, to read, write and delete: a catalog on another machine could name any file of this one.
std::shared_ptr<FileIo> ConfinedTo(std::shared_ptr<FileIo> io, std::string_view table_location);

}  // namespace k2::storage
