// Rows to data files, one a partition and day. Includes Arrow: for task/*.cc only.
#pragma once

#include <arrow/array.h>
#include <arrow/record_batch.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "task/batch_cache.h"
#include "task/market_tables.h"
#include "task/row_partitions.h"
#include "task/task.h"

namespace k2::task {

// Turns an Arrow status into ours; `what` says what was being done.
Error FromArrow(const arrow::Status& status, std::string_view what);

#define K2_ARROW_ASSIGN(lhs, expression, what) \
  K2_ARROW_ASSIGN_IMPL(K2_CONCAT(k2_arrow_, __LINE__), lhs, expression, what)
#define K2_ARROW_ASSIGN_IMPL(name, lhs, expression, what)                             \
  auto name = (expression);                                                           \
  if (!name.ok()) return std::unexpected(::k2::task::FromArrow(name.status(), what)); \
  lhs = std::move(name).ValueUnsafe()

// Files of one task in one table: counts their names, hands their rows on where another layer reads them.
class PartitionedWriter {
 public:
  PartitionedWriter(const OutputTable& output, const std::string& attempt_id, const TaskContext& context,
                    std::string failpoint, bool hand_on = true);

  // Writes rows as data files: one for each partition that the table's spec puts some of them in, and for each day (of
  // the table's date column), for retention drops whole files. Columns are found by K2's names, for the table's own
  // names, order and types may have been changed; an optional column that the rows do not have (a user's own, a later
  // version's) is null. Error kUnsupported: the table is partitioned by a transform that this version does not know.
  Status Write(const Batches& batches);
  Status Write(const std::shared_ptr<arrow::RecordBatch>& batch) { return Write(Batches{batch}); }

  void SetFooter(std::string key, std::string value) { footer_[std::move(key)] = std::move(value); }
  // Of the last Write().
  [[nodiscard]] const std::vector<std::string>& last_paths() const { return last_paths_; }
  [[nodiscard]] TableFiles Finish() { return std::move(files_); }

 private:
  Status WriteFile(Batches rows, std::vector<iceberg::Literal> partition);

  const OutputTable& output_;
  const std::string& attempt_id_;
  const TaskContext& context_;
  std::string failpoint_;
  bool hand_on_;
  iceberg::Schema rows_;  // the table's columns under K2's names
  table::WriteOptions options_;
  std::map<std::string, std::string> footer_;
  std::optional<RowPartitions> partitions_;  // once there are rows
  std::vector<std::string> last_paths_;
  TableFiles files_;
  int32_t counter_ = 0;
};

// Columns under their names. Their order is free: PartitionedWriter puts them into the table's.
std::shared_ptr<arrow::RecordBatch> NamedBatch(const std::vector<const char*>& names,
                                               std::vector<std::shared_ptr<arrow::Array>> columns, int64_t rows);

// Column builders without copies.
std::shared_ptr<arrow::Array> Int64Array(std::vector<int64_t> values, std::shared_ptr<arrow::DataType> type);
std::shared_ptr<arrow::Array> Int32Array(std::vector<int32_t> values, std::shared_ptr<arrow::DataType> type);
std::shared_ptr<arrow::Array> BytesArray(source::ByteColumn column, std::shared_ptr<arrow::DataType> type);
std::shared_ptr<arrow::Array> ConstantString(const std::string& value, int64_t rows);

// Times in microseconds since 1970, both included.
struct TimeRange {
  int64_t first_us = INT64_MIN;
  int64_t last_us = INT64_MAX;
};

// Reads an input file's rows, without deleted ones: from the cache, else from storage. Columns under K2's names, only
// `names` when given. Rows whose `timestamp` is not within `times` may be left out.
Status ReadInput(const TaskContext& context, const InputFile& file, const TableShape& shape,
                 const std::vector<std::string>& names,
                 const std::function<Status(std::shared_ptr<arrow::RecordBatch>)>& batch, const TimeRange& times = {});

// These columns, and of the optional ones those that the table has: one of an earlier version may lack them.
std::vector<std::string> WithOptional(std::vector<std::string> names, const std::vector<std::string>& optional,
                                      const TableShape& shape);

// All rows; `deleted` says which of a batch are deleted, and is empty where none is.
Status ReadMarkedInput(
    const TaskContext& context, const InputFile& file, const TableShape& shape, const std::vector<std::string>& names,
    const std::function<Status(std::shared_ptr<arrow::RecordBatch> batch, const std::vector<bool>& deleted)>& batch);

}  // namespace k2::task
