// A table with a history, for the tests, the fuzzer and the benchmark of this room.
#pragma once

#include "iceberg/table_update.h"

namespace k2::iceberg {

inline constexpr std::string_view kSampleUuid = "9c12d441-03fe-4693-9a96-a0705ddf69c1";
inline constexpr int64_t kSampleTimeMs = 1'700'000'000'000;
inline constexpr int64_t kSampleIdBase = 9'007'199'254'740'993;  // 2^53 + 1: no double holds it

inline Schema SampleSchema() {
  Schema schema;
  schema.fields = {
      {.id = 1, .name = "message_id", .required = true, .type = Type::Primitive(TypeId::kString), .doc = "identity"},
      {.id = 2, .name = "timestamp", .required = true, .type = Type::Primitive(TypeId::kTimestamptz)},
      {.id = 3, .name = "price", .required = true, .type = Type::Decimal(18, 8)},
      {.id = 4, .name = "conditions", .type = Type::List(5, true, Type::Primitive(TypeId::kString))},
      {.id = 6,
       .name = "vendor_data",
       .type = Type::Map(7, Type::Primitive(TypeId::kString), 8, true, Type::Primitive(TypeId::kString))}};
  schema.identifier_field_ids = {1};
  return schema;
}

inline Result<TableMetadata> SampleTable() {
  const PartitionSpec spec{.fields = {{.source_id = 2, .name = "timestamp_day", .transform = "day"}}};
  const SortOrder order{.fields = {{.source_id = 2}}};
  return NewTableMetadata(std::string(kSampleUuid), "file:///tmp/k2/trades", SampleSchema(), spec, order,
                          {{"owner", "tests"}, {"write.parquet.compression-codec", "zstd"}}, kSampleTimeMs);
}

// The updates of one append to main that moves a tag along, `number` being the sequence number of it.
inline std::vector<TableUpdate> SampleAppend(const TableMetadata& table, int64_t number) {
  Snapshot snapshot{.snapshot_id = kSampleIdBase + number,
                    .parent_snapshot_id = table.current_snapshot_id,
                    .sequence_number = number,
                    .timestamp_ms = kSampleTimeMs + number * 1000,
                    .operation = "append",
                    .schema_id = 0};
  snapshot.manifest_list = table.location + "/metadata/snap-" + std::to_string(number) + ".avro";
  for (const char* key : {"added-data-files", "added-records", "added-files-size", "changed-partition-count",
                          "total-data-files", "total-delete-files", "total-equality-deletes", "total-files-size",
                          "total-position-deletes", "total-records"}) {
    snapshot.summary[key] = std::to_string(number * 7);
  }
  snapshot.summary["k2.commit-id"] = "c0ffee00c0ffee00";
  snapshot.summary["k2.offsets"] =
      R"({"version":1,"table":"9c12d441-03fe-4693-9a96-a0705ddf69c1","sources":[{"cluster":"recording"}]})";
  const int64_t id = snapshot.snapshot_id;
  return {AddSnapshot{std::move(snapshot)}, SetSnapshotRef{"main", {.snapshot_id = id, .is_branch = true}},
          SetSnapshotRef{"k2-offsets", {.snapshot_id = id}}};
}

inline Result<TableMetadata> SampleTableWithSnapshots(int64_t count) {
  auto table = SampleTable();
  for (int64_t number = 1; table && number <= count; ++number) {
    auto updates = SampleAppend(*table, number);
    table = ApplyUpdates(std::move(*table), updates, kSampleTimeMs + number * 1000);
    if (table) AddToMetadataLog(*table, "file:///tmp/k2/v" + std::to_string(number) + ".json", kSampleTimeMs);
  }
  return table;
}

}  // namespace k2::iceberg
