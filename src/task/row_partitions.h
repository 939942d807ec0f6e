// Which partition of a table each row belongs to, by the table's partition spec. Includes Arrow: for task/*.cc only.
#pragma once

#include <arrow/array.h>
#include <arrow/record_batch.h>

#include <memory>
#include <vector>

#include "base/result.h"
#include "iceberg/data_file.h"
#include "iceberg/schema.h"
#include "iceberg/transform.h"
#include "task/batch_cache.h"

namespace k2::task {

class RowPartitions {
 public:
  // Rows of one partition and one day.
  struct Part {
    std::vector<iceberg::Literal> partition;  // one value a field of the spec
    Batches rows;
  };

  // Source columns are found by field id in `schema`. `day_field_id`: a date column; rows of two dates are never in one
  // part, whatever the spec says, so that a file is of one day and retention can drop it; 0: none. Error kUnsupported:
  // a transform that this version does not know or that does not take its column.
  static Result<RowPartitions> Create(const iceberg::PartitionSpec& spec, const iceberg::Schema& schema,
                                      int32_t day_field_id);

  // Splits batches whose columns are those of the schema, in its order. Parts come in the order of their days and
  // values, the rows of each in the order they came in. A batch that is of one part is not copied.
  [[nodiscard]] Result<std::vector<Part>> Split(const Batches& batches) const;

 private:
  // A value that rows are told apart by.
  struct Key {
    std::vector<size_t> path;  // to the source column: index in the schema, then in structs; empty: always null
    iceberg::NestedField source;
    iceberg::Transform transform;
  };
  class Codes;
  static Result<Key> MakeKey(const iceberg::PartitionField& field, const iceberg::Schema& schema);

  std::vector<Key> keys_;  // of the spec's fields; the day last
  size_t spec_fields_ = 0;
};

}  // namespace k2::task
