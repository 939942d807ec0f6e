// The uncompressed bytes of a local file that is plain, gzip or zstd: told by its first bytes, not by its name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/stored_file.h"

namespace k2::recording {

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

}  // namespace k2::recording
