// Arrays as files hold them, turned into what the table's schema asks for.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "iceberg/schema.h"

namespace arrow {
class Array;
}

namespace k2 {

// Registers Arrow's compute kernels, once for the process: casts, and the writer's statistics of dictionaries, need
// them.
Status EnsureArrowKernels();

// The array as a column of this field: struct members found by field id (by name where they have none) and null where
// missing, types promoted by the specification's rules (int to long, float to double, wider decimals), large and view
// types made plain. Dictionaries become their values, but for the fields of `keep_dictionary`. No copy where the types
// agree. Error kInvalidData: the types cannot become the field's.
Result<std::shared_ptr<arrow::Array>> AdaptArray(const std::shared_ptr<arrow::Array>& array,
                                                 const iceberg::NestedField& field,
                                                 const std::vector<int32_t>& keep_dictionary);

}  // namespace k2
