// Where a decode plan for V3 trades, or for rejected frames, puts its values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "trade/decoder.h"
#include "trade/trade_columns.h"
#include "trade/trade_schema.h"
#include "trade/trade_table.h"

namespace k2::trade {

// Views stay good as long as the message they came from, and until the next one.
class TradeSink {
 public:
  void Clear() {
    conditions_.clear();
    entry_count_ = 0;
  }

  // The trade, but for the decimals' values.
  void Fill(TradeRow& row) const {
    const auto number = [&](TradeSlot slot) { return present_[slot] ? std::optional(numbers_[slot]) : std::nullopt; };
    row.message_id = texts_[kMessageIdSlot];
    row.trade_id = texts_[kTradeIdSlot];
    row.symbol = texts_[kSymbolSlot];
    row.exchange = texts_[kExchangeSlot];
    row.asset_class = static_cast<AssetClass>(numbers_[kAssetClassSlot]);
    row.timestamp_us = numbers_[kTimestampSlot];
    row.currency = texts_[kCurrencySlot];
    row.side = static_cast<TradeSide>(numbers_[kSideSlot]);
    row.trade_conditions = conditions_;
    row.source_sequence = number(kSourceSequenceSlot);
    row.ingestion_timestamp_us = numbers_[kIngestionTimestampSlot];
    row.platform_sequence = number(kPlatformSequenceSlot);
    row.vendor_data.reset();
    if (present_[kVendorDataSlot]) row.vendor_data.emplace(entries_.data(), entry_count_);
    row.source.reset();
    if (present_[kSourceSlot]) row.source = static_cast<TradeSource>(numbers_[kSourceSlot]);
  }
  // Big-endian two's complement.
  [[nodiscard]] std::string_view price() const { return texts_[kPriceSlot]; }
  [[nodiscard]] std::string_view quantity() const { return texts_[kQuantitySlot]; }

  void Null(uint16_t slot) { present_[slot] = false; }
  void Long(uint16_t slot, int64_t value) {
    numbers_[slot] = value;
    present_[slot] = true;
  }
  [[gnu::always_inline]] void Bytes(uint16_t slot, std::string_view value) {
    if (slot < kConditionSlot) [[likely]] {
      texts_[slot] = value;
    } else {
      Item(slot, value);
    }
  }
  void Symbol(uint16_t slot, int32_t symbol) {
    numbers_[slot] = symbol;
    present_[slot] = true;
  }
  void BeginItems(uint16_t slot) { present_[slot] = true; }
  void Entry(uint16_t /*slot*/, std::string_view key, std::string_view value) {
    if (entry_count_ == entries_.size()) [[unlikely]]
      entries_.resize(entries_.size() * 2 + 16);
    entries_[entry_count_++] = {key, value};
  }
  // For maps whose values are a union.
  void Key(uint16_t /*slot*/, std::string_view key) { texts_[kVendorDataSlot] = key; }
  // V3 has none of these.
  void Boolean(uint16_t /*slot*/, bool /*value*/) {}
  void Double(uint16_t /*slot*/, double /*value*/) {}

 private:
  void Item(uint16_t slot, std::string_view value) {
    if (slot == kConditionSlot) {
      conditions_.push_back(value);
    } else {
      Entry(kVendorDataSlot, texts_[kVendorDataSlot], value);
    }
  }

  std::array<std::string_view, kTradeSlotCount> texts_;
  std::array<int64_t, kTradeSlotCount> numbers_{};
  std::array<bool, kTradeSlotCount> present_{};
  std::vector<std::string_view> conditions_;
  std::vector<VendorEntry> entries_;  // the first entry_count_ are of this message
  size_t entry_count_ = 0;
};

// Slots of kRejectedFrameSchemaJson: its fields in order.
struct RejectedFrameSink {
  std::string_view reason;
  std::string_view detail;
  std::string_view frame;
  int64_t receive_timestamp_us = 0;

  void Bytes(uint16_t slot, std::string_view value) {
    if (slot == 1) reason = value;
    if (slot == 2) detail = value;
    if (slot == 3) frame = value;
  }
  void Null(uint16_t /*slot*/) {}
  void Boolean(uint16_t /*slot*/, bool /*value*/) {}
  void Long(uint16_t /*slot*/, int64_t value) { receive_timestamp_us = value; }
  void Double(uint16_t /*slot*/, double /*value*/) {}
  void Symbol(uint16_t /*slot*/, int32_t /*symbol*/) {}
  void BeginItems(uint16_t /*slot*/) {}
  void Key(uint16_t /*slot*/, std::string_view /*key*/) {}
};

enum class DecimalReading : uint8_t { kPositive, kZero, kNegative, kTooLarge, kTooSmall, kEmpty };

inline bool Representable(DecimalReading reading) { return reading <= DecimalReading::kNegative; }

// What a schema's decimal is multiplied by to have the scale of a column.
struct DecimalRescale {
  Int128 factor = 1;
  Int128 limit = 0;  // |unscaled value of the message| is less
};

// `scale`: of the message, 0 to the column's.
inline DecimalRescale RescaleFrom(int scale, DecimalType to) {
  const Int128 factor = PowerOfTen(to.scale - scale);
  return {.factor = factor, .limit = LimitOf(to) / factor};
}

// The unscaled value of a decimal, of any length: leading sign bytes are legal (specification, "Decimal"). The value
// is set, with the column's scale, when it is Representable, which is within the column's limit.
inline DecimalReading ReadDecimal(std::string_view bytes, const DecimalRescale& rescale, Int128& value) {
  if (bytes.empty()) return DecimalReading::kEmpty;
  const bool negative = static_cast<int8_t>(bytes[0]) < 0;
  const auto sign = static_cast<char>(negative ? -1 : 0);
  Int128 number = 0;
  if (bytes.size() <= 8) [[likely]] {
    uint64_t bits = negative ? ~uint64_t{0} : 0;
    for (const char c : bytes) bits = (bits << 8) | static_cast<uint8_t>(c);
    number = static_cast<int64_t>(bits);
  } else {
    while (bytes.size() > 16 && bytes[0] == sign) bytes.remove_prefix(1);
    // Sixteen bytes whose first bit is not the sign are a longer number cut.
    if (bytes.size() > 16 || (bytes.size() == 16 && (static_cast<int8_t>(bytes[0]) < 0) != negative)) {
      return negative ? DecimalReading::kTooSmall : DecimalReading::kTooLarge;
    }
    UInt128 bits = negative ? ~UInt128{0} : 0;
    for (const char c : bytes) bits = (bits << 8) | static_cast<uint8_t>(c);
    number = static_cast<Int128>(bits);
  }
  if (number >= rescale.limit) return DecimalReading::kTooLarge;
  if (number <= -rescale.limit) return DecimalReading::kTooSmall;
  value = number * rescale.factor;
  if (number > 0) [[likely]]
    return DecimalReading::kPositive;
  return number == 0 ? DecimalReading::kZero : DecimalReading::kNegative;
}

inline bool IsTimely(int64_t timestamp_us, int64_t ingestion_us) {
  return IsRealTime(timestamp_us) && IsRealTime(ingestion_us) && timestamp_us - ingestion_us <= kMaxTradeAheadMicros;
}

}  // namespace k2::trade
