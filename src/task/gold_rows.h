// Silver rows as Gold looks at them: typed views of the columns it compares, sorts and partitions by.
#pragma once

#include <arrow/array.h>
#include <arrow/record_batch.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "iceberg/schema.h"
#include "task/gold_index.h"
#include "task/text_view.h"

namespace k2::task {

// Views of a batch's columns by name. The batch must outlive it. Columns that a read left out must not be asked for.
class GoldRows {
 public:
  explicit GoldRows(const arrow::RecordBatch& batch);

  [[nodiscard]] int64_t size() const { return rows_; }
  [[nodiscard]] std::string_view message_id(int64_t row) const { return message_id_[row]; }
  [[nodiscard]] int64_t timestamp_us(int64_t row) const { return timestamp_[row]; }
  TradeKey Key(int64_t row, SequenceNames& names) const;

  // Of what the exchange says of a trade; not of how and when it came to us (ingestion_timestamp, vendor_data).
  [[nodiscard]] uint64_t ContentHash(int64_t row) const;
  static const std::vector<std::string>& ContentColumns();  // that ContentHash and message_id need

  // Rows by hour since 1970 of `timestamp`, each in the order they came.
  [[nodiscard]] std::map<int64_t, std::vector<int64_t>> RowsByHour() const;
  void SortBySymbolAndTime(std::vector<int64_t>& rows) const;

 private:
  int64_t rows_;
  TextView message_id_;
  TextView trade_id_;
  TextView symbol_;
  TextView exchange_;
  TextView currency_;
  TextView side_;
  const int64_t* timestamp_ = nullptr;
  const arrow::FixedSizeBinaryArray* price_ = nullptr;
  const arrow::FixedSizeBinaryArray* quantity_ = nullptr;
};

// One batch of all rows; dictionaries are unified.
Result<std::shared_ptr<arrow::RecordBatch>> CombineBatches(std::vector<std::shared_ptr<arrow::RecordBatch>> batches);

// The columns that TakeGoldRows sets.
inline bool IsHourColumn(std::string_view name) { return name == "exchange_date" || name == "exchange_hour"; }

// The chosen rows of a Silver batch in the given order, with Gold's columns: exchange_date and exchange_hour are set.
Result<std::shared_ptr<arrow::RecordBatch>> TakeGoldRows(const arrow::RecordBatch& rows,
                                                         const std::vector<int64_t>& indices,
                                                         const iceberg::Schema& gold, int64_t hour);

}  // namespace k2::task
