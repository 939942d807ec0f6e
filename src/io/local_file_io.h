// FileIo on local disks: exclusive creation, and fsync of files and of every folder whose entries must last.
#pragma once

#include <memory>

#include "io/disk.h"
#include "io/file_io.h"

namespace k2 {

std::shared_ptr<FileIo> MakeLocalFileIo(std::shared_ptr<Disk> disk = std::make_shared<Disk>());

}  // namespace k2
