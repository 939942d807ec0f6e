#include "iceberg/manifest_list.h"

#include <algorithm>
#include <map>

#include "avro/container.h"
#include "iceberg/avro_fields.h"
#include "iceberg/manifest.h"
#include "iceberg/manifest_schema.h"

namespace k2::iceberg {
namespace {

using avro::AppendBytes;
using avro::AppendInt;
using avro::AppendLong;
using avro::AppendOptional;

constexpr NamedId kManifestIds[] = {{"manifest_path", 500},
                                    {"manifest_length", 501},
                                    {"partition_spec_id", 502},
                                    {"content", 517},
                                    {"sequence_number", 515},
                                    {"min_sequence_number", 516},
                                    {"added_snapshot_id", 503},
                                    {"added_files_count", 504},
                                    {"added_data_files_count", 504},
                                    {"existing_files_count", 505},
                                    {"existing_data_files_count", 505},
                                    {"deleted_files_count", 506},
                                    {"deleted_data_files_count", 506},
                                    {"added_rows_count", 512},
                                    {"existing_rows_count", 513},
                                    {"deleted_rows_count", 514},
                                    {"partitions", 507},
                                    {"key_metadata", 519}};
constexpr NamedId kSummaryIds[] = {
    {"contains_null", 509}, {"contains_nan", 518}, {"lower_bound", 510}, {"upper_bound", 511}};

void AppendPartitions(std::string& out, const std::vector<FieldSummary>& partitions) {
  AppendLong(out, 1);
  if (!partitions.empty()) AppendLong(out, static_cast<int64_t>(partitions.size()));
  for (const FieldSummary& field : partitions) {
    avro::AppendBoolean(out, field.contains_null);
    AppendLong(out, field.contains_nan ? 1 : 0);
    if (field.contains_nan) avro::AppendBoolean(out, *field.contains_nan);
    AppendOptional(out, field.lower_bound);
    AppendOptional(out, field.upper_bound);
  }
  AppendLong(out, 0);
}

void AppendManifest(std::string& out, const ManifestFile& manifest, int64_t sequence_number) {
  const auto assigned = [&](int64_t number) { return number == kUnassignedSequence ? sequence_number : number; };
  AppendBytes(out, manifest.manifest_path);
  AppendLong(out, manifest.manifest_length);
  AppendInt(out, manifest.partition_spec_id);
  AppendInt(out, static_cast<int32_t>(manifest.content));
  AppendLong(out, assigned(manifest.sequence_number));
  AppendLong(out, assigned(manifest.min_sequence_number));
  AppendLong(out, manifest.added_snapshot_id);
  AppendInt(out, manifest.added_files_count);
  AppendInt(out, manifest.existing_files_count);
  AppendInt(out, manifest.deleted_files_count);
  AppendLong(out, manifest.added_rows_count);
  AppendLong(out, manifest.existing_rows_count);
  AppendLong(out, manifest.deleted_rows_count);
  AppendPartitions(out, manifest.partitions);
  AppendOptional(out, manifest.key_metadata);
}

bool HasUnknownCount(const ManifestFile& manifest) {
  return manifest.added_files_count < 0 || manifest.existing_files_count < 0 || manifest.deleted_files_count < 0 ||
         manifest.added_rows_count < 0 || manifest.existing_rows_count < 0 || manifest.deleted_rows_count < 0;
}

bool ReadSummaries(const avro::Node& list, avro::BinaryReader& reader, std::vector<FieldSummary>& summaries) {
  if (list.type != avro::Type::kArray || list.items->type != avro::Type::kRecord) return false;
  const avro::Node& record = *list.items;
  const std::vector<int32_t> ids = FieldIdsOf(record, kSummaryIds);
  return ReadItems(reader, [&] {
    FieldSummary& summary = summaries.emplace_back();
    return ReadRecord(record, ids, reader, [&](int32_t id, const avro::Node& type) {
      switch (id) {
        case 509: return TakenIf(ReadFlag(type, reader, summary.contains_null));
        case 518: return TakenIf(ReadFlag(type, reader, summary.contains_nan.emplace()));
        case 510: return TakenIf(ReadText(type, reader, summary.lower_bound.emplace()));
        case 511: return TakenIf(ReadText(type, reader, summary.upper_bound.emplace()));
        default: return Taken::kNo;
      }
    });
  });
}

Taken ReadField(int32_t id, const avro::Node& type, avro::BinaryReader& reader, ManifestFile& manifest) {
  switch (id) {
    case 500: return TakenIf(ReadText(type, reader, manifest.manifest_path));
    case 501: return TakenIf(ReadInteger(type, reader, manifest.manifest_length));
    case 502: return TakenIf(ReadInteger(type, reader, manifest.partition_spec_id));
    case 517: {
      int32_t content = 0;
      if (!ReadInteger(type, reader, content) || content < 0 || content > 1) return Taken::kBroken;
      manifest.content = static_cast<ManifestContent>(content);
      return Taken::kYes;
    }
    case 515: return TakenIf(ReadInteger(type, reader, manifest.sequence_number));
    case 516: return TakenIf(ReadInteger(type, reader, manifest.min_sequence_number));
    case 503: return TakenIf(ReadInteger(type, reader, manifest.added_snapshot_id));
    case 504: return TakenIf(ReadInteger(type, reader, manifest.added_files_count));
    case 505: return TakenIf(ReadInteger(type, reader, manifest.existing_files_count));
    case 506: return TakenIf(ReadInteger(type, reader, manifest.deleted_files_count));
    case 512: return TakenIf(ReadInteger(type, reader, manifest.added_rows_count));
    case 513: return TakenIf(ReadInteger(type, reader, manifest.existing_rows_count));
    case 514: return TakenIf(ReadInteger(type, reader, manifest.deleted_rows_count));
    case 507: return TakenIf(ReadSummaries(type, reader, manifest.partitions));
    case 519: return TakenIf(ReadText(type, reader, manifest.key_metadata.emplace()));
    default: return Taken::kNo;
  }
}

}  // namespace

Result<std::string> EncodeManifestList(int64_t snapshot_id, std::optional<int64_t> parent_snapshot_id,
                                       int64_t sequence_number, const std::vector<ManifestFile>& manifests) {
  const std::map<std::string, std::string> header = {
      {"snapshot-id", fmt::to_string(snapshot_id)},
      {"parent-snapshot-id", parent_snapshot_id ? fmt::to_string(*parent_snapshot_id) : "null"},
      {"sequence-number", fmt::to_string(sequence_number)},
      {"format-version", "2"},
  };
  static const std::string kSchema = ManifestListSchema();
  K2_ASSIGN(auto writer, avro::ContainerWriter::Create(kSchema, header, avro::Codec::kDeflate));
  std::string record;
  for (const ManifestFile& manifest : manifests) {
    if (HasUnknownCount(manifest)) {
      return Fail(ErrorKind::kInvalidArgument, "the counts of manifest {} are not known", manifest.manifest_path);
    }
    record.clear();
    AppendManifest(record, manifest, sequence_number);
    K2_TRY(writer.AppendEncoded(record));
  }
  return writer.Finish();
}

Result<std::vector<ManifestFile>> DecodeManifestList(std::string_view bytes) {
  K2_ASSIGN(auto file, avro::ContainerReader::Open(bytes));
  const avro::Node& root = file.schema().root();
  const auto version = file.metadata().find("format-version");
  if (version != file.metadata().end() && version->second != "1" && version->second != "2") {
    return Fail(ErrorKind::kUnsupported, "the manifest list has format version {}, newer than 2", version->second);
  }
  const std::vector<int32_t> ids =
      root.type == avro::Type::kRecord ? FieldIdsOf(root, kManifestIds) : std::vector<int32_t>();
  if (std::ranges::find(ids, 500) == ids.end()) {
    return Fail(ErrorKind::kInvalidData, "the file's Avro schema is not that of a manifest list");
  }
  std::vector<ManifestFile> manifests;
  for (;;) {
    std::string_view block;
    int64_t records = 0;
    K2_ASSIGN(const bool more, file.NextBlock(block, records));
    if (!more) return manifests;
    // Every record takes at least a byte: a count beyond that would only fill the memory.
    if (static_cast<uint64_t>(records) > block.size())
      return Fail(ErrorKind::kInvalidData, "a block of {} bytes claims {} records", block.size(), records);
    avro::BinaryReader reader(block);
    for (int64_t i = 0; i < records; ++i) {
      ManifestFile& manifest = manifests.emplace_back();
      manifest.added_files_count = manifest.existing_files_count = manifest.deleted_files_count = kUnknownCount;
      manifest.added_rows_count = manifest.existing_rows_count = manifest.deleted_rows_count = kUnknownCount;
      const bool read = ReadRecord(
          root, ids, reader, [&](int32_t id, const avro::Node& type) { return ReadField(id, type, reader, manifest); });
      if (!read || manifest.manifest_path.empty()) {
        return Fail(ErrorKind::kInvalidData, "line {} of the manifest list is corrupt", manifests.size() - 1);
      }
    }
    if (!reader.AtEnd()) return Fail(ErrorKind::kInvalidData, "bytes are left over in the manifest list");
  }
}

}  // namespace k2::iceberg
