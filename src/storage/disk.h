// The few system calls that durability stands on, as a seam: tests put a disk below FileIo that loses power.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"

namespace k2::storage {

// Each call returns 0 (OpenNew: a descriptor >= 0) or a negative errno.
class Disk {
 public:
  virtual ~Disk() = default;
  virtual int OpenNew(const std::string& path);  // O_CREAT | O_EXCL, for writing
  virtual int Write(int descriptor, const std::string& path, const void* bytes, size_t size);  // all of it
  virtual int Close(int descriptor);
  virtual int SyncFile(const std::string& path);
  virtual int SyncFolder(const std::string& path);  // the names in it
  virtual int MakeFolder(const std::string& path);
  virtual int Remove(const std::string& path);  // a file
};

// The error of a failed system call (errno > 0): kNoSpace, kPermission, kNotFound, kAlreadyExists, else kIo; the text
// says what was tried on what, why it failed, and what to do where that is known.
Error ErrnoError(int errno_value, std::string_view action, std::string_view path);

}  // namespace k2::storage
