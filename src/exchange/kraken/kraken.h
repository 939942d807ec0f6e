// Kraken: the `trade` channel of WebSocket v2 (docs.kraken.com/api, objects) and of the frozen v1 (arrays). Which of
// the two a frame is, is seen by its first character.
#pragma once

#include <deque>
#include <string>
#include <unordered_map>

#include "exchange/assets.h"
#include "exchange/exchange.h"
#include "exchange/frame_parser.h"
#include "exchange/json.h"
#include "exchange/pending_trades.h"
#include "exchange/simulated_feed.h"

namespace k2::exchange {

extern const Exchange kKrakenExchange;
extern const SimulatedFeed kKrakenFeed;

// Kraken has its own names for two assets: XBT is BTC, XDG is DOGE.
std::string_view CommonKrakenAsset(std::string_view asset);
// Kraken writes XBT/USD or BTC/USD: with its own names put right. False without exactly one slash between two names.
bool SplitKrakenPair(std::string_view pair, Assets& assets);

class KrakenFrames final : public FrameParser {
 public:
  explicit KrakenFrames(size_t max_frame_size) : FrameParser(max_frame_size) {}

 protected:
  FrameOutcome ParseFrame(std::string_view frame, int64_t receive_us, FrameSink& sink) override;

 private:
  FrameOutcome ParseObject(std::string_view frame, int64_t receive_us, FrameSink& sink);
  FrameOutcome ParseArray(std::string_view frame, int64_t receive_us, FrameSink& sink);
  // The id of a v1 trade, which the feed does not give: see kraken_v1.cc.
  void DeriveId(std::string_view pair, std::string_view time, std::string_view price, std::string_view volume,
                std::string_view side, std::string& trade_id);
  void ReadRow(json::Cursor& cursor, std::string_view pair, PendingTrade& pending);

  std::deque<std::string> scratch_;
  PendingTrades pending_;
  std::unordered_map<std::string, int> occurrences_;  // of equal v1 trades in the frame being read
};

// The symbol, currency and assets of a pair; rejects the trade when it is none.
bool ReadKrakenPair(std::string_view pair, std::string_view field, PendingTrade& pending);

}  // namespace k2::exchange
