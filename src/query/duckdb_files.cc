#include "query/duckdb_files.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "duckdb/common/file_system.hpp"

namespace k2::query {

void QueryFiles::Allow(const PlannedFile& file) {
  const std::lock_guard lock(mutex_);
  Allowed& allowed = allowed_[file.path];
  allowed.size_bytes = file.size_bytes;
  allowed.deleted_rows = file.deleted_rows;
}

Result<std::shared_ptr<const std::vector<int64_t>>> QueryFiles::DeletedRows(const std::string& path) {
  const std::string data_file = path.substr(std::strlen(kPrefix));
  std::function<Result<std::vector<int64_t>>()> read;
  {
    const std::lock_guard lock(mutex_);
    const auto found = allowed_.find(data_file);
    if (found == allowed_.end() || !found->second.deleted_rows) return nullptr;
    if (found->second.deleted) return found->second.deleted;
    read = found->second.deleted_rows;
  }
  K2_ASSIGN(auto positions, read());
  auto deleted = std::make_shared<const std::vector<int64_t>>(std::move(positions));
  const std::lock_guard lock(mutex_);
  allowed_[data_file].deleted = deleted;
  return deleted;
}

Result<std::unique_ptr<QueryFile>> QueryFiles::Open(const std::string& path) {
  int64_t size_bytes = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = allowed_.find(path);
    if (found == allowed_.end()) {
      return k2::Fail(ErrorKind::kPermission, "{} is not a data file of a planned table; queries read tables only",
                      path);
    }
    size_bytes = found->second.size_bytes;
  }
  K2_ASSIGN(auto file, open_(path));
  if (file->size_bytes() != size_bytes) {
    return k2::Fail(ErrorKind::kInvalidData,
                    "data file {} has {} bytes, but its table's manifest says {}: it was changed or truncated after it "
                    "was committed",
                    path, file->size_bytes(), size_bytes);
  }
  return file;
}

void QueryFiles::SetOutput(int descriptor) {
  const std::lock_guard lock(mutex_);
  output_ = descriptor;
}

int QueryFiles::output() const {
  const std::lock_guard lock(mutex_);
  return output_;
}

void QueryFiles::Fail(const Error& error) {
  const std::lock_guard lock(mutex_);
  if (!failure_) failure_ = error;
}

std::optional<Error> QueryFiles::TakeFailure() {
  const std::lock_guard lock(mutex_);
  return std::exchange(failure_, std::nullopt);
}

void Throw(QueryFiles& files, const Error& error) {
  files.Fail(error);
  throw duckdb::IOException(error.message);
}

namespace {

using duckdb::FileHandle;
using duckdb::FileOpener;
using duckdb::FileOpenFlags;
using duckdb::idx_t;
using duckdb::optional_ptr;

class DataFileHandle : public FileHandle {
 public:
  DataFileHandle(duckdb::FileSystem& system, const std::string& name, FileOpenFlags open_flags,
                 std::unique_ptr<QueryFile> data_file)
      : FileHandle(system, name, open_flags), file(std::move(data_file)) {}
  void Close() override { file.reset(); }

  std::unique_ptr<QueryFile> file;
  int64_t position = 0;
};

class OutputHandle : public FileHandle {
 public:
  OutputHandle(duckdb::FileSystem& system, const std::string& name, FileOpenFlags open_flags, int output)
      : FileHandle(system, name, open_flags), descriptor(output) {}
  void Close() override {}

  int descriptor;
  idx_t written_bytes = 0;
};

class PlannedFileSystem : public duckdb::FileSystem {
 public:
  explicit PlannedFileSystem(std::shared_ptr<QueryFiles> files) : files_(std::move(files)) {}

  bool CanHandleFile(const std::string& path) override { return path.starts_with(QueryFiles::kPrefix); }

  duckdb::unique_ptr<FileHandle> OpenFile(const std::string& path, FileOpenFlags flags,
                                          optional_ptr<FileOpener> /*opener*/) override {
    if (flags.OpenForWriting()) {
      const int descriptor = files_->output();
      if (path != QueryFiles::kOutput || descriptor < 0) Throw(*files_, ReadOnly(path));
      return duckdb::make_uniq<OutputHandle>(*this, path, flags, descriptor);
    }
    auto file = files_->Open(path.substr(std::strlen(QueryFiles::kPrefix)));
    if (!file) Throw(*files_, file.error());
    return duckdb::make_uniq<DataFileHandle>(*this, path, flags, std::move(*file));
  }

  void Read(FileHandle& handle, void* buffer, int64_t length, idx_t offset) override {
    auto status = handle.Cast<DataFileHandle>().file->ReadAt(static_cast<int64_t>(offset), buffer, length);
    if (!status) Throw(*files_, status.error());
  }
  int64_t Read(FileHandle& handle, void* buffer, int64_t length) override {
    auto& data = handle.Cast<DataFileHandle>();
    const int64_t rest = std::min(length, data.file->size_bytes() - data.position);
    if (rest <= 0) return 0;
    Read(handle, buffer, rest, static_cast<idx_t>(data.position));
    data.position += rest;
    return rest;
  }
  int64_t Write(FileHandle& handle, void* buffer, int64_t length) override {
    auto& output = handle.Cast<OutputHandle>();
    const auto* bytes = static_cast<const char*>(buffer);
    for (int64_t done = 0; done < length;) {
      const ssize_t wrote = ::write(output.descriptor, bytes + done, static_cast<size_t>(length - done));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) {
        const ErrorKind kind = errno == ENOSPC ? ErrorKind::kNoSpace : ErrorKind::kIo;
        Throw(*files_, Error{kind, fmt::format("cannot write the result: {}", std::strerror(errno))});
      }
      done += wrote;
    }
    output.written_bytes += static_cast<idx_t>(length);
    return length;
  }

  int64_t GetFileSize(FileHandle& handle) override {
    if (handle.GetFlags().OpenForWriting()) return static_cast<int64_t>(handle.Cast<OutputHandle>().written_bytes);
    return handle.Cast<DataFileHandle>().file->size_bytes();
  }
  // Data files never change once they are committed.
  duckdb::timestamp_t GetLastModifiedTime(FileHandle&) override { return duckdb::timestamp_t(0); }
  duckdb::FileType GetFileType(FileHandle&) override { return duckdb::FileType::FILE_TYPE_REGULAR; }

  bool FileExists(const std::string& /*path*/, optional_ptr<FileOpener> /*opener*/) override { return false; }
  bool DirectoryExists(const std::string& /*path*/, optional_ptr<FileOpener> /*opener*/) override { return false; }
  bool IsPipe(const std::string& /*path*/, optional_ptr<FileOpener> /*opener*/) override { return false; }
  void RemoveFile(const std::string& path, optional_ptr<FileOpener> /*opener*/) override {
    Throw(*files_, ReadOnly(path));
  }
  void FileSync(FileHandle&) override {}
  duckdb::vector<duckdb::OpenFileInfo> Glob(const std::string& path, FileOpener* /*opener*/) override {
    return {duckdb::OpenFileInfo(path)};
  }

  void Seek(FileHandle& handle, idx_t location) override {
    handle.Cast<DataFileHandle>().position = static_cast<int64_t>(location);
  }
  void Reset(FileHandle& handle) override { Seek(handle, 0); }
  idx_t SeekPosition(FileHandle& handle) override {
    if (handle.GetFlags().OpenForWriting()) return handle.Cast<OutputHandle>().written_bytes;
    return static_cast<idx_t>(handle.Cast<DataFileHandle>().position);
  }
  bool CanSeek() override { return true; }
  // True: what is needed is read when it is needed. False: the columns of a row group are fetched together.
  bool OnDiskFile(FileHandle& handle) override {
    return handle.GetFlags().OpenForWriting() || handle.Cast<DataFileHandle>().file->is_local();
  }
  std::string CanonicalizePath(const std::string& path, optional_ptr<FileOpener> /*opener*/) override { return path; }
  std::string GetName() const override { return "K2PlannedFileSystem"; }

 private:
  static Error ReadOnly(const std::string& path) {
    return {ErrorKind::kPermission, fmt::format("queries are read-only: {} cannot be written by SQL", path)};
  }

  std::shared_ptr<QueryFiles> files_;
};

}  // namespace

void RegisterFiles(duckdb::DatabaseInstance& database, std::shared_ptr<QueryFiles> files) {
  duckdb::FileSystem::GetFileSystem(database).RegisterSubSystem(duckdb::make_uniq<PlannedFileSystem>(std::move(files)));
}

}  // namespace k2::query
