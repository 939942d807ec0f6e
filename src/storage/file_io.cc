#include "storage/file_io.h"

#include "storage/local_file_io.h"
#include "storage/location.h"
#include "storage/s3_file_io.h"
#include "storage/s3_request.h"

namespace k2::storage {
namespace {

class FileIoByScheme : public FileIo {
 public:
  FileIoByScheme(const S3Options& s3, std::shared_ptr<StorageCredentials> credentials)
      : local_(MakeLocalFileIo()), s3_(MakeS3FileIo(s3, std::move(credentials))) {}
  Result<std::string> Read(const std::string& location, int64_t max_bytes) override {
    K2_ASSIGN(FileIo * io, For(location));
    return io->Read(location, max_bytes);
  }
  Status WriteNew(const std::string& location, std::string_view bytes) override {
    K2_ASSIGN(FileIo * io, For(location));
    return io->WriteNew(location, bytes);
  }
  Result<std::shared_ptr<arrow::io::OutputStream>> Create(const std::string& location) override {
    K2_ASSIGN(FileIo * io, For(location));
    return io->Create(location);
  }
  Status Sync(const std::string& location) override {
    K2_ASSIGN(FileIo * io, For(location));
    return io->Sync(location);
  }
  Result<std::shared_ptr<arrow::io::RandomAccessFile>> Open(const std::string& location) override {
    K2_ASSIGN(FileIo * io, For(location));
    return io->Open(location);
  }
  Result<int64_t> Size(const std::string& location) override {
    K2_ASSIGN(FileIo * io, For(location));
    return io->Size(location);
  }
  Result<std::vector<FileInfo>> List(const std::string& folder) override {
    K2_ASSIGN(FileIo * io, For(folder));
    return io->List(folder);
  }
  Status Delete(const std::string& location) override {
    K2_ASSIGN(FileIo * io, For(location));
    return io->Delete(location);
  }

 private:
  Result<FileIo*> For(const std::string& location) {
    K2_ASSIGN(const std::string scheme, LocationScheme(location));
    if (scheme == "file") return local_.get();
    if (IsS3Scheme(scheme)) return s3_.get();
    return Fail(ErrorKind::kUnsupported, "{}: k2 reads and writes local files and s3://, not {}://", location, scheme);
  }

  std::shared_ptr<FileIo> local_;
  std::shared_ptr<FileIo> s3_;
};

}  // namespace

std::shared_ptr<FileIo> MakeFileIo(const StorageOptions& options, std::shared_ptr<StorageCredentials> credentials) {
  return std::make_shared<FileIoByScheme>(options.s3, std::move(credentials));
}

}  // namespace k2::storage
