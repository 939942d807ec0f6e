#include "iceberg/table_metadata_json.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "iceberg/schema_json.h"

namespace k2::iceberg {

using Json = nlohmann::json;

namespace {

constexpr int64_t kNoSnapshot = -1;  // what Java writes for "none" (spec, Appendix F)
constexpr int32_t kNoPartitionId = 999;

constexpr std::array<std::string_view, 25> kKnownFields = {"current-schema-id",
                                                           "current-snapshot-id",
                                                           "default-sort-order-id",
                                                           "default-spec-id",
                                                           "format-version",
                                                           "last-column-id",
                                                           "last-partition-id",
                                                           "last-sequence-number",
                                                           "last-updated-ms",
                                                           "location",
                                                           "metadata-log",
                                                           "partition-spec",
                                                           "partition-specs",
                                                           "partition-statistics",
                                                           "properties",
                                                           "refs",
                                                           "schema",
                                                           "schemas",
                                                           "snapshot-log",
                                                           "snapshots",
                                                           "sort-orders",
                                                           "statistics",
                                                           "table-uuid",
                                                           "encryption-keys",
                                                           "next-row-id"};

template <typename Item, typename Read>
Result<std::vector<Item>> ReadList(Json* array, Read read) {
  std::vector<Item> items;
  if (array == nullptr) return items;
  items.reserve(array->size());
  for (Json& element : *array) {
    K2_ASSIGN(Item item, read(element));
    items.push_back(std::move(item));
  }
  return items;
}

Result<Snapshot> SnapshotFromJson(Json& value) {
  JsonFields json(value, "snapshot");
  Snapshot snapshot{.snapshot_id = json.Int64("snapshot-id"),
                    .parent_snapshot_id = json.OptionalInt64("parent-snapshot-id"),
                    .sequence_number = json.OptionalInt64("sequence-number").value_or(0),
                    .timestamp_ms = json.Int64("timestamp-ms"),
                    .manifest_list = json.OptionalString("manifest-list").value_or(""),
                    .summary = json.OptionalStringMap("summary"),
                    .schema_id = json.OptionalInt32("schema-id")};
  K2_TRY(json.status());
  if (snapshot.parent_snapshot_id == kNoSnapshot) snapshot.parent_snapshot_id.reset();
  if (snapshot.manifest_list.empty()) {
    return Fail(ErrorKind::kUnsupported,
                "snapshot {} has no manifest list but lists its manifests itself, as early writers of version 1 did; "
                "expire it, or rewrite the table",
                snapshot.snapshot_id);
  }
  if (auto operation = snapshot.summary.extract("operation")) {
    snapshot.operation = std::move(operation.mapped());
  } else if (!snapshot.summary.empty()) {
    snapshot.operation = "overwrite";  // the most cautious reading, and Java's
  }
  return snapshot;
}

Result<std::map<std::string, SnapshotRef>> RefsFromJson(Json* object) {
  std::map<std::string, SnapshotRef> refs;
  if (object == nullptr) return refs;
  for (auto& [name, value] : object->items()) {
    JsonFields json(value, fmt::format("reference \"{}\"", name));
    SnapshotRef ref{.snapshot_id = json.Int64("snapshot-id"),
                    .min_snapshots_to_keep = json.OptionalInt32("min-snapshots-to-keep"),
                    .max_snapshot_age_ms = json.OptionalInt64("max-snapshot-age-ms"),
                    .max_ref_age_ms = json.OptionalInt64("max-ref-age-ms")};
    const std::string type = json.String("type");
    K2_TRY(json.status());
    if (type != "branch" && type != "tag") {
      return Fail(ErrorKind::kInvalidData, "reference \"{}\" is of type \"{}\", neither branch nor tag", name, type);
    }
    ref.is_branch = type == "branch";
    refs.emplace(name, ref);
  }
  return refs;
}

Result<StatisticsEntry> StatisticsFromJson(Json& value) {
  JsonFields json(value, "statistics file");
  StatisticsEntry entry{.snapshot_id = json.Int64("snapshot-id")};
  K2_TRY(json.status());
  entry.json = JsonDump(value);
  return entry;
}

// Schemas, specs and orders, with the fallbacks of version 1 (spec, Appendix E).
Status ReadLayout(JsonFields& json, TableMetadata& metadata) {
  const bool lenient = metadata.format_version == 1;
  if (lenient && !json.Has("schemas")) {
    Json* schema = json.Value("schema");
    K2_TRY(json.status());
    K2_ASSIGN(Schema parsed, SchemaFromJson(*schema));
    metadata.current_schema_id = parsed.schema_id;
    metadata.schemas.push_back(std::move(parsed));
  } else {
    metadata.current_schema_id = json.Int32("current-schema-id");
    Json* schemas = json.Array("schemas");
    K2_TRY(json.status());
    K2_ASSIGN(metadata.schemas, ReadList<Schema>(schemas, SchemaFromJson));
  }
  if (lenient && !json.Has("partition-specs")) {
    Json* fields = json.Value("partition-spec");
    K2_TRY(json.status());
    K2_ASSIGN(auto parsed, PartitionFieldsFromJson(*fields));
    metadata.partition_specs.push_back({.spec_id = 0, .fields = std::move(parsed)});
  } else {
    metadata.default_spec_id = json.Int32("default-spec-id");
    Json* specs = json.Array("partition-specs");
    K2_TRY(json.status());
    K2_ASSIGN(metadata.partition_specs, ReadList<PartitionSpec>(specs, PartitionSpecFromJson));
  }
  int32_t last_partition_id = kNoPartitionId;
  for (const PartitionSpec& spec : metadata.partition_specs) {
    for (const PartitionField& field : spec.fields) last_partition_id = std::max(last_partition_id, field.field_id);
  }
  metadata.last_partition_id = std::max(last_partition_id, json.OptionalInt32("last-partition-id").value_or(0));
  metadata.default_sort_order_id = json.OptionalInt32("default-sort-order-id").value_or(0);
  Json* orders = lenient ? json.OptionalArray("sort-orders") : json.Array("sort-orders");
  K2_TRY(json.status());
  K2_ASSIGN(metadata.sort_orders, ReadList<SortOrder>(orders, SortOrderFromJson));
  if (metadata.default_sort_order_id == 0 &&
      std::ranges::find(metadata.sort_orders, 0, &SortOrder::order_id) == metadata.sort_orders.end()) {
    metadata.sort_orders.insert(metadata.sort_orders.begin(), SortOrder{});  // the unsorted order is always there
  }
  return {};
}

Status ReadHistory(JsonFields& json, TableMetadata& metadata) {
  metadata.current_snapshot_id = json.OptionalInt64("current-snapshot-id");
  if (metadata.current_snapshot_id == kNoSnapshot) metadata.current_snapshot_id.reset();
  Json* snapshots = json.OptionalArray("snapshots");
  Json* refs = json.OptionalObject("refs");
  Json* snapshot_log = json.OptionalArray("snapshot-log");
  Json* metadata_log = json.OptionalArray("metadata-log");
  Json* statistics = json.OptionalArray("statistics");
  Json* partition_statistics = json.OptionalArray("partition-statistics");
  K2_TRY(json.status());
  K2_ASSIGN(metadata.snapshots, ReadList<Snapshot>(snapshots, SnapshotFromJson));
  K2_ASSIGN(metadata.refs, RefsFromJson(refs));
  if (metadata.current_snapshot_id && metadata.FindRef(kMainBranch) == nullptr) {
    metadata.refs.emplace(kMainBranch, SnapshotRef{.snapshot_id = *metadata.current_snapshot_id, .is_branch = true});
  }
  K2_ASSIGN(metadata.snapshot_log,
            ReadList<SnapshotLogEntry>(snapshot_log, [](Json& value) -> Result<SnapshotLogEntry> {
              JsonFields entry(value, "entry of the snapshot log");
              const SnapshotLogEntry parsed{entry.Int64("timestamp-ms"), entry.Int64("snapshot-id")};
              K2_TRY(entry.status());
              return parsed;
            }));
  K2_ASSIGN(metadata.metadata_log,
            ReadList<MetadataLogEntry>(metadata_log, [](Json& value) -> Result<MetadataLogEntry> {
              JsonFields entry(value, "entry of the metadata log");
              MetadataLogEntry parsed{entry.Int64("timestamp-ms"), entry.String("metadata-file")};
              K2_TRY(entry.status());
              return parsed;
            }));
  K2_ASSIGN(metadata.statistics, ReadList<StatisticsEntry>(statistics, StatisticsFromJson));
  K2_ASSIGN(metadata.partition_statistics, ReadList<StatisticsEntry>(partition_statistics, StatisticsFromJson));
  return {};
}

void WriteStatistics(JsonWriter& writer, const std::vector<StatisticsEntry>& entries) {
  writer.BeginArray();
  for (const StatisticsEntry& entry : entries) writer.Raw(entry.json);
  writer.EndArray();
}

void WriteLayout(JsonWriter& writer, const TableMetadata& metadata) {
  if (metadata.format_version == 1) {
    writer.Key("schema");
    WriteSchema(writer, metadata.CurrentSchema());
  }
  writer.Field("current-schema-id", metadata.current_schema_id).Key("schemas").BeginArray();
  for (const Schema& schema : metadata.schemas) WriteSchema(writer, schema);
  writer.EndArray();
  if (metadata.format_version == 1) {
    writer.Key("partition-spec");
    WritePartitionFields(writer, metadata.DefaultSpec());
  }
  writer.Field("default-spec-id", metadata.default_spec_id).Key("partition-specs").BeginArray();
  for (const PartitionSpec& spec : metadata.partition_specs) WritePartitionSpec(writer, spec);
  writer.EndArray().Field("last-partition-id", metadata.last_partition_id);
  writer.Field("default-sort-order-id", metadata.default_sort_order_id).Key("sort-orders").BeginArray();
  for (const SortOrder& order : metadata.sort_orders) WriteSortOrder(writer, order);
  writer.EndArray();
}

void WriteLogs(JsonWriter& writer, const TableMetadata& metadata) {
  writer.Key("snapshot-log").BeginArray();
  for (const SnapshotLogEntry& entry : metadata.snapshot_log) {
    writer.BeginObject().Field("timestamp-ms", entry.timestamp_ms).Field("snapshot-id", entry.snapshot_id).EndObject();
  }
  writer.EndArray().Key("metadata-log").BeginArray();
  for (const MetadataLogEntry& entry : metadata.metadata_log) {
    writer.BeginObject().Field("timestamp-ms", entry.timestamp_ms);
    writer.Field("metadata-file", entry.metadata_file).EndObject();
  }
  writer.EndArray();
}

}  // namespace

Result<TableMetadata> TableMetadataFromJson(Json& value) {
  JsonFields json(value, "table metadata");
  TableMetadata metadata{.format_version = json.Int32("format-version")};
  K2_TRY(json.status());
  if (metadata.format_version < 1 || metadata.format_version > 2) {
    return Fail(ErrorKind::kUnsupported,
                "the table is of Iceberg format version {}; K2 reads versions 1 and 2. Use an engine that supports "
                "version {}, or a table that was created with the property format-version=2",
                metadata.format_version, metadata.format_version);
  }
  const bool lenient = metadata.format_version == 1;
  metadata.table_uuid = lenient ? json.OptionalString("table-uuid").value_or("") : json.String("table-uuid");
  metadata.location = json.String("location");
  metadata.last_sequence_number = lenient ? 0 : json.Int64("last-sequence-number");
  metadata.last_updated_ms = json.Int64("last-updated-ms");
  metadata.last_column_id = json.Int32("last-column-id");
  metadata.properties = json.OptionalStringMap("properties");
  K2_TRY(json.status());
  K2_TRY(ReadLayout(json, metadata));
  K2_TRY(ReadHistory(json, metadata));
  for (const Schema& schema : metadata.schemas) {
    metadata.last_column_id = std::max(metadata.last_column_id, schema.HighestFieldId());  // ids are never used again
  }
  for (const auto& [name, other] : value.items()) {
    if (std::ranges::find(kKnownFields, name) == kKnownFields.end()) metadata.other.emplace(name, JsonDump(other));
  }
  K2_TRY(metadata.Check());
  return metadata;
}

Result<TableMetadata> ParseTableMetadata(std::string_view text) {
  if (text.starts_with("\x1f\x8b")) {
    return Fail(ErrorKind::kUnsupported,
                "the table metadata is compressed; set the property write.metadata.compression-codec=none");
  }
  K2_ASSIGN(Json json, ParseJson(text, "table metadata"));
  return TableMetadataFromJson(json);
}

void WriteSnapshot(JsonWriter& writer, const Snapshot& snapshot, int32_t format_version) {
  writer.BeginObject();
  if (format_version > 1) writer.Field("sequence-number", snapshot.sequence_number);
  writer.Field("snapshot-id", snapshot.snapshot_id);
  if (snapshot.parent_snapshot_id) writer.Field("parent-snapshot-id", *snapshot.parent_snapshot_id);
  writer.Field("timestamp-ms", snapshot.timestamp_ms);
  if (!snapshot.operation.empty()) {
    writer.Key("summary").BeginObject().Field("operation", snapshot.operation);
    for (const auto& [key, value] : snapshot.summary) writer.Field(key, value);
    writer.EndObject();
  }
  writer.Field("manifest-list", snapshot.manifest_list);
  if (snapshot.schema_id) writer.Field("schema-id", *snapshot.schema_id);
  writer.EndObject();
}

void WriteRefFields(JsonWriter& writer, const SnapshotRef& ref) {
  writer.Field("snapshot-id", ref.snapshot_id).Field("type", ref.is_branch ? "branch" : "tag");
  if (ref.min_snapshots_to_keep) writer.Field("min-snapshots-to-keep", *ref.min_snapshots_to_keep);
  if (ref.max_snapshot_age_ms) writer.Field("max-snapshot-age-ms", *ref.max_snapshot_age_ms);
  if (ref.max_ref_age_ms) writer.Field("max-ref-age-ms", *ref.max_ref_age_ms);
}

void WriteTableMetadata(JsonWriter& writer, const TableMetadata& metadata) {
  writer.BeginObject().Field("format-version", metadata.format_version);
  if (!metadata.table_uuid.empty()) writer.Field("table-uuid", metadata.table_uuid);
  writer.Field("location", metadata.location);
  if (metadata.format_version > 1) writer.Field("last-sequence-number", metadata.last_sequence_number);
  writer.Field("last-updated-ms", metadata.last_updated_ms).Field("last-column-id", metadata.last_column_id);
  WriteLayout(writer, metadata);
  writer.Key("properties").StringMap(metadata.properties);
  writer.Field("current-snapshot-id", metadata.current_snapshot_id.value_or(kNoSnapshot));
  writer.Key("refs").BeginObject();
  for (const auto& [name, ref] : metadata.refs) {
    writer.Key(name).BeginObject();
    WriteRefFields(writer, ref);
    writer.EndObject();
  }
  writer.EndObject().Key("snapshots").BeginArray();
  for (const Snapshot& snapshot : metadata.snapshots) WriteSnapshot(writer, snapshot, metadata.format_version);
  writer.EndArray().Key("statistics");
  WriteStatistics(writer, metadata.statistics);
  writer.Key("partition-statistics");
  WriteStatistics(writer, metadata.partition_statistics);
  WriteLogs(writer, metadata);
  for (const auto& [name, json] : metadata.other) writer.Key(name).Raw(json);
  writer.EndObject();
}

std::string TableMetadataToJson(const TableMetadata& metadata) {
  JsonWriter writer;
  writer.Reserve(4096 + metadata.snapshots.size() * 1024);
  WriteTableMetadata(writer, metadata);
  return writer.Take();
}

}  // namespace k2::iceberg
