// FileIo on local disks: exclusive creation, and fsync of files and of every folder whose entries must last.
#pragma once

#include <memory>

#include "storage/disk.h"
#include "storage/file_io.h"

namespace k2::storage {

std::shared_ptr<FileIo> MakeLocalFileIo(std::shared_ptr<Disk> disk = std::make_shared<Disk>());

}  // namespace k2::storage
