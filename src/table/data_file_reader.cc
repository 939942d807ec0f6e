#include <arrow/array/array_base.h>
#include <arrow/io/caching.h>
#include <arrow/io/interfaces.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/type_traits.h>
#include <arrow/util/key_value_metadata.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <parquet/statistics.h>

#include <algorithm>

#include "storage/arrow_error.h"
#include "storage/location.h"
#include "table/arrow_adapt.h"
#include "table/arrow_schema.h"
#include "table/data_file_io.h"

namespace k2::table {
namespace {

using iceberg::NestedField;
using parquet::arrow::SchemaField;

Error Unreadable(const std::string& location, std::string_view why) {
  return {ErrorKind::kInvalidData, fmt::format("cannot read data file {}: {}. It was truncated or changed after it was "
                                               "written; restore it from a copy, or remove its rows from the table",
                                               location, why)};
}

// Runs a function that uses Parquet's reader; its exceptions and statuses become errors.
template <typename Function>
Status Guard(const std::string& location, const Function& function) {
  const auto as_error = [&](const arrow::Status& status) {
    Error error = storage::ArrowError(status, "read data file " + location);
    // Parquet's own complaints arrive as IOErrors too; the file system's carry a detail.
    const bool about_bytes = error.kind == ErrorKind::kInvalidData || (status.IsIOError() && !status.detail());
    return about_bytes ? Unreadable(location, status.message()) : error;
  };
  try {
    const arrow::Status status = function();
    if (!status.ok()) return std::unexpected(as_error(status));
    return {};
  } catch (const parquet::ParquetStatusException& error) {
    return std::unexpected(as_error(error.status()));
  } catch (const std::exception& error) {
    return std::unexpected(Unreadable(location, error.what()));
  }
}

void CollectLeaves(const SchemaField& field, std::vector<const SchemaField*>& leaves) {
  if (field.is_leaf()) leaves.push_back(&field);
  for (const SchemaField& child : field.children) CollectLeaves(child, leaves);
}

// One column that is asked for, and where the file has it.
struct Column {
  const NestedField* field;
  int file_field = -1;                          // index among the file's top-level fields; -1: the file lacks it
  bool map_ids = false;                         // what is nested in it has no field ids of its own
  bool int96 = false;                           // Spark's and Hive's times, which are of UTC
  const iceberg::MappedField* names = nullptr;  // of the column in the name mapping
};

class DataFileReader {
 public:
  DataFileReader(std::string location, const iceberg::Schema& schema, const ReadOptions& options)
      : location_(std::move(location)), schema_(schema), options_(options) {}

  Status Open(std::shared_ptr<arrow::io::RandomAccessFile> file) {
    K2_TRY(ChooseFields());
    Status matched;
    K2_TRY(Guard(location_, [&]() -> arrow::Status {
      parquet::ReaderProperties properties;
      properties.set_page_checksum_verification(true);  // pages that carry one
      auto raw = parquet::ParquetFileReader::Open(std::move(file), properties);
      parquet::ArrowReaderProperties arrow_properties;
      arrow_properties.set_batch_size(options_.batch_rows);
      arrow_properties.set_use_threads(false);
      arrow_properties.set_coerce_int96_timestamp_unit(arrow::TimeUnit::MICRO);
      SetReadAhead(arrow_properties);
      parquet::arrow::SchemaManifest manifest;
      ARROW_RETURN_NOT_OK(parquet::arrow::SchemaManifest::Make(
          raw->metadata()->schema(), raw->metadata()->key_value_metadata(), arrow_properties, &manifest));
      matched = Match(*raw->metadata(), manifest, arrow_properties);
      ChooseRowGroups(*raw->metadata(), manifest);
      ARROW_ASSIGN_OR_RAISE(
          reader_, parquet::arrow::FileReader::Make(arrow::default_memory_pool(), std::move(raw), arrow_properties));
      return arrow::Status::OK();
    }));
    return matched;
  }

  Status Read(const std::function<Status(std::shared_ptr<arrow::RecordBatch>)>& consume) {
    // One row group after the other: each has dictionaries of its own, and Arrow cannot join those below a map.
    for (const int group : row_groups_) K2_TRY(ReadRowGroup(group, consume));
    return {};
  }

 private:
  // Of a remote file, a row group's columns come in few large reads; of a local one each when it is needed.
  void SetReadAhead(parquet::ArrowReaderProperties& properties) const {
    const auto scheme = storage::LocationScheme(location_);
    const bool remote = scheme && *scheme != "file";
    properties.set_pre_buffer(remote);
    if (!remote) return;
    properties.set_cache_options({.hole_size_limit = 256 << 10, .range_size_limit = 16 << 20, .lazy = false});
  }

  Status ReadRowGroup(int group, const std::function<Status(std::shared_ptr<arrow::RecordBatch>)>& consume) {
    std::unique_ptr<arrow::RecordBatchReader> batches;
    K2_TRY(Guard(location_, [&]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(batches, reader_->GetRecordBatchReader({group}, leaf_indices_));
      return arrow::Status::OK();
    }));
    int64_t first_row = group_starts_[static_cast<size_t>(group)];
    while (true) {
      std::shared_ptr<arrow::RecordBatch> batch;
      K2_TRY(Guard(location_, [&]() { return batches->ReadNext(&batch); }));
      if (!batch) return {};
      if (options_.first_row != nullptr) *options_.first_row = first_row;
      first_row += batch->num_rows();
      K2_ASSIGN(batch, Adapt(*batch));
      K2_TRY(consume(std::move(batch)));
    }
  }

  // Whether every data page of the column is dictionary-encoded. A writer that went over to plain pages in the middle
  // makes Arrow cut the column into pieces, which it cannot do below a map or list.
  static bool OnlyDictionaryPages(const parquet::FileMetaData& footer, int column) {
    for (int group = 0; group < footer.num_row_groups(); ++group) {
      const auto chunk = footer.RowGroup(group)->ColumnChunk(column);
      if (chunk->encoding_stats().empty()) return false;
      for (const parquet::PageEncodingStats& stats : chunk->encoding_stats()) {
        const bool data =
            stats.page_type == parquet::PageType::DATA_PAGE || stats.page_type == parquet::PageType::DATA_PAGE_V2;
        const bool dictionary = stats.encoding == parquet::Encoding::RLE_DICTIONARY ||
                                stats.encoding == parquet::Encoding::PLAIN_DICTIONARY;
        if (data && !dictionary) return false;
      }
    }
    return true;
  }

  Status ChooseFields() {
    if (options_.field_ids.empty()) {
      for (const NestedField& field : schema_.fields) columns_.push_back({&field});
      return {};
    }
    for (const int32_t id : options_.field_ids) {
      const auto found = std::find_if(schema_.fields.begin(), schema_.fields.end(),
                                      [&](const NestedField& field) { return field.id == id; });
      if (found == schema_.fields.end()) {
        return Fail(ErrorKind::kInvalidArgument, "schema {} has no top-level field with id {}", schema_.schema_id, id);
      }
      columns_.push_back({&*found});
    }
    return {};
  }

  // The field ids of the file's top-level columns: their own, else those of the name mapping; -1: none.
  Result<std::vector<int32_t>> IdsOf(const std::vector<SchemaField>& file_fields) {
    const bool all = std::ranges::all_of(file_fields, [](const SchemaField& one) { return HasFieldIds(*one.field); });
    if (!all && !options_.name_mapping.empty()) {
      auto mapping = iceberg::ParseNameMapping(options_.name_mapping);
      if (!mapping) return std::unexpected(mapping.error().With(iceberg::kNameMappingProperty));
      mapping_ = *std::move(mapping);
    }
    std::vector<int32_t> ids;
    for (const SchemaField& field : file_fields) {
      const int32_t own = FieldIdOf(*field.field);
      const iceberg::MappedField* mapped = own < 0 ? FindMapped(mapping_, field.field->name()) : nullptr;
      ids.push_back(mapped != nullptr && mapped->field_id ? *mapped->field_id : own);
    }
    return ids;
  }

  Status Match(const parquet::FileMetaData& footer, const parquet::arrow::SchemaManifest& manifest,
               parquet::ArrowReaderProperties& properties) {
    const auto& file_fields = manifest.schema_fields;
    K2_ASSIGN(file_ids_, IdsOf(file_fields));
    for (Column& column : columns_) {
      const auto found = std::ranges::find(file_ids_, column.field->id);
      const auto at = static_cast<size_t>(found - file_ids_.begin());
      if (found == file_ids_.end() || (FieldIdOf(*file_fields[at].field) < 0 && ConstantOf(*column.field) != nullptr)) {
        K2_TRY(CheckMayLack(*column.field, file_fields));
        continue;
      }
      const SchemaField& field = file_fields[at];
      column.file_field = static_cast<int>(at);
      column.names = FindMapped(mapping_, field.field->name());
      column.map_ids = !HasFieldIds(*field.field);
      column.int96 = field.is_leaf() && column.field->type.id == iceberg::TypeId::kTimestamptz &&
                     footer.schema()->Column(field.column_index)->physical_type() == parquet::Type::INT96;
      file_order_.push_back(column.file_field);
      std::vector<const SchemaField*> leaves;
      CollectLeaves(field, leaves);
      for (const SchemaField* leaf : leaves) {
        leaf_indices_.push_back(leaf->column_index);
        const int32_t id = leaves.size() == 1 && field.is_leaf() ? column.field->id : FieldIdOf(*leaf->field);
        const bool asked =
            HoldsField(options_.dictionary_fields, id) && arrow::is_binary_like(leaf->field->type()->id());
        if (asked && (field.is_leaf() || OnlyDictionaryPages(footer, leaf->column_index))) {
          properties.set_read_dictionary(leaf->column_index, true);
        }
      }
    }
    for (auto* indices : {&file_order_, &leaf_indices_}) {
      std::sort(indices->begin(), indices->end());
      indices->erase(std::unique(indices->begin(), indices->end()), indices->end());
    }
    return {};
  }

  [[nodiscard]] const iceberg::Literal* ConstantOf(const NestedField& field) const {
    const auto found = options_.constants.find(field.id);
    return found == options_.constants.end() ? nullptr : &found->second;
  }

  // Nulls in place of what must be there would be wrong rows.
  [[nodiscard]] Status CheckMayLack(const NestedField& field, const std::vector<SchemaField>& file_fields) const {
    if (!field.required || !field.initial_default.empty() || ConstantOf(field) != nullptr) return {};
    const bool without_ids = std::ranges::any_of(file_ids_, [](int32_t id) { return id < 0; });
    return Fail(ErrorKind::kInvalidData, "data file {} has no column of field id {}, the required column '{}'{}",
                location_, field.id, field.name,
                without_ids && !file_fields.empty()
                    ? fmt::format(": its columns have no field ids, and the table's property {} maps none of them to "
                                  "it; set the property to the mapping that the file was written for",
                                  iceberg::kNameMappingProperty)
                    : "");
  }

  void ChooseRowGroups(const parquet::FileMetaData& footer, const parquet::arrow::SchemaManifest& manifest) {
    int range_leaf = -1;
    const NestedField* range = options_.range_field == 0 ? nullptr : schema_.FindById(options_.range_field);
    for (size_t i = 0; range != nullptr && i < file_ids_.size(); ++i) {
      const SchemaField& field = manifest.schema_fields[i];
      // Only of the same unit: statistics are compared as numbers.
      const bool same = field.is_leaf() && field.field->type()->Equals(*ToArrowType(range->type));
      if (file_ids_[i] == options_.range_field && same) range_leaf = field.column_index;
    }
    int64_t rows = 0;
    for (int group = 0; group < footer.num_row_groups(); ++group) {
      group_starts_.push_back(rows);
      rows += footer.RowGroup(group)->num_rows();
      if (range_leaf < 0 || MayHold(*footer.RowGroup(group)->ColumnChunk(range_leaf))) row_groups_.push_back(group);
    }
  }

  [[nodiscard]] bool MayHold(const parquet::ColumnChunkMetaData& chunk) const {
    const auto statistics = chunk.statistics();
    if (!statistics || !statistics->HasMinMax() || chunk.type() != parquet::Type::INT64) return true;
    const auto& typed = static_cast<const parquet::Int64Statistics&>(*statistics);
    return typed.min() <= options_.range_max && typed.max() >= options_.range_min;
  }

  Result<std::shared_ptr<arrow::Array>> AdaptColumn(const arrow::RecordBatch& batch, const Column& column) const {
    if (column.file_field < 0) {
      const iceberg::Literal* constant = ConstantOf(*column.field);
      if (constant != nullptr) return ConstantColumn(*constant, column.field->type, batch.num_rows());
      return MissingColumn(*column.field, batch.num_rows());
    }
    const auto position = std::lower_bound(file_order_.begin(), file_order_.end(), column.file_field);
    auto array = batch.column(static_cast<int>(position - file_order_.begin()));
    static const iceberg::NameMapping nothing;
    if (column.int96) {
      const auto of_utc = array->View(ToArrowType(column.field->type));
      if (!of_utc.ok()) return std::unexpected(storage::ArrowError(of_utc.status(), "times of INT96"));
      array = *of_utc;
    }
    if (column.map_ids) array = MapFieldIds(array, column.names != nullptr ? column.names->fields : nothing);
    return AdaptArray(array, *column.field, options_.dictionary_fields);
  }

  Result<std::shared_ptr<arrow::RecordBatch>> Adapt(const arrow::RecordBatch& batch) const {
    arrow::ArrayVector arrays;
    arrow::FieldVector fields;
    for (const Column& column : columns_) {
      Result<std::shared_ptr<arrow::Array>> adapted = AdaptColumn(batch, column);
      if (!adapted) return std::unexpected(adapted.error().With("data file " + location_));
      std::shared_ptr<arrow::Array> array = *std::move(adapted);
      if (column.field->required && array->null_count() > 0) {
        return Fail(ErrorKind::kInvalidData, "data file {}: the column '{}' is required and has {} nulls", location_,
                    column.field->name, array->null_count());
      }
      fields.push_back(ToArrowField(*column.field)->WithType(array->type()));
      arrays.push_back(std::move(array));
    }
    return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), batch.num_rows(), std::move(arrays));
  }

  std::string location_;
  const iceberg::Schema& schema_;
  const ReadOptions& options_;
  std::vector<Column> columns_;
  iceberg::NameMapping mapping_;   // where the file's columns need it
  std::vector<int32_t> file_ids_;  // of the file's top-level fields
  std::vector<int> file_order_;    // top-level fields that are read, as the file orders them
  std::vector<int> leaf_indices_;
  std::vector<int> row_groups_;
  std::vector<int64_t> group_starts_;  // first row of each row group of the file
  std::unique_ptr<parquet::arrow::FileReader> reader_;
};

}  // namespace

Status ReadDataFile(storage::FileIo& io, const std::string& location, const iceberg::Schema& schema,
                    const ReadOptions& options,
                    const std::function<Status(std::shared_ptr<arrow::RecordBatch>)>& batch) {
  DataFileReader reader(location, schema, options);
  K2_ASSIGN(auto file, io.Open(location));
  K2_TRY(reader.Open(std::move(file)));
  return reader.Read(batch);
}

Result<std::map<std::string, std::string>> ReadFooter(storage::FileIo& io, const std::string& location) {
  K2_ASSIGN(auto file, io.Open(location));
  std::map<std::string, std::string> entries;
  K2_TRY(Guard(location, [&]() -> arrow::Status {
    const auto footer = parquet::ReadMetaData(file);
    const auto& metadata = footer->key_value_metadata();
    for (int64_t i = 0; metadata && i < metadata->size(); ++i) entries[metadata->key(i)] = metadata->value(i);
    return arrow::Status::OK();
  }));
  return entries;
}

}  // namespace k2::table
