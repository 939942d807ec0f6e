#include "exchange/binance/binance.h"
#include "exchange/frame_writer.h"

namespace k2::exchange {
namespace {

constexpr SimulatedMarket kBinanceMarkets[] = {
    {"BTCUSDT", 1'000'000, 4'425'000, 1'000},  {"ETHUSDT", 1'000'000, 235'500, 10'000},
    {"SOLUSDT", 1'000'000, 10'850, 1'000'000}, {"XRPUSDT", 10'000, 6'250, 10'000'000},
    {"BNBUSDT", 10'000'000, 3'135, 100'000},   {"DOGEUSDT", 1'000, 9'150, 100'000'000},
    {"ETHBTC", 1'000, 5'320, 10'000},          {"BTCEUR", 1'000'000, 4'040'000, 1'000},
};

void WriteBinanceTrade(std::span<const SimulatedTrade> trades, std::string& out) {
  const SimulatedTrade& trade = trades.front();
  FrameWriter w(out, kFrameRoom + 2 * trade.pair.size());
  const int64_t time_ms = trade.time_us / 1000;
  w.Text(R"({"stream":")")
      .LowerCase(trade.pair)
      .Text(R"(@trade","data":{"e":"trade","E":)")
      .Number(time_ms + trade.id % 2);
  w.Text(R"(,"s":")").Text(trade.pair).Text(R"(","t":)").Number(trade.id).Text(R"(,"p":")").Decimal(trade.price_e8);
  w.Text(R"(","q":")").Decimal(trade.quantity_e8).Text(R"(","T":)").Number(time_ms);
  w.Text(R"(,"m":)").Text(trade.buy ? "false" : "true").Text(R"(,"M":true}})");
}

void WriteBinanceOther(const SimulatedTrade& trade, uint64_t variant, std::string& out) {
  FrameWriter w(out, 2 * kFrameRoom + 4 * trade.pair.size());
  w.Text(R"({"stream":")").LowerCase(trade.pair);
  if (variant % 4 != 0) {
    w.Text(R"(@bookTicker","data":{"u":)").Number(trade.id).Text(R"(,"s":")").Text(trade.pair);
    w.Text(R"(","b":")").Decimal(trade.price_e8).Text(R"(","B":")").Decimal(trade.quantity_e8);
    w.Text(R"(","a":")").Decimal(trade.price_e8).Text(R"(","A":")").Decimal(trade.quantity_e8).Text(R"("}})");
    return;
  }
  w.Text(R"(@depth@100ms","data":{"e":"depthUpdate","E":)").Number(trade.time_us / 1000).Text(R"(,"s":")");
  w.Text(trade.pair).Text(R"(","U":)").Number(trade.id).Text(R"(,"u":)").Number(trade.id + 7).Text(R"(,"b":[[")");
  w.Decimal(trade.price_e8).Text(R"(","0.00000000"]],"a":[[")").Decimal(trade.price_e8).Text(R"(",")");
  w.Decimal(trade.quantity_e8).Text(R"("]]}})");
}

constexpr Corruption kBinanceCorruptions[] = {{R"("p":)", R"("12.3.4")"},
                                              {R"("p":)", R"("0.00000000")"},
                                              {R"("q":)", R"("0.000000001")"},
                                              {R"("q":)", R"("-1.00000000")"},
                                              {R"("p":)", "1.5"},
                                              {R"("t":)", ""},
                                              {R"("s":)", R"("BTCUSDT_260327")"},
                                              {R"("T":)", R"("noon")"},
                                              {R"("m":)", R"("maybe")"}};

}  // namespace

constinit const SimulatedFeed kBinanceFeed{.markets = kBinanceMarkets,
                                           .trades_in_frame_max = 1,
                                           .append_trades = WriteBinanceTrade,
                                           .append_other = WriteBinanceOther,
                                           .corruptions = kBinanceCorruptions};

}  // namespace k2::exchange
