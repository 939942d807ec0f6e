// Any bytes as a frame of any exchange: no crash, no read beyond the frame, and the promises of FrameParser hold.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "exchange/frame_parser.h"
#include "exchange/json.h"
#include "exchange/registry.h"
#include "trade/decimal.h"
#include "trade/encode.h"
#include "trade/trade_schema.h"

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

// What nlohmann takes, or refuses only because a number is beyond double.
bool IsJson(std::string_view text) {
  try {
    const auto parsed = nlohmann::json::parse(text);
    return !parsed.is_discarded();
  } catch (const nlohmann::json::out_of_range&) {
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

class CheckingSink final : public k2::exchange::FrameSink {
 public:
  void OnTrade(const k2::trade::Trade& trade) override {
    Require(!trade.trade_id.empty() &&
            !trade.symbol.empty());  // what a quote asset cannot be told from has no currency
    Require(k2::trade::FitsExactly(trade.price_e14, k2::trade::kPriceType.scale, k2::trade::kPriceType));
    Require(k2::trade::FitsExactly(trade.quantity_e8, k2::trade::kQuantityType.scale, k2::trade::kQuantityType));
    Require(trade.side == k2::trade::TradeSide::kBuy || trade.side == k2::trade::TradeSide::kSell);
    message.clear();
    k2::trade::EncodeTrade(trade, k2::trade::kTradeV3SchemaId, message);
    ++trades;
  }
  void OnReject(k2::trade::RejectReason reason, std::string_view detail) override {
    Require(reason >= k2::trade::RejectReason::kFrameNotJson && !detail.empty() && detail.size() < 400);
    ++rejects;
  }
  std::string message;
  int trades = 0;
  int rejects = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::unique_ptr<char[]> exact(new char[size]);  // so that the sanitizer sees a read beyond the end
  if (size > 0) std::memcpy(exact.get(), data, size);
  const std::string_view frame(exact.get(), size);
  const bool is_json = IsJson(frame);
  for (const k2::exchange::Exchange* exchange : k2::exchange::Exchanges()) {
    CheckingSink sink;
    const auto outcome = k2::exchange::FrameParser::Create(*exchange)->Parse(frame, 1, sink);
    Require((outcome == k2::exchange::FrameOutcome::kRejected) == (sink.rejects > 0));
    Require(outcome != k2::exchange::FrameOutcome::kSkipped || sink.trades == 0);
    Require(sink.trades == 0 || is_json);
  }
  if (k2::exchange::json::IsWholeContainer(frame)) Require(is_json);
  return 0;
}
