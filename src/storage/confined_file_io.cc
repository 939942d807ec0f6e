#include "storage/confined_file_io.h"

#include <utility>

namespace k2::storage {
namespace {

class RemoteOnlyFileIo : public FileIo {
 public:
  RemoteOnlyFileIo(std::shared_ptr<FileIo> io, std::string table_location)
      : io_(std::move(io)), table_location_(std::move(table_location)) {}
  Result<std::string> Read(const std::string& location, int64_t max_bytes) override {
    K2_TRY(Check(location));
    return io_->Read(location, max_bytes);
  }
  Status WriteNew(const std::string& location, std::string_view bytes) override {
    K2_TRY(Check(location));
    return io_->WriteNew(location, bytes);
  }
  Result<std::shared_ptr<arrow::io::OutputStream>> Create(const std::string& location) override {
    K2_TRY(Check(location));
    return io_->Create(location);
  }
  Status Sync(const std::string& location) override {
    K2_TRY(Check(location));
    return io_->Sync(location);
  }
  Result<std::shared_ptr<arrow::io::RandomAccessFile>> Open(const std::string& location) override {
    K2_TRY(Check(location));
    return io_->Open(location);
  }
  Result<int64_t> Size(const std::string& location) override {
    K2_TRY(Check(location));
    return io_->Size(location);
  }
  Result<std::vector<FileInfo>> List(const std::string& folder) override {
    K2_TRY(Check(folder));
    return io_->List(folder);
  }
  Status Delete(const std::string& location) override {
    K2_TRY(Check(location));
    return io_->Delete(location);
  }

 private:
  Status Check(const std::string& location) const {
    if (!IsLocalLocation(location)) return {};
    return Fail(
        ErrorKind::kPermission,
        "refused: {} is a file of this machine, but it is referenced by the metadata of a table at {}. Find out who "
        "committed that path (`k2 tables describe`); to resume, roll the table back to a snapshot without it",
        location, table_location_);
  }

  std::shared_ptr<FileIo> io_;
  std::string table_location_;
};

}  // namespace

bool IsLocalLocation(std::string_view location) { return location.starts_with('/') || location.starts_with("file:"); }

std::shared_ptr<FileIo> ConfinedTo(std::shared_ptr<FileIo> io, std::string_view table_location) {
  if (IsLocalLocation(table_location)) return io;
  return std::make_shared<RemoteOnlyFileIo>(std::move(io), std::string(table_location));
}

}  // namespace k2::storage
