// Data files and the manifests that list them (format/spec.md, "Manifests", "Manifest Lists"). Plain values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/int128.h"

namespace k2::iceberg {

using k2::Int128;
using k2::UInt128;

// A typed single value; monostate is null. int32: int, date. int64: long, time, timestamps. Int128: unscaled decimal.
// string: string as UTF-8, binary, fixed and uuid as bytes.
using Literal = std::variant<std::monostate, bool, int32_t, int64_t, float, double, Int128, std::string>;

enum class FileContent { kData = 0, kPositionDeletes = 1, kEqualityDeletes = 2 };

struct DataFile {
  FileContent content = FileContent::kData;
  std::string file_path;  // as written in metadata: a URI such as file:///… or s3://…
  std::string file_format = "PARQUET";
  int32_t spec_id = 0;             // of the manifest it is in
  std::vector<Literal> partition;  // one value a field of that spec
  int64_t record_count = 0;
  int64_t file_size_in_bytes = 0;
  std::map<int32_t, int64_t> column_sizes;  // by field id, as the next five
  std::map<int32_t, int64_t> value_counts;
  std::map<int32_t, int64_t> null_value_counts;
  std::map<int32_t, int64_t> nan_value_counts;
  std::map<int32_t, std::string> lower_bounds;  // single-value binary form (spec appendix D)
  std::map<int32_t, std::string> upper_bounds;
  std::optional<std::string> key_metadata;
  std::vector<int64_t> split_offsets;
  std::vector<int32_t> equality_ids;
  std::optional<int32_t> sort_order_id;
  std::optional<std::string> referenced_data_file;
  bool operator==(const DataFile&) const = default;
};

enum class EntryStatus { kExisting = 0, kAdded = 1, kDeleted = 2 };

struct ManifestEntry {
  EntryStatus status = EntryStatus::kAdded;
  std::optional<int64_t> snapshot_id;           // null inherits from the manifest
  std::optional<int64_t> sequence_number;       // null inherits; must be null for files just added (spec)
  std::optional<int64_t> file_sequence_number;  // as above
  DataFile file;
};

struct FieldSummary {
  bool contains_null = false;
  std::optional<bool> contains_nan;
  std::optional<std::string> lower_bound;
  std::optional<std::string> upper_bound;
};

enum class ManifestContent { kData = 0, kDeletes = 1 };

// One entry of a manifest list.
struct ManifestFile {
  std::string manifest_path;
  int64_t manifest_length = 0;
  int32_t partition_spec_id = 0;
  ManifestContent content = ManifestContent::kData;
  int64_t sequence_number = 0;
  int64_t min_sequence_number = 0;
  int64_t added_snapshot_id = 0;
  int32_t added_files_count = 0;
  int32_t existing_files_count = 0;
  int32_t deleted_files_count = 0;
  int64_t added_rows_count = 0;
  int64_t existing_rows_count = 0;
  int64_t deleted_rows_count = 0;
  std::vector<FieldSummary> partitions;
  std::optional<std::string> key_metadata;
};

}  // namespace k2::iceberg
