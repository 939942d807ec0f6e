// Binance spot: `trade` events, bare or in the wrapper of combined streams
// (developers.binance.com, "WebSocket Streams": Trade Streams).
#pragma once

#include <deque>
#include <string>

#include "exchange/frame_parser.h"
#include "exchange/json.h"
#include "exchange/pending_trades.h"

namespace k2 {

class BinanceFrames final : public FrameParser {
 public:
  explicit BinanceFrames(size_t max_frame_size) : FrameParser(max_frame_size) {}

 protected:
  FrameOutcome ParseFrame(std::string_view frame, int64_t receive_us, FrameSink& sink) override;

 private:
  std::deque<std::string> scratch_;
  PendingTrades pending_;
};

}  // namespace k2
