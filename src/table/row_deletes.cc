#include "table/row_deletes.h"

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/compute/api_vector.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>

#include <algorithm>
#include <map>

#include "storage/arrow_error.h"
#include "table/arrow_adapt.h"
#include "table/equality_keys.h"

namespace k2::table {
namespace {

// What the delete files remove of one data file.
class DeletedRows {
 public:
  DeletedRows(storage::FileIo& io, const std::string& location, const iceberg::Schema& schema)
      : io_(io), location_(location), schema_(schema) {}

  Status Load(const iceberg::DeleteFiles& deletes) {
    for (const auto& file : deletes) {
      if (file->content == iceberg::FileContent::kEqualityDeletes) {
        K2_TRY(LoadEquality(*file));
        continue;
      }
      K2_ASSIGN(const auto rows, LoadPositions(io_, *file, location_));
      positions_.insert(positions_.end(), rows->begin(), rows->end());
    }
    std::ranges::sort(positions_);
    positions_.erase(std::unique(positions_.begin(), positions_.end()), positions_.end());
    return {};
  }

  [[nodiscard]] const std::vector<int64_t>& positions() const { return positions_; }
  // Columns that equality deletes compare, by field id; of those that the schema lacks as the delete file types them.
  [[nodiscard]] const std::map<int32_t, iceberg::NestedField>& compared() const { return compared_; }

  // `columns`: those of compared(), of a batch whose first row is row `first` of the file. Empty: none is deleted.
  [[nodiscard]] std::vector<bool> Mark(int64_t first, int64_t rows,
                                       const std::map<int32_t, const arrow::Array*>& columns) const {
    std::vector<bool> deleted;
    const auto mark = [&](int64_t row) {
      if (deleted.empty()) deleted.resize(static_cast<size_t>(rows));
      deleted[static_cast<size_t>(row)] = true;
    };
    for (auto at = std::ranges::lower_bound(positions_, first); at != positions_.end() && *at < first + rows; ++at) {
      mark(*at - first);
    }
    std::string key;
    for (const auto& [ids, sets] : keys_) {
      std::vector<const arrow::Array*> of_ids;
      for (const int32_t id : ids) of_ids.push_back(columns.at(id));
      for (int64_t row = 0; row < rows; ++row) {
        key.clear();
        AppendKey(of_ids, row, key);
        const std::string_view view = key;
        if (std::ranges::any_of(sets, [&](const auto& set) { return set->contains(view); })) mark(row);
      }
    }
    return deleted;
  }

 private:
  Status LoadEquality(const iceberg::DeleteFile& file) {
    if (file.equality_ids.empty()) {
      return Fail(ErrorKind::kInvalidData, "equality delete file {} names no column", file.path);
    }
    std::vector<iceberg::NestedField> fields;
    for (const int32_t id : file.equality_ids) {
      K2_ASSIGN(iceberg::NestedField field, FieldToCompare(file, id));
      // Two delete files of a dropped column may type it in two ways: the first one's is kept for both.
      fields.push_back(compared_.emplace(id, std::move(field)).first->second);
    }
    K2_ASSIGN(auto keys, LoadKeys(io_, file, fields));
    if (!keys->empty()) keys_[file.equality_ids].push_back(std::move(keys));
    return {};
  }

  Result<iceberg::NestedField> FieldToCompare(const iceberg::DeleteFile& file, int32_t id) const {
    if (const auto known = compared_.find(id); known != compared_.end()) return known->second;
    const auto top = std::ranges::find(schema_.fields, id, &iceberg::NestedField::id);
    if (top != schema_.fields.end() && top->type.IsPrimitive()) return *top;
    if (top != schema_.fields.end() || schema_.FindById(id) != nullptr) {
      return Fail(ErrorKind::kUnsupported,
                  "delete file {} removes rows of {} by the nested column of field id {}, but k2 compares top-level "
                  "columns only; rewrite the table's data files with the engine that wrote it",
                  file.path, location_, id);
    }
    return FieldOfDeleteFile(io_, file, id);
  }

  storage::FileIo& io_;
  const std::string& location_;
  const iceberg::Schema& schema_;
  std::vector<int64_t> positions_;
  std::map<int32_t, iceberg::NestedField> compared_;
  std::map<std::vector<int32_t>, std::vector<std::shared_ptr<const KeySet>>> keys_;  // by equality ids
};

Result<std::shared_ptr<arrow::RecordBatch>> Without(const std::shared_ptr<arrow::RecordBatch>& batch,
                                                    const std::vector<bool>& deleted, const std::string& location) {
  K2_TRY(EnsureArrowKernels());
  arrow::Int64Builder kept;
  arrow::Status built = kept.Reserve(batch->num_rows());
  for (int64_t row = 0; built.ok() && row < batch->num_rows(); ++row) {
    if (!deleted[static_cast<size_t>(row)]) built = kept.Append(row);
  }
  if (!built.ok()) return std::unexpected(storage::ArrowError(built, "apply deletes to " + location));
  const auto rows = kept.Finish();
  if (!rows.ok()) return std::unexpected(storage::ArrowError(rows.status(), "apply deletes to " + location));
  const auto taken = arrow::compute::Take(batch, *rows, arrow::compute::TakeOptions::NoBoundsCheck());
  if (!taken.ok()) return std::unexpected(storage::ArrowError(taken.status(), "apply deletes to " + location));
  return taken->record_batch();
}

}  // namespace

Status ReadMarkedRows(
    storage::FileIo& io, const std::string& location, const iceberg::DeleteFiles& deletes,
    const iceberg::Schema& schema, const ReadOptions& options,
    const std::function<Status(std::shared_ptr<arrow::RecordBatch> batch, const std::vector<bool>& deleted)>& batch) {
  DeletedRows rows(io, location, schema);
  K2_TRY(rows.Load(deletes));
  // The columns that are compared are read behind those that were asked for, and not handed on.
  iceberg::Schema widened = schema;
  ReadOptions wide = options;
  if (wide.field_ids.empty()) {
    for (const iceberg::NestedField& field : schema.fields) wide.field_ids.push_back(field.id);
  }
  const size_t asked = wide.field_ids.size();
  std::map<int32_t, int> column_of;
  for (const auto& [id, field] : rows.compared()) {
    if (std::ranges::find(schema.fields, id, &iceberg::NestedField::id) == schema.fields.end()) {
      widened.fields.push_back(field);
    }
    const auto found = std::ranges::find(wide.field_ids, id);
    column_of[id] = static_cast<int>(found - wide.field_ids.begin());
    if (found == wide.field_ids.end()) wide.field_ids.push_back(id);
  }
  int64_t first_row = 0;
  wide.first_row = &first_row;
  return ReadDataFile(io, location, widened, wide, [&](std::shared_ptr<arrow::RecordBatch> read) -> Status {
    std::map<int32_t, const arrow::Array*> columns;
    for (const auto& [id, column] : column_of) columns[id] = read->column(column).get();
    const std::vector<bool> deleted = rows.Mark(first_row, read->num_rows(), columns);
    if (std::cmp_less(asked, read->num_columns())) {
      std::vector<int> kept(asked);
      for (size_t i = 0; i < asked; ++i) kept[i] = static_cast<int>(i);
      auto selected = read->SelectColumns(kept);
      if (!selected.ok())
        return std::unexpected(storage::ArrowError(selected.status(), "apply deletes to " + location));
      read = *std::move(selected);
    }
    return batch(std::move(read), deleted);
  });
}

Status ReadLiveRows(storage::FileIo& io, const std::string& location, const iceberg::DeleteFiles& deletes,
                    const iceberg::Schema& schema, const ReadOptions& options,
                    const std::function<Status(std::shared_ptr<arrow::RecordBatch>)>& batch) {
  if (deletes.empty()) return ReadDataFile(io, location, schema, options, batch);
  return ReadMarkedRows(io, location, deletes, schema, options,
                        [&](std::shared_ptr<arrow::RecordBatch> read, const std::vector<bool>& deleted) -> Status {
                          if (!deleted.empty()) {
                            K2_ASSIGN(read, Without(read, deleted, location));
                          }
                          return read->num_rows() == 0 ? Status{} : batch(std::move(read));
                        });
}

Result<std::vector<int64_t>> ReadDeletedPositions(storage::FileIo& io, const std::string& location,
                                                  const iceberg::DeleteFiles& deletes, const iceberg::Schema& schema,
                                                  ReadOptions options) {
  DeletedRows rows(io, location, schema);
  K2_TRY(rows.Load(deletes));
  if (rows.compared().empty()) return rows.positions();
  options.field_ids.clear();
  iceberg::Schema columns;
  for (const auto& [id, field] : rows.compared()) {
    columns.fields.push_back(field);
    options.field_ids.push_back(id);
  }
  int64_t first_row = 0;
  options.first_row = &first_row;
  std::vector<int64_t> positions;
  K2_TRY(ReadDataFile(io, location, columns, options, [&](const std::shared_ptr<arrow::RecordBatch>& batch) {
    std::map<int32_t, const arrow::Array*> arrays;
    for (size_t i = 0; i < options.field_ids.size(); ++i) {
      arrays[options.field_ids[i]] = batch->column(static_cast<int>(i)).get();
    }
    const std::vector<bool> deleted = rows.Mark(first_row, batch->num_rows(), arrays);
    for (size_t row = 0; row < deleted.size(); ++row) {
      if (deleted[row]) positions.push_back(first_row + static_cast<int64_t>(row));
    }
    return Status{};
  }));
  return positions;
}

}  // namespace k2::table
