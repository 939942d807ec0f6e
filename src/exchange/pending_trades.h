// The trades of one frame while the frame is being read: handed on only when all of it turned out to be valid JSON.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "exchange/frame_parser.h"
#include "exchange/json.h"
#include "trade/decimal.h"

namespace k2::exchange {

inline constexpr size_t kMaxVendorEntries = 8;
inline constexpr size_t kMaxSymbolSize = 64;
// Each rejected trade takes the whole frame with it: beyond this many, the last one speaks for the rest.
inline constexpr size_t kMaxRejectsOfFrame = 16;

// A trade in the making, or the first reason why it is none. Views point into the frame or into its own texts.
struct PendingTrade {
  trade::Trade trade;
  std::string trade_id;
  std::string symbol;
  std::array<trade::VendorEntry, kMaxVendorEntries> vendor;
  size_t vendor_count = 0;
  trade::RejectReason reason = trade::RejectReason::kNone;
  std::string detail;

  [[nodiscard]] bool ok() const { return reason == trade::RejectReason::kNone; }
  void Reset();
  void AddVendor(std::string_view key, std::string_view value) { vendor[vendor_count++] = {key, value}; }
  // Remembers the first reason of a trade.
  void Reject(trade::RejectReason why, std::string_view field, std::string_view what);

  // Each reads one field into the trade, or rejects the trade and is false. `kind` is what the exchange must send.
  bool Need(const json::Value& value, json::Kind kind, std::string_view field);
  bool ReadDecimal(const json::Value& value, json::Kind kind, std::string_view field, trade::DecimalType type,
                   Int128& unscaled);
  bool ReadUnsigned(const json::Value& value, std::string_view field, int64_t& number);
  // An entry of vendor_data that is left out where the exchange does not send it.
  bool ReadVendor(const json::Value& value, json::Kind kind, std::string_view field, std::string_view key);
};

class PendingTrades {
 public:
  void Clear() { size_ = 0; }
  PendingTrade& Add();
  // Of all trades of the frame.
  void SetSource(std::optional<trade::TradeSource> source);
  // Hands everything on in order; `where` names the array in details of frames that can hold several trades, or is
  // empty.
  FrameOutcome Emit(FrameSink& sink, std::string_view where);

 private:
  std::vector<std::unique_ptr<PendingTrade>> trades_;  // kept between frames for their texts' memory
  size_t size_ = 0;
};

}  // namespace k2::exchange
