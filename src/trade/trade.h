// One trade of an exchange, before it is a message: views into the frame it was read from.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/uuid.h"

namespace k2 {

enum class AssetClass : uint8_t { kEquities, kCrypto, kFutures, kOptions };  // order of the Avro enum
enum class TradeSide : uint8_t { kBuy, kSell, kSellShort, kUnknown };        // order of the Avro enum

struct VendorEntry {
  std::string_view key;
  std::string_view value;
};

// The 15 fields of TradeV2 (docs/messages.md). Decimals are unscaled integers at scale 8, |value| < 10^18.
struct Trade {
  Uuid message_id;
  std::string_view trade_id;
  std::string_view symbol;
  std::string_view exchange;
  AssetClass asset_class = AssetClass::kCrypto;
  int64_t timestamp_us = 0;
  int64_t price_e8 = 0;
  int64_t quantity_e8 = 0;
  std::string_view currency;
  TradeSide side = TradeSide::kUnknown;
  std::span<const std::string_view> trade_conditions;
  std::optional<int64_t> source_sequence;
  int64_t ingestion_timestamp_us = 0;
  std::optional<int64_t> platform_sequence;
  std::span<const VendorEntry> vendor_data;
  size_t place = 0;  // among the trades of its frame; no field of the message
};

}  // namespace k2
