// Rows of one batch to data files, one a partition. Includes Arrow: for task/*.cc only.
#pragma once

#include <arrow/array.h>
#include <arrow/record_batch.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "task/batch_cache.h"
#include "task/market_tables.h"
#include "task/task.h"

namespace k2 {

// Turns an Arrow status into ours; `what` says what was being done.
Error FromArrow(const arrow::Status& status, std::string_view what);

#define K2_ARROW_ASSIGN(lhs, expression, what) \
  K2_ARROW_ASSIGN_IMPL(K2_CONCAT(k2_arrow_, __LINE__), lhs, expression, what)
#define K2_ARROW_ASSIGN_IMPL(name, lhs, expression, what)                 \
  auto name = (expression);                                               \
  if (!name.ok()) return std::unexpected(FromArrow(name.status(), what)); \
  lhs = std::move(name).ValueUnsafe()

// Files of one task in one table: counts their names, hands their rows on where another layer reads them.
class PartitionedWriter {
 public:
  PartitionedWriter(const OutputTable& output, const std::string& attempt_id, const TaskContext& context,
                    std::string failpoint, bool hand_on = true);

  // Writes rows as one data file of the partition. Columns are found by name, for the table's order may have been
  // changed; an optional column that the rows do not have (a user's own, a later version's) is null.
  Status WriteFile(const Batches& batches, std::vector<iceberg::Literal> partition);
  Status WriteFile(const std::shared_ptr<arrow::RecordBatch>& batch, std::vector<iceberg::Literal> partition) {
    return WriteFile(Batches{batch}, std::move(partition));
  }

  // Splits rows by a date32 column (day partitions: the transform of a date is the date) and writes a file a day.
  Status WriteByDay(const Batches& batches, const std::string& date_column);

  void SetFooter(std::string key, std::string value) { footer_[std::move(key)] = std::move(value); }
  [[nodiscard]] const std::string& last_path() const { return files_.files.back().file_path; }
  [[nodiscard]] TableFiles Finish() { return std::move(files_); }

 private:
  const OutputTable& output_;
  const std::string& attempt_id_;
  const TaskContext& context_;
  std::string failpoint_;
  bool hand_on_;
  WriteOptions options_;
  std::map<std::string, std::string> footer_;
  TableFiles files_;
  int32_t counter_ = 0;
};

// Columns under their names. Their order is free: PartitionedWriter puts them into the table's.
std::shared_ptr<arrow::RecordBatch> NamedBatch(std::initializer_list<const char*> names,
                                               std::vector<std::shared_ptr<arrow::Array>> columns, int64_t rows);

// Column builders without copies.
std::shared_ptr<arrow::Array> Int64Array(std::vector<int64_t> values, std::shared_ptr<arrow::DataType> type);
std::shared_ptr<arrow::Array> Int32Array(std::vector<int32_t> values, std::shared_ptr<arrow::DataType> type);
std::shared_ptr<arrow::Array> BytesArray(ByteColumn column, std::shared_ptr<arrow::DataType> type);
std::shared_ptr<arrow::Array> ConstantString(const std::string& value, int64_t rows);

// Times in microseconds since 1970, both included.
struct TimeRange {
  int64_t first_us = INT64_MIN;
  int64_t last_us = INT64_MAX;
};

// Reads an input file's rows: from the cache, else from storage. Columns by name of `schema`, only `names` when given.
// Rows whose `timestamp` is not within `times` may be left out.
Status ReadInput(const TaskContext& context, const std::string& path, const iceberg::Schema& schema,
                 const std::vector<std::string>& names,
                 const std::function<Status(std::shared_ptr<arrow::RecordBatch>)>& batch, const TimeRange& times = {});

}  // namespace k2
