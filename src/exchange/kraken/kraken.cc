#include "exchange/kraken/kraken.h"

#include <fmt/format.h>

#include <optional>

#include "base/time.h"

namespace k2::exchange {
namespace {

using json::Kind;
using json::Value;

// One element of `data` in a v2 trade message.
struct KrakenElement {
  Value symbol, side, price, qty, ord_type, trade_id, timestamp;
  std::string_view repeated;

  Value* Field(std::string_view key) {
    if (key == "symbol") return &symbol;
    if (key == "side") return &side;
    if (key == "price") return &price;
    if (key == "qty") return &qty;
    if (key == "ord_type") return &ord_type;
    if (key == "trade_id") return &trade_id;
    if (key == "timestamp") return &timestamp;
    return nullptr;
  }
};

KrakenElement ReadKrakenElement(json::Cursor& cursor) {
  KrakenElement event;
  for (std::string_view key; cursor.NextField(key);) {
    Value* const field = event.Field(key);
    if (field == nullptr) {
      cursor.Pass();
      continue;
    }
    if (field->kind != Kind::kMissing) event.repeated = key;
    *field = cursor.Read();
  }
  return event;
}

void ReadKrakenTrade(const KrakenElement& event, PendingTrade& pending) {
  trade::Trade& trade = pending.trade;
  if (!event.repeated.empty()) pending.Reject(trade::RejectReason::kFrameBadType, event.repeated, "stands there twice");
  const bool has_pair = pending.Need(event.symbol, Kind::kString, "symbol");
  if (pending.Need(event.side, Kind::kString, "side")) {
    if (event.side.text == "buy") {
      trade.side = trade::TradeSide::kBuy;
    } else if (event.side.text == "sell") {
      trade.side = trade::TradeSide::kSell;
    } else {
      pending.Reject(trade::RejectReason::kFrameBadSide, "side",
                     fmt::format("{} is neither buy nor sell", json::Quoted(event.side.text)));
    }
  }
  pending.ReadDecimal(event.price, Kind::kNumber, "price", trade::kPriceType, trade.price_e14);
  pending.ReadDecimal(event.qty, Kind::kNumber, "qty", trade::kQuantityType, trade.quantity_e8);
  int64_t id = 0;
  if (pending.ReadUnsigned(event.trade_id, "trade_id", id)) {
    trade.source_sequence = id;
    pending.trade_id = "KRAKEN-";
    pending.trade_id += event.trade_id.text;
  }
  if (pending.Need(event.timestamp, Kind::kString, "timestamp")) {
    const Result<int64_t> time = ParseTimestamp(event.timestamp.text);
    if (time) {
      trade.timestamp_us = *time;
    } else {
      pending.Reject(trade::RejectReason::kFrameBadTime, "timestamp",
                     fmt::format("{} is not an RFC 3339 time", json::Quoted(event.timestamp.text)));
    }
  }
  if (has_pair) pending.AddVendor("pair", event.symbol.text);
  pending.ReadVendor(event.ord_type, Kind::kString, "ord_type", "order_type");
  if (has_pair) ReadKrakenPair(event.symbol.text, "symbol", pending);
}

// What a subscription begins with are trades of before it. The first protocol does not tell them apart.
std::optional<trade::TradeSource> SourceOfKrakenType(const Value& type) {
  if (type.kind != Kind::kString) return std::nullopt;
  if (type.text == "snapshot") return trade::TradeSource::kSnapshot;
  if (type.text == "update") return trade::TradeSource::kStream;
  return std::nullopt;
}

// Kraken's futures have a feed of their own, of flat objects (docs.kraken.com/api, Futures: Trade); replies to
// subscriptions name the same feed beside an `event`.
bool IsKrakenFuturesTrade(const Value& feed) {
  return feed.kind == Kind::kString && (feed.text == "trade" || feed.text == "trade_snapshot");
}

// Replies of v1, of v2 and of the futures, and notices of errors.
bool IsReplyField(std::string_view key) {
  return key == "event" || key == "method" || key == "error" || key == "errorMessage";
}

// The first field tells what most frames are: {"channel":"heartbeat"}, {"event":…} of v1, {"method":…} of replies.
// Nothing where it does not, and where the channel is `trade`.
std::optional<std::string_view> OtherKrakenChannel(std::string_view frame) {
  constexpr std::string_view kChannel = R"({"channel":")";
  if (!frame.starts_with(kChannel)) {
    if (frame.starts_with(R"({"event":")") || frame.starts_with(R"({"method":")")) return "";
    return std::nullopt;
  }
  frame.remove_prefix(kChannel.size());
  const size_t end = frame.substr(0, 64).find_first_of("\"\\");
  if (end == std::string_view::npos || frame[end] != '"' || frame.substr(0, end) == "trade") return std::nullopt;
  return frame.substr(0, end);
}

// Tells of a frame of another channel, but for those that say nothing of a market.
FrameOutcome SkipChannel(std::string_view name, FrameSink& sink) {
  if (!name.empty() && name != "heartbeat" && name != "status") sink.OnOtherChannel(name);
  return FrameOutcome::kSkipped;
}

}  // namespace

bool ReadKrakenPair(std::string_view pair, std::string_view field, PendingTrade& pending) {
  Assets assets;
  if (pair.size() > kMaxSymbolSize || !SplitKrakenPair(pair, assets)) {
    pending.Reject(trade::RejectReason::kFrameBadSymbol, field,
                   fmt::format("{} is not a pair of the form BASE/QUOTE", json::Quoted(pair)));
    return false;
  }
  pending.symbol = assets.base;
  pending.symbol += assets.quote;
  pending.trade.currency = assets.quote;
  pending.AddVendor("base_asset", assets.base);
  pending.AddVendor("quote_asset", assets.quote);
  return true;
}

FrameOutcome KrakenFrames::ParseFrame(std::string_view frame, int64_t receive_us, FrameSink& sink) {
  scratch_.clear();
  switch (json::Cursor(frame, scratch_).PeekKind()) {
    case Kind::kObject: return ParseObject(frame, receive_us, sink);
    case Kind::kArray: return ParseArray(frame, receive_us, sink);
    default: break;
  }
  json::Cursor cursor(frame, scratch_);
  cursor.Pass();
  return cursor.Finished() && json::IsValidUtf8(frame) ? RejectScalar(sink) : RejectBroken(cursor, frame, sink);
}

FrameOutcome KrakenFrames::ParseObject(std::string_view frame, int64_t receive_us, FrameSink& sink) {
  if (const auto other = OtherKrakenChannel(frame)) return SkipChannel(*other, sink);
  pending_.Clear();
  json::Cursor cursor(frame, scratch_);
  Value channel;
  Value type;
  Value feed;
  bool is_reply = false;
  bool is_empty = true;
  Kind data_kind = Kind::kMissing;
  cursor.EnterObject();
  for (std::string_view key; cursor.NextField(key);) {
    is_empty = false;
    if (key == "channel") {
      channel = cursor.Read();
    } else if (key == "type") {
      type = cursor.Read();
    } else if (key == "feed") {
      feed = cursor.Read();
    } else if (IsReplyField(key)) {
      is_reply = true;
      cursor.Pass();
    } else if (key == "data" && data_kind == Kind::kMissing && cursor.PeekKind() == Kind::kArray) {
      data_kind = Kind::kArray;
      cursor.EnterArray();
      while (cursor.NextElement()) {
        PendingTrade& pending = pending_.Add();
        pending.trade.exchange = kKrakenExchange.message_name;
        pending.trade.ingestion_timestamp_us = receive_us;
        if (cursor.EnterObject()) {
          ReadKrakenTrade(ReadKrakenElement(cursor), pending);
        } else {
          pending.Need(cursor.Read(), Kind::kObject, "data");
        }
      }
    } else if (key == "data") {
      data_kind = data_kind == Kind::kMissing ? cursor.PeekKind() : Kind::kNull;  // a second one spoils the first
      cursor.Pass();
    } else {
      cursor.Pass();
    }
  }
  if (!cursor.Finished()) return RejectBroken(cursor, frame, sink);
  if (!json::IsValidUtf8(frame)) return RejectUtf8(sink);
  if (channel.kind == Kind::kMissing && !is_reply && IsKrakenFuturesTrade(feed)) {
    sink.OnReject(
        trade::RejectReason::kFrameOtherMarket,
        fmt::format("field \"feed\": {} is of Kraken's futures, not of its spot market", json::Quoted(feed.text)));
    return FrameOutcome::kRejected;
  }
  if (channel.kind == Kind::kMissing) {
    if (is_reply || is_empty) return FrameOutcome::kSkipped;
    return SkipChannel(feed.kind == Kind::kString ? feed.text : "without a name", sink);
  }
  if (channel.kind == Kind::kString && channel.text != "trade") return SkipChannel(channel.text, sink);
  if (channel.kind != Kind::kString || data_kind != Kind::kArray) {
    const bool missing = channel.kind == Kind::kString && data_kind == Kind::kMissing;
    sink.OnReject(missing ? trade::RejectReason::kFrameMissingField : trade::RejectReason::kFrameBadType,
                  channel.kind != Kind::kString ? "field 'channel': is not a string"
                  : missing                     ? "field 'data': is missing"
                                                : "field 'data': is not one array");
    return FrameOutcome::kRejected;
  }
  pending_.SetSource(SourceOfKrakenType(type));
  return pending_.Emit(sink, "data");
}

// Trades of the first protocol have no number.
constinit const Exchange kKrakenExchange{
    .name = "kraken",
    .message_name = "KRAKEN",
    .silver_table = "silver_kraken_trades",
    .split_symbol = SplitKrakenPair,
    .common_asset = CommonKrakenAsset,
    .make_parser = MakeParser<KrakenFrames>,
    .trade_numbers = TradeNumbers::kConsecutiveBySymbol,
    .simulated = &kKrakenFeed,
};

}  // namespace k2::exchange
