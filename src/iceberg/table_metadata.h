// Table metadata: what a metadata.json says (format/spec.md, "Table Metadata"). Plain values, JSON both ways.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "iceberg/schema.h"

namespace k2::iceberg {

inline constexpr std::string_view kMainBranch = "main";

struct Snapshot {
  int64_t snapshot_id = 0;
  std::optional<int64_t> parent_snapshot_id;
  int64_t sequence_number = 0;
  int64_t timestamp_ms = 0;
  std::string manifest_list;
  std::string operation;                       // append, replace, overwrite, delete
  std::map<std::string, std::string> summary;  // without "operation"
  std::optional<int32_t> schema_id;
  bool operator==(const Snapshot&) const = default;
};

struct SnapshotRef {
  int64_t snapshot_id = 0;
  bool is_branch = false;  // else a tag
  std::optional<int32_t> min_snapshots_to_keep;
  std::optional<int64_t> max_snapshot_age_ms;
  std::optional<int64_t> max_ref_age_ms;
  bool operator==(const SnapshotRef&) const = default;
};

struct SnapshotLogEntry {
  int64_t timestamp_ms = 0;
  int64_t snapshot_id = 0;
  bool operator==(const SnapshotLogEntry&) const = default;
};

struct MetadataLogEntry {
  int64_t timestamp_ms = 0;
  std::string metadata_file;
  bool operator==(const MetadataLogEntry&) const = default;
};

// A statistics file another writer registered for a snapshot: its JSON object, kept as it came.
struct StatisticsEntry {
  int64_t snapshot_id = 0;
  std::string json;
  bool operator==(const StatisticsEntry&) const = default;
};

struct TableMetadata {
  int32_t format_version = 2;
  std::string table_uuid;
  std::string location;
  int64_t last_sequence_number = 0;
  int64_t last_updated_ms = 0;
  int32_t last_column_id = 0;
  std::vector<Schema> schemas;
  int32_t current_schema_id = 0;
  std::vector<PartitionSpec> partition_specs;
  int32_t default_spec_id = 0;
  int32_t last_partition_id = 999;
  std::vector<SortOrder> sort_orders;
  int32_t default_sort_order_id = 0;
  std::map<std::string, std::string> properties;
  std::optional<int64_t> current_snapshot_id;
  std::vector<Snapshot> snapshots;
  std::vector<SnapshotLogEntry> snapshot_log;
  std::vector<MetadataLogEntry> metadata_log;
  std::map<std::string, SnapshotRef> refs;
  std::vector<StatisticsEntry> statistics;
  std::vector<StatisticsEntry> partition_statistics;
  std::map<std::string, std::string> other;  // top-level fields that we do not know, as JSON text: kept
  bool operator==(const TableMetadata&) const = default;

  [[nodiscard]] const Schema& CurrentSchema() const;
  [[nodiscard]] const Schema* FindSchema(int32_t schema_id) const;
  [[nodiscard]] const PartitionSpec& DefaultSpec() const;
  [[nodiscard]] const PartitionSpec* FindSpec(int32_t spec_id) const;
  [[nodiscard]] const Snapshot* FindSnapshot(int64_t snapshot_id) const;
  [[nodiscard]] const Snapshot* CurrentSnapshot() const;  // head of main, null when the table has none
  [[nodiscard]] const SnapshotRef* FindRef(std::string_view name) const;
  // Property as a number, or the given value when it is missing or not one.
  [[nodiscard]] int64_t PropertyOr(const std::string& name, int64_t otherwise) const;
  // Ids are unique and every reference resolves; see ParseTableMetadata. Error: kInvalidData.
  [[nodiscard]] Status Check() const;
};

// Reads and checks a metadata.json (format versions 1 and 2; v3 and gzip are kUnsupported with a clear text). Every
// reference in it (current schema, spec, order, snapshot, refs) is known to resolve afterwards. Of version 1 the old
// forms are read too ("schema", "partition-spec", no refs). TableMetadataToJson writes the version it is given.
Result<TableMetadata> ParseTableMetadata(std::string_view json);
std::string TableMetadataToJson(const TableMetadata& metadata);

}  // namespace k2::iceberg
