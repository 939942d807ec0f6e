// Arrays as files hold them, turned into what the table's schema asks for.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "iceberg/data_file.h"
#include "iceberg/name_mapping.h"
#include "iceberg/schema.h"

namespace arrow {
class Array;
class Field;
}  // namespace arrow

namespace k2::table {

// Registers Arrow's compute kernels, once for the process: casts, and the writer's statistics of dictionaries, need
// them.
Status EnsureArrowKernels();

// The array as a column of this field: struct members found by field id (by name where none of them has one), with
// their initial default or null where missing, types promoted by the specification's rules (int to long, float to
// double, wider decimals), large and view types made plain. Dictionaries become their values, but for the fields of
// `keep_dictionary`. No copy where the types agree. Error kInvalidData: the types cannot become the field's.
Result<std::shared_ptr<arrow::Array>> AdaptArray(const std::shared_ptr<arrow::Array>& array,
                                                 const iceberg::NestedField& field,
                                                 const std::vector<int32_t>& keep_dictionary);

// Of a column or member that a file lacks: its initial default, else nulls.
Result<std::shared_ptr<arrow::Array>> MissingColumn(const iceberg::NestedField& field, int64_t rows);
// The same value in each row. Error kInvalidArgument: it is no value of the type.
Result<std::shared_ptr<arrow::Array>> ConstantColumn(const iceberg::Literal& value, const iceberg::Type& type,
                                                     int64_t rows);

// Whether the field, and all that is nested in it, carries a field id.
bool HasFieldIds(const arrow::Field& field);
// The array of a file's column with field ids for the struct members that have none: those the name mapping gives them,
// else one that no schema has. `mapping`: of what is below this column.
std::shared_ptr<arrow::Array> MapFieldIds(const std::shared_ptr<arrow::Array>& array,
                                          const iceberg::NameMapping& mapping);

}  // namespace k2::table
