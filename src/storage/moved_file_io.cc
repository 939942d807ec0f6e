#include "storage/moved_file_io.h"

namespace k2::storage {
namespace {

class MovedFileIo final : public FileIo {
 public:
  MovedFileIo(std::shared_ptr<FileIo> base, LocationMap map, std::string refusal)
      : base_(std::move(base)), map_(std::move(map)), refusal_(std::move(refusal)) {}

  Result<std::string> Read(const std::string& location, int64_t max_bytes) override {
    return base_->Read(map_.ApplyOrKeep(location), max_bytes);
  }
  Status WriteNew(const std::string& location, std::string_view) override { return Refuse("write", location); }
  Result<std::shared_ptr<arrow::io::OutputStream>> Create(const std::string& location) override {
    return std::unexpected(Refuse("write", location).error());
  }
  Status Sync(const std::string& location) override { return Refuse("write", location); }
  Result<std::shared_ptr<arrow::io::RandomAccessFile>> Open(const std::string& location) override {
    return base_->Open(map_.ApplyOrKeep(location));
  }
  Result<int64_t> Size(const std::string& location) override { return base_->Size(map_.ApplyOrKeep(location)); }
  Result<std::vector<FileInfo>> List(const std::string& folder) override {
    return base_->List(map_.ApplyOrKeep(folder));
  }
  Status Delete(const std::string& location) override { return Refuse("delete", location); }

 private:
  [[nodiscard]] Status Refuse(std::string_view action, const std::string& location) const {
    return Fail(ErrorKind::kInvalidArgument, "cannot {} {}: {}", action, location, refusal_);
  }

  const std::shared_ptr<FileIo> base_;
  const LocationMap map_;
  const std::string refusal_;
};

}  // namespace

std::shared_ptr<FileIo> MakeMovedFileIo(std::shared_ptr<FileIo> base, LocationMap map, std::string refusal) {
  return std::make_shared<MovedFileIo>(std::move(base), std::move(map), std::move(refusal));
}

}  // namespace k2::storage
