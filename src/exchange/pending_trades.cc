#include "exchange/pending_trades.h"

#include <fmt/format.h>

#include "trade/identity.h"

namespace k2::exchange {
namespace {

std::string_view KindName(json::Kind kind) {
  static constexpr std::string_view kNames[] = {"missing", "a string",  "a number", "true or false",
                                                "null",    "an object", "an array"};
  return kNames[static_cast<size_t>(kind)];
}

}  // namespace

void PendingTrade::Reset() {
  trade = {};
  vendor_count = 0;
  reason = trade::RejectReason::kNone;
}

void PendingTrade::Reject(trade::RejectReason why, std::string_view field, std::string_view what) {
  if (!ok()) return;
  reason = why;
  detail = fmt::format("field {}: {}", json::Quoted(field), what);
}

bool PendingTrade::Need(const json::Value& value, json::Kind kind, std::string_view field) {
  if (value.kind == kind) return true;
  if (value.kind == json::Kind::kMissing) {
    Reject(trade::RejectReason::kFrameMissingField, field, "is missing");
  } else {
    Reject(trade::RejectReason::kFrameBadType, field,
           fmt::format("is {}, not {}", KindName(value.kind), KindName(kind)));
  }
  return false;
}

bool PendingTrade::ReadDecimal(const json::Value& value, json::Kind kind, std::string_view field,
                               trade::DecimalType type, Int128& unscaled) {
  if (!Need(value, kind, field)) return false;
  switch (trade::ParseDecimal(value.text, type, unscaled)) {
    case trade::DecimalStatus::kExact: return true;
    case trade::DecimalStatus::kNotANumber:
      Reject(trade::RejectReason::kFrameBadNumber, field, fmt::format("{} is not a number", json::Quoted(value.text)));
      return false;
    case trade::DecimalStatus::kOutOfRange:
      Reject(
          trade::RejectReason::kFrameNumberOutOfRange, field,
          fmt::format("decimal({},{}) cannot hold {} exactly", type.precision, type.scale, json::Quoted(value.text)));
      return false;
  }
  return false;
}

bool PendingTrade::ReadUnsigned(const json::Value& value, std::string_view field, int64_t& number) {
  if (!Need(value, json::Kind::kNumber, field)) return false;
  if (json::ParseUnsigned(value.text, number)) return true;
  Reject(trade::RejectReason::kFrameBadNumber, field,
         fmt::format("{} is not a whole number from 0 to 2^63-1", json::Quoted(value.text)));
  return false;
}

bool PendingTrade::ReadVendor(const json::Value& value, json::Kind kind, std::string_view field, std::string_view key) {
  if (value.kind == json::Kind::kMissing) return true;
  if (!Need(value, kind, field)) return false;
  AddVendor(key, value.text);
  return true;
}

PendingTrade& PendingTrades::Add() {
  if (size_ == trades_.size()) trades_.push_back(std::make_unique<PendingTrade>());
  PendingTrade& trade = *trades_[size_++];
  trade.Reset();
  return trade;
}

void PendingTrades::SetSource(std::optional<trade::TradeSource> source) {
  for (size_t i = 0; i < size_; ++i) trades_[i]->trade.source = source;
}

FrameOutcome PendingTrades::Emit(FrameSink& sink, std::string_view where) {
  size_t rejects = 0;
  for (size_t i = 0; i < size_; ++i) rejects += trades_[i]->ok() ? 0 : 1;
  size_t told = 0;
  for (size_t i = 0; i < size_; ++i) {
    PendingTrade& pending = *trades_[i];
    if (!pending.ok()) {
      if (++told > kMaxRejectsOfFrame) continue;
      std::string detail = where.empty() ? pending.detail : fmt::format("{}[{}]: {}", where, i, pending.detail);
      if (told == kMaxRejectsOfFrame && rejects > told) {
        detail += fmt::format("; and {} more trades of this frame are rejected", rejects - told);
      }
      sink.OnReject(pending.reason, detail);
      continue;
    }
    trade::Trade& trade = pending.trade;
    trade.place = i;
    trade.trade_id = pending.trade_id;
    trade.symbol = pending.symbol;
    trade.vendor_data = {pending.vendor.data(), pending.vendor_count};
    trade.message_id = trade::TradeMessageId(trade.exchange, trade.symbol, trade.trade_id);
    sink.OnTrade(trade);
  }
  return rejects > 0 ? FrameOutcome::kRejected : FrameOutcome::kTrades;
}

}  // namespace k2::exchange
