// Reading a text column whatever its encoding. Includes Arrow: for task/*.cc only.
#pragma once

#include <arrow/array.h>

#include <cstdint>
#include <memory>
#include <string_view>

namespace k2 {

// A text column, dictionary-encoded or plain; absent columns read as empty.
class TextView {
 public:
  explicit TextView(const std::shared_ptr<arrow::Array>& column);
  [[nodiscard]] std::string_view operator[](int64_t row) const {
    if (values_ == nullptr) return {};
    return values_->GetView(codes_ == nullptr ? row : codes_[row]);
  }
  // Dense small numbers that stand for the values, when the column is dictionary-encoded; else null.
  [[nodiscard]] const int32_t* codes() const { return codes_; }
  [[nodiscard]] int64_t distinct() const { return values_ == nullptr ? 0 : values_->length(); }

 private:
  const arrow::StringArray* values_ = nullptr;
  const int32_t* codes_ = nullptr;
};

}  // namespace k2
