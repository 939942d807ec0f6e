// Coinbase Exchange: the `matches` channel of its WebSocket feed (docs.cdp.coinbase.com, Exchange: Matches channel).
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

extern const Exchange kCoinbaseExchange;
extern const SimulatedFeed kCoinbaseFeed;

// Coinbase writes BTC-USD. False without exactly one dash between two names.
bool SplitCoinbaseProduct(std::string_view product, Assets& assets);

class CoinbaseFrames final : public FrameParser {
 public:
  explicit CoinbaseFrames(size_t max_frame_size) : FrameParser(max_frame_size) {}

 protected:
  FrameOutcome ParseFrame(std::string_view frame, int64_t receive_us, FrameSink& sink) override;

 private:
  std::deque<std::string> scratch_;
  PendingTrades pending_;
};

}  // namespace k2::exchange
