#include "recording/byte_stream.h"

#include <zlib.h>
#include <zstd.h>

#include <string_view>
#include <vector>

namespace k2::recording {
namespace {

constexpr size_t kStoredBufferSize = size_t{1} << 18;

class PlainStream final : public ByteStream {
 public:
  explicit PlainStream(StoredFile& file) : file_(file) {}

  Result<ReadStep> Read(char* out, size_t size) override {
    K2_ASSIGN(const size_t bytes, file_.Read(out, size));
    return ReadStep{.bytes = bytes, .state = bytes == 0 ? StreamState::kEnd : StreamState::kData};
  }

 private:
  StoredFile& file_;
};

// What gzip and zstd have in common: a buffer of stored bytes, and members that follow each other.
class CompressedStream : public ByteStream {
 public:
  explicit CompressedStream(StoredFile& file) : file_(file), input_(kStoredBufferSize) {}

  Result<ReadStep> Read(char* out, size_t size) override {
    for (;;) {
      K2_ASSIGN(const size_t bytes, Decompress(out, size));
      if (bytes > 0) return ReadStep{.bytes = bytes, .state = StreamState::kData};
      if (used_ < filled_) continue;
      K2_ASSIGN(filled_, file_.Read(input_.data(), input_.size()));
      used_ = 0;
      if (filled_ == 0) {
        return ReadStep{.bytes = 0, .state = in_member_ ? StreamState::kTruncated : StreamState::kEnd};
      }
    }
  }

 protected:
  // Takes from the input and gives bytes; must take or give something while there is input.
  virtual Result<size_t> Decompress(char* out, size_t size) = 0;

  [[nodiscard]] std::unexpected<Error> Broken(std::string_view format, std::string_view why) const {
    return Fail(ErrorKind::kInvalidData, "{}: broken {} data near byte {} of the file: {}", file_.path(), format,
                file_.position() - static_cast<int64_t>(filled_ - used_), why);
  }

  StoredFile& file_;
  std::vector<char> input_;
  size_t filled_ = 0;
  size_t used_ = 0;
  bool in_member_ = false;
};

class GzipStream final : public CompressedStream {
 public:
  explicit GzipStream(StoredFile& file) : CompressedStream(file) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    if (inflateInit2(&zlib_, kGzipOnly) != Z_OK) throw std::bad_alloc();
  }
  ~GzipStream() override { inflateEnd(&zlib_); }

 protected:
  Result<size_t> Decompress(char* out, size_t size) override {
    if (used_ == filled_ && !in_member_) return size_t{0};
    zlib_.next_in = reinterpret_cast<Bytef*>(input_.data() + used_);
    zlib_.avail_in = static_cast<uInt>(filled_ - used_);
    zlib_.next_out = reinterpret_cast<Bytef*>(out);
    zlib_.avail_out = static_cast<uInt>(size);
    in_member_ = true;
    const int code = inflate(&zlib_, Z_NO_FLUSH);
    used_ = filled_ - zlib_.avail_in;
    if (code == Z_STREAM_END) {
      in_member_ = false;
      inflateReset(&zlib_);
    } else if (code != Z_OK && code != Z_BUF_ERROR) {
      return Broken("gzip", zlib_.msg != nullptr ? zlib_.msg : "unknown error");
    }
    return size - zlib_.avail_out;
  }

 private:
  z_stream zlib_{};
};

class ZstdStream final : public CompressedStream {
 public:
  explicit ZstdStream(StoredFile& file) : CompressedStream(file), zstd_(ZSTD_createDStream()) {
    if (zstd_ == nullptr) throw std::bad_alloc();
  }
  ~ZstdStream() override { ZSTD_freeDStream(zstd_); }

 protected:
  Result<size_t> Decompress(char* out, size_t size) override {
    if (used_ == filled_ && !in_member_) return size_t{0};
    ZSTD_inBuffer input{.src = input_.data(), .size = filled_, .pos = used_};
    ZSTD_outBuffer output{.dst = out, .size = size, .pos = 0};
    const size_t code = ZSTD_decompressStream(zstd_, &output, &input);
    used_ = input.pos;
    if (ZSTD_isError(code) != 0) return Broken("zstd", ZSTD_getErrorName(code));
    in_member_ = code != 0;
    return output.pos;
  }

 private:
  ZSTD_DStream* zstd_;
};

}  // namespace

std::string_view ToString(Compression compression) {
  static constexpr std::string_view kNames[] = {"plain", "gzip", "zstd"};
  return kNames[static_cast<size_t>(compression)];
}

std::unique_ptr<ByteStream> ByteStream::Create(Compression compression, StoredFile& file) {
  file.SetPosition(0);
  switch (compression) {
    case Compression::kGzip: return std::make_unique<GzipStream>(file);
    case Compression::kZstd: return std::make_unique<ZstdStream>(file);
    case Compression::kNone: break;
  }
  return std::make_unique<PlainStream>(file);
}

Result<Compression> ByteStream::Detect(const StoredFile& file) {
  char first[4] = {};
  K2_ASSIGN(const size_t bytes, file.ReadAt(0, first, sizeof first));
  const std::string_view magic(first, bytes);
  if (magic.starts_with("\x1f\x8b")) return Compression::kGzip;
  if (magic == "\x28\xb5\x2f\xfd") return Compression::kZstd;
  // A zstd file may begin with a skippable frame: 0x184D2A50 to 0x184D2A5F, little-endian (RFC 8878 section 3.1.2).
  if (magic.size() == 4 && (magic[0] & '\xf0') == '\x50' && magic.substr(1) == "\x2a\x4d\x18")
    return Compression::kZstd;
  return Compression::kNone;
}

}  // namespace k2::recording
