// Files by URI, behind one seam, so that faults can be injected. Local disk and S3 through Arrow's filesystems.
// Names are URIs as Iceberg metadata holds them (file:///…, s3://…); a plain absolute path means a local file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace arrow::io {
class OutputStream;
class RandomAccessFile;
}  // namespace arrow::io

namespace k2 {

struct FileInfo {
  std::string location;
  int64_t size_bytes = 0;
  int64_t modified_us = 0;
};

class FileIo {
 public:
  virtual ~FileIo() = default;
  // Whole file; kNotFound, or kInvalidData when it is larger than max_bytes.
  virtual Result<std::string> Read(const std::string& location, int64_t max_bytes = int64_t{1} << 30) = 0;
  // Writes a file that must not exist yet (kAlreadyExists) and makes it durable, its folder entry too, before
  // returning. On any error nothing is left under that name, or what is left was never named anywhere.
  virtual Status WriteNew(const std::string& location, std::string_view bytes) = 0;
  // A stream into a file that must not exist yet; makes missing folders. After Close() call Sync().
  virtual Result<std::shared_ptr<arrow::io::OutputStream>> Create(const std::string& location) = 0;
  virtual Status Sync(const std::string& location) = 0;  // contents and folder entries durable (a no-op on S3)
  virtual Result<std::shared_ptr<arrow::io::RandomAccessFile>> Open(const std::string& location) = 0;
  virtual Result<int64_t> Size(const std::string& location) = 0;
  virtual Result<std::vector<FileInfo>> List(const std::string& folder) = 0;  // recursive; empty when there is none
  virtual Status Delete(const std::string& location) = 0;                     // a missing file is no error
};

// Picks the file system by each location's scheme; today local disks (file:, plain absolute paths). Safe to share
// between threads.
std::shared_ptr<FileIo> MakeFileIo();

}  // namespace k2
