// Trades as columns in Arrow's layout, grown row by row and handed on whole.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "trade/arrow_c.h"
#include "trade/text_columns.h"
#include "trade/trade.h"

namespace k2::trade {

// One row as views: a Trade whose message_id is text, as other producers' need not be a UUID.
struct TradeRow {
  std::string_view message_id;
  std::string_view trade_id;
  std::string_view symbol;
  std::string_view exchange;
  AssetClass asset_class = AssetClass::kCrypto;
  int64_t timestamp_us = 0;
  Int128 price_e14 = 0;
  Int128 quantity_e8 = 0;
  std::string_view currency;
  TradeSide side = TradeSide::kUnknown;
  std::span<const std::string_view> trade_conditions;
  std::optional<int64_t> source_sequence;
  int64_t ingestion_timestamp_us = 0;
  std::optional<int64_t> platform_sequence;
  std::optional<std::span<const VendorEntry>> vendor_data;
  std::optional<TradeSource> source;
};

struct TradeColumnsOptions {
  // symbol, exchange, asset_class, currency, side and the keys of vendor_data as dictionary<int32, utf8>; else utf8.
  bool dictionaries = true;
  // The values of vendor_data as dictionary too.
  bool dictionary_vendor_values = false;
  // For a table of the older format, whose numbers are kNumberTypeOfV2: rows that it cannot hold are not to be added.
  bool numbers_of_v2 = false;
};

class TradeColumns {
 public:
  explicit TradeColumns(TradeColumnsOptions options = {}) : options_(options) {}

  [[nodiscard]] size_t rows() const { return rows_; }
  [[nodiscard]] const TradeColumnsOptions& options() const { return options_; }
  // Memory that the rows take, about.
  [[nodiscard]] size_t bytes() const;
  // Whether to export before the next row: a 32-bit offset is half used up.
  [[nodiscard]] bool Full() const;

  // Adds a row. False, and nothing is added, when a text of it is not UTF-8. Of equal keys in vendor_data the last
  // counts, as in the map types of every Avro reader: there are engines that refuse to read such a map.
  bool Append(const TradeRow& row);

  // Hands the rows over as a struct array with the columns of Silver (trade/trade_table.h), in that order, and starts
  // empty again. Both are released by the receiver.
  void Export(ArrowArray* array, ArrowSchema* schema);

 private:
  struct Bits {  // a validity bitmap
    Buffer<uint8_t> bits;
    int64_t nulls = 0;
    void Set(size_t row, bool valid);
  };
  struct DictionaryColumn {
    Dictionary dictionary;
    Buffer<int32_t> indexes;
  };
  struct EnumColumn {
    DictionaryColumn column;
    std::array<int32_t, 4> known{-1, -1, -1, -1};  // index of each symbol
    // Where the column may be null; the index of a null is of no matter.
    Bits valid = {};
    int32_t Find(std::span<const std::string_view> symbols, size_t symbol);
  };
  friend class TradeExporter;

  void ReserveRow();
  bool AppendTexts(const TradeRow& row);
  bool AppendConditions(std::span<const std::string_view> conditions);
  bool AppendVendorData(std::span<const VendorEntry> entries);
  bool AppendDistinct(std::span<const VendorEntry> entries);
  void TruncateEntries(size_t count);
  void CountExpanded(const TradeRow& row);

  TradeColumnsOptions options_;
  size_t rows_ = 0;
  size_t expanded_ = 0;  // bytes of the longest column among those that Export expands
  size_t capacity_ = 0;  // rows that the fixed-width buffers have room for
  size_t first_capacity_ = 1024;

  TextColumn message_id_;
  TextColumn trade_id_;
  DictionaryColumn symbol_;
  DictionaryColumn exchange_;
  EnumColumn asset_class_;
  Buffer<int64_t> timestamp_;
  Buffer<Int128> price_;
  Buffer<Int128> quantity_;
  DictionaryColumn currency_;
  EnumColumn side_;
  Buffer<int32_t> condition_offsets_;
  TextColumn conditions_;
  Bits source_sequence_valid_;
  Buffer<int64_t> source_sequence_;
  Buffer<int64_t> ingestion_timestamp_;
  Bits platform_sequence_valid_;
  Buffer<int64_t> platform_sequence_;
  Bits vendor_valid_;
  Buffer<int32_t> vendor_offsets_;
  size_t entries_ = 0;
  DictionaryColumn vendor_keys_;
  TextColumn vendor_values_;  // one of these two, by the options
  DictionaryColumn vendor_value_dictionary_;
  EnumColumn source_;
  Buffer<int32_t> exchange_date_;

  // The entry at one place of vendor_data mostly has the same key in every row.
  static constexpr size_t kGuesses = 16;
  std::array<int32_t, kGuesses> key_guesses_{};
  std::array<int32_t, kGuesses> value_guesses_{};
  std::vector<size_t> key_rows_;  // by key: 1 + the row that had it last
};

}  // namespace k2::trade
