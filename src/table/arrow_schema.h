// Iceberg types as Arrow types, and the Parquet columns (leaves) they make. Arrow's headers stay out of here.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "iceberg/schema.h"

namespace arrow {
class Array;
class DataType;
class Field;
}  // namespace arrow

namespace k2::table {

inline constexpr const char* kFieldIdKey = "PARQUET:field_id";

std::shared_ptr<arrow::DataType> ToArrowType(const iceberg::Type& type);
std::shared_ptr<arrow::Field> ToArrowField(const iceberg::NestedField& field);
// The "PARQUET:field_id" of a field, or -1.
int32_t FieldIdOf(const arrow::Field& field);

// One Parquet column: a primitive field, in the depth-first order of the file's columns.
struct ParquetLeaf {
  int32_t field_id = 0;
  std::string path;  // as Parquet names it: vendor_data.key_value.key
  iceberg::Type type;
  bool repeated = false;  // below a list or map: counted, without bounds
};
std::vector<ParquetLeaf> ParquetLeaves(const iceberg::Schema& schema);
bool HoldsField(const std::vector<int32_t>& field_ids, int32_t field_id);

// Is the array what a column of this field may hold? Dictionaries stand for their value type, at any depth; names of
// elements, keys and values don't matter; a required field has no null. Error kInvalidData says which field is wrong.
Status CheckArray(const arrow::Array& array, const iceberg::NestedField& field);

// Appends to `counts` the number of values of each leaf that are there: not null themselves, nor below a null or an
// empty list or map. Same order as ParquetLeaves.
void CountLeafValues(const arrow::Array& array, const iceberg::Type& type, std::vector<int64_t>& counts);

}  // namespace k2::table
