// Reading a column whatever its encoding or width. Includes Arrow: for task/*.cc only.
#pragma once

#include <arrow/array.h>

#include <cstdint>
#include <memory>
#include <string_view>

namespace k2::task {

// A text column, dictionary-encoded or plain; absent columns and nulls read as empty.
class TextView {
 public:
  explicit TextView(const std::shared_ptr<arrow::Array>& column);
  [[nodiscard]] std::string_view operator[](int64_t row) const {
    if (values_ == nullptr || (nulls_ != nullptr && nulls_->IsNull(row))) return {};
    return values_->GetView(codes_ == nullptr ? row : codes_[row]);
  }
  // Dense small numbers that stand for the values, when the column is dictionary-encoded and has no null; else null.
  [[nodiscard]] const int32_t* codes() const { return nulls_ == nullptr ? codes_ : nullptr; }
  [[nodiscard]] int64_t distinct() const { return values_ == nullptr ? 0 : values_->length(); }

 private:
  const arrow::StringArray* values_ = nullptr;
  const int32_t* codes_ = nullptr;
  const arrow::Array* nulls_ = nullptr;  // the column, where it has some
};

// An integer column without nulls, int or widened to long.
class IntegerView {
 public:
  explicit IntegerView(const arrow::Array& column) {
    if (column.type_id() == arrow::Type::INT64) {
      wide_ = static_cast<const arrow::Int64Array&>(column).raw_values();
    } else {
      narrow_ = static_cast<const arrow::Int32Array&>(column).raw_values();
    }
  }
  [[nodiscard]] int64_t operator[](int64_t row) const { return wide_ != nullptr ? wide_[row] : narrow_[row]; }

 private:
  const int32_t* narrow_ = nullptr;
  const int64_t* wide_ = nullptr;
};

// Kafka's partitions have 32 bits: a larger number, which only others write into a widened column, is none.
inline int32_t PartitionOf(int64_t number) {
  return number >= 0 && number <= INT32_MAX ? static_cast<int32_t>(number) : -1;
}

}  // namespace k2::task
