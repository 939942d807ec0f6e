#include "trade/encode.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "avro/binary.h"
#include "trade/trade_schema.h"

namespace k2::trade {
namespace {

using avro::kMaxVarintSize;
using avro::WriteLong;

// Header, id, four longs, two decimals of up to eleven bytes, three enums, four union branches and the ends of array
// and map: everything in a message but the texts, and more.
constexpr size_t kFixedSize = kConfluentHeaderSize + 1 + Uuid::kTextSize + 16 * kMaxVarintSize;

char* WriteHeader(char* out, int32_t schema_id) {
  *out++ = kConfluentMagic;
  const uint32_t big_endian = __builtin_bswap32(static_cast<uint32_t>(schema_id));
  std::memcpy(out, &big_endian, sizeof big_endian);
  return out + sizeof big_endian;
}

char* WriteText(char* out, std::string_view text) {
  out = WriteLong(out, static_cast<int64_t>(text.size()));
  return std::copy_n(text.data(), text.size(), out);  // an empty text may have no data: not for memcpy
}

// Avro decimal: the shortest big-endian two's complement.
char* WriteNarrowDecimal(char* out, int64_t unscaled) {
  const uint64_t magnitude = static_cast<uint64_t>(unscaled < 0 ? ~unscaled : unscaled);
  const auto size = static_cast<unsigned>((64 - std::countl_zero(magnitude)) / 8 + 1);  // one bit for the sign
  const uint64_t bytes = __builtin_bswap64(static_cast<uint64_t>(unscaled) << (64 - 8 * size));
  out = WriteLong(out, size);
  std::memcpy(out, &bytes, size);
  return out + size;
}

char* WriteDecimal(char* out, Int128 unscaled) {
  if (unscaled == static_cast<int64_t>(unscaled)) [[likely]]
    return WriteNarrowDecimal(out, static_cast<int64_t>(unscaled));
  const auto high = static_cast<int64_t>(unscaled >> 64);
  const auto magnitude = static_cast<uint64_t>(high < 0 ? ~high : high);
  const auto size = static_cast<unsigned>((128 - std::countl_zero(magnitude)) / 8 + 1);
  out = WriteLong(out, size);
  for (unsigned i = size; i-- > 0;) *out++ = static_cast<char>(unscaled >> (8 * i));
  return out;
}

char* WriteOptionalLong(char* out, const std::optional<int64_t>& value) {
  out = WriteLong(out, value ? 1 : 0);
  return value ? WriteLong(out, *value) : out;
}

char* WriteTexts(char* out, std::span<const std::string_view> texts) {
  if (!texts.empty()) {
    out = WriteLong(out, static_cast<int64_t>(texts.size()));
    for (const std::string_view text : texts) out = WriteText(out, text);
  }
  return WriteLong(out, 0);
}

char* WriteVendorData(char* out, const std::optional<std::span<const VendorEntry>>& entries) {
  if (!entries) return WriteLong(out, 0);  // null
  out = WriteLong(out, 1);
  if (entries->empty()) return WriteLong(out, 0);
  out = WriteLong(out, static_cast<int64_t>(entries->size()));
  for (const VendorEntry& entry : *entries) {
    out = WriteText(out, entry.key);
    out = WriteText(out, entry.value);
  }
  return WriteLong(out, 0);
}

char* WriteSource(char* out, std::optional<TradeSource> source) {
  out = WriteLong(out, source ? 1 : 0);
  return source ? WriteLong(out, static_cast<int64_t>(*source)) : out;
}

template <typename AnyTrade>
size_t SizeBound(const AnyTrade& trade, std::span<const VendorEntry> vendor_data) {
  size_t size = kFixedSize + trade.trade_id.size() + trade.symbol.size() + trade.exchange.size() +
                trade.currency.size() + 4 * kMaxVarintSize;
  for (const std::string_view text : trade.trade_conditions) size += text.size() + kMaxVarintSize;
  for (const VendorEntry& entry : vendor_data) size += entry.key.size() + entry.value.size() + 2 * kMaxVarintSize;
  return size;
}

// All fields but the first and the last two.
template <typename AnyTrade>
char* WriteFields(char* p, const AnyTrade& trade) {
  p = WriteText(p, trade.trade_id);
  p = WriteText(p, trade.symbol);
  p = WriteText(p, trade.exchange);
  p = WriteLong(p, static_cast<int64_t>(trade.asset_class));
  p = WriteLong(p, trade.timestamp_us);
  p = WriteDecimal(p, trade.price_e14);
  p = WriteDecimal(p, trade.quantity_e8);
  p = WriteText(p, trade.currency);
  p = WriteLong(p, static_cast<int64_t>(trade.side));
  p = WriteTexts(p, trade.trade_conditions);
  p = WriteOptionalLong(p, trade.source_sequence);
  p = WriteLong(p, trade.ingestion_timestamp_us);
  return WriteOptionalLong(p, trade.platform_sequence);
}

// Makes room for `bound` bytes at the end of `out` once, so that the writers above need not look.
template <typename Write>
void AppendBounded(std::string& out, size_t bound, Write write) {
  const size_t before = out.size();
  if (out.capacity() - before < bound) out.reserve(2 * out.capacity() + bound);
  out.resize_and_overwrite(before + bound,
                           [&](char* data, size_t) { return static_cast<size_t>(write(data + before) - data); });
}

}  // namespace

void EncodeTrade(const Trade& trade, int32_t schema_id, std::string& out) {
  AppendBounded(out, SizeBound(trade, trade.vendor_data), [&](char* p) {
    p = WriteHeader(p, schema_id);
    p = WriteLong(p, Uuid::kTextSize);
    trade.message_id.Format(p);
    p = WriteFields(p + Uuid::kTextSize, trade);
    p = trade.vendor_data.empty() ? WriteVendorData(p, std::nullopt) : WriteVendorData(p, trade.vendor_data);
    return WriteSource(p, trade.source);
  });
}

void EncodeTrade(const TradeRow& row, int32_t schema_id, std::string& out) {
  const std::span<const VendorEntry> entries = row.vendor_data.value_or(std::span<const VendorEntry>{});
  AppendBounded(out, SizeBound(row, entries) + row.message_id.size(), [&](char* p) {
    p = WriteHeader(p, schema_id);
    p = WriteText(p, row.message_id);
    p = WriteFields(p, row);
    p = WriteVendorData(p, row.vendor_data);
    return WriteSource(p, row.source);
  });
}

void EncodeRejectedFrame(const RejectedFrame& frame, int32_t schema_id, std::string& out) {
  const std::string_view reason = ToString(frame.reason);
  const size_t bound = kConfluentHeaderSize + 5 * kMaxVarintSize + frame.exchange.size() + reason.size() +
                       frame.detail.size() + frame.frame.size();
  AppendBounded(out, bound, [&](char* p) {
    p = WriteHeader(p, schema_id);
    p = WriteText(p, frame.exchange);
    p = WriteText(p, reason);
    p = WriteText(p, frame.detail);
    p = WriteText(p, frame.frame);
    return WriteLong(p, frame.receive_timestamp_us);
  });
}

}  // namespace k2::trade
