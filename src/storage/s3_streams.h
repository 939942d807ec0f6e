// Inside the io room: the streams of S3 files.
#pragma once

#include <arrow/io/interfaces.h>

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace k2::storage {

// Gathers bytes; up to one part they become one `put` when the stream is closed, more go into what `open_large` opens
// (a multipart upload, complete on Close). Destroyed or aborted before Close it leaves nothing.
struct S3OutputCalls {
  std::function<Status(std::string bytes)> put;
  std::function<Result<std::shared_ptr<arrow::io::OutputStream>>()> open_large;
  std::function<Result<int64_t>()> size;  // of what is stored
};
std::shared_ptr<arrow::io::OutputStream> MakeS3OutputStream(std::string location, S3OutputCalls calls);

// Serves what lies in the file's last bytes, `tail`, from memory; small reads elsewhere are made larger, and the last
// of these is kept. Reads may come from several threads at once.
std::shared_ptr<arrow::io::RandomAccessFile> MakeS3InputFile(std::string location,
                                                             std::shared_ptr<arrow::io::RandomAccessFile> file,
                                                             std::string tail, int64_t size_bytes);

}  // namespace k2::storage
