// Trades that were handed in, row by row.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/uuid.h"
#include "batches.h"
#include "columns.h"
#include "trade/trade_columns.h"

namespace k2::python {

// A table with the columns of TradeV3, by name. Columns that V3 can do without may be missing: message_id is derived
// then, trade_conditions are none, the others null. Throws BadInput for what no message can hold.
class TradesIn {
 public:
  explicit TradesIn(const Batch& batch);
  [[nodiscard]] int64_t length() const { return root_.length(); }
  // Good until the next call.
  const trade::TradeRow& At(int64_t row);

 private:
  [[nodiscard]] BytesColumn Texts(const char* name) const;
  [[nodiscard]] Column Need(const char* name) const;
  void ReadConditions(int64_t row);
  void ReadVendorData(int64_t row);

  Column root_;
  std::optional<BytesColumn> message_id_;
  BytesColumn trade_id_;
  BytesColumn symbol_;
  BytesColumn exchange_;
  BytesColumn asset_class_;
  LongColumn timestamp_;
  DecimalColumn price_;
  DecimalColumn quantity_;
  BytesColumn currency_;
  BytesColumn side_;
  std::optional<ListColumn> conditions_;
  std::optional<BytesColumn> condition_;
  std::optional<LongColumn> source_sequence_;
  LongColumn ingestion_timestamp_;
  std::optional<LongColumn> platform_sequence_;
  std::optional<ListColumn> vendor_data_;
  std::optional<BytesColumn> vendor_key_;
  std::optional<BytesColumn> vendor_value_;
  std::optional<BytesColumn> source_;

  trade::TradeRow row_;
  std::array<char, Uuid::kTextSize> id_{};
  std::vector<std::string_view> condition_texts_;
  std::vector<trade::VendorEntry> entries_;
};

}  // namespace k2::python
