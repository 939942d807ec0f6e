// Files of a warehouse that was moved or copied, read by the names that its metadata still has for them.
#pragma once

#include <memory>
#include <string>

#include "storage/file_io.h"
#include "storage/location_map.h"

namespace k2::storage {

// What `map` covers is read where it lies now, and only there: never at the old place. Everything else is read as it
// is. Whatever writes or deletes fails with `refusal` (kInvalidArgument).
std::shared_ptr<FileIo> MakeMovedFileIo(std::shared_ptr<FileIo> base, LocationMap map, std::string refusal);

}  // namespace k2::storage
