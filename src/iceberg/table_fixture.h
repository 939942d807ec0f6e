// A table in memory for tests: a store of manifests, metadata that takes snapshots.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "iceberg/literal.h"
#include "iceberg/manifest_store.h"
#include "iceberg/snapshot_producer.h"

namespace k2::iceberg {

class MemoryStore : public ManifestStore {
 public:
  Result<std::string> Read(const std::string& path) override {
    ++reads;
    const auto found = files.find(path);
    if (found == files.end()) return Fail(ErrorKind::kNotFound, "no file {}", path);
    return found->second;
  }
  Status WriteNew(const std::string& path, std::string_view bytes) override {
    if (!files.emplace(path, bytes).second) return Fail(ErrorKind::kAlreadyExists, "{}", path);
    written_bytes += static_cast<int64_t>(bytes.size());
    return {};
  }
  std::string NewPath(MetadataFileKind kind) override {
    return fmt::format("{}{}-{}.avro", folder, kind == MetadataFileKind::kManifest ? "m" : "snap", next++);
  }

  std::map<std::string, std::string> files;
  std::string folder = "mem://t/metadata/";
  int next = 0;
  int64_t reads = 0;
  int64_t written_bytes = 0;
};

// Columns d date, h int, price decimal(18, 8), text string, t timestamptz; partitioned by d, h and truncate[4](price).
inline TableMetadata TestTable() {
  TableMetadata metadata;
  metadata.table_uuid = "9c12d441-03fe-4693-9a96-a0705ddf69c1";
  metadata.location = "mem://t";
  metadata.last_column_id = 5;
  metadata.schemas = {
      Schema{.schema_id = 0,
             .fields = {{.id = 1, .name = "d", .required = true, .type = Type::Primitive(TypeId::kDate)},
                        {.id = 2, .name = "h", .type = Type::Primitive(TypeId::kInt)},
                        {.id = 3, .name = "price", .type = Type::Decimal(18, 8)},
                        {.id = 4, .name = "text", .type = Type::Primitive(TypeId::kString)},
                        {.id = 5, .name = "t", .type = Type::Primitive(TypeId::kTimestamptz)}}}};
  metadata.partition_specs = {PartitionSpec{
      .spec_id = 0,
      .fields = {{1, 1000, "d", "identity"}, {2, 1001, "h", "identity"}, {3, 1002, "price_trunc", "truncate[100]"}}}};
  metadata.last_partition_id = 1002;
  metadata.sort_orders = {SortOrder{}};
  return metadata;
}

inline DataFile TestFile(const std::string& path, int32_t day, int64_t records) {
  DataFile file{.file_path = path, .record_count = records, .file_size_in_bytes = 1000 + records};
  file.partition = {Literal(day), day % 5 == 0 ? Literal() : Literal(day % 24), Literal(Int128{-300})};
  file.column_sizes = {{1, 40}, {4, 400}};
  file.value_counts = {{1, records}, {4, records}};
  file.null_value_counts = {{1, 0}, {4, 1}};
  file.lower_bounds[1] = file.upper_bounds[1] = ToBytes(day, Type::Primitive(TypeId::kDate)).value();
  file.lower_bounds[4] = "a";
  file.upper_bounds[4] = "zz";
  file.split_offsets = {4};
  file.sort_order_id = 0;
  return file;
}

// What a catalog would do with a snapshot that main moves to.
inline void Apply(TableMetadata& metadata, const Snapshot& snapshot) {
  metadata.snapshots.push_back(snapshot);
  metadata.current_snapshot_id = snapshot.snapshot_id;
  metadata.last_sequence_number = snapshot.sequence_number;
  metadata.last_updated_ms = snapshot.timestamp_ms;
  metadata.snapshot_log.push_back({snapshot.timestamp_ms, snapshot.snapshot_id});
  metadata.refs[std::string(kMainBranch)] = {.snapshot_id = snapshot.snapshot_id, .is_branch = true};
}

}  // namespace k2::iceberg
