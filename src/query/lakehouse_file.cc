#include <arrow/io/interfaces.h>
#include <arrow/result.h>

#include "query/lakehouse_table.h"
#include "storage/arrow_error.h"
#include "storage/file_io.h"
#include "storage/location.h"

namespace k2::query {
namespace {

class RemoteQueryFile : public QueryFile {
 public:
  RemoteQueryFile(std::string path, std::shared_ptr<arrow::io::RandomAccessFile> file, int64_t size_bytes)
      : path_(std::move(path)), file_(std::move(file)), size_bytes_(size_bytes) {}

  int64_t size_bytes() const override { return size_bytes_; }
  bool is_local() const override { return false; }

  Status ReadAt(int64_t offset, void* out, int64_t length) override {
    const auto got = file_->ReadAt(offset, length, out);
    if (!got.ok()) return std::unexpected(storage::ArrowError(got.status(), "data file " + path_));
    if (*got != length) {
      return Fail(ErrorKind::kIo, "data file {} is truncated: it ends at byte {}, {} bytes too early", path_,
                  offset + *got, length - *got);
    }
    return {};
  }

 private:
  std::string path_;
  std::shared_ptr<arrow::io::RandomAccessFile> file_;
  int64_t size_bytes_;
};

}  // namespace

std::function<Result<std::unique_ptr<QueryFile>>(const std::string& path)> QueryFilesOf(
    std::shared_ptr<storage::FileIo> io) {
  return [io = std::move(io)](const std::string& path) -> Result<std::unique_ptr<QueryFile>> {
    K2_ASSIGN(const std::string scheme, storage::LocationScheme(path));
    if (scheme == "file") return OpenLocalQueryFile(path);
    K2_ASSIGN(auto file, io->Open(path));
    const auto size = file->GetSize();
    if (!size.ok()) return std::unexpected(storage::ArrowError(size.status(), "data file " + path));
    return std::make_unique<RemoteQueryFile>(path, std::move(file), *size);
  };
}

}  // namespace k2::query
