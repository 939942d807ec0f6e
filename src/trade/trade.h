// One trade of an exchange, before it is a message: views into the frame it was read from.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/int128.h"
#include "base/uuid.h"

namespace k2::trade {

enum class AssetClass : uint8_t { kEquities, kCrypto, kFutures, kOptions };  // order of the Avro enum
enum class TradeSide : uint8_t { kBuy, kSell, kSellShort, kUnknown };        // order of the Avro enum
// How the exchange told of the trade: as it was made, at the beginning of a subscription, when it was asked for the
// past, or in a file of a past day.
enum class TradeSource : uint8_t { kStream, kSnapshot, kRest, kArchive };  // order of the Avro enum

struct VendorEntry {
  std::string_view key;
  std::string_view value;
};

// The 16 fields of TradeV3 (docs/messages.md). Decimals are unscaled: of kPriceType and kQuantityType
// (trade/decimal.h).
struct Trade {
  Uuid message_id;
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
  std::span<const VendorEntry> vendor_data;
  std::optional<TradeSource> source;
  size_t place = 0;  // among the trades of its frame; no field of the message
};

}  // namespace k2::trade
