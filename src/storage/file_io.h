// Files by URI, behind one seam, so that faults can be injected. Local disk and S3 through Arrow's filesystems.
// Names are URIs as Iceberg metadata holds them (file:///…, s3://…); a plain absolute path means a local file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace arrow::io {
class OutputStream;
class RandomAccessFile;
}  // namespace arrow::io

namespace k2::storage {

class AwsCredentials;
class StorageCredentials;

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
  // returning. On any error nothing is left under that name, or what is left was never named anywhere. Names hold
  // random ids: a store that cannot refuse to overwrite is never asked to.
  virtual Status WriteNew(const std::string& location, std::string_view bytes) = 0;
  // A stream into a file that must not exist yet; makes missing folders. After Close() call Sync(). On S3 nothing is to
  // be seen under the name before Close() has succeeded, and a stream that is destroyed or aborted leaves no object.
  virtual Result<std::shared_ptr<arrow::io::OutputStream>> Create(const std::string& location) = 0;
  virtual Status Sync(const std::string& location) = 0;  // contents and folder entries durable (a no-op on S3)
  virtual Result<std::shared_ptr<arrow::io::RandomAccessFile>> Open(const std::string& location) = 0;
  virtual Result<int64_t> Size(const std::string& location) = 0;
  virtual Result<std::vector<FileInfo>> List(const std::string& folder) = 0;  // recursive; empty when there is none
  virtual Status Delete(const std::string& location) = 0;                     // a missing file is no error
};

struct S3Options {
  std::string endpoint;            // http(s)://host[:port]; empty: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else AWS
  std::string region;              // empty: AWS_REGION, AWS_DEFAULT_REGION, the profile's, else us-east-1
  std::optional<bool> path_style;  // nullopt: where there is an endpoint
  // Empty: those of `chain`.
  std::string access_key;
  std::string secret_key;
  std::string session_token;
  std::shared_ptr<AwsCredentials> chain;  // empty: one of its own, by the environment
  int64_t connect_timeout_ms = 3'000;
  int64_t request_timeout_ms = 15'000;  // without an answer, or without a byte of it
  int64_t tries = 10;                   // with growing pauses: half a minute in all when the store is away
};

struct StorageOptions {
  S3Options s3;
};

// Picks the file system by each location's scheme: local disks (file:, plain absolute paths), S3 (s3:, s3a:, s3n:).
// Where `credentials` hold keys for a location's prefix, these are used, else those of the options; endpoint and region
// of the options go first, then those that come with the keys. Safe to share between threads. S3 is not touched before
// the first location on it is.
std::shared_ptr<FileIo> MakeFileIo(const StorageOptions& options = {},
                                   std::shared_ptr<StorageCredentials> credentials = nullptr);

}  // namespace k2::storage
