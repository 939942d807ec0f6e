#include "exchange/coinbase/coinbase.h"

#include <fmt/format.h>

#include <optional>

#include "base/time.h"

namespace k2::exchange {
namespace {

using json::Kind;
using json::Value;

// The fields of a match. `last_match`, the trade before the subscription, has the same.
struct CoinbaseMatch {
  Value type, trade_id, maker_order_id, taker_order_id, side, size, price, product_id, sequence, time;
  Value channel;              // of Advanced Trade, another feed
  std::string_view repeated;  // a field that came twice: which one counts cannot be told
  bool empty = true;

  Value* Field(std::string_view key) {
    if (key == "type") return &type;
    if (key == "trade_id") return &trade_id;
    if (key == "maker_order_id") return &maker_order_id;
    if (key == "taker_order_id") return &taker_order_id;
    if (key == "side") return &side;
    if (key == "size") return &size;
    if (key == "price") return &price;
    if (key == "product_id") return &product_id;
    if (key == "sequence") return &sequence;
    if (key == "time") return &time;
    return key == "channel" ? &channel : nullptr;
  }
};

void ReadCoinbaseMatch(json::Cursor& cursor, CoinbaseMatch& match) {
  if (!cursor.EnterObject()) return;
  for (std::string_view key; cursor.NextField(key);) {
    match.empty = false;
    Value* const field = match.Field(key);
    if (field == nullptr) {
      cursor.Pass();
      continue;
    }
    if (field->kind != Kind::kMissing) match.repeated = key;
    *field = cursor.Read();
  }
}

bool IsCoinbaseTrade(std::string_view type) { return type == "match" || type == "last_match"; }

// The type, which comes first, so that a book snapshot of a megabyte is skipped unread. Empty where it does not come
// first, and where it is a trade's.
std::string_view OtherCoinbaseType(std::string_view frame) {
  constexpr std::string_view kType = R"({"type":")";
  if (!frame.starts_with(kType)) return {};
  frame.remove_prefix(kType.size());
  const size_t end = frame.substr(0, 64).find_first_of("\"\\");
  if (end == std::string_view::npos || frame[end] != '"' || IsCoinbaseTrade(frame.substr(0, end))) return {};
  return frame.substr(0, end);
}

// Tells of a frame of another channel, but for those that say nothing of a market.
FrameOutcome SkipCoinbase(std::string_view type, FrameSink& sink) {
  const bool says_nothing =
      type.empty() || type == "subscriptions" || type == "heartbeat" || type == "status" || type == "error";
  if (!says_nothing) sink.OnOtherChannel(type);
  return FrameOutcome::kSkipped;
}

// What is no match: its type or its channel. Nothing for what has neither and is a trade that lost it.
std::optional<std::string_view> OtherCoinbaseFrame(const CoinbaseMatch& match) {
  if (match.type.kind == Kind::kString && IsCoinbaseTrade(match.type.text)) return std::nullopt;
  if (match.channel.kind == Kind::kString) return match.channel.text;
  if (match.type.kind == Kind::kString) return match.type.text;
  const bool trade = match.type.kind != Kind::kMissing ||
                     (match.trade_id.kind != Kind::kMissing && match.price.kind != Kind::kMissing);
  if (trade) return std::nullopt;
  return match.empty ? "" : "without a name";
}

// `side` is the maker's, whose order stood in the book: the taker, whose order met it, did the opposite.
void ReadMakerSide(const Value& side, PendingTrade& pending) {
  if (!pending.Need(side, Kind::kString, "side")) return;
  if (side.text == "buy") {
    pending.trade.side = trade::TradeSide::kSell;
  } else if (side.text == "sell") {
    pending.trade.side = trade::TradeSide::kBuy;
  } else {
    pending.Reject(trade::RejectReason::kFrameBadSide, "side",
                   fmt::format("{} is neither buy nor sell", json::Quoted(side.text)));
    return;
  }
  pending.AddVendor("maker_side", side.text);
}

void ReadProduct(const Value& product, PendingTrade& pending) {
  if (!pending.Need(product, Kind::kString, "product_id")) return;
  Assets assets;
  if (product.text.size() > kMaxSymbolSize || !SplitCoinbaseProduct(product.text, assets)) {
    pending.Reject(trade::RejectReason::kFrameBadSymbol, "product_id",
                   fmt::format("{} is not a product of the form BASE-QUOTE", json::Quoted(product.text)));
    return;
  }
  pending.symbol = assets.base;
  pending.symbol += assets.quote;
  pending.trade.currency = assets.quote;
  pending.AddVendor("base_asset", assets.base);
  pending.AddVendor("quote_asset", assets.quote);
}

void ReadCoinbaseTrade(const CoinbaseMatch& match, PendingTrade& pending) {
  trade::Trade& trade = pending.trade;
  trade.exchange = kCoinbaseExchange.message_name;
  if (!match.repeated.empty()) pending.Reject(trade::RejectReason::kFrameBadType, match.repeated, "stands there twice");
  trade.source = match.type.text == "last_match" ? trade::TradeSource::kSnapshot : trade::TradeSource::kStream;
  pending.ReadVendor(match.type, Kind::kString, "type", "event_type");
  pending.Need(match.type, Kind::kString, "type");
  int64_t id = 0;
  if (pending.ReadUnsigned(match.trade_id, "trade_id", id)) {
    trade.source_sequence = id;
    pending.trade_id = "COINBASE-";
    pending.trade_id += match.trade_id.text;
  }
  ReadMakerSide(match.side, pending);
  pending.ReadDecimal(match.size, Kind::kString, "size", trade::kQuantityType, trade.quantity_e8);
  pending.ReadDecimal(match.price, Kind::kString, "price", trade::kPriceType, trade.price_e14);
  ReadProduct(match.product_id, pending);
  if (pending.Need(match.time, Kind::kString, "time")) {
    if (const Result<int64_t> time = ParseTimestamp(match.time.text)) {
      trade.timestamp_us = *time;
    } else {
      pending.Reject(trade::RejectReason::kFrameBadTime, "time",
                     fmt::format("{} is not an RFC 3339 time", json::Quoted(match.time.text)));
    }
  }
  pending.ReadVendor(match.sequence, Kind::kNumber, "sequence", "sequence");
  pending.ReadVendor(match.maker_order_id, Kind::kString, "maker_order_id", "maker_order_id");
  pending.ReadVendor(match.taker_order_id, Kind::kString, "taker_order_id", "taker_order_id");
}

}  // namespace

bool SplitCoinbaseProduct(std::string_view product, Assets& assets) {
  const size_t dash = product.find('-');
  if (dash == std::string_view::npos || dash == 0 || dash + 1 == product.size()) return false;
  const std::string_view quote = product.substr(dash + 1);
  if (quote.find('-') != std::string_view::npos) return false;
  assets = {.base = product.substr(0, dash), .quote = quote};
  return true;
}

FrameOutcome CoinbaseFrames::ParseFrame(std::string_view frame, int64_t receive_us, FrameSink& sink) {
  if (const std::string_view other = OtherCoinbaseType(frame); !other.empty()) return SkipCoinbase(other, sink);
  scratch_.clear();
  json::Cursor cursor(frame, scratch_);
  CoinbaseMatch match;
  const Kind kind = cursor.PeekKind();
  if (kind == Kind::kObject) {
    ReadCoinbaseMatch(cursor, match);
  } else {
    cursor.Pass();
  }
  if (!cursor.Finished()) return RejectBroken(cursor, frame, sink);
  if (!json::IsValidUtf8(frame)) return RejectUtf8(sink);
  if (kind == Kind::kArray) return SkipCoinbase("an array", sink);
  if (kind != Kind::kObject) return RejectScalar(sink);
  if (const auto other = OtherCoinbaseFrame(match)) return SkipCoinbase(*other, sink);
  pending_.Clear();
  PendingTrade& pending = pending_.Add();
  pending.trade.ingestion_timestamp_us = receive_us;
  ReadCoinbaseTrade(match, pending);
  return pending_.Emit(sink, "");
}

constinit const Exchange kCoinbaseExchange{
    .name = "coinbase",
    .message_name = "COINBASE",
    .silver_table = "silver_coinbase_trades",
    .split_symbol = SplitCoinbaseProduct,
    .common_asset = SameAsset,
    .make_parser = MakeParser<CoinbaseFrames>,
    .trade_numbers = TradeNumbers::kConsecutiveBySymbol,
    .simulated = &kCoinbaseFeed,
};

}  // namespace k2::exchange
