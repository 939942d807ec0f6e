#include <algorithm>
#include <map>

#include "avro/binary.h"
#include "avro/container.h"
#include "iceberg/literal.h"
#include "iceberg/manifest.h"
#include "iceberg/manifest_schema.h"
#include "iceberg/schema_json.h"

namespace k2::iceberg {
namespace {

using avro::AppendBytes;
using avro::AppendInt;
using avro::AppendLong;
using avro::AppendOptional;
using avro::AppendPresent;

// An empty map or list means the same as none, and none is what other writers expect to see.
template <typename Items, typename Append>
void AppendItems(std::string& out, const Items& items, Append&& append) {
  if (!AppendPresent(out, !items.empty())) return;
  AppendLong(out, static_cast<int64_t>(items.size()));
  for (const auto& item : items) append(item);
  AppendLong(out, 0);
}

void AppendMap(std::string& out, const std::map<int32_t, int64_t>& map) {
  AppendItems(out, map, [&](const auto& item) {
    AppendInt(out, item.first);
    AppendLong(out, item.second);
  });
}
void AppendMap(std::string& out, const std::map<int32_t, std::string>& map) {
  AppendItems(out, map, [&](const auto& item) {
    AppendInt(out, item.first);
    AppendBytes(out, item.second);
  });
}

// The value is known to fit the type.
void AppendPartitionValue(std::string& out, const Literal& value, const Type& type) {
  if (!AppendPresent(out, !IsNull(value))) return;
  if (const auto* flag = std::get_if<bool>(&value)) return avro::AppendBoolean(out, *flag);
  if (const auto* number = std::get_if<int32_t>(&value)) return AppendInt(out, *number);
  if (const auto* number = std::get_if<int64_t>(&value)) return AppendLong(out, *number);
  if (const auto* number = std::get_if<float>(&value)) return avro::AppendFloat(out, *number);
  if (const auto* number = std::get_if<double>(&value)) return avro::AppendDouble(out, *number);
  if (const auto* number = std::get_if<Int128>(&value)) {
    out += FixedBigEndian(*number, DecimalRequiredBytes(type.precision)).value_or("");
    return;
  }
  const auto& bytes = std::get<std::string>(value);
  if (type.id == TypeId::kUuid || type.id == TypeId::kFixed) {
    out += bytes;
  } else {
    AppendBytes(out, bytes);
  }
}

bool FitsPartition(const Literal& value, const Type& type) {
  if (!Fits(value, type)) return false;
  const auto* number = std::get_if<Int128>(&value);
  return number == nullptr || FixedBigEndian(*number, DecimalRequiredBytes(type.precision)).has_value();
}

// Gathers what the manifest list says of a manifest.
class Summary {
 public:
  explicit Summary(const std::vector<Type>& types) : types_(types), lower_(types.size()), upper_(types.size()) {
    file_.partitions.resize(types.size());
    for (FieldSummary& field : file_.partitions) field.contains_nan = false;
  }

  void Add(const ManifestEntry& entry) {
    switch (entry.status) {
      case EntryStatus::kAdded:
        ++file_.added_files_count;
        file_.added_rows_count += entry.file.record_count;
        break;
      case EntryStatus::kExisting:
        ++file_.existing_files_count;
        file_.existing_rows_count += entry.file.record_count;
        break;
      case EntryStatus::kDeleted:
        ++file_.deleted_files_count;
        file_.deleted_rows_count += entry.file.record_count;
        break;
    }
    if (IsLive(entry) && entry.sequence_number) {
      min_sequence_ = std::min(min_sequence_.value_or(*entry.sequence_number), *entry.sequence_number);
    }
    for (size_t i = 0; i < types_.size(); ++i) AddValue(i, entry.file.partition[i]);
  }

  Result<ManifestFile> Finish() {
    for (size_t i = 0; i < types_.size(); ++i) {
      if (IsNull(lower_[i])) continue;
      K2_ASSIGN(file_.partitions[i].lower_bound, ToBytes(lower_[i], types_[i]));
      K2_ASSIGN(file_.partitions[i].upper_bound, ToBytes(upper_[i], types_[i]));
    }
    file_.sequence_number = kUnassignedSequence;
    file_.min_sequence_number = min_sequence_.value_or(kUnassignedSequence);
    return std::move(file_);
  }

 private:
  void AddValue(size_t i, const Literal& value) {
    if (IsNull(value)) {
      file_.partitions[i].contains_null = true;
    } else if (IsNan(value)) {
      file_.partitions[i].contains_nan = true;
    } else {
      if (IsNull(lower_[i]) || CompareLiterals(value, lower_[i]) < 0) lower_[i] = value;
      if (IsNull(upper_[i]) || CompareLiterals(value, upper_[i]) > 0) upper_[i] = value;
    }
  }

  const std::vector<Type>& types_;
  std::vector<Literal> lower_;
  std::vector<Literal> upper_;
  std::optional<int64_t> min_sequence_;
  ManifestFile file_;
};

Status CheckEntry(const ManifestEntry& entry, ManifestContent content, const std::vector<Type>& types) {
  const DataFile& file = entry.file;
  const auto wrong = [&](std::string_view what) {
    return Fail(ErrorKind::kInvalidArgument, "file {}: {}", file.file_path, what);
  };
  if ((file.content == FileContent::kData) != (content == ManifestContent::kData)) {
    return wrong("data files and delete files cannot share a manifest");
  }
  if (entry.status != EntryStatus::kAdded && (!entry.sequence_number || !entry.file_sequence_number)) {
    return wrong("a manifest entry that is not new must have its sequence numbers");
  }
  if (file.partition.size() != types.size()) return wrong("its partition values are not those of the partition spec");
  for (size_t i = 0; i < types.size(); ++i) {
    if (!FitsPartition(file.partition[i], types[i])) {
      return wrong(fmt::format("partition value {} is not a {}", i, types[i].ToString()));
    }
  }
  return {};
}

// The entry with partition values of the types: a source column may have been widened since the file was written.
const ManifestEntry& PromotePartition(const ManifestEntry& entry, const std::vector<Type>& types, ManifestEntry& copy) {
  const std::vector<Literal>& values = entry.file.partition;
  bool fit = values.size() == types.size();
  for (size_t i = 0; fit && i < types.size(); ++i) fit = Fits(values[i], types[i]);
  if (fit || values.size() != types.size()) return entry;
  copy = entry;
  for (size_t i = 0; i < types.size(); ++i) {
    if (std::optional<Literal> promoted = Coerce(values[i], types[i])) copy.file.partition[i] = *std::move(promoted);
  }
  return copy;
}

void AppendEntry(std::string& out, const ManifestEntry& entry, const std::vector<Type>& types) {
  const DataFile& file = entry.file;
  AppendInt(out, static_cast<int32_t>(entry.status));
  AppendOptional(out, entry.snapshot_id);
  AppendOptional(out, entry.sequence_number);
  AppendOptional(out, entry.file_sequence_number);
  AppendInt(out, static_cast<int32_t>(file.content));
  AppendBytes(out, file.file_path);
  AppendBytes(out, file.file_format);
  for (size_t i = 0; i < types.size(); ++i) AppendPartitionValue(out, file.partition[i], types[i]);
  AppendLong(out, file.record_count);
  AppendLong(out, file.file_size_in_bytes);
  AppendMap(out, file.column_sizes);
  AppendMap(out, file.value_counts);
  AppendMap(out, file.null_value_counts);
  AppendMap(out, file.nan_value_counts);
  AppendMap(out, file.lower_bounds);
  AppendMap(out, file.upper_bounds);
  AppendOptional(out, file.key_metadata);
  AppendItems(out, file.split_offsets, [&](int64_t offset) { AppendLong(out, offset); });
  AppendItems(out, file.equality_ids, [&](int32_t id) { AppendInt(out, id); });
  AppendOptional(out, file.sort_order_id ? std::optional<int64_t>(*file.sort_order_id) : std::nullopt);
  AppendOptional(out, file.referenced_data_file);
}

}  // namespace

Result<std::vector<Type>> PartitionTypes(const PartitionSpec& spec, const TableMetadata& metadata) {
  std::vector<Type> types;
  for (const PartitionField& field : spec.fields) {
    const NestedField* source = metadata.CurrentSchema().FindById(field.source_id);
    for (auto it = metadata.schemas.rbegin(); source == nullptr && it != metadata.schemas.rend(); ++it) {
      source = it->FindById(field.source_id);  // a column that was dropped
    }
    if (source == nullptr && field.transform == "void") {
      types.push_back(Type::Primitive(TypeId::kString));
      continue;
    }
    if (source == nullptr) {
      return Fail(ErrorKind::kInvalidData, "partition field {} of spec {} has no source column {}", field.name,
                  spec.spec_id, field.source_id);
    }
    K2_ASSIGN(Type type, TransformResultType(field.transform, source->type));
    types.push_back(std::move(type));
  }
  return types;
}

Result<EncodedManifest> EncodeManifest(const TableMetadata& metadata, int32_t spec_id, ManifestContent content,
                                       int64_t snapshot_id, const std::vector<ManifestEntry>& entries) {
  const PartitionSpec* spec = metadata.FindSpec(spec_id);
  if (spec == nullptr) return Fail(ErrorKind::kInvalidArgument, "the table has no partition spec {}", spec_id);
  K2_ASSIGN(const std::vector<Type> types, PartitionTypes(*spec, metadata));
  const std::map<std::string, std::string> header = {
      {"schema", SchemaToJson(metadata.CurrentSchema())},
      {"schema-id", fmt::to_string(metadata.current_schema_id)},
      {"partition-spec", PartitionFieldsToJson(*spec)},
      {"partition-spec-id", fmt::to_string(spec_id)},
      {"format-version", "2"},
      {"content", content == ManifestContent::kData ? "data" : "deletes"},
  };
  K2_ASSIGN(auto writer,
            avro::ContainerWriter::Create(ManifestEntrySchema(*spec, types), header, avro::Codec::kDeflate));
  Summary summary(types);
  std::string record;
  ManifestEntry widened;
  for (const ManifestEntry& given : entries) {
    const ManifestEntry& entry = PromotePartition(given, types, widened);
    K2_TRY(CheckEntry(entry, content, types));
    summary.Add(entry);
    record.clear();
    AppendEntry(record, entry, types);
    K2_TRY(writer.AppendEncoded(record));
  }
  EncodedManifest encoded;
  K2_ASSIGN(encoded.bytes, writer.Finish());
  K2_ASSIGN(encoded.file, summary.Finish());
  encoded.file.manifest_length = static_cast<int64_t>(encoded.bytes.size());
  encoded.file.partition_spec_id = spec_id;
  encoded.file.content = content;
  encoded.file.added_snapshot_id = snapshot_id;
  return encoded;
}

}  // namespace k2::iceberg
