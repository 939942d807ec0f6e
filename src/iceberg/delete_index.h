// Row-level deletes of format version 2: which delete files apply to a data file (format/spec.md, "Row-level Deletes",
// "Scan Planning"). Does no IO.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "iceberg/data_file.h"
#include "iceberg/table_metadata.h"

namespace k2::iceberg {

// Field ids of a position delete file's columns (spec, "Reserved Field IDs").
inline constexpr int32_t kDeletePathFieldId = 2147483546;
inline constexpr int32_t kDeletePositionFieldId = 2147483545;

// What a reader needs to know of a delete file.
struct DeleteFile {
  std::string path;
  FileContent content = FileContent::kPositionDeletes;
  std::string file_format = "PARQUET";
  std::vector<int32_t> equality_ids;  // field ids, in order; of equality deletes
  int64_t record_count = 0;
  int64_t size_bytes = 0;
  bool operator==(const DeleteFile&) const = default;
};
// Those that apply to one data file; shared, since one may apply to many.
using DeleteFiles = std::vector<std::shared_ptr<const DeleteFile>>;

// The live delete files of a snapshot. `metadata` must outlive it.
class DeleteIndex {
 public:
  explicit DeleteIndex(const TableMetadata& metadata) : metadata_(metadata) {}

  void Add(const ManifestEntry& entry);
  [[nodiscard]] bool empty() const { return by_partition_.empty() && global_.empty(); }
  // May hold some that remove none of the file's rows: bounds of columns and paths tell only so much.
  [[nodiscard]] DeleteFiles For(const DataFile& data, int64_t sequence_number) const;

 private:
  struct Entry {
    DataFile file;
    int64_t sequence_number = 0;
    std::shared_ptr<const DeleteFile> described;
  };
  using Partition = std::pair<int32_t, std::vector<Literal>>;  // spec id and values

  [[nodiscard]] bool MayRemoveRows(const Entry& entry, const DataFile& data, int64_t sequence_number) const;
  [[nodiscard]] bool MayHoldEqualRows(const DataFile& deletes, const DataFile& data) const;

  const TableMetadata& metadata_;
  std::map<Partition, std::vector<Entry>> by_partition_;
  std::vector<Entry> global_;  // equality deletes of a spec without partition fields: they apply to all partitions
};

// Whether a spec has no field that tells partitions apart.
bool IsUnpartitioned(const PartitionSpec& spec);

}  // namespace k2::iceberg
