#include "task/header_view.h"

#include <arrow/type.h>

#include <utility>

#include "task/partitioned_write.h"
#include "trade/text.h"

namespace k2::task {
namespace {

// The members of the pairs, null where the column is absent or has none.
std::shared_ptr<arrow::Array> PairMember(const std::shared_ptr<arrow::Array>& column, const char* name) {
  if (column == nullptr || column->null_count() == column->length()) return nullptr;
  const auto& pairs = static_cast<const arrow::StructArray&>(*static_cast<const arrow::ListArray&>(*column).values());
  return pairs.length() == 0 ? nullptr : pairs.GetFieldByName(name);
}

}  // namespace

HeaderView::HeaderView(const std::shared_ptr<arrow::Array>& column)
    : keys_(PairMember(column, "key")), values_(PairMember(column, "value")), key_(keys_) {
  if (keys_ != nullptr && values_ != nullptr) list_ = static_cast<const arrow::ListArray*>(column.get());
}

std::span<const trade::MessageHeader> HeaderView::Of(int64_t row) {
  headers_.clear();
  if (list_->IsNull(row)) return {};
  const auto& values = static_cast<const arrow::BinaryArray&>(*values_);
  const int32_t end = list_->value_offset(row) + list_->value_length(row);
  for (int32_t i = list_->value_offset(row); i < end; ++i) {
    trade::MessageHeader header{.key = key_[i], .value = std::nullopt};
    if (values.IsValid(i)) header.value = values.GetView(i);
    headers_.push_back(header);
  }
  return headers_;
}

std::shared_ptr<arrow::Array> HeadersArray(source::HeaderColumn headers) {
  source::ByteColumn keys;
  for (size_t i = 0; i < headers.keys.size(); ++i) keys.Append(trade::ValidUtf8(headers.keys[i]));
  const auto count = static_cast<int64_t>(keys.size());
  const auto rows = static_cast<int64_t>(headers.ends.size());
  const auto pair =
      arrow::struct_({arrow::field("key", arrow::utf8(), /*nullable=*/false), arrow::field("value", arrow::binary())});
  auto pairs = arrow::ArrayData::Make(pair, count, {nullptr},
                                      {BytesArray(std::move(keys), arrow::utf8())->data(),
                                       BytesArray(std::move(headers.values), arrow::binary())->data()},
                                      0);
  std::vector<uint8_t> present((headers.ends.size() + 7) / 8, 0);
  std::vector<int32_t> offsets = {0};
  offsets.reserve(headers.ends.size() + 1);
  int64_t nulls = 0;
  for (size_t i = 0; i < headers.ends.size(); ++i) {
    const bool some = headers.ends[i] > offsets.back();
    nulls += some ? 0 : 1;
    present[i / 8] = static_cast<uint8_t>(present[i / 8] | (some ? 1U << (i % 8) : 0U));
    offsets.push_back(headers.ends[i]);
  }
  return arrow::MakeArray(arrow::ArrayData::Make(
      arrow::list(arrow::field("element", pair, /*nullable=*/false)), rows,
      {arrow::Buffer::FromVector(std::move(present)), arrow::Buffer::FromVector(std::move(offsets))},
      {std::move(pairs)}, nulls));
}

void AppendHeaders(std::span<const trade::MessageHeader> headers, size_t rows, source::HeaderColumn& column) {
  if (headers.empty() && column.empty()) return;
  if (column.empty()) column.ends.assign(rows, 0);
  for (const trade::MessageHeader& header : headers) {
    column.keys.Append(header.key);
    if (header.value) {
      column.values.Append(*header.value);
    } else {
      column.values.AppendNull();
    }
  }
  column.ends.push_back(static_cast<int32_t>(column.keys.size()));
}

}  // namespace k2::task
