// Rows of the table finished_sources: where a table stands in recordings that its document no longer names.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iceberg/data_file.h"
#include "storage/file_io.h"
#include "table/source_offsets.h"
#include "task/table_shape.h"
#include "task/task.h"

namespace k2::task {

inline constexpr size_t kRecordingHashDigits = 32;

struct FinishedRow {
  int64_t hash_prefix = 0;
  std::string table_name;
  std::string table_uuid;
  std::string topic;
  table::SourcePosition at;
  int64_t generation = 0;
  int64_t finished_at_us = 0;
  [[nodiscard]] table::SourceKey Key() const;
};

// What such a row can stand for: a recording by exchange and hash. nullopt: any other source, which stays in the
// document.
std::optional<int64_t> HashPrefixOf(const table::SourceKey& key);

// The rows in order as one data file, or one a partition where somebody has partitioned the table.
Result<std::vector<iceberg::DataFile>> WriteFinishedRows(const OutputTable& output, std::shared_ptr<storage::FileIo> io,
                                                         std::vector<FinishedRow> rows);

// The rows of a data file whose hash prefix is within the range, others perhaps too. `shape`: the table's.
Status ReadFinishedRows(storage::FileIo& io, const std::string& path, const TableShape& shape,
                        std::pair<int64_t, int64_t> prefixes, const std::function<void(FinishedRow)>& take);

}  // namespace k2::task
