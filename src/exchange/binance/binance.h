// Binance spot: `trade` events, bare or in the wrapper of combined streams
// (developers.binance.com, "WebSocket Streams": Trade Streams).
#pragma once

#include <deque>
#include <string>

#include "exchange/assets.h"
#include "exchange/exchange.h"
#include "exchange/frame_parser.h"
#include "exchange/json.h"
#include "exchange/pending_trades.h"
#include "exchange/simulated_feed.h"

namespace k2::exchange {

extern const Exchange kBinanceExchange;
extern const SimulatedFeed kBinanceFeed;

// Binance writes BTCUSDT. Where a known quote asset at the end leaves a known asset before it, they are the two: the
// longest such base, as BNB of BNBUSD, which is not BN/BUSD. Else the quote asset is told only where the symbol can end
// with no other one. False, and nothing is guessed, for all else.
bool SplitBinanceSymbol(std::string_view symbol, Assets& assets);

// Whether a symbol is a contract of Binance's futures or options: BTCUSDT_260327, BTCUSD_PERP, BTC-260327-90000-C.
// Names of the spot market have neither end.
bool IsBinanceContract(std::string_view symbol);

class BinanceFrames final : public FrameParser {
 public:
  explicit BinanceFrames(size_t max_frame_size) : FrameParser(max_frame_size) {}

 protected:
  FrameOutcome ParseFrame(std::string_view frame, int64_t receive_us, FrameSink& sink) override;

 private:
  std::deque<std::string> scratch_;
  PendingTrades pending_;
};

}  // namespace k2::exchange
