// Manifests and manifest lists, parsed or as bytes, shared by the whole process. Both never change once written, so a
// pipeline that plans several times a second reads each of them once, and what it wrote itself not at all.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "iceberg/data_file.h"
#include "iceberg/table_metadata.h"
#include "storage/file_io.h"

namespace k2::table {

// Thread-safe. What was used last stays; what is out of use goes when the entries take more than the bound.
class ManifestCache {
 public:
  using Manifests = std::shared_ptr<const std::vector<iceberg::ManifestFile>>;
  using Entries = std::shared_ptr<const std::vector<iceberg::ManifestEntry>>;

  explicit ManifestCache(int64_t max_bytes) : max_bytes_(max_bytes) {}
  static ManifestCache& Shared();  // of at most 64 MiB

  Result<Manifests> ListOf(storage::FileIo& io, const iceberg::Snapshot& snapshot);
  // What this process has written itself need not be read back: the layers below and the next commit ask for it at
  // once.
  void Wrote(const std::string& path, std::string_view bytes);
  // The file's bytes: as they were written, or from storage.
  Result<std::string> Read(storage::FileIo& io, const std::string& path);
  Result<Entries> EntriesOf(storage::FileIo& io, const iceberg::TableMetadata& metadata,
                            const iceberg::ManifestFile& manifest);

  [[nodiscard]] int64_t bytes() const;
  [[nodiscard]] int64_t misses() const;  // reads from storage

 private:
  struct Item {
    std::string key;
    std::shared_ptr<const void> value;
    int64_t bytes = 0;
  };
  std::shared_ptr<const void> Find(const std::string& key);
  void Insert(std::string key, std::shared_ptr<const void> value, int64_t bytes);

  const int64_t max_bytes_;
  mutable std::mutex mutex_;
  std::list<Item> items_;  // the one used last in front
  std::unordered_map<std::string, std::list<Item>::iterator> by_key_;
  int64_t bytes_ = 0;
  int64_t misses_ = 0;
};

}  // namespace k2::table
