// What a manifest says about a data file's columns, out of the Parquet footer (format/spec.md, "Data File Fields").
#pragma once

#include <cstdint>
#include <vector>

#include "iceberg/data_file.h"
#include "iceberg/metrics.h"
#include "table/arrow_schema.h"

namespace parquet {
class FileMetaData;
}

namespace k2::table {

// Fills column_sizes, value_counts, null_value_counts, bounds, split_offsets and record_count. `present` is the number
// of values that are there, by leaf. Bounds only where every row group has exact ones, and never below a list or map.
Status AddMetrics(const parquet::FileMetaData& footer, const std::vector<ParquetLeaf>& leaves,
                  const std::vector<int64_t>& present, const iceberg::MetricsMode& mode,
                  const std::vector<int32_t>& full_bounds_fields, iceberg::DataFile& file);

}  // namespace k2::table
