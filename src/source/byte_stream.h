// The uncompressed bytes of a local file that is plain, gzip or zstd: told by its first bytes, not by its name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"

namespace k2 {

enum class Compression : uint8_t { kNone, kGzip, kZstd };

std::string_view ToString(Compression compression);

enum class StreamState : uint8_t {
  kData,       // bytes were read
  kEnd,        // the file is read to its end, which is a whole one
  kTruncated,  // the file ends within a compressed member: it was cut, or is still being written
};

struct ReadStep {
  size_t bytes = 0;
  StreamState state = StreamState::kData;
};

// An open file and how much of it was read. More can be read later when the file grew in the meantime.
class StoredFile {
 public:
  StoredFile() = default;
  ~StoredFile();
  StoredFile(const StoredFile&) = delete;
  StoredFile& operator=(const StoredFile&) = delete;

  Status Open(const std::string& path);
  Result<size_t> Read(char* out, size_t size);                      // goes on where it stands; 0 at the end
  Result<size_t> ReadAt(int64_t at, char* out, size_t size) const;  // does not move
  [[nodiscard]] Result<int64_t> Size() const;
  [[nodiscard]] int64_t position() const { return position_; }
  void SetPosition(int64_t position) { position_ = position; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
  int64_t position_ = 0;
};

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Fills up to `size` bytes. Errors: kIo, and kInvalidData for bytes that break the compressed format.
  virtual Result<ReadStep> Read(char* out, size_t size) = 0;

  // `file` is at its start and outlives the stream.
  static std::unique_ptr<ByteStream> Create(Compression compression, StoredFile& file);
  // By the first bytes of the file (RFC 1952, RFC 8878). The answer for a file of fewer than 4 bytes may change as it
  // grows.
  static Result<Compression> Detect(const StoredFile& file);
};

}  // namespace k2
