#include "storage/s3_streams.h"

#include <arrow/buffer.h>
#include <arrow/result.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "storage/arrow_error.h"
#include "storage/s3_file_io.h"

namespace k2::storage {
namespace {

constexpr size_t kPartBytes = 10 << 20;  // as Arrow's
constexpr int64_t kReadBytes = 64 << 10;

class S3OutputStream : public arrow::io::OutputStream {
 public:
  S3OutputStream(std::string location, S3OutputCalls calls)
      : location_(std::move(location)), calls_(std::move(calls)) {}
  ~S3OutputStream() override { (void)S3OutputStream::Abort(); }

  arrow::Status Write(const void* data, int64_t size) override {
    if (closed_) return arrow::Status::Invalid("write to closed file ", location_);
    if (!large_ && bytes_.size() + static_cast<size_t>(size) > kPartBytes) {
      auto large = calls_.open_large();
      if (!large) return ToArrow(large.error());
      large_ = *std::move(large);
      ARROW_RETURN_NOT_OK(Named(large_->Write(bytes_.data(), static_cast<int64_t>(bytes_.size()))));
      bytes_ = {};
    }
    if (large_) {
      ARROW_RETURN_NOT_OK(Named(large_->Write(data, size)));
    } else {
      bytes_.append(static_cast<const char*>(data), static_cast<size_t>(size));
    }
    position_ += size;
    return arrow::Status::OK();
  }
  using arrow::io::OutputStream::Write;

  arrow::Status Close() override {
    if (closed_) return arrow::Status::OK();
    closed_ = true;
    if (large_) return CloseLarge();
    const Status status = calls_.put(std::move(bytes_));
    return status ? arrow::Status::OK() : ToArrow(status.error());
  }
  arrow::Status Abort() override {
    if (closed_) return arrow::Status::OK();
    closed_ = true;
    bytes_ = {};
    return large_ ? Named(large_->Abort()) : arrow::Status::OK();
  }
  arrow::Result<int64_t> Tell() const override { return position_; }
  [[nodiscard]] bool closed() const override { return closed_; }

 private:
  [[nodiscard]] arrow::Status Named(const arrow::Status& status) const {
    return status.ok() ? status : ToArrow(S3ArrowError(status, "write", location_));
  }

  // When the reply to the upload's completion is lost, another try is told that there is no such upload. The object is
  // there then: whole, since uploads appear at once, and ours, since its name holds a random id.
  arrow::Status CloseLarge() {
    const arrow::Status closed = large_->Close();
    if (closed.ok()) return closed;
    const auto size = calls_.size();
    if (size && *size == position_) return arrow::Status::OK();
    return Named(closed);
  }

  std::string location_;
  S3OutputCalls calls_;
  std::string bytes_;
  std::shared_ptr<arrow::io::OutputStream> large_;
  int64_t position_ = 0;
  bool closed_ = false;
};

class S3InputFile : public arrow::io::RandomAccessFile {
 public:
  S3InputFile(std::string location, std::shared_ptr<arrow::io::RandomAccessFile> file, std::string tail,
              int64_t size_bytes)
      : location_(std::move(location)),
        file_(std::move(file)),
        size_(size_bytes),
        tail_begin_(size_bytes - static_cast<int64_t>(tail.size())),
        tail_(arrow::Buffer::FromString(std::move(tail))) {}

  arrow::Result<std::shared_ptr<arrow::Buffer>> ReadAt(int64_t position, int64_t length) override {
    ARROW_RETURN_NOT_OK(Check(position, length));
    length = std::min(length, size_ - position);
    if (position >= tail_begin_) return arrow::SliceBuffer(tail_, position - tail_begin_, length);
    if (length < kReadBytes) {
      const std::lock_guard lock(mutex_);
      if (!block_ || position < block_begin_ || position + length > block_begin_ + block_->size()) {
        ARROW_ASSIGN_OR_RAISE(block_, Fetch(position, std::min(kReadBytes, size_ - position)));
        block_begin_ = position;
      }
      return arrow::SliceBuffer(block_, position - block_begin_, length);
    }
    return Fetch(position, length);
  }
  arrow::Result<int64_t> ReadAt(int64_t position, int64_t length, void* out) override {
    ARROW_RETURN_NOT_OK(Check(position, length));
    length = std::min(length, size_ - position);
    if (position < tail_begin_ && length >= kReadBytes) {
      const auto got = file_->ReadAt(position, length, out);
      if (!got.ok()) return Named(got.status());
      return Whole(position, length, *got);
    }
    ARROW_ASSIGN_OR_RAISE(const auto bytes, ReadAt(position, length));
    if (length > 0) std::memcpy(out, bytes->data(), static_cast<size_t>(length));
    return length;
  }
  arrow::Result<int64_t> Read(int64_t length, void* out) override {
    ARROW_ASSIGN_OR_RAISE(const int64_t got, ReadAt(position_, length, out));
    position_ += got;
    return got;
  }
  arrow::Result<std::shared_ptr<arrow::Buffer>> Read(int64_t length) override {
    ARROW_ASSIGN_OR_RAISE(auto bytes, ReadAt(position_, length));
    position_ += bytes->size();
    return bytes;
  }
  arrow::Result<int64_t> GetSize() override { return size_; }
  arrow::Status Seek(int64_t position) override {
    ARROW_RETURN_NOT_OK(Check(position, 0));
    position_ = position;
    return arrow::Status::OK();
  }
  arrow::Result<int64_t> Tell() const override { return position_; }
  arrow::Status Close() override {
    closed_ = true;
    return file_->Close();
  }
  [[nodiscard]] bool closed() const override { return closed_; }

 private:
  [[nodiscard]] arrow::Status Check(int64_t position, int64_t length) const {
    if (closed_) return arrow::Status::Invalid("read of closed file ", location_);
    if (position < 0 || length < 0 || position > size_) {
      return arrow::Status::Invalid("read at ", position, " of file ", location_, " of ", size_, " bytes");
    }
    return arrow::Status::OK();
  }
  [[nodiscard]] arrow::Status Named(const arrow::Status& status) const {
    return ToArrow(S3ArrowError(status, "read", location_));
  }
  [[nodiscard]] arrow::Result<int64_t> Whole(int64_t position, int64_t length, int64_t got) const {
    if (got == length) return got;
    return ToArrow({ErrorKind::kIo,
                    fmt::format("{}: only {} of {} bytes were received at byte {}", location_, got, length, position)});
  }
  arrow::Result<std::shared_ptr<arrow::Buffer>> Fetch(int64_t position, int64_t length) {
    auto bytes = file_->ReadAt(position, length);
    if (!bytes.ok()) return Named(bytes.status());
    ARROW_RETURN_NOT_OK(Whole(position, length, (*bytes)->size()).status());
    return bytes;
  }

  const std::string location_;
  const std::shared_ptr<arrow::io::RandomAccessFile> file_;
  const int64_t size_;
  const int64_t tail_begin_;
  const std::shared_ptr<arrow::Buffer> tail_;
  std::mutex mutex_;
  std::shared_ptr<arrow::Buffer> block_;  // the last small read and what follows it
  int64_t block_begin_ = 0;
  int64_t position_ = 0;
  bool closed_ = false;
};

}  // namespace

std::shared_ptr<arrow::io::OutputStream> MakeS3OutputStream(std::string location, S3OutputCalls calls) {
  return std::make_shared<S3OutputStream>(std::move(location), std::move(calls));
}

std::shared_ptr<arrow::io::RandomAccessFile> MakeS3InputFile(std::string location,
                                                             std::shared_ptr<arrow::io::RandomAccessFile> file,
                                                             std::string tail, int64_t size_bytes) {
  return std::make_shared<S3InputFile>(std::move(location), std::move(file), std::move(tail), size_bytes);
}

}  // namespace k2::storage
