#include "recording/recording_writer.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace k2::recording {
namespace {

constexpr size_t kOutputSize = size_t{1} << 18;
constexpr int kGzipLevel = 1;
constexpr int kZstdLevel = 1;

class OutputFile {
 public:
  explicit OutputFile(std::string path) : path_(std::move(path)) {}
  ~OutputFile() {
    if (fd_ >= 0) close(fd_);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  Status Open(bool append) {
    fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0644);
    return fd_ < 0 ? Failure("cannot write") : Status{};
  }

  Status Write(const char* data, size_t size) {
    while (size > 0) {
      const ssize_t written = write(fd_, data, size);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return Failure("cannot write");
      data += written;
      size -= static_cast<size_t>(written);
    }
    return {};
  }

  Status Close() {
    const int fd = std::exchange(fd_, -1);
    return fd >= 0 && close(fd) != 0 ? Failure("cannot close") : Status{};
  }

 private:
  [[nodiscard]] Status Failure(std::string_view what) const {
    ErrorKind kind = ErrorKind::kIo;
    if (errno == ENOSPC || errno == EDQUOT) kind = ErrorKind::kNoSpace;
    if (errno == EACCES || errno == EPERM || errno == EROFS) kind = ErrorKind::kPermission;
    if (errno == ENOENT) kind = ErrorKind::kNotFound;
    return Fail(kind, "{} {}: {}", what, path_, std::strerror(errno));
  }

  std::string path_;
  int fd_ = -1;
};

class PlainWriter final : public RecordingWriter {
 public:
  explicit PlainWriter(std::unique_ptr<OutputFile> file) : file_(std::move(file)) {}

  Status Append(std::string_view bytes) override {
    buffer_.append(bytes);
    return buffer_.size() < kOutputSize ? Status{} : Flush();
  }
  Status Flush() override {
    K2_TRY(file_->Write(buffer_.data(), buffer_.size()));
    buffer_.clear();
    return {};
  }
  Status Close() override {
    K2_TRY(Flush());
    return file_->Close();
  }

 private:
  std::unique_ptr<OutputFile> file_;
  std::string buffer_;
};

class GzipWriter final : public RecordingWriter {
 public:
  explicit GzipWriter(std::unique_ptr<OutputFile> file) : file_(std::move(file)), output_(kOutputSize) {
    constexpr int kGzipWindow = 16 + MAX_WBITS;
    constexpr int kMemoryLevel = 9;
    if (deflateInit2(&zlib_, kGzipLevel, Z_DEFLATED, kGzipWindow, kMemoryLevel, Z_DEFAULT_STRATEGY) != Z_OK) {
      throw std::bad_alloc();
    }
  }
  ~GzipWriter() override { deflateEnd(&zlib_); }

  Status Append(std::string_view bytes) override { return Deflate(bytes, Z_NO_FLUSH); }
  Status Flush() override { return Deflate({}, Z_SYNC_FLUSH); }
  Status Close() override {
    K2_TRY(Deflate({}, Z_FINISH));
    return file_->Close();
  }

 private:
  Status Deflate(std::string_view bytes, int flush) {
    zlib_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    zlib_.avail_in = static_cast<uInt>(bytes.size());
    do {
      zlib_.next_out = reinterpret_cast<Bytef*>(output_.data());
      zlib_.avail_out = static_cast<uInt>(output_.size());
      deflate(&zlib_, flush);
      K2_TRY(file_->Write(output_.data(), output_.size() - zlib_.avail_out));
    } while (zlib_.avail_out == 0);
    return {};
  }

  std::unique_ptr<OutputFile> file_;
  std::vector<char> output_;
  z_stream zlib_{};
};

class ZstdWriter final : public RecordingWriter {
 public:
  explicit ZstdWriter(std::unique_ptr<OutputFile> file)
      : file_(std::move(file)), output_(kOutputSize), zstd_(ZSTD_createCCtx()) {
    if (zstd_ == nullptr) throw std::bad_alloc();
    ZSTD_CCtx_setParameter(zstd_, ZSTD_c_compressionLevel, kZstdLevel);
  }
  ~ZstdWriter() override { ZSTD_freeCCtx(zstd_); }

  Status Append(std::string_view bytes) override { return Compress(bytes, ZSTD_e_continue); }
  Status Flush() override { return Compress({}, ZSTD_e_flush); }
  Status Close() override {
    K2_TRY(Compress({}, ZSTD_e_end));
    return file_->Close();
  }

 private:
  Status Compress(std::string_view bytes, ZSTD_EndDirective directive) {
    ZSTD_inBuffer input{.src = bytes.data(), .size = bytes.size(), .pos = 0};
    for (;;) {
      ZSTD_outBuffer output{.dst = output_.data(), .size = output_.size(), .pos = 0};
      const size_t left = ZSTD_compressStream2(zstd_, &output, &input, directive);
      if (ZSTD_isError(left) != 0) return Fail(ErrorKind::kInternal, "zstd: {}", ZSTD_getErrorName(left));
      K2_TRY(file_->Write(output_.data(), output.pos));
      if (directive == ZSTD_e_continue ? input.pos == input.size : left == 0) return {};
    }
  }

  std::unique_ptr<OutputFile> file_;
  std::vector<char> output_;
  ZSTD_CCtx* zstd_;
};

}  // namespace

Compression CompressionOfName(std::string_view path) {
  if (path.ends_with(".gz")) return Compression::kGzip;
  return path.ends_with(".zst") ? Compression::kZstd : Compression::kNone;
}

Result<std::unique_ptr<RecordingWriter>> RecordingWriter::Create(const std::string& path, bool append) {
  auto file = std::make_unique<OutputFile>(path);
  K2_TRY(file->Open(append));
  switch (CompressionOfName(path)) {
    case Compression::kGzip: return std::make_unique<GzipWriter>(std::move(file));
    case Compression::kZstd: return std::make_unique<ZstdWriter>(std::move(file));
    case Compression::kNone: break;
  }
  return std::make_unique<PlainWriter>(std::move(file));
}

}  // namespace k2::recording
