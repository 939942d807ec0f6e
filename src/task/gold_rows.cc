#include "task/gold_rows.h"

#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <arrow/compute/api.h>
#include <arrow/table.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "base/time.h"
#include "table/arrow_adapt.h"
#include "task/partitioned_write.h"

namespace k2::task {

GoldRows::GoldRows(const arrow::RecordBatch& batch)
    : rows_(batch.num_rows()),
      message_id_(batch.GetColumnByName("message_id")),
      trade_id_(batch.GetColumnByName("trade_id")),
      symbol_(batch.GetColumnByName("symbol")),
      exchange_(batch.GetColumnByName("exchange")),
      currency_(batch.GetColumnByName("currency")),
      side_(batch.GetColumnByName("side")) {
  if (const auto column = batch.GetColumnByName("timestamp")) {
    timestamp_ = static_cast<const arrow::TimestampArray&>(*column).raw_values();
  }
  price_ = static_cast<const arrow::FixedSizeBinaryArray*>(batch.GetColumnByName("price").get());
  quantity_ = static_cast<const arrow::FixedSizeBinaryArray*>(batch.GetColumnByName("quantity").get());
}

TradeKey GoldRows::Key(int64_t row, SequenceNames& names) const {
  return KeyOfTrade(message_id_[row], exchange_[row], symbol_[row], trade_id_[row], names);
}

uint64_t GoldRows::ContentHash(int64_t row) const {
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  const auto add = [&](std::string_view text) {
    const auto size = static_cast<uint32_t>(text.size());
    XXH3_64bits_update(&state, &size, sizeof size);
    XXH3_64bits_update(&state, text.data(), text.size());
  };
  add(trade_id_[row]);
  add(symbol_[row]);
  add(exchange_[row]);
  add(currency_[row]);
  add(side_[row]);
  XXH3_64bits_update(&state, &timestamp_[row], sizeof(int64_t));
  XXH3_64bits_update(&state, price_->GetValue(row), static_cast<size_t>(price_->byte_width()));
  XXH3_64bits_update(&state, quantity_->GetValue(row), static_cast<size_t>(quantity_->byte_width()));
  return XXH3_64bits_digest(&state);
}

const std::vector<std::string>& GoldRows::ContentColumns() {
  static const std::vector<std::string> columns = {"message_id", "trade_id",  "symbol", "exchange", "currency",
                                                   "side",       "timestamp", "price",  "quantity"};
  return columns;
}

std::map<int64_t, std::vector<int64_t>> GoldRows::RowsByHour() const {
  std::map<int64_t, std::vector<int64_t>> by_hour;
  std::vector<int64_t>* current = nullptr;
  int64_t current_hour = 0;
  for (int64_t row = 0; row < rows_; ++row) {
    const int64_t hour = HourOfMicros(timestamp_[row]);
    if (current == nullptr || hour != current_hour) {
      current = &by_hour[hour];
      current_hour = hour;
      if (current->empty()) current->reserve(static_cast<size_t>(rows_ - row));
    }
    current->push_back(row);
  }
  return by_hour;
}

void GoldRows::SortBySymbolAndTime(std::vector<int64_t>& rows) const {
  if (symbol_.codes() == nullptr) {
    std::ranges::stable_sort(rows, [&](int64_t a, int64_t b) {
      const int order = symbol_[a].compare(symbol_[b]);
      return order != 0 ? order < 0 : timestamp_[a] < timestamp_[b];
    });
    return;
  }
  // Symbols are few: their ranks make the comparison one of numbers, and rows come nearly in order of time.
  std::vector<std::string_view> names;
  std::vector<int32_t> rank(static_cast<size_t>(symbol_.distinct()));
  std::vector<int64_t> example(rank.size(), -1);
  for (const int64_t row : rows) example[static_cast<size_t>(symbol_.codes()[row])] = row;
  for (const int64_t row : example) {
    if (row >= 0) names.push_back(symbol_[row]);
  }
  std::ranges::sort(names);
  for (size_t code = 0; code < rank.size(); ++code) {
    if (example[code] < 0) continue;
    const auto at = std::ranges::lower_bound(names, symbol_[example[code]]);
    rank[code] = static_cast<int32_t>(at - names.begin());
  }
  std::vector<std::vector<int64_t>> groups(names.size());
  for (const int64_t row : rows) {
    groups[static_cast<size_t>(rank[static_cast<size_t>(symbol_.codes()[row])])].push_back(row);
  }
  rows.clear();
  const auto earlier = [&](int64_t a, int64_t b) { return timestamp_[a] < timestamp_[b]; };
  for (std::vector<int64_t>& group : groups) {
    if (!std::ranges::is_sorted(group, earlier)) std::ranges::stable_sort(group, earlier);
    rows.insert(rows.end(), group.begin(), group.end());
  }
}

Result<std::shared_ptr<arrow::RecordBatch>> CombineBatches(std::vector<std::shared_ptr<arrow::RecordBatch>> batches) {
  std::erase_if(batches, [](const auto& batch) { return batch->num_rows() == 0; });
  if (batches.empty())
    return arrow::RecordBatch::Make(arrow::schema({}), 0, std::vector<std::shared_ptr<arrow::Array>>{});
  if (batches.size() == 1) return batches.front();
  K2_TRY(table::EnsureArrowKernels());
  const auto& first = *batches.front();
  std::vector<std::shared_ptr<arrow::Array>> columns;
  int64_t rows = 0;
  for (const auto& batch : batches) rows += batch->num_rows();
  for (int i = 0; i < first.num_columns(); ++i) {
    arrow::ArrayVector parts;
    for (const auto& batch : batches) {
      // Tables may have their columns in different orders, and columns of their users' own. Batches come from memory
      // and from storage: the encodings of a column may differ between them.
      std::shared_ptr<arrow::Array> part = batch->GetColumnByName(first.column_name(i));
      if (part == nullptr) {
        K2_ARROW_ASSIGN(part, arrow::MakeArrayOfNull(first.column(i)->type(), batch->num_rows()), "joining batches");
      }
      if (!part->type()->Equals(*first.column(i)->type())) {
        K2_ARROW_ASSIGN(part, arrow::compute::Cast(*part, first.column(i)->type()), "joining batches");
      }
      parts.push_back(std::move(part));
    }
    K2_ARROW_ASSIGN(auto column, arrow::Concatenate(parts), "joining batches");
    columns.push_back(std::move(column));
  }
  return arrow::RecordBatch::Make(first.schema(), rows, std::move(columns));
}

Result<std::shared_ptr<arrow::RecordBatch>> TakeGoldRows(const arrow::RecordBatch& rows,
                                                         const std::vector<int64_t>& indices,
                                                         const iceberg::Schema& gold, int64_t hour) {
  const auto count = static_cast<int64_t>(indices.size());
  K2_TRY(table::EnsureArrowKernels());
  const auto index_array = Int64Array(indices, arrow::int64());
  const auto day = static_cast<int32_t>(FloorDiv(hour, 24));
  bool in_order = count == rows.num_rows();
  for (int64_t i = 0; in_order && i < count; ++i) in_order = indices[static_cast<size_t>(i)] == i;
  arrow::FieldVector fields;
  std::vector<std::shared_ptr<arrow::Array>> columns;
  for (const iceberg::NestedField& field : gold.fields) {
    std::shared_ptr<arrow::Array> column;
    if (field.name == "exchange_date") {
      column = Int32Array(std::vector<int32_t>(indices.size(), day), arrow::date32());
    } else if (field.name == "exchange_hour") {
      column =
          Int32Array(std::vector<int32_t>(indices.size(), static_cast<int32_t>(FloorMod(hour, 24))), arrow::int32());
    } else {
      const auto source = rows.GetColumnByName(field.name);
      if (source == nullptr) {
        if (!field.required) continue;  // null, in the file
        return Fail(ErrorKind::kInvalidData, "Silver rows have no column {}", field.name);
      }
      column = source;
      if (!in_order) {
        K2_ARROW_ASSIGN(column,
                        arrow::compute::Take(*source, *index_array, arrow::compute::TakeOptions::NoBoundsCheck()),
                        "ordering Gold's rows");
      }
    }
    fields.push_back(arrow::field(field.name, column->type(), !field.required));
    columns.push_back(std::move(column));
  }
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), count, std::move(columns));
}

}  // namespace k2::task
