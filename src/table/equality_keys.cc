#include "table/equality_keys.h"

#include <arrow/array.h>
#include <arrow/type.h>
#include <arrow/util/bit_util.h>
#include <parquet/arrow/schema.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <parquet/properties.h>

#include <algorithm>
#include <cmath>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "storage/arrow_error.h"
#include "table/arrow_schema.h"
#include "table/data_file_io.h"

namespace k2::table {
namespace {

constexpr int64_t kDeletesKeptBytesMax = int64_t{64} << 20;
constexpr int64_t kKeyOverheadBytes = 48;  // of a string in a set, about

using PositionsByFile = std::unordered_map<std::string, std::shared_ptr<const std::vector<int64_t>>>;

// Contents of delete files, which never change once written. Thread-safe.
class DeleteCache {
 public:
  static DeleteCache& Shared() {
    static DeleteCache cache;
    return cache;
  }

  std::shared_ptr<const void> Find(const std::string& key) {
    const std::scoped_lock lock(mutex_);
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return nullptr;
    items_.splice(items_.begin(), items_, found->second);
    return found->second->value;
  }

  void Insert(const std::string& key, std::shared_ptr<const void> value, int64_t bytes) {
    const std::scoped_lock lock(mutex_);
    if (bytes > kDeletesKeptBytesMax || by_key_.contains(key)) return;
    items_.push_front({key, std::move(value), bytes});
    by_key_[key] = items_.begin();
    bytes_ += bytes;
    while (bytes_ > kDeletesKeptBytesMax) {
      bytes_ -= items_.back().bytes;
      by_key_.erase(items_.back().key);
      items_.pop_back();
    }
  }

 private:
  struct Item {
    std::string key;
    std::shared_ptr<const void> value;
    int64_t bytes = 0;
  };
  std::mutex mutex_;
  std::list<Item> items_;  // the one used last in front
  std::unordered_map<std::string, std::list<Item>::iterator> by_key_;
  int64_t bytes_ = 0;
};

template <typename Float>
void AppendFloat(Float value, std::string& key) {
  if (std::isnan(value)) value = std::numeric_limits<Float>::quiet_NaN();
  key.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendText(std::string_view text, std::string& key) {
  const auto size = static_cast<uint32_t>(text.size());
  key.append(reinterpret_cast<const char*>(&size), sizeof(size));
  key.append(text);
}

void AppendValue(const arrow::Array& array, int64_t row, std::string& key) {
  if (array.IsNull(row)) {
    key.push_back('\0');
    return;
  }
  switch (array.type_id()) {
    case arrow::Type::DICTIONARY: {
      const auto& dictionary = static_cast<const arrow::DictionaryArray&>(array);
      AppendValue(*dictionary.dictionary(), dictionary.GetValueIndex(row), key);
      return;
    }
    case arrow::Type::BOOL:
      key.push_back('\1');
      key.push_back(static_cast<const arrow::BooleanArray&>(array).Value(row) ? '\1' : '\0');
      return;
    case arrow::Type::FLOAT:
      key.push_back('\1');
      AppendFloat(static_cast<const arrow::FloatArray&>(array).Value(row), key);
      return;
    case arrow::Type::DOUBLE:
      key.push_back('\1');
      AppendFloat(static_cast<const arrow::DoubleArray&>(array).Value(row), key);
      return;
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      key.push_back('\1');
      AppendText(static_cast<const arrow::BinaryArray&>(array).GetView(row), key);
      return;
    case arrow::Type::DECIMAL128:
    case arrow::Type::FIXED_SIZE_BINARY: {
      const auto& fixed = static_cast<const arrow::FixedSizeBinaryArray&>(array);
      key.push_back('\1');
      key.append(reinterpret_cast<const char*>(fixed.GetValue(row)), static_cast<size_t>(fixed.byte_width()));
      return;
    }
    default: {
      const auto width = static_cast<size_t>(array.type()->bit_width() / 8);
      const auto& values = static_cast<const arrow::PrimitiveArray&>(array).values();
      key.push_back('\1');
      key.append(reinterpret_cast<const char*>(values->data()) + static_cast<size_t>(array.offset() + row) * width,
                 width);
      return;
    }
  }
}

// The type as Iceberg has it; nullopt for those whose values cannot be told equal, or that it does not have.
std::optional<iceberg::Type> FromArrowType(const arrow::DataType& type) {
  using iceberg::TypeId;
  const auto primitive = [](TypeId id) { return iceberg::Type::Primitive(id); };
  switch (type.id()) {
    case arrow::Type::BOOL: return primitive(TypeId::kBoolean);
    case arrow::Type::INT8:
    case arrow::Type::INT16:
    case arrow::Type::INT32: return primitive(TypeId::kInt);
    case arrow::Type::INT64: return primitive(TypeId::kLong);
    case arrow::Type::FLOAT: return primitive(TypeId::kFloat);
    case arrow::Type::DOUBLE: return primitive(TypeId::kDouble);
    case arrow::Type::DATE32: return primitive(TypeId::kDate);
    case arrow::Type::TIME64: return primitive(TypeId::kTime);
    case arrow::Type::TIMESTAMP: {
      const bool zoned = !static_cast<const arrow::TimestampType&>(type).timezone().empty();
      return primitive(zoned ? TypeId::kTimestamptz : TypeId::kTimestamp);
    }
    case arrow::Type::DECIMAL32:
    case arrow::Type::DECIMAL64:
    case arrow::Type::DECIMAL128: {
      const auto& decimal = static_cast<const arrow::DecimalType&>(type);
      return iceberg::Type::Decimal(decimal.precision(), decimal.scale());
    }
    case arrow::Type::STRING:
    case arrow::Type::LARGE_STRING: return primitive(TypeId::kString);
    case arrow::Type::BINARY:
    case arrow::Type::LARGE_BINARY: return primitive(TypeId::kBinary);
    case arrow::Type::FIXED_SIZE_BINARY: {
      iceberg::Type fixed = primitive(TypeId::kFixed);
      fixed.length = static_cast<const arrow::FixedSizeBinaryType&>(type).byte_width();
      return fixed;
    }
    default: return std::nullopt;
  }
}

Error BadDeleteFile(const iceberg::DeleteFile& deletes, std::string_view why) {
  return {ErrorKind::kInvalidData, fmt::format("delete file {} cannot be applied: {}", deletes.path, why)};
}

// The file's top-level columns by field id, with Arrow's types.
Result<std::map<int32_t, std::shared_ptr<arrow::DataType>>> ColumnsOf(storage::FileIo& io,
                                                                      const iceberg::DeleteFile& deletes) {
  K2_ASSIGN(auto file, io.Open(deletes.path));
  std::map<int32_t, std::shared_ptr<arrow::DataType>> columns;
  try {
    const auto footer = parquet::ParquetFileReader::Open(std::move(file))->metadata();
    parquet::arrow::SchemaManifest manifest;
    const arrow::Status made = parquet::arrow::SchemaManifest::Make(footer->schema(), footer->key_value_metadata(),
                                                                    parquet::ArrowReaderProperties(), &manifest);
    if (!made.ok()) return std::unexpected(storage::ArrowError(made, "read delete file " + deletes.path));
    for (const parquet::arrow::SchemaField& field : manifest.schema_fields) {
      columns.emplace(FieldIdOf(*field.field), field.field->type());
    }
  } catch (const parquet::ParquetStatusException& error) {
    return std::unexpected(storage::ArrowError(error.status(), "read delete file " + deletes.path));
  } catch (const std::exception& error) {
    return std::unexpected(BadDeleteFile(deletes, error.what()));
  }
  return columns;
}

// A column that is missing would read as null, which removes rows that are null there.
Status CheckHasColumns(storage::FileIo& io, const iceberg::DeleteFile& deletes,
                       const std::vector<iceberg::NestedField>& fields) {
  K2_ASSIGN(const auto columns, ColumnsOf(io, deletes));
  for (const iceberg::NestedField& field : fields) {
    if (!columns.contains(field.id)) {
      return std::unexpected(BadDeleteFile(deletes, fmt::format("it has no column of field id {}", field.id)));
    }
  }
  return {};
}

Result<std::shared_ptr<const PositionsByFile>> ReadPositions(storage::FileIo& io, const iceberg::DeleteFile& deletes) {
  const std::string key = "positions of " + deletes.path;
  if (auto found = DeleteCache::Shared().Find(key)) return std::static_pointer_cast<const PositionsByFile>(found);
  using iceberg::Type;
  using iceberg::TypeId;
  iceberg::Schema schema;
  schema.fields = {{.id = iceberg::kDeletePathFieldId, .name = "file_path", .type = Type::Primitive(TypeId::kString)},
                   {.id = iceberg::kDeletePositionFieldId, .name = "pos", .type = Type::Primitive(TypeId::kLong)}};
  K2_TRY(CheckHasColumns(io, deletes, schema.fields));
  std::unordered_map<std::string, std::vector<int64_t>> positions;
  K2_TRY(ReadDataFile(io, deletes.path, schema, {}, [&](const std::shared_ptr<arrow::RecordBatch>& batch) -> Status {
    const auto& paths = static_cast<const arrow::StringArray&>(*batch->column(0));
    const auto& rows = static_cast<const arrow::Int64Array&>(*batch->column(1));
    std::vector<int64_t>* of = nullptr;
    std::string_view path;
    for (int64_t i = 0; i < batch->num_rows(); ++i) {
      if (paths.IsNull(i) || rows.IsNull(i)) return std::unexpected(BadDeleteFile(deletes, "it has a null"));
      if (of == nullptr || paths.GetView(i) != path) {
        path = paths.GetView(i);
        of = &positions[std::string(path)];
      }
      of->push_back(rows.Value(i));
    }
    return {};
  }));
  auto by_file = std::make_shared<PositionsByFile>();
  int64_t bytes = 0;
  for (auto& [path, rows] : positions) {
    std::ranges::sort(rows);
    bytes += static_cast<int64_t>(path.size() + rows.size() * sizeof(int64_t)) + 2 * kKeyOverheadBytes;
    by_file->emplace(path, std::make_shared<const std::vector<int64_t>>(std::move(rows)));
  }
  DeleteCache::Shared().Insert(key, by_file, bytes);
  return by_file;
}

}  // namespace

void AppendKey(const std::vector<const arrow::Array*>& columns, int64_t row, std::string& key) {
  for (const arrow::Array* column : columns) AppendValue(*column, row, key);
}

Result<std::shared_ptr<const std::vector<int64_t>>> LoadPositions(storage::FileIo& io,
                                                                  const iceberg::DeleteFile& deletes,
                                                                  const std::string& data_file) {
  K2_ASSIGN(const auto by_file, ReadPositions(io, deletes));
  const auto found = by_file->find(data_file);
  if (found == by_file->end()) return std::make_shared<const std::vector<int64_t>>();
  return found->second;
}

Result<std::shared_ptr<const KeySet>> LoadKeys(storage::FileIo& io, const iceberg::DeleteFile& deletes,
                                               const std::vector<iceberg::NestedField>& fields) {
  std::string cached = "keys of " + deletes.path;
  for (const iceberg::NestedField& field : fields) cached += fmt::format("#{}:{}", field.id, field.type.ToString());
  if (auto found = DeleteCache::Shared().Find(cached)) return std::static_pointer_cast<const KeySet>(found);
  K2_TRY(CheckHasColumns(io, deletes, fields));
  iceberg::Schema schema;
  schema.fields = fields;
  for (iceberg::NestedField& field : schema.fields) field.required = false;
  auto keys = std::make_shared<KeySet>();
  int64_t bytes = 0;
  std::string key;
  K2_TRY(ReadDataFile(io, deletes.path, schema, {}, [&](const std::shared_ptr<arrow::RecordBatch>& batch) -> Status {
    std::vector<const arrow::Array*> columns;
    for (const auto& column : batch->columns()) columns.push_back(column.get());
    for (int64_t row = 0; row < batch->num_rows(); ++row) {
      key.clear();
      AppendKey(columns, row, key);
      if (keys->insert(key).second) bytes += static_cast<int64_t>(key.size()) + kKeyOverheadBytes;
    }
    return {};
  }));
  DeleteCache::Shared().Insert(cached, keys, bytes);
  return keys;
}

Result<iceberg::NestedField> FieldOfDeleteFile(storage::FileIo& io, const iceberg::DeleteFile& deletes,
                                               int32_t field_id) {
  K2_ASSIGN(const auto columns, ColumnsOf(io, deletes));
  const auto found = columns.find(field_id);
  if (found == columns.end()) {
    return std::unexpected(BadDeleteFile(deletes, fmt::format("it has no column of field id {}", field_id)));
  }
  const std::optional<iceberg::Type> type = FromArrowType(*found->second);
  if (!type) {
    return Fail(
        ErrorKind::kUnsupported,
        "delete file {} removes rows by its column of field id {}, whose type {} k2 cannot compare; rewrite the "
        "table's data files with the engine that wrote it",
        deletes.path, field_id, found->second->ToString());
  }
  return iceberg::NestedField{
      .id = field_id, .name = fmt::format("(deleted by {})", field_id), .required = false, .type = *type};
}

}  // namespace k2::table
