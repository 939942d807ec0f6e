// A table's metadata files: their names, and a cache of parsed ones (they never change).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "iceberg/table_metadata.h"
#include "storage/file_io.h"

namespace k2::catalog {

// The number that a metadata file's name begins with ("00012-….metadata.json", Hadoop's "v12.metadata.json"), or -1.
int64_t MetadataVersionOf(std::string_view location);

// Whether a file is called as metadata files are, compressed ones among them.
bool IsMetadataFileName(std::string_view location);

// <location>/metadata/<version>-<uuid>.metadata.json, version = that of `previous` + 1 (0 for none), five digits. The
// folder is `write.metadata.path` where that property is set.
std::string NewMetadataLocation(const iceberg::TableMetadata& metadata, const std::string& previous);

// Not safe for several threads at once.
class MetadataCache {
 public:
  explicit MetadataCache(std::shared_ptr<storage::FileIo> io) : io_(std::move(io)) {}
  Result<std::shared_ptr<const iceberg::TableMetadata>> Get(const std::string& location);
  void Put(const std::string& location, std::shared_ptr<const iceberg::TableMetadata> metadata);

 private:
  static constexpr size_t kEntriesMax = 16;
  std::shared_ptr<storage::FileIo> io_;
  std::deque<std::pair<std::string, std::shared_ptr<const iceberg::TableMetadata>>> entries_;  // newest first
};

}  // namespace k2::catalog
