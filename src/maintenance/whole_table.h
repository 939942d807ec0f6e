// Whether all files that a table's metadata names are there.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "iceberg/table_metadata.h"
#include "storage/file_io.h"
#include "storage/location_map.h"

namespace k2::maintenance {

// What is known to be stored: a listing, and what was asked besides. Of many files of one folder a list is one request,
// where each alone would be one of its own.
class StoredFiles {
 public:
  explicit StoredFiles(std::shared_ptr<storage::FileIo> io) : base_(std::move(io)), io_(base_) {}
  Status AddFolder(const std::string& folder);
  // The same files, asked for by the names that they had before they were moved or copied.
  [[nodiscard]] StoredFiles NamedBefore(const storage::LocationMap& map) const;

  // The file's size; -1 where there is none.
  Result<int64_t> SizeOf(const std::string& location);
  [[nodiscard]] storage::FileIo& io() const { return *io_; }
  // All that was listed.
  [[nodiscard]] const std::vector<storage::FileInfo>& listed() const { return listed_; }

 private:
  std::shared_ptr<storage::FileIo> base_;
  std::shared_ptr<storage::FileIo> io_;  // the same, by former names
  std::optional<storage::LocationMap> map_;
  std::vector<storage::FileInfo> listed_;
  std::unordered_map<std::string, int64_t> sizes_;  // by the location without its scheme
};

// What is wrong with the files that the metadata's snapshots and statistics name: manifest lists, manifests, data and
// delete files that are missing, of another size or cannot be read, a line each, at most `lines_max` of them. Empty:
// the table is whole. Errors: kUnavailable and the like, where it cannot be told.
Result<std::vector<std::string>> FaultsOf(StoredFiles& stored, const iceberg::TableMetadata& metadata,
                                          size_t lines_max = 5);

}  // namespace k2::maintenance
