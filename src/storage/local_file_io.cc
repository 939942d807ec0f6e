#include "storage/local_file_io.h"

#include <arrow/io/file.h>
#include <arrow/status.h>
#include <arrow/util/io_util.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <mutex>
#include <set>

#include "storage/arrow_error.h"
#include "storage/location.h"

namespace k2::storage {

namespace {

namespace fs = std::filesystem;

arrow::Status ArrowStatus(int negative_errno, std::string_view action, const std::string& path) {
  if (negative_errno >= 0) return arrow::Status::OK();
  return arrow::internal::IOErrorFromErrno(-negative_errno, ErrnoError(-negative_errno, action, path).message);
}

std::string Parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

// A descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  ~Descriptor() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return descriptor_; }

 private:
  int descriptor_;
};

class DiskStream : public arrow::io::OutputStream {
 public:
  DiskStream(std::shared_ptr<Disk> disk, std::string path, int descriptor)
      : disk_(std::move(disk)), path_(std::move(path)), descriptor_(descriptor) {}
  ~DiskStream() override {
    if (descriptor_ >= 0) disk_->Close(descriptor_);
  }
  arrow::Status Close() override {
    if (descriptor_ < 0) return arrow::Status::OK();
    const int result = disk_->Close(descriptor_);
    descriptor_ = -1;
    return ArrowStatus(result, "close", path_);
  }
  arrow::Result<int64_t> Tell() const override { return position_; }
  [[nodiscard]] bool closed() const override { return descriptor_ < 0; }
  arrow::Status Write(const void* data, int64_t size) override {
    if (descriptor_ < 0) return arrow::Status::Invalid("write to closed file ", path_);
    ARROW_RETURN_NOT_OK(ArrowStatus(disk_->Write(descriptor_, path_, data, static_cast<size_t>(size)), "write", path_));
    position_ += size;
    return arrow::Status::OK();
  }
  using arrow::io::OutputStream::Write;

 private:
  std::shared_ptr<Disk> disk_;
  std::string path_;
  int descriptor_;
  int64_t position_ = 0;
};

class LocalFileIo : public FileIo {
 public:
  explicit LocalFileIo(std::shared_ptr<Disk> disk) : disk_(std::move(disk)) {}

  Result<std::string> Read(const std::string& location, int64_t max_bytes) override;
  Status WriteNew(const std::string& location, std::string_view bytes) override;
  Result<std::shared_ptr<arrow::io::OutputStream>> Create(const std::string& location) override;
  Status Sync(const std::string& location) override;
  Result<std::shared_ptr<arrow::io::RandomAccessFile>> Open(const std::string& location) override;
  Result<int64_t> Size(const std::string& location) override;
  Result<std::vector<FileInfo>> List(const std::string& folder) override;
  Status Delete(const std::string& location) override;

 private:
  Result<int> OpenNew(const std::string& path);
  Status MakeFolders(const std::string& folder);
  Status SyncPath(const std::string& path);
  Status SyncFolders(const std::string& folder);

  std::shared_ptr<Disk> disk_;
  std::mutex mutex_;
  std::set<std::string> durable_folders_;  // whose own entries, up to the root, are known to be on disk
};

Result<std::string> LocalFileIo::Read(const std::string& location, int64_t max_bytes) {
  K2_ASSIGN(const std::string path, LocalPath(location));
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return std::unexpected(ErrnoError(errno, "open", path));
  struct stat info{};
  if (fstat(file.get(), &info) != 0) return std::unexpected(ErrnoError(errno, "stat", path));
  if (!S_ISREG(info.st_mode)) return Fail(ErrorKind::kInvalidData, "{} is not a file", path);
  if (info.st_size > max_bytes) {
    return Fail(ErrorKind::kInvalidData, "{} has {} bytes, more than the limit of {}", path, info.st_size, max_bytes);
  }
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t got = read(file.get(), bytes.data() + filled, bytes.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(ErrnoError(errno, "read", path));
    if (got == 0) return Fail(ErrorKind::kIo, "{} was truncated while it was read", path);
    filled += static_cast<size_t>(got);
  }
  return bytes;
}

// Makes what is missing of a folder's path. Another process may make the same ones meanwhile.
Status LocalFileIo::MakeFolders(const std::string& folder) {
  if (folder == "/" || access(folder.c_str(), F_OK) == 0) return {};
  K2_TRY(MakeFolders(Parent(folder)));
  const int result = disk_->MakeFolder(folder);
  if (result < 0 && result != -EEXIST) return std::unexpected(ErrnoError(-result, "create folder", folder));
  if (result == 0) {
    const std::lock_guard lock(mutex_);
    durable_folders_.erase(folder);
  }
  return {};
}

Result<int> LocalFileIo::OpenNew(const std::string& path) {
  int descriptor = disk_->OpenNew(path);
  if (descriptor == -ENOENT) {
    K2_TRY(MakeFolders(Parent(path)));
    descriptor = disk_->OpenNew(path);
  }
  if (descriptor < 0) return std::unexpected(ErrnoError(-descriptor, "create", path));
  return descriptor;
}

Status LocalFileIo::SyncFolders(const std::string& folder) {
  if (const int result = disk_->SyncFolder(folder); result < 0) {
    return std::unexpected(ErrnoError(-result, "sync folder", folder));
  }
  // The folder's own name, and those above it: once per process, since another process may have made them and died
  // before it synced them.
  std::vector<std::string> synced;
  for (std::string child = folder; child != "/"; child = Parent(child)) {
    {
      const std::lock_guard lock(mutex_);
      if (durable_folders_.contains(child)) break;
    }
    const std::string parent = Parent(child);
    const int result = disk_->SyncFolder(parent);
    if (result == -EACCES || result == -EPERM) break;  // not ours to read, so not made by us
    if (result < 0) return std::unexpected(ErrnoError(-result, "sync folder", parent));
    synced.push_back(child);
  }
  const std::lock_guard lock(mutex_);
  durable_folders_.insert(synced.begin(), synced.end());
  return {};
}

Status LocalFileIo::SyncPath(const std::string& path) {
  if (const int result = disk_->SyncFile(path); result < 0) {
    return std::unexpected(ErrnoError(-result, "sync", path));
  }
  return SyncFolders(Parent(path));
}

Status LocalFileIo::WriteNew(const std::string& location, std::string_view bytes) {
  K2_ASSIGN(const std::string path, LocalPath(location));
  K2_ASSIGN(const int descriptor, OpenNew(path));
  int result = disk_->Write(descriptor, path, bytes.data(), bytes.size());
  if (const int closed = disk_->Close(descriptor); result == 0) result = closed;
  Status status;
  if (result < 0) {
    status = std::unexpected(ErrnoError(-result, "write", path));
  } else {
    status = SyncPath(path);
  }
  if (!status) disk_->Remove(path);
  return status;
}

Result<std::shared_ptr<arrow::io::OutputStream>> LocalFileIo::Create(const std::string& location) {
  K2_ASSIGN(const std::string path, LocalPath(location));
  K2_ASSIGN(const int descriptor, OpenNew(path));
  return std::make_shared<DiskStream>(disk_, path, descriptor);
}

Status LocalFileIo::Sync(const std::string& location) {
  K2_ASSIGN(const std::string path, LocalPath(location));
  return SyncPath(path);
}

Result<std::shared_ptr<arrow::io::RandomAccessFile>> LocalFileIo::Open(const std::string& location) {
  K2_ASSIGN(const std::string path, LocalPath(location));
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return std::unexpected(ErrnoError(errno, "open", path));
  auto file = arrow::io::ReadableFile::Open(descriptor);  // owns the descriptor
  if (!file.ok()) return std::unexpected(ArrowError(file.status(), "open " + path));
  return std::shared_ptr<arrow::io::RandomAccessFile>(*std::move(file));
}

Result<int64_t> LocalFileIo::Size(const std::string& location) {
  K2_ASSIGN(const std::string path, LocalPath(location));
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return std::unexpected(ErrnoError(errno, "stat", path));
  if (!S_ISREG(info.st_mode)) return Fail(ErrorKind::kNotFound, "{} is not a file", path);
  return int64_t{info.st_size};
}

Result<std::vector<FileInfo>> LocalFileIo::List(const std::string& folder) {
  K2_ASSIGN(const std::string path, LocalPath(folder));
  std::vector<FileInfo> files;
  std::error_code error;
  fs::recursive_directory_iterator next(path, error);
  if (error == std::errc::no_such_file_or_directory) return files;
  while (!error && next != fs::recursive_directory_iterator()) {
    struct stat info{};
    const std::string name = next->path().string();
    // A file may go while the folder is read: then it is not there.
    if (lstat(name.c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
      files.push_back({.location = "file://" + name,
                       .size_bytes = info.st_size,
                       .modified_us = info.st_mtim.tv_sec * 1'000'000 + info.st_mtim.tv_nsec / 1'000});
    }
    next.increment(error);
  }
  if (error) return std::unexpected(ErrnoError(error.value(), "list", path));
  return files;
}

Status LocalFileIo::Delete(const std::string& location) {
  K2_ASSIGN(const std::string path, LocalPath(location));
  if (const int result = disk_->Remove(path); result < 0 && result != -ENOENT) {
    return std::unexpected(ErrnoError(-result, "delete", path));
  }
  return {};
}

}  // namespace

std::shared_ptr<FileIo> MakeLocalFileIo(std::shared_ptr<Disk> disk) {
  return std::make_shared<LocalFileIo>(std::move(disk));
}

}  // namespace k2::storage
