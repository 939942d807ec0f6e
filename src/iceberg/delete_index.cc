#include "iceberg/delete_index.h"

#include <algorithm>

#include "iceberg/literal.h"

namespace k2::iceberg {
namespace {

// Do the bounds of a position delete file's paths, or the one file it names, leave this data file out?
bool NamesOtherFiles(const DataFile& deletes, const DataFile& data) {
  if (deletes.referenced_data_file) return *deletes.referenced_data_file != data.file_path;
  const auto lower = deletes.lower_bounds.find(kDeletePathFieldId);
  const auto upper = deletes.upper_bounds.find(kDeletePathFieldId);
  // A bound may be cut short; a longer path that starts with it still lies within.
  return (lower != deletes.lower_bounds.end() && data.file_path < lower->second) ||
         (upper != deletes.upper_bounds.end() && data.file_path > upper->second &&
          !data.file_path.starts_with(upper->second));
}

// By a file's counts; true where it does not say.
bool MayHoldNull(const DataFile& file, int32_t field_id) {
  const auto found = file.null_value_counts.find(field_id);
  return found == file.null_value_counts.end() || found->second != 0;
}

// By a file's bounds of a column: are all its values below those of the other? False where that is not known.
bool LiesBelow(const DataFile& file, const DataFile& other, const NestedField& field) {
  const auto upper = file.upper_bounds.find(field.id);
  const auto lower = other.lower_bounds.find(field.id);
  if (upper == file.upper_bounds.end() || lower == other.lower_bounds.end()) return false;
  const Result<Literal> last = FromBytes(upper->second, field.type);
  const Result<Literal> first = FromBytes(lower->second, field.type);
  return last && first && Comparable(*last, *first) && CompareLiterals(*last, *first) < 0;
}

}  // namespace

bool IsUnpartitioned(const PartitionSpec& spec) {
  return std::ranges::all_of(spec.fields, [](const PartitionField& field) { return field.transform == "void"; });
}

void DeleteIndex::Add(const ManifestEntry& entry) {
  auto described = std::make_shared<DeleteFile>(DeleteFile{.path = entry.file.file_path,
                                                           .content = entry.file.content,
                                                           .file_format = entry.file.file_format,
                                                           .equality_ids = entry.file.equality_ids,
                                                           .record_count = entry.file.record_count,
                                                           .size_bytes = entry.file.file_size_in_bytes});
  std::ranges::sort(described->equality_ids);
  const PartitionSpec* spec = metadata_.FindSpec(entry.file.spec_id);
  const bool global = entry.file.content == FileContent::kEqualityDeletes && spec != nullptr && IsUnpartitioned(*spec);
  auto& entries = global ? global_ : by_partition_[{entry.file.spec_id, entry.file.partition}];
  entries.push_back({entry.file, *entry.sequence_number, std::move(described)});
}

// A column's bounds that do not overlap leave no equal row, nulls apart.
bool DeleteIndex::MayHoldEqualRows(const DataFile& deletes, const DataFile& data) const {
  return std::ranges::all_of(deletes.equality_ids, [&](int32_t id) {
    const NestedField* field = metadata_.CurrentSchema().FindById(id);
    if (field == nullptr || !field->type.IsPrimitive()) return true;  // dropped: its type is not known here
    if (MayHoldNull(deletes, id) && MayHoldNull(data, id)) return true;
    return !LiesBelow(deletes, data, *field) && !LiesBelow(data, deletes, *field);
  });
}

bool DeleteIndex::MayRemoveRows(const Entry& entry, const DataFile& data, int64_t sequence_number) const {
  if (entry.file.content == FileContent::kEqualityDeletes) {
    return sequence_number < entry.sequence_number && MayHoldEqualRows(entry.file, data);
  }
  return sequence_number <= entry.sequence_number && !NamesOtherFiles(entry.file, data);
}

DeleteFiles DeleteIndex::For(const DataFile& data, int64_t sequence_number) const {
  DeleteFiles found;
  const auto take = [&](const std::vector<Entry>& entries) {
    for (const Entry& entry : entries) {
      if (MayRemoveRows(entry, data, sequence_number)) found.push_back(entry.described);
    }
  };
  take(global_);
  const auto partition = by_partition_.find({data.spec_id, data.partition});
  if (partition != by_partition_.end()) take(partition->second);
  return found;
}

}  // namespace k2::iceberg
