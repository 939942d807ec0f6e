#include "exchange/coinbase/coinbase.h"
#include "exchange/frame_writer.h"

namespace k2::exchange {
namespace {

constexpr SimulatedMarket kCoinbaseMarkets[] = {
    {"BTC-USD", 1'000'000, 4'425'000, 1'000}, {"ETH-USD", 1'000'000, 235'500, 10'000},
    {"SOL-USD", 1'000'000, 10'850, 100'000},  {"BTC-EUR", 1'000'000, 4'040'000, 1'000},
    {"DOGE-USD", 1'000, 9'150, 10'000'000},   {"ETH-BTC", 1'000, 5'320, 10'000},
};

void WriteCoinbaseMatch(std::span<const SimulatedTrade> trades, std::string& out) {
  const SimulatedTrade& trade = trades.front();
  FrameWriter w(out, 2 * kFrameRoom + trade.pair.size());
  w.Text(R"({"type":"match","trade_id":)").Number(trade.id);
  w.Text(R"(,"maker_order_id":"2a0da34e-61f7-4c36-88e5-)").Padded(trade.id, 12);
  w.Text(R"(","taker_order_id":"3c82abaa-c01e-4608-be59-)").Padded(trade.id + 1, 12);
  w.Text(R"(","side":")").Text(trade.buy ? "sell" : "buy");  // the maker's
  w.Text(R"(","size":")").Decimal(trade.quantity_e8).Text(R"(","price":")").Decimal(trade.price_e8);
  w.Text(R"(","product_id":")").Text(trade.pair).Text(R"(","sequence":)").Number(3 * trade.id);
  w.Text(R"(,"time":")").Rfc3339(trade.time_us).Text(R"("})");
}

void WriteCoinbaseOther(const SimulatedTrade& trade, uint64_t variant, std::string& out) {
  FrameWriter w(out, 2 * kFrameRoom + trade.pair.size());
  if (variant % 3 == 0) {
    w.Text(R"({"type":"heartbeat","last_trade_id":)").Number(trade.id).Text(R"(,"product_id":")").Text(trade.pair);
    w.Text(R"(","sequence":)").Number(3 * trade.id).Text(R"(,"time":")").Rfc3339(trade.time_us).Text(R"("})");
  } else if (variant % 3 == 1) {
    w.Text(R"({"type":"ticker","sequence":)").Number(3 * trade.id).Text(R"(,"product_id":")").Text(trade.pair);
    w.Text(R"(","price":")").Decimal(trade.price_e8).Text(R"(","best_bid":")").Decimal(trade.price_e8);
    w.Text(R"(","side":"buy","time":")").Rfc3339(trade.time_us).Text(R"("})");
  } else {
    w.Text(R"({"type":"l2update","product_id":")").Text(trade.pair).Text(R"(","changes":[["buy",")");
    w.Decimal(trade.price_e8).Text(R"(",")").Decimal(trade.quantity_e8).Text(R"("]],"time":")");
    w.Rfc3339(trade.time_us).Text(R"("})");
  }
}

constexpr Corruption kCoinbaseCorruptions[] = {{R"("price":)", R"("12.3.4")"},
                                               {R"("price":)", R"("0.00000000")"},
                                               {R"("size":)", R"("0.000000001")"},
                                               {R"("size":)", R"("-1.00000000")"},
                                               {R"("price":)", "1.5"},
                                               {R"("trade_id":)", ""},
                                               {R"("product_id":)", R"("NOPAIR")"},
                                               {R"("time":)", R"("noon")"},
                                               {R"("side":)", R"("hold")"}};

}  // namespace

constinit const SimulatedFeed kCoinbaseFeed{.markets = kCoinbaseMarkets,
                                            .trades_in_frame_max = 1,
                                            .append_trades = WriteCoinbaseMatch,
                                            .append_other = WriteCoinbaseOther,
                                            .corruptions = kCoinbaseCorruptions};

}  // namespace k2::exchange
