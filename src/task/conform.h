// Rows in memory as a table has them. Includes Arrow: for task/*.cc only.
#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "iceberg/schema.h"

namespace arrow {
class RecordBatch;
}

namespace k2::task {

// The batch with the columns of `rows` (TableShape::Rows) in their order. They are found by name, cast to the table's
// types, and filled with the column's write default or null where the batch lacks them; those of the batch that `rows`
// lacks are left out. `table` is for errors. kUnsupported: a required column without values; kInvalidData: a value that
// does not fit the table's type.
Result<std::shared_ptr<arrow::RecordBatch>> Conform(const std::shared_ptr<arrow::RecordBatch>& batch,
                                                    const iceberg::Schema& rows, std::string_view table);

}  // namespace k2::task
