// The column `headers` of Bronze and rejected_trades, read and made. Includes Arrow: for task/*.cc and pipeline/*.cc
// that work on batches.
#pragma once

#include <arrow/array.h>

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "source/source.h"
#include "task/text_view.h"
#include "trade/message_framing.h"

namespace k2::task {

// A list<struct<key, value>>; an absent column, nulls and empty lists read as no headers, and a batch without any costs
// nothing for a row.
class HeaderView {
 public:
  explicit HeaderView(const std::shared_ptr<arrow::Array>& column);

  // Valid until the next call.
  [[nodiscard]] std::span<const trade::MessageHeader> operator[](int64_t row) {
    if (list_ == nullptr) [[likely]]
      return {};
    return Of(row);
  }

 private:
  std::span<const trade::MessageHeader> Of(int64_t row);

  const arrow::ListArray* list_ = nullptr;  // where a row has some
  std::shared_ptr<arrow::Array> keys_;
  std::shared_ptr<arrow::Array> values_;
  TextView key_;
  std::vector<trade::MessageHeader> headers_;
};

// A list<struct<key, value>>, null for a message without headers. Keys that are not UTF-8 get U+FFFD in the place of
// bad bytes, as Java's client has them.
std::shared_ptr<arrow::Array> HeadersArray(source::HeaderColumn headers);
// Appends the headers of a message that comes behind `rows` others.
void AppendHeaders(std::span<const trade::MessageHeader> headers, size_t rows, source::HeaderColumn& column);

}  // namespace k2::task
