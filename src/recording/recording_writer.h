// Writes a recording: plain, gzip or zstd, by the end of its name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "recording/byte_stream.h"

namespace k2::recording {

Compression CompressionOfName(std::string_view path);  // .gz, .zst, else plain

class RecordingWriter {
 public:
  // A new file, or behind what the file holds (as a new compressed member). Errors of all: kIo, kNoSpace, kPermission,
  // kNotFound (no such folder).
  static Result<std::unique_ptr<RecordingWriter>> Create(const std::string& path, bool append = false);
  virtual ~RecordingWriter() = default;

  virtual Status Append(std::string_view bytes) = 0;
  // A reader of the file now sees all that was appended. Not made durable.
  virtual Status Flush() = 0;
  // Ends the file; nothing may be appended any more.
  virtual Status Close() = 0;
};

}  // namespace k2::recording
