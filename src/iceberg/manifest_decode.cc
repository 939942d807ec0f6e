#include <algorithm>
#include <charconv>

#include "avro/container.h"
#include "iceberg/avro_fields.h"
#include "iceberg/literal.h"
#include "iceberg/manifest.h"
#include "iceberg/manifest_schema.h"

namespace k2::iceberg {
namespace {

constexpr NamedId kEntryIds[] = {
    {"status", 0}, {"snapshot_id", 1}, {"data_file", 2}, {"sequence_number", 3}, {"file_sequence_number", 4}};
constexpr NamedId kDataFileIds[] = {
    {"content", 134},          {"file_path", 100},           {"file_format", 101},
    {"partition", 102},        {"record_count", 103},        {"file_size_in_bytes", 104},
    {"column_sizes", 108},     {"value_counts", 109},        {"null_value_counts", 110},
    {"nan_value_counts", 137}, {"lower_bounds", 125},        {"upper_bounds", 128},
    {"key_metadata", 131},     {"split_offsets", 132},       {"equality_ids", 135},
    {"sort_order_id", 140},    {"referenced_data_file", 143}};

// Decodes one manifest's entries; knows the writer's schema.
class EntryDecoder {
 public:
  EntryDecoder(const PartitionSpec& spec, const std::vector<Type>& types) : spec_(spec), types_(types) {}

  // False: the schema is not that of manifest entries.
  bool Prepare(const avro::Node& root) {
    if (root.type != avro::Type::kRecord) return false;
    entry_ = &root;
    entry_ids_ = FieldIdsOf(root, kEntryIds);
    const auto data_file = std::ranges::find(entry_ids_, 2);
    if (data_file == entry_ids_.end()) return false;
    const avro::Node& file = root.fields[static_cast<size_t>(data_file - entry_ids_.begin())].type->NonNull();
    if (file.type != avro::Type::kRecord) return false;
    file_ids_ = FieldIdsOf(file, kDataFileIds);
    const auto partition = std::ranges::find(file_ids_, 102);
    if (partition == file_ids_.end()) return spec_.fields.empty();
    const avro::Node& tuple = file.fields[static_cast<size_t>(partition - file_ids_.begin())].type->NonNull();
    if (tuple.type == avro::Type::kRecord) PreparePartition(tuple);
    return tuple.type == avro::Type::kRecord;
  }

  bool Read(avro::BinaryReader& reader, ManifestEntry& entry) {
    return ReadRecord(*entry_, entry_ids_, reader, [&](int32_t id, const avro::Node& type) {
      switch (id) {
        case 0: {
          int32_t status = 0;
          if (!ReadInteger(type, reader, status) || status < 0 || status > 2) return Taken::kBroken;
          entry.status = static_cast<EntryStatus>(status);
          return Taken::kYes;
        }
        case 1: return TakenIf(ReadInteger(type, reader, entry.snapshot_id.emplace()));
        case 2: return TakenIf(type.type == avro::Type::kRecord && ReadFile(type, reader, entry.file));
        case 3: return TakenIf(ReadInteger(type, reader, entry.sequence_number.emplace()));
        case 4: return TakenIf(ReadInteger(type, reader, entry.file_sequence_number.emplace()));
        default: return Taken::kNo;
      }
    });
  }

 private:
  // Partition fields by id; by name where another writer numbered them differently (version 1).
  void PreparePartition(const avro::Node& tuple) {
    partition_ids_ = FieldIdsOf(tuple, {});
    for (size_t i = 0; i < tuple.fields.size(); ++i) {
      const auto known = std::ranges::any_of(
          spec_.fields, [&](const PartitionField& field) { return field.field_id == partition_ids_[i]; });
      if (known) continue;
      for (const PartitionField& field : spec_.fields) {
        const bool taken = std::ranges::find(partition_ids_, field.field_id) != partition_ids_.end();
        if (!taken && AvroName(field.name) == tuple.fields[i].name) partition_ids_[i] = field.field_id;
      }
    }
  }

  bool ReadFile(const avro::Node& record, avro::BinaryReader& reader, DataFile& file) {
    file.partition.resize(spec_.fields.size());
    return ReadRecord(record, file_ids_, reader, [&](int32_t id, const avro::Node& type) {
      switch (id) {
        case 134: {
          int32_t content = 0;
          if (!ReadInteger(type, reader, content) || content < 0 || content > 2) return Taken::kBroken;
          file.content = static_cast<FileContent>(content);
          return Taken::kYes;
        }
        case 100: return TakenIf(ReadText(type, reader, file.file_path));
        case 101: return TakenIf(ReadText(type, reader, file.file_format));
        case 102: return TakenIf(type.type == avro::Type::kRecord && ReadPartition(type, reader, file));
        case 103: return TakenIf(ReadInteger(type, reader, file.record_count));
        case 104: return TakenIf(ReadInteger(type, reader, file.file_size_in_bytes));
        case 131: return TakenIf(ReadText(type, reader, file.key_metadata.emplace()));
        case 132: return TakenIf(ReadList(type, reader, file.split_offsets));
        case 135: return TakenIf(ReadList(type, reader, file.equality_ids));
        case 140: return TakenIf(ReadInteger(type, reader, file.sort_order_id.emplace()));
        case 143: return TakenIf(ReadText(type, reader, file.referenced_data_file.emplace()));
        default: return ReadMetrics(id, type, reader, file);
      }
    });
  }

  static Taken ReadMetrics(int32_t id, const avro::Node& type, avro::BinaryReader& reader, DataFile& file) {
    switch (id) {
      case 108: return TakenIf(ReadMap(type, reader, file.column_sizes));
      case 109: return TakenIf(ReadMap(type, reader, file.value_counts));
      case 110: return TakenIf(ReadMap(type, reader, file.null_value_counts));
      case 137: return TakenIf(ReadMap(type, reader, file.nan_value_counts));
      case 125: return TakenIf(ReadMap(type, reader, file.lower_bounds));
      case 128: return TakenIf(ReadMap(type, reader, file.upper_bounds));
      default: return Taken::kNo;
    }
  }

  bool ReadPartition(const avro::Node& tuple, avro::BinaryReader& reader, DataFile& file) {
    return ReadRecord(tuple, partition_ids_, reader, [&](int32_t id, const avro::Node& type) {
      for (size_t i = 0; i < spec_.fields.size(); ++i) {
        if (spec_.fields[i].field_id != id) continue;
        Literal value;
        if (!ReadLiteral(type, reader, value)) return Taken::kBroken;
        std::optional<Literal> coerced = Coerce(value, types_[i]);
        if (!coerced) return Taken::kBroken;
        file.partition[i] = *std::move(coerced);
        return Taken::kYes;
      }
      return Taken::kNo;
    });
  }

  template <typename T>
  static bool ReadList(const avro::Node& type, avro::BinaryReader& reader, std::vector<T>& items) {
    if (type.type != avro::Type::kArray) return false;
    return ReadItems(reader, [&] {
      const avro::Node* item = ResolveUnion(*type.items, reader);
      return item != nullptr && ReadInteger(*item, reader, items.emplace_back());
    });
  }

  static bool ReadValue(const avro::Node& type, avro::BinaryReader& reader, int64_t& value) {
    return ReadInteger(type, reader, value);
  }
  static bool ReadValue(const avro::Node& type, avro::BinaryReader& reader, std::string& value) {
    return ReadText(type, reader, value);
  }

  template <typename T>
  static bool ReadMap(const avro::Node& type, avro::BinaryReader& reader, std::map<int32_t, T>& map) {
    if (type.type != avro::Type::kArray || type.items->type != avro::Type::kRecord) return false;
    const avro::Node& pair = *type.items;
    if (pair.fields.size() != 2 || pair.fields[0].name != "key" || pair.fields[1].name != "value") return false;
    return ReadItems(reader, [&] {
      int32_t key = 0;
      const avro::Node* key_type = ResolveUnion(*pair.fields[0].type, reader);
      if (key_type == nullptr || !ReadInteger(*key_type, reader, key)) return false;
      const avro::Node* value_type = ResolveUnion(*pair.fields[1].type, reader);
      if (value_type == nullptr) return false;
      if (value_type->type == avro::Type::kNull) return true;
      T value{};
      if (!ReadValue(*value_type, reader, value)) return false;
      map.insert_or_assign(map.end(), key, std::move(value));
      return true;
    });
  }

  const PartitionSpec& spec_;
  const std::vector<Type>& types_;
  const avro::Node* entry_ = nullptr;
  std::vector<int32_t> entry_ids_;
  std::vector<int32_t> file_ids_;
  std::vector<int32_t> partition_ids_;
};

// What an entry takes over from its manifest's line in the list (spec, "Sequence Number Inheritance").
Status Inherit(const ManifestFile& manifest, ManifestEntry& entry) {
  entry.file.spec_id = manifest.partition_spec_id;
  if (!entry.snapshot_id) entry.snapshot_id = manifest.added_snapshot_id;
  // Manifests of version 1 have no sequence numbers at all; their line says 0.
  const bool inherits = entry.status == EntryStatus::kAdded || manifest.sequence_number == 0;
  if (inherits && !entry.sequence_number) entry.sequence_number = manifest.sequence_number;
  if (inherits && !entry.file_sequence_number) entry.file_sequence_number = manifest.sequence_number;
  // The file's own number came later than the data's; some writers of version 2 never wrote it.
  if (!entry.file_sequence_number) entry.file_sequence_number = entry.sequence_number;
  if (!entry.sequence_number && IsLive(entry)) {
    return Fail(ErrorKind::kInvalidData, "the entry of {} has no sequence number", entry.file.file_path);
  }
  return {};
}

Result<std::vector<ManifestEntry>> Decode(std::string_view bytes, const ManifestFile& manifest,
                                          const TableMetadata& metadata) {
  const PartitionSpec* spec = metadata.FindSpec(manifest.partition_spec_id);
  if (spec == nullptr) {
    return Fail(ErrorKind::kInvalidData, "the table has no partition spec {}", manifest.partition_spec_id);
  }
  K2_ASSIGN(const std::vector<Type> types, PartitionTypes(*spec, metadata));
  K2_ASSIGN(auto file, avro::ContainerReader::Open(bytes));
  const auto version = file.metadata().find("format-version");
  if (version != file.metadata().end() && version->second != "1" && version->second != "2") {
    return Fail(ErrorKind::kUnsupported, "format version {} is newer than 2", version->second);
  }
  EntryDecoder decoder(*spec, types);
  if (!decoder.Prepare(file.schema().root())) {
    return Fail(ErrorKind::kInvalidData, "its Avro schema is not that of manifest entries");
  }
  std::vector<ManifestEntry> entries;
  for (;;) {
    std::string_view block;
    int64_t records = 0;
    K2_ASSIGN(const bool more, file.NextBlock(block, records));
    if (!more) return entries;
    // Every record takes at least a byte: a count beyond that would only fill the memory.
    if (static_cast<uint64_t>(records) > block.size())
      return Fail(ErrorKind::kInvalidData, "a block of {} bytes claims {} records", block.size(), records);
    avro::BinaryReader reader(block);
    for (int64_t i = 0; i < records; ++i) {
      ManifestEntry& entry = entries.emplace_back();
      if (!decoder.Read(reader, entry)) {
        return Fail(ErrorKind::kInvalidData, "entry {} is corrupt", entries.size() - 1);
      }
      K2_TRY(Inherit(manifest, entry));
    }
    if (!reader.AtEnd()) return Fail(ErrorKind::kInvalidData, "bytes are left over after entry {}", entries.size() - 1);
  }
}

}  // namespace

Result<std::vector<ManifestEntry>> DecodeManifest(std::string_view bytes, const ManifestFile& manifest,
                                                  const TableMetadata& metadata) {
  auto entries = Decode(bytes, manifest, metadata);
  if (!entries) return std::unexpected(entries.error().With("manifest " + manifest.manifest_path));
  return entries;
}

}  // namespace k2::iceberg
