#include <fmt/format.h>

#include <array>

#include "exchange/exchange_time.h"
#include "exchange/kraken/kraken.h"

namespace k2::exchange {
namespace {

using json::Kind;
using json::Value;

// Rows of a v1 trade message: [price, volume, time, side, orderType, misc], all text.
constexpr std::array<std::string_view, 6> kColumns = {"price", "volume", "time", "side", "orderType", "misc"};

// [channelID, data, "channelName", "pair"]: the end of the frame tells what it is, without reading what may be 100 KB
// of a book before it. Only by names that no column of a cut trade frame can hold.
std::string_view OtherKrakenV1Channel(std::string_view frame) {
  if (!frame.ends_with("\"]")) return {};
  frame.remove_suffix(2);
  const size_t pair = frame.rfind("\",\"");
  if (pair == std::string_view::npos) return {};
  frame = frame.substr(0, pair);
  const size_t channel = frame.rfind(",\"");
  if (channel == std::string_view::npos) return {};
  const std::string_view name = frame.substr(channel + 2);
  const bool other = name.starts_with("book-") || name.starts_with("ohlc-") || name == "ticker" || name == "spread";
  return other ? name : std::string_view{};
}

trade::TradeSide ReadSide(std::string_view text) {
  if (text == "b") return trade::TradeSide::kBuy;
  return text == "s" ? trade::TradeSide::kSell : trade::TradeSide::kUnknown;
}

}  // namespace

// The derived id is the text `PAIR:TIME:PRICE:VOLUME:SIDE:N`, each as the frame has it, for example
// XMR/USD:1618678142.557535:354.11000000:0.89594024:s:0. N counts the trades before it in the same frame that are
// equal in all five: real trades can be, and within one frame they are told apart by their order.
void KrakenFrames::DeriveId(std::string_view pair, std::string_view time, std::string_view price,
                            std::string_view volume, std::string_view side, std::string& trade_id) {
  trade_id.clear();
  fmt::format_to(std::back_inserter(trade_id), "KRAKEN-{}:{}:{}:{}:{}:", pair, time, price, volume, side);
  const int occurrence = occurrences_[trade_id]++;
  trade_id += std::to_string(occurrence);
}

// At a row that was validated before, as part of the whole frame.
void KrakenFrames::ReadRow(json::Cursor& cursor, std::string_view pair, PendingTrade& pending) {
  std::array<Value, kColumns.size()> row;
  if (!cursor.EnterArray()) {
    pending.Need(cursor.Read(), Kind::kArray, "row");
    return;
  }
  for (size_t i = 0; cursor.NextElement(); ++i) {
    const Value value = cursor.Read();
    if (i < row.size()) row[i] = value;
  }
  for (size_t i = 0; i < row.size(); ++i) {
    if (!pending.Need(row[i], Kind::kString, kColumns[i])) return;
  }
  trade::Trade& trade = pending.trade;
  const auto& [price, volume, time, side, order_type, misc] = row;
  pending.ReadDecimal(price, Kind::kString, "price", trade::kPriceType, trade.price_e14);
  pending.ReadDecimal(volume, Kind::kString, "volume", trade::kQuantityType, trade.quantity_e8);
  if (!ParseEpochSeconds(time.text, trade.timestamp_us)) {
    pending.Reject(trade::RejectReason::kFrameBadTime, "time",
                   fmt::format("{} is not a time in seconds since 1970", json::Quoted(time.text)));
  }
  trade.side = ReadSide(side.text);
  if (trade.side == trade::TradeSide::kUnknown) {
    pending.Reject(trade::RejectReason::kFrameBadSide, "side",
                   fmt::format("{} is neither b nor s", json::Quoted(side.text)));
  }
  pending.AddVendor("pair", pair);
  pending.AddVendor("order_type", order_type.text);
  pending.AddVendor("misc", misc.text);
  if (!ReadKrakenPair(pair, "pair", pending)) return;
  pending.AddVendor("raw_timestamp", time.text);
  if (pending.ok()) DeriveId(pair, time.text, price.text, volume.text, side.text, pending.trade_id);
}

FrameOutcome KrakenFrames::ParseArray(std::string_view frame, int64_t receive_us, FrameSink& sink) {
  if (const std::string_view other = OtherKrakenV1Channel(frame); !other.empty()) {
    sink.OnOtherChannel(other);
    return FrameOutcome::kSkipped;
  }
  json::Cursor cursor(frame, scratch_);
  json::Cursor data = cursor;
  Value channel;
  Value pair;
  size_t elements = 0;
  cursor.EnterArray();
  for (; cursor.NextElement(); ++elements) {
    if (elements == 1) data = cursor;
    channel = pair;
    pair = cursor.Read();
  }
  if (!cursor.Finished()) return RejectBroken(cursor, frame, sink);
  if (!json::IsValidUtf8(frame)) return RejectUtf8(sink);
  if (elements < 4 || channel.kind != Kind::kString || pair.kind != Kind::kString) {
    sink.OnReject(trade::RejectReason::kFrameBadType, "the array does not end with the names of a channel and a pair");
    return FrameOutcome::kRejected;
  }
  if (channel.text != "trade") {
    sink.OnOtherChannel(channel.text);
    return FrameOutcome::kSkipped;
  }
  if (elements != 4 || !data.EnterArray()) {
    sink.OnReject(trade::RejectReason::kFrameBadType, "the second of four elements is not an array of trades");
    return FrameOutcome::kRejected;
  }
  pending_.Clear();
  occurrences_.clear();
  while (data.NextElement()) {
    PendingTrade& pending = pending_.Add();
    pending.trade.exchange = kKrakenExchange.message_name;
    pending.trade.ingestion_timestamp_us = receive_us;
    ReadRow(data, pair.text, pending);
  }
  return pending_.Emit(sink, "trades");
}

}  // namespace k2::exchange
