#include "iceberg/relocation.h"

#include <nlohmann/json.hpp>

#include "avro/container.h"
#include "base/json_text.h"
#include "iceberg/data_file.h"

namespace k2::iceberg {
namespace {

using avro::Node;
using avro::Value;

constexpr int64_t kDeleteFilePathId = 2147483546;  // reserved field id of a position delete's file_path

constexpr std::string_view kAvroPrefix = "avro.";

// A field of a record by its Iceberg id, or by its name where the writer left ids out.
int IndexOf(const Node& record, int64_t id, std::string_view name) {
  const int index = record.FieldIndexById(id);
  return index >= 0 ? index : record.FieldIndex(name);
}

Value* FieldOf(const Node& record, Value& value, int64_t id, std::string_view name) {
  const int index = record.type == avro::Type::kRecord ? IndexOf(record, id, name) : -1;
  Value::List* fields = value.MutableItems();
  if (index < 0 || fields == nullptr) return nullptr;
  return &(*fields)[static_cast<size_t>(index)];
}

Status Missing(std::string_view field) {
  return Fail(ErrorKind::kInvalidData, "its Avro schema has no field \"{}\"", field);
}

bool IsNullable(const Node& record, int64_t id, std::string_view name) {
  const int index = IndexOf(record, id, name);
  if (index < 0) return false;
  const Node& type = *record.fields[static_cast<size_t>(index)].type;
  return type.type == avro::Type::kUnion &&
         std::ranges::any_of(type.branches, [](const Node* branch) { return branch->type == avro::Type::kNull; });
}

void SetNull(const Node& record, Value& value, int64_t id, std::string_view name) {
  if (!IsNullable(record, id, name)) return;
  if (Value* field = FieldOf(record, value, id, name)) *field = Value();
}

// A map of bounds is an array of {key, value} records.
void RelocateBound(Value& bounds, const std::optional<std::string>& to) {
  Value::List* pairs = bounds.MutableItems();
  if (pairs == nullptr) return;
  std::erase_if(*pairs, [&](Value& pair) {
    Value::List* entry = pair.MutableItems();
    if (entry == nullptr || entry->size() != 2) return false;
    const int64_t* key = (*entry)[0].Long();
    if (key == nullptr || *key != kDeleteFilePathId) return false;
    if (!to) return true;
    (*entry)[1] = Value(*to);
    return false;
  });
}

std::optional<std::string> PathBound(const Value& bounds) {
  if (bounds.Items() == nullptr) return std::nullopt;
  for (const Value& pair : *bounds.Items()) {
    const Value::List* entry = pair.Items();
    if (entry == nullptr || entry->size() != 2) continue;
    const int64_t* key = (*entry)[0].Long();
    if (key != nullptr && *key == kDeleteFilePathId && (*entry)[1].Bytes() != nullptr) return *(*entry)[1].Bytes();
  }
  return std::nullopt;
}

// Reads all records, changes each, writes them with the same schema and header.
Result<std::string> RewriteContainer(std::string_view bytes,
                                     const std::function<Status(const Node& root, Value& record)>& change) {
  K2_ASSIGN(auto reader, avro::ContainerReader::Open(bytes));
  std::map<std::string, std::string> header;
  std::string schema;
  for (const auto& [key, value] : reader.metadata()) {
    if (key == "avro.schema") schema = value;
    if (!key.starts_with(kAvroPrefix)) header.emplace(key, value);
  }
  K2_ASSIGN(auto writer, avro::ContainerWriter::Create(schema, header, avro::Codec::kDeflate));
  Value record;
  for (;;) {
    K2_ASSIGN(const bool more, reader.Next(record));
    if (!more) return writer.Finish();
    K2_TRY(change(reader.schema().root(), record));
    K2_TRY(writer.Append(record));
  }
}

class ManifestEntryRelocation {
 public:
  ManifestEntryRelocation(const NewName& name, const FindRewritten& rewritten) : name_(name), rewritten_(rewritten) {}

  Status Apply(const Node& root, Value& entry) {
    Value* file = FieldOf(root, entry, 2, "data_file");
    if (file == nullptr) return Missing("data_file");
    const Node& record = root.fields[static_cast<size_t>(IndexOf(root, 2, "data_file"))].type->NonNull();
    Value* path = FieldOf(record, *file, 100, "file_path");
    if (path == nullptr || path->Bytes() == nullptr) return Missing("file_path");
    const std::string before = *path->Bytes();
    Value* content = FieldOf(record, *file, 134, "content");
    const bool deletes = content != nullptr && content->Long() != nullptr &&
                         *content->Long() == static_cast<int64_t>(FileContent::kPositionDeletes);
    const RewrittenFile* rewritten = deletes ? rewritten_(before) : nullptr;
    *path = Value(rewritten == nullptr ? name_(before) : rewritten->location);
    if (rewritten != nullptr) SetSize(record, *file, *rewritten);
    if (Value* referenced = FieldOf(record, *file, 143, "referenced_data_file");
        referenced != nullptr && referenced->Bytes() != nullptr) {
      *referenced = Value(name_(*referenced->Bytes()));
    }
    if (deletes) SetBounds(record, *file, rewritten);
    return {};
  }

 private:
  static void SetSize(const Node& record, Value& file, const RewrittenFile& rewritten) {
    if (Value* size = FieldOf(record, file, 104, "file_size_in_bytes")) *size = Value(rewritten.size_bytes);
    SetNull(record, file, 108, "column_sizes");
    SetNull(record, file, 132, "split_offsets");
  }

  void SetBounds(const Node& record, Value& file, const RewrittenFile* rewritten) {
    Value* lower = FieldOf(record, file, 125, "lower_bounds");
    Value* upper = FieldOf(record, file, 128, "upper_bounds");
    if (rewritten != nullptr) {
      if (lower != nullptr) RelocateBound(*lower, rewritten->lowest_path);
      if (upper != nullptr) RelocateBound(*upper, rewritten->highest_path);
      return;
    }
    // A file that is not live any more was not read: only where both bounds are the one data file that it names are
    // they known to be whole.
    const auto low = lower == nullptr ? std::nullopt : PathBound(*lower);
    const auto high = upper == nullptr ? std::nullopt : PathBound(*upper);
    const std::optional<std::string> known =
        low && low == high ? std::optional<std::string>(name_(*low)) : std::nullopt;
    if (lower != nullptr) RelocateBound(*lower, known);
    if (upper != nullptr) RelocateBound(*upper, known);
  }

  const NewName& name_;
  const FindRewritten& rewritten_;
};

}  // namespace

Result<std::string> RelocateManifest(std::string_view bytes, const NewName& name, const FindRewritten& rewritten) {
  ManifestEntryRelocation relocation(name, rewritten);
  return RewriteContainer(bytes, [&](const Node& root, Value& entry) { return relocation.Apply(root, entry); });
}

Result<std::string> RelocateManifestList(std::string_view bytes,
                                         const std::function<Result<MovedManifest>(const std::string&)>& manifest) {
  return RewriteContainer(bytes, [&](const Node& root, Value& line) -> Status {
    Value* path = FieldOf(root, line, 500, "manifest_path");
    Value* length = FieldOf(root, line, 501, "manifest_length");
    if (path == nullptr || path->Bytes() == nullptr || length == nullptr) return Missing("manifest_path");
    K2_ASSIGN(const MovedManifest moved, manifest(*path->Bytes()));
    *path = Value(moved.location);
    *length = Value(moved.size_bytes);
    return {};
  });
}

Result<std::string> StatisticsPath(const StatisticsEntry& entry) {
  K2_ASSIGN(nlohmann::json json, ParseJson(entry.json, "statistics file"));
  const auto path = json.is_object() ? json.find("statistics-path") : json.end();
  if (!json.is_object() || path == json.end() || !path->is_string()) {
    return Fail(ErrorKind::kInvalidData, "a statistics file of snapshot {} has no path", entry.snapshot_id);
  }
  return path->get<std::string>();
}

Result<TableMetadata> RelocateMetadata(const TableMetadata& metadata,
                                       const std::function<std::optional<std::string>(std::string_view)>& apply,
                                       const std::function<std::string(const Snapshot&)>& manifest_list) {
  TableMetadata moved = metadata;
  const auto keep = [&](const std::string& location) { return apply(location).value_or(location); };
  moved.location = keep(metadata.location);
  for (Snapshot& snapshot : moved.snapshots) snapshot.manifest_list = manifest_list(snapshot);
  std::erase_if(moved.metadata_log, [&](MetadataLogEntry& entry) {
    const std::optional<std::string> to = apply(entry.metadata_file);
    if (to) entry.metadata_file = *to;
    return !to;
  });
  for (auto* entries : {&moved.statistics, &moved.partition_statistics}) {
    for (StatisticsEntry& entry : *entries) {
      K2_ASSIGN(const std::string path, StatisticsPath(entry));
      K2_ASSIGN(nlohmann::json json, ParseJson(entry.json, "statistics file"));
      json["statistics-path"] = keep(path);
      entry.json = JsonDump(json);
    }
  }
  for (auto& [name, value] : moved.properties) value = keep(value);
  return moved;
}

}  // namespace k2::iceberg
