#include "base/stored_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace k2 {
namespace {

ErrorKind KindOfErrno(int error) {
  if (error == ENOENT) return ErrorKind::kNotFound;
  return error == EACCES || error == EPERM ? ErrorKind::kPermission : ErrorKind::kIo;
}

}  // namespace

StoredFile::~StoredFile() {
  if (fd_ >= 0) close(fd_);
}

Status StoredFile::Open(const std::string& path) {
  path_ = path;
  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) return Fail(KindOfErrno(errno), "cannot open {}: {}", path, std::strerror(errno));
  struct stat info{};
  if (fstat(fd_, &info) != 0) return Fail(ErrorKind::kIo, "cannot stat {}: {}", path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) {
    return Fail(ErrorKind::kInvalidArgument, "{} is not a regular file", path);
  }
  posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
  return {};
}

Result<size_t> StoredFile::Read(char* out, size_t size) {
  K2_ASSIGN(const size_t bytes, ReadAt(position_, out, size));
  position_ += static_cast<int64_t>(bytes);
  return bytes;
}

Result<size_t> StoredFile::ReadAt(int64_t at, char* out, size_t size) const {
  for (;;) {
    const ssize_t bytes = pread(fd_, out, size, at);
    if (bytes >= 0) return static_cast<size_t>(bytes);
    if (errno != EINTR) return Fail(ErrorKind::kIo, "cannot read {}: {}", path_, std::strerror(errno));
  }
}

Result<int64_t> StoredFile::Size() const {
  struct stat info{};
  if (fstat(fd_, &info) != 0) return Fail(ErrorKind::kIo, "cannot stat {}: {}", path_, std::strerror(errno));
  return static_cast<int64_t>(info.st_size);
}

}  // namespace k2
