#include "storage/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace k2::storage {
namespace {

int SyncPath(const std::string& path, int flags) {
  const int descriptor = open(path.c_str(), flags | O_CLOEXEC);
  if (descriptor < 0) return -errno;
  const int result = fsync(descriptor) == 0 ? 0 : -errno;
  close(descriptor);
  return result;
}

}  // namespace

int Disk::OpenNew(const std::string& path) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  return descriptor < 0 ? -errno : descriptor;
}

int Disk::Write(int descriptor, const std::string& /*path*/, const void* bytes, size_t size) {
  const char* next = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t written = write(descriptor, next, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    next += written;
    size -= static_cast<size_t>(written);
  }
  return 0;
}

int Disk::Close(int descriptor) { return close(descriptor) == 0 ? 0 : -errno; }
int Disk::SyncFile(const std::string& path) { return SyncPath(path, O_RDONLY); }
int Disk::SyncFolder(const std::string& path) { return SyncPath(path, O_RDONLY | O_DIRECTORY); }
int Disk::MakeFolder(const std::string& path) { return mkdir(path.c_str(), 0777) == 0 ? 0 : -errno; }
int Disk::Remove(const std::string& path) { return unlink(path.c_str()) == 0 ? 0 : -errno; }

Error ErrnoError(int errno_value, std::string_view action, std::string_view path) {
  const auto error = [&](ErrorKind kind, std::string_view what_to_do) {
    return Error{kind, fmt::format("cannot {} {}: {}{}", action, path, std::strerror(errno_value), what_to_do)};
  };
  switch (errno_value) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return error(ErrorKind::kNoSpace, "; free space there, then run again: nothing committed is lost");
    case EACCES:
    case EPERM:
    case EROFS: return error(ErrorKind::kPermission, "; give this user access to it, or choose another place");
    case ENOENT:
    case ENOTDIR: return error(ErrorKind::kNotFound, "").OfFile(path);
    case EEXIST: return error(ErrorKind::kAlreadyExists, "");
    case EMFILE:
    case ENFILE: return error(ErrorKind::kIo, "; raise the limit of open files (ulimit -n)");
    case ENAMETOOLONG: return error(ErrorKind::kInvalidArgument, "");
    default: return error(ErrorKind::kIo, "");
  }
}

}  // namespace k2::storage
