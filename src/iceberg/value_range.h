// What a file's rows may hold of a column, by the partition values of the file's own spec and by its column bounds. For
// what needs a file's days or hours, whatever the table was partitioned by when the file was written.
#pragma once

#include <cstdint>
#include <limits>

#include "iceberg/data_file.h"
#include "iceberg/schema.h"
#include "iceberg/table_metadata.h"

namespace k2::iceberg {

// Values of an int, long, date or timestamp column, both included; the ends of int64 where an end is not known.
struct ValueRange {
  static constexpr int64_t kLowest = std::numeric_limits<int64_t>::min();
  static constexpr int64_t kHighest = std::numeric_limits<int64_t>::max();

  int64_t first = kLowest;
  int64_t last = kHighest;

  [[nodiscard]] bool HasFirst() const { return first != kLowest; }
  [[nodiscard]] bool HasLast() const { return last != kHighest; }
  [[nodiscard]] bool IsOneValue() const { return first == last; }
  // What both allow; `this` where they exclude each other, as only a broken file's do.
  [[nodiscard]] ValueRange And(const ValueRange& other) const;
  bool operator==(const ValueRange&) const = default;
};

// By the partition values alone: of identity, truncate, year, month, day and hour of the column. Transforms that say
// nothing of the order (bucket, void), a null, and a spec that the table does not have tell nothing.
ValueRange PartitionRange(const TableMetadata& metadata, const DataFile& file, const NestedField& column);
// By both. Columns of other types: nothing is known.
ValueRange RangeOf(const TableMetadata& metadata, const DataFile& file, const NestedField& column);

}  // namespace k2::iceberg
