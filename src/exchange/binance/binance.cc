#include "exchange/binance/binance.h"

#include <fmt/format.h>

#include "exchange/exchange_time.h"

namespace k2::exchange {
namespace {

using json::Kind;
using json::Value;

// The fields of a trade event, by their names. The last four are not of the spot market: futures of both margins send
// X (what made the trade: MARKET, INSURANCE_FUND, ADL, NA, RPI), ps (the pair of a contract) and st, options S (the
// side as a number).
struct BinanceEvent {
  Value e, E, s, t, p, q, T, m, M;
  Value stream;
  Value id, result, error;  // of replies
  Value X, ps, st, S;
  std::string_view repeated;  // a field that came twice: which one counts cannot be told

  Value* Field(std::string_view key) {
    if (key.size() != 1) {
      if (key == "stream") return &stream;
      if (key == "id") return &id;
      if (key == "result") return &result;
      if (key == "error") return &error;
      if (key == "ps") return &ps;
      return key == "st" ? &st : nullptr;
    }
    switch (key[0]) {
      case 'e': return &e;
      case 'E': return &E;
      case 's': return &s;
      case 't': return &t;
      case 'p': return &p;
      case 'q': return &q;
      case 'T': return &T;
      case 'm': return &m;
      case 'M': return &M;
      case 'X': return &X;
      case 'S': return &S;
      default: return nullptr;
    }
  }
};

void ReadBinanceEvent(json::Cursor& cursor, BinanceEvent& event, bool outermost) {
  if (!cursor.EnterObject()) return;
  for (std::string_view key; cursor.NextField(key);) {
    if (Value* const field = event.Field(key)) {
      if (field->kind != Kind::kMissing) event.repeated = key;
      *field = cursor.Read();
    } else if (outermost && key == "data" && cursor.PeekKind() == Kind::kObject) {
      ReadBinanceEvent(cursor, event, false);
    } else {
      cursor.Pass();
    }
  }
}

// What a frame is can most often be told from its first bytes: the stream's name behind the `@`, or the event's name.
std::string_view OtherBinanceStream(std::string_view frame) {
  constexpr std::string_view kStream = R"({"stream":")";
  constexpr std::string_view kEvent = R"({"e":")";
  const bool combined = frame.starts_with(kStream);
  if (!combined && !frame.starts_with(kEvent)) return {};
  frame.remove_prefix(combined ? kStream.size() : kEvent.size());
  const size_t end = frame.substr(0, 128).find_first_of("\"\\");
  if (end == std::string_view::npos || frame[end] != '"') return {};
  std::string_view kind = frame.substr(0, end);
  if (combined) {
    const size_t at = kind.find('@');
    if (at == std::string_view::npos) return {};
    kind.remove_prefix(at + 1);
  }
  return kind == "trade" ? std::string_view{} : kind;
}

// What is no trade: data of another channel by its name, or nothing for what says nothing of any market.
std::string_view ChannelOf(const BinanceEvent& event, Kind frame_kind, std::string_view frame) {
  if (frame_kind == Kind::kArray) return frame.find('{') == std::string_view::npos ? "" : "an array of events";
  if (event.e.kind == Kind::kString) return event.e.text;
  if (event.stream.kind == Kind::kString) return event.stream.text.substr(event.stream.text.find('@') + 1);
  const bool reply = event.id.kind != Kind::kMissing || event.result.kind != Kind::kMissing ||
                     event.error.kind != Kind::kMissing || frame.find(':') == std::string_view::npos;
  return reply ? "" : "without a name";
}

constexpr std::string_view kServerNotice = "serverShutdown";

// Not every other event has a name (book tickers and partial books have none); what has an id, a price and a quantity
// is a trade that lost it.
bool IsTrade(const BinanceEvent& event) {
  if (event.e.kind == Kind::kString) return event.e.text == "trade";
  if (event.e.kind != Kind::kMissing) return true;
  if (event.stream.kind == Kind::kString && event.stream.text.ends_with("@trade")) return true;
  return event.t.kind != Kind::kMissing && event.p.kind != Kind::kMissing && event.q.kind != Kind::kMissing;
}

// Futures and options send trades of the same shape, under symbols that mostly are those of the spot market.
void RefuseOtherMarket(const BinanceEvent& event, PendingTrade& pending) {
  const std::pair<std::string_view, const Value*> own[] = {
      {"X", &event.X}, {"ps", &event.ps}, {"st", &event.st}, {"S", &event.S}};
  for (const auto& [name, value] : own) {
    if (value->kind == Kind::kMissing) continue;
    pending.Reject(trade::RejectReason::kFrameOtherMarket, name,
                   fmt::format("{} is sent by futures and options, not by the spot market", json::Quoted(value->text)));
    return;
  }
  if (event.s.kind == Kind::kString && IsBinanceContract(event.s.text)) {
    pending.Reject(trade::RejectReason::kFrameOtherMarket, "s",
                   fmt::format("{} is a contract, not a pair of the spot market", json::Quoted(event.s.text)));
  }
}

// A symbol that cannot be taken apart costs the trade nothing but the names of its assets.
void ReadSymbol(const BinanceEvent& event, PendingTrade& pending, Assets& assets) {
  if (!pending.Need(event.s, Kind::kString, "s")) return;
  if (event.s.text.empty() || event.s.text.size() > kMaxSymbolSize) {
    pending.Reject(trade::RejectReason::kFrameBadSymbol, "s",
                   fmt::format("{} is not a symbol of 1 to {} bytes", json::Quoted(event.s.text), kMaxSymbolSize));
    return;
  }
  pending.symbol = event.s.text;
  if (SplitBinanceSymbol(event.s.text, assets)) pending.trade.currency = assets.quote;
}

void ReadTime(const BinanceEvent& event, PendingTrade& pending) {
  if (!pending.Need(event.T, Kind::kNumber, "T")) return;
  if (!ParseEpochTime(event.T.text, pending.trade.timestamp_us)) {
    pending.Reject(trade::RejectReason::kFrameBadTime, "T",
                   fmt::format("{} is not a time in ms or us since 1970", json::Quoted(event.T.text)));
  }
}

void ReadBinanceTrade(const BinanceEvent& event, PendingTrade& pending) {
  trade::Trade& trade = pending.trade;
  trade.exchange = kBinanceExchange.message_name;
  trade.source = trade::TradeSource::kStream;
  RefuseOtherMarket(event, pending);
  if (!event.repeated.empty()) pending.Reject(trade::RejectReason::kFrameBadType, event.repeated, "stands there twice");
  pending.Need(event.e, Kind::kString, "e");
  Assets assets;
  ReadSymbol(event, pending, assets);
  int64_t id = 0;
  if (pending.ReadUnsigned(event.t, "t", id)) {
    trade.source_sequence = id;
    pending.trade_id = "BINANCE-";
    pending.trade_id += event.t.text;
  }
  pending.ReadDecimal(event.p, Kind::kString, "p", trade::kPriceType, trade.price_e14);
  pending.ReadDecimal(event.q, Kind::kString, "q", trade::kQuantityType, trade.quantity_e8);
  ReadTime(event, pending);
  if (pending.Need(event.m, Kind::kBoolean, "m")) {
    trade.side =
        event.m.text == "true" ? trade::TradeSide::kSell : trade::TradeSide::kBuy;  // the maker bought: the taker sold
    pending.AddVendor("is_buyer_maker", event.m.text);
  }
  pending.ReadVendor(event.e, Kind::kString, "e", "event_type");
  pending.ReadVendor(event.E, Kind::kNumber, "E", "event_time");
  pending.ReadVendor(event.T, Kind::kNumber, "T", "trade_time");
  if (!assets.quote.empty()) {
    pending.AddVendor("base_asset", assets.base);
    pending.AddVendor("quote_asset", assets.quote);
  }
  pending.ReadVendor(event.M, Kind::kBoolean, "M", "is_best_match");
}

}  // namespace

FrameOutcome BinanceFrames::ParseFrame(std::string_view frame, int64_t receive_us, FrameSink& sink) {
  if (const std::string_view other = OtherBinanceStream(frame); !other.empty()) {
    if (other != kServerNotice) sink.OnOtherChannel(other);
    return FrameOutcome::kSkipped;
  }
  scratch_.clear();
  json::Cursor cursor(frame, scratch_);
  BinanceEvent event;
  const Kind kind = cursor.PeekKind();
  if (kind == Kind::kObject) {
    ReadBinanceEvent(cursor, event, true);
  } else {
    cursor.Pass();
  }
  if (!cursor.Finished()) return RejectBroken(cursor, frame, sink);
  if (!json::IsValidUtf8(frame)) return RejectUtf8(sink);
  if (kind != Kind::kObject && kind != Kind::kArray) return RejectScalar(sink);
  if (!IsTrade(event)) {
    const std::string_view other = ChannelOf(event, kind, frame);
    if (!other.empty() && other != kServerNotice) sink.OnOtherChannel(other);
    return FrameOutcome::kSkipped;
  }
  pending_.Clear();
  PendingTrade& pending = pending_.Add();
  pending.trade.ingestion_timestamp_us = receive_us;
  ReadBinanceTrade(event, pending);
  return pending_.Emit(sink, "");
}

constinit const Exchange kBinanceExchange{
    .name = "binance",
    .message_name = "BINANCE",
    .silver_table = "silver_binance_trades",
    .split_symbol = SplitBinanceSymbol,
    .common_asset = SameAsset,
    .make_parser = MakeParser<BinanceFrames>,
    .trade_numbers = TradeNumbers::kConsecutiveBySymbol,
    .simulated = &kBinanceFeed,
};

}  // namespace k2::exchange
