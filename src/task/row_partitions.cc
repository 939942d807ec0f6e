#include "task/row_partitions.h"

#include <arrow/compute/api_vector.h>
#include <arrow/datum.h>
#include <arrow/type.h>

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "iceberg/literal.h"
#include "table/arrow_adapt.h"
#include "task/partitioned_write.h"

namespace k2::task {
namespace {

using iceberg::Literal;
using ArrayPtr = std::shared_ptr<arrow::Array>;

struct LiteralOrder {
  bool operator()(const Literal& left, const Literal& right) const { return iceberg::CompareLiterals(left, right) < 0; }
};

// Where a field lies in the schema: its place at the top, then within structs. Empty: nowhere, or below a list or map.
std::vector<size_t> PathTo(const std::vector<iceberg::NestedField>& fields, int32_t id) {
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].id == id) return {i};
    if (fields[i].type.id != iceberg::TypeId::kStruct) continue;
    std::vector<size_t> path = PathTo(fields[i].type.fields, id);
    if (path.empty()) continue;
    path.insert(path.begin(), i);
    return path;
  }
  return {};
}

Result<ArrayPtr> ColumnAt(const arrow::RecordBatch& batch, const std::vector<size_t>& path) {
  ArrayPtr column = batch.column(static_cast<int>(path.front()));
  for (size_t depth = 1; depth < path.size(); ++depth) {
    const auto& outer = static_cast<const arrow::StructArray&>(*column);
    K2_ARROW_ASSIGN(column, outer.GetFlattenedField(static_cast<int>(path[depth])), "a member of a struct");
  }
  return column;
}

// One cell of a column that has its field's own type. Cells are compared as they are stored before any is looked at.
template <typename Array>
Literal CellOf(const Array& array, int64_t row) {
  if constexpr (std::is_same_v<Array, arrow::BooleanArray>) {
    return Literal(array.Value(row));
  } else if constexpr (std::is_same_v<Array, arrow::Decimal128Array>) {
    iceberg::Int128 value = 0;
    std::memcpy(&value, array.GetValue(row), sizeof value);
    return Literal(value);
  } else if constexpr (requires { array.GetView(row).data(); }) {
    return Literal(std::string(array.GetView(row)));
  } else {
    return Literal(array.Value(row));
  }
}

template <typename Array>
bool SameCell(const Array& array, int64_t left, int64_t right) {
  if (array.IsNull(left) || array.IsNull(right)) return array.IsNull(left) == array.IsNull(right);
  return array.GetView(left) == array.GetView(right);
}

}  // namespace

// The results of one key's transform for the rows of a batch, as numbers: equal results have equal numbers, in every
// batch that is asked about.
class RowPartitions::Codes {
 public:
  explicit Codes(const Key& key) : key_(&key) {}

  // One number a row; a single one where it is that of all rows.
  Result<std::vector<int32_t>> Of(const arrow::RecordBatch& batch) {
    if (key_->path.empty()) return std::vector<int32_t>{Number({})};
    K2_ASSIGN(ArrayPtr column, ColumnAt(batch, key_->path));
    K2_ASSIGN(column, table::AdaptArray(column, key_->source, {key_->source.id}));
    if (column->type_id() == arrow::Type::DICTIONARY) {
      return OfDictionary(static_cast<const arrow::DictionaryArray&>(*column));
    }
    return OfPlain(*column);
  }
  [[nodiscard]] const Literal& ResultOf(int32_t number) const { return *results_[static_cast<size_t>(number)]; }

 private:
  int32_t Number(const Literal& result) {
    const auto [at, fresh] = numbers_.try_emplace(result, static_cast<int32_t>(results_.size()));
    if (fresh) results_.push_back(&at->first);
    return at->second;
  }
  Result<int32_t> NumberOfSource(const Literal& source) {
    K2_ASSIGN(const Literal result, iceberg::ApplyTransform(key_->transform, key_->source.type, source));
    return Number(result);
  }

  Result<std::vector<int32_t>> OfPlain(const arrow::Array& array) {
    switch (array.type_id()) {
      case arrow::Type::BOOL: return OfCells(static_cast<const arrow::BooleanArray&>(array));
      case arrow::Type::INT32: return OfCells(static_cast<const arrow::Int32Array&>(array));
      case arrow::Type::INT64: return OfCells(static_cast<const arrow::Int64Array&>(array));
      case arrow::Type::FLOAT: return OfCells(static_cast<const arrow::FloatArray&>(array));
      case arrow::Type::DOUBLE: return OfCells(static_cast<const arrow::DoubleArray&>(array));
      case arrow::Type::DATE32: return OfCells(static_cast<const arrow::Date32Array&>(array));
      case arrow::Type::TIME64: return OfCells(static_cast<const arrow::Time64Array&>(array));
      case arrow::Type::TIMESTAMP: return OfCells(static_cast<const arrow::TimestampArray&>(array));
      case arrow::Type::STRING: return OfCells(static_cast<const arrow::StringArray&>(array));
      case arrow::Type::BINARY: return OfCells(static_cast<const arrow::BinaryArray&>(array));
      case arrow::Type::DECIMAL128: return OfCells(static_cast<const arrow::Decimal128Array&>(array));
      case arrow::Type::FIXED_SIZE_BINARY: return OfCells(static_cast<const arrow::FixedSizeBinaryArray&>(array));
      default: break;
    }
    return Fail(ErrorKind::kUnsupported, "rows cannot be partitioned by column {}, whose type is {}", key_->source.name,
                array.type()->ToString());
  }

  template <typename Array>
  Result<std::vector<int32_t>> OfCells(const Array& array) {
    const int64_t rows = array.length();
    const auto number = [&](int64_t row) { return NumberOfSource(array.IsNull(row) ? Literal() : CellOf(array, row)); };
    K2_ASSIGN(int32_t current, number(0));
    int64_t row = 1;
    while (row < rows && SameCell(array, row, row - 1)) ++row;
    if (row == rows) return std::vector<int32_t>{current};
    std::vector<int32_t> numbers(static_cast<size_t>(rows), current);
    for (; row < rows; ++row) {
      if (!SameCell(array, row, row - 1)) {
        K2_ASSIGN(current, number(row));
      }
      numbers[static_cast<size_t>(row)] = current;
    }
    return AsOneIfEqual(std::move(numbers));
  }

  // The transform is applied once a value of the dictionary that a row has.
  Result<std::vector<int32_t>> OfDictionary(const arrow::DictionaryArray& array) {
    K2_ASSIGN(const ArrayPtr values, table::AdaptArray(array.dictionary(), key_->source, {}));
    std::vector<std::optional<int32_t>> known(static_cast<size_t>(values->length()));
    std::vector<int32_t> numbers(static_cast<size_t>(array.length()));
    for (int64_t row = 0; row < array.length(); ++row) {
      int32_t& number = numbers[static_cast<size_t>(row)];
      if (array.IsNull(row) || values->IsNull(array.GetValueIndex(row))) {
        K2_ASSIGN(number, NumberOfSource({}));
        continue;
      }
      const int64_t index = array.GetValueIndex(row);
      std::optional<int32_t>& of_value = known[static_cast<size_t>(index)];
      if (!of_value) {
        K2_ASSIGN(const std::vector<int32_t> one, OfPlain(*values->Slice(index, 1)));
        of_value = one.front();
      }
      number = *of_value;
    }
    return AsOneIfEqual(std::move(numbers));
  }

  static std::vector<int32_t> AsOneIfEqual(std::vector<int32_t> numbers) {
    const bool equal = std::ranges::all_of(numbers, [&](int32_t number) { return number == numbers.front(); });
    if (equal) numbers.resize(1);
    return numbers;
  }

  const Key* key_;
  std::map<Literal, int32_t, LiteralOrder> numbers_;
  std::vector<const Literal*> results_;  // by number; of the map's keys, which stay where they are
};

namespace {

// Tuples of numbers as numbers, one key at a time.
void Combine(const std::vector<int32_t>& numbers, std::vector<int32_t>& combined,
             std::vector<std::pair<int32_t, int32_t>>& pairs) {
  boost::unordered_flat_map<uint64_t, int32_t> known;
  pairs.clear();
  const size_t rows = std::max(numbers.size(), combined.size());
  std::vector<int32_t> result(rows);
  for (size_t row = 0; row < rows; ++row) {
    const int32_t left = combined[combined.size() == 1 ? 0 : row];
    const int32_t right = numbers[numbers.size() == 1 ? 0 : row];
    const uint64_t both = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
    const auto [at, fresh] = known.try_emplace(both, static_cast<int32_t>(pairs.size()));
    if (fresh) pairs.emplace_back(left, right);
    result[row] = at->second;
  }
  combined = std::move(result);
}

// The rows of a batch that have one number, without a copy where they are neighbours.
Result<std::shared_ptr<arrow::RecordBatch>> RowsAt(const std::shared_ptr<arrow::RecordBatch>& batch,
                                                   std::vector<int64_t> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  if (rows.back() - rows.front() + 1 == count) return batch->Slice(rows.front(), count);
  K2_TRY(table::EnsureArrowKernels());
  const arrow::Datum indices = Int64Array(std::move(rows), arrow::int64());
  K2_ARROW_ASSIGN(const arrow::Datum taken,
                  arrow::compute::Take(batch, indices, arrow::compute::TakeOptions::NoBoundsCheck()),
                  "splitting rows by partition");
  return taken.record_batch();
}

// By the day, then by the values.
struct PartOrder {
  bool operator()(const std::vector<Literal>& left, const std::vector<Literal>& right) const {
    return std::ranges::lexicographical_compare(left, right, LiteralOrder{});
  }
};

}  // namespace

Result<RowPartitions::Key> RowPartitions::MakeKey(const iceberg::PartitionField& field, const iceberg::Schema& schema) {
  const auto refuse = [&](const std::string& why) {
    return Fail(ErrorKind::kUnsupported,
                "this k2 cannot write its partition field {} ({} of field {}): {}. Remove the field from the partition "
                "spec, or use a k2 that supports it; nothing was written",
                field.name, field.transform, field.source_id, why);
  };
  const Result<iceberg::Transform> transform = iceberg::Transform::Parse(field.transform);
  if (!transform) return refuse(transform.error().message);
  Key key{.path = {}, .source = {}, .transform = *transform};
  if (transform->kind == iceberg::Transform::Kind::kVoid) return key;
  const iceberg::NestedField* source = schema.FindById(field.source_id);
  if (source == nullptr) return refuse("the schema has no such column");
  const auto result = iceberg::TransformResultType(field.transform, source->type);
  if (!result) return refuse(result.error().message);
  key.source = *source;
  key.path = PathTo(schema.fields, field.source_id);
  if (key.path.empty()) return refuse("the column is within a list or map");
  return key;
}

Result<RowPartitions> RowPartitions::Create(const iceberg::PartitionSpec& spec, const iceberg::Schema& schema,
                                            int32_t day_field_id) {
  RowPartitions partitions;
  for (const iceberg::PartitionField& field : spec.fields) {
    K2_ASSIGN(Key key, MakeKey(field, schema));
    partitions.keys_.push_back(std::move(key));
  }
  partitions.spec_fields_ = partitions.keys_.size();
  if (day_field_id != 0) {
    K2_ASSIGN(Key key, MakeKey({.source_id = day_field_id, .name = "day", .transform = "day"}, schema));
    partitions.keys_.push_back(std::move(key));
  }
  return partitions;
}

Result<std::vector<RowPartitions::Part>> RowPartitions::Split(const Batches& batches) const {
  std::vector<Codes> codes(keys_.begin(), keys_.end());
  std::map<std::vector<Literal>, Batches, PartOrder> found;
  for (const auto& batch : batches) {
    if (batch->num_rows() == 0) continue;
    // Of the keys so far: a number a row (one, where it is that of all), and each number's results, last key first.
    std::vector<int32_t> combined = {0};
    std::vector<std::vector<Literal>> values = {{}};
    for (Codes& key : codes) {
      K2_ASSIGN(const std::vector<int32_t> numbers, key.Of(*batch));
      std::vector<std::pair<int32_t, int32_t>> pairs;
      Combine(numbers, combined, pairs);
      std::vector<std::vector<Literal>> wider;
      for (const auto& [left, right] : pairs) {
        wider.push_back(values[static_cast<size_t>(left)]);
        wider.back().insert(wider.back().begin(), key.ResultOf(right));
      }
      values = std::move(wider);
    }
    if (combined.size() == 1 || values.size() == 1) {
      found[std::move(values.front())].push_back(batch);
      continue;
    }
    std::vector<std::vector<int64_t>> rows(values.size());
    for (size_t row = 0; row < combined.size(); ++row) {
      rows[static_cast<size_t>(combined[row])].push_back(static_cast<int64_t>(row));
    }
    for (size_t i = 0; i < values.size(); ++i) {
      K2_ASSIGN(auto part, RowsAt(batch, std::move(rows[i])));
      found[std::move(values[i])].push_back(std::move(part));
    }
  }
  std::vector<Part> parts;
  for (auto& [reversed, rows] : found) {
    std::vector<Literal> partition(reversed.rbegin(), reversed.rbegin() + static_cast<int64_t>(spec_fields_));
    parts.push_back({.partition = std::move(partition), .rows = std::move(rows)});
  }
  return parts;
}

}  // namespace k2::task
