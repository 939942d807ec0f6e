// The columns of a trade, each once: what is stored of it in Silver and Gold, and how (docs/tables.md). A new column is
// a row here, a field of trade.h, a field of the message (trade_schema.h), and what the exchanges fill it with.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "trade/decimal.h"

namespace k2::trade {

enum class ColumnType : uint8_t { kString, kInt, kLong, kDate, kTimestamp, kPrice, kQuantity, kStringList, kStringMap };

// Of Parquet. A dictionary pays where values repeat (bench/RESULTS.md). Of a map: that of its values.
enum class ColumnEncoding : uint8_t { kDictionary, kPlain };

// Values of a column of TradeColumns, which are the slots of a message's fields (trade_sink.h). Derived: the column is
// no field of the message.
enum TradeSlot : uint16_t {
  kMessageIdSlot,
  kTradeIdSlot,
  kSymbolSlot,
  kExchangeSlot,
  kAssetClassSlot,
  kTimestampSlot,
  kPriceSlot,
  kQuantitySlot,
  kCurrencySlot,
  kSideSlot,
  kTradeConditionsSlot,
  kSourceSequenceSlot,
  kIngestionTimestampSlot,
  kPlatformSequenceSlot,
  kVendorDataSlot,
  kSourceSlot,
  kMessageFieldCount,
  // What is inside the list and the map.
  kConditionSlot = kMessageFieldCount,
  kVendorValueSlot,
  kTradeSlotCount,
  kDerived = kTradeSlotCount,
};

struct TradeColumn {
  std::string_view name;
  ColumnType type;
  bool required;
  int32_t field_id;  // in tables that this version makes
  TradeSlot slot;    // of the message's field, or kDerived
  ColumnEncoding encoding;
  bool gold_only;
  std::string_view doc;
};

inline constexpr std::array kTradeColumns = {
    TradeColumn{"message_id", ColumnType::kString, true, 1, kMessageIdSlot, ColumnEncoding::kPlain, false,
                "identity of the trade"},
    TradeColumn{"trade_id", ColumnType::kString, true, 2, kTradeIdSlot, ColumnEncoding::kPlain, false,
                "{EXCHANGE}-{the exchange's own id}"},
    TradeColumn{"symbol", ColumnType::kString, true, 3, kSymbolSlot, ColumnEncoding::kDictionary, false,
                "normalised: BTCUSDT"},
    TradeColumn{"exchange", ColumnType::kString, true, 4, kExchangeSlot, ColumnEncoding::kDictionary, false,
                "in capitals: BINANCE"},
    TradeColumn{"asset_class", ColumnType::kString, true, 5, kAssetClassSlot, ColumnEncoding::kDictionary, false,
                "crypto"},
    TradeColumn{"timestamp", ColumnType::kTimestamp, true, 6, kTimestampSlot, ColumnEncoding::kPlain, false,
                "the exchange's trade time"},
    TradeColumn{"price", ColumnType::kPrice, true, 7, kPriceSlot, ColumnEncoding::kDictionary, false,
                "in quote currency"},
    TradeColumn{"quantity", ColumnType::kQuantity, true, 8, kQuantitySlot, ColumnEncoding::kDictionary, false,
                "in base currency"},
    TradeColumn{"currency", ColumnType::kString, true, 9, kCurrencySlot, ColumnEncoding::kDictionary, false,
                "quote currency"},
    TradeColumn{"side", ColumnType::kString, true, 10, kSideSlot, ColumnEncoding::kDictionary, false,
                "the aggressor's side: BUY or SELL"},
    TradeColumn{"trade_conditions", ColumnType::kStringList, true, 11, kTradeConditionsSlot,
                ColumnEncoding::kDictionary, false, "conditions the exchange reports"},
    TradeColumn{"source_sequence", ColumnType::kLong, false, 12, kSourceSequenceSlot, ColumnEncoding::kPlain, false,
                "the exchange's own consecutive number"},
    TradeColumn{"ingestion_timestamp", ColumnType::kTimestamp, true, 13, kIngestionTimestampSlot,
                ColumnEncoding::kPlain, false, "when the trade was received"},
    TradeColumn{"platform_sequence", ColumnType::kLong, false, 14, kPlatformSequenceSlot, ColumnEncoding::kPlain, false,
                "number given by the producing platform"},
    TradeColumn{"vendor_data", ColumnType::kStringMap, false, 15, kVendorDataSlot, ColumnEncoding::kPlain, false,
                "what the exchange sends beyond these columns"},
    TradeColumn{"source", ColumnType::kString, false, 16, kSourceSlot, ColumnEncoding::kDictionary, false,
                "how the exchange told of it: stream, snapshot, rest or archive"},
    TradeColumn{"exchange_date", ColumnType::kDate, true, 17, kDerived, ColumnEncoding::kDictionary, false,
                "date of timestamp, UTC"},
    TradeColumn{"exchange_hour", ColumnType::kInt, true, 18, kDerived, ColumnEncoding::kDictionary, true,
                "hour of timestamp, UTC, 0 to 23"},
};

// Symbols of the message's enums, in their order, as the tables have them as texts.
inline constexpr std::array<std::string_view, 4> kAssetClasses = {"equities", "crypto", "futures", "options"};
inline constexpr std::array<std::string_view, 4> kSides = {"BUY", "SELL", "SELL_SHORT", "UNKNOWN"};
inline constexpr std::array<std::string_view, 4> kTradeSources = {"stream", "snapshot", "rest", "archive"};

consteval bool SlotsStandInOrder() {
  for (size_t i = 0; i < kTradeColumns.size(); ++i) {
    if (kTradeColumns[i].field_id != static_cast<int32_t>(i) + 1) return false;
    if (kTradeColumns[i].slot != (i < kMessageFieldCount ? static_cast<TradeSlot>(i) : kDerived)) return false;
  }
  return true;
}
static_assert(SlotsStandInOrder(),
              "a column's slot and field id are its place: first the message's fields, then others");

}  // namespace k2::trade
