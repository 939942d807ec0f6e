#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "query/query_table.h"

namespace k2::query {
namespace {

class LocalQueryFile : public QueryFile {
 public:
  LocalQueryFile(std::string path, int descriptor, int64_t size_bytes)
      : path_(std::move(path)), descriptor_(descriptor), size_bytes_(size_bytes) {}
  LocalQueryFile(const LocalQueryFile&) = delete;
  LocalQueryFile& operator=(const LocalQueryFile&) = delete;
  ~LocalQueryFile() override { ::close(descriptor_); }

  int64_t size_bytes() const override { return size_bytes_; }

  Status ReadAt(int64_t offset, void* out, int64_t length) override {
    auto* target = static_cast<char*>(out);
    while (length > 0) {
      const ssize_t got = ::pread(descriptor_, target, static_cast<size_t>(length), offset);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return Fail(ErrorKind::kIo, "cannot read data file {}: {}", path_, std::strerror(errno));
      if (got == 0) {
        return Fail(ErrorKind::kIo, "data file {} is truncated: it ends at byte {}, {} bytes too early", path_, offset,
                    length);
      }
      target += got;
      offset += got;
      length -= got;
    }
    return {};
  }

 private:
  std::string path_;
  int descriptor_;
  int64_t size_bytes_;
};

}  // namespace

Result<std::unique_ptr<QueryFile>> OpenLocalQueryFile(const std::string& path) {
  std::string_view local = path;
  if (local.starts_with("file:")) {
    local.remove_prefix(5);
    if (local.starts_with("//")) local.remove_prefix(2);
  }
  const std::string name(local);
  const int descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    const ErrorKind kind = errno == ENOENT   ? ErrorKind::kNotFound
                           : errno == EACCES ? ErrorKind::kPermission
                                             : ErrorKind::kIo;
    return Fail(kind, "cannot open data file {}: {}", name, std::strerror(errno));
  }
  struct stat info{};
  if (::fstat(descriptor, &info) != 0) {
    const int error = errno;
    ::close(descriptor);
    return Fail(ErrorKind::kIo, "cannot stat data file {}: {}", name, std::strerror(error));
  }
  return std::make_unique<LocalQueryFile>(name, descriptor, static_cast<int64_t>(info.st_size));
}

}  // namespace k2::query
