#include "exchange/frame_writer.h"
#include "exchange/kraken/kraken.h"

namespace k2::exchange {
namespace {

constexpr SimulatedMarket kKrakenMarkets[] = {
    {"BTC/USD", 10'000'000, 442'500, 5}, {"ETH/USD", 1'000'000, 235'500, 100},  {"SOL/USD", 1'000'000, 10'850, 2'000},
    {"BTC/EUR", 10'000'000, 404'000, 5}, {"XRP/USD", 1'000, 62'500, 1'000'000}, {"DOGE/USD", 10, 915'000, 10'000'000},
};

void WriteKrakenTrade(const SimulatedTrade& trade, FrameWriter& w) {
  w.Text(R"({"symbol":")").Text(trade.pair).Text(R"(","side":")").Text(trade.buy ? "buy" : "sell");
  w.Text(R"(","price":)").JsonNumber(trade.price_e8).Text(R"(,"qty":)").JsonNumber(trade.quantity_e8);
  w.Text(R"(,"ord_type":")").Text(trade.is_limit ? "limit" : "market").Text(R"(","trade_id":)").Number(trade.id);
  w.Text(R"(,"timestamp":")").Rfc3339(trade.time_us).Text(R"("})");
}

void WriteKrakenTrades(std::span<const SimulatedTrade> trades, std::string& out) {
  size_t room = kFrameRoom;
  for (const SimulatedTrade& trade : trades) room += kFrameRoom + trade.pair.size();
  FrameWriter w(out, room);
  w.Text(R"({"channel":"trade","type":"update","data":[)");
  for (size_t i = 0; i < trades.size(); ++i) {
    if (i > 0) w.Text(",");
    WriteKrakenTrade(trades[i], w);
  }
  w.Text("]}");
}

void WriteKrakenOther(const SimulatedTrade& trade, uint64_t variant, std::string& out) {
  FrameWriter w(out, 2 * kFrameRoom + trade.pair.size());
  if (variant % 3 == 0) {
    w.Text(R"({"channel":"heartbeat"})");
  } else if (variant % 3 == 1) {
    w.Text(R"({"channel":"ticker","type":"update","data":[{"symbol":")").Text(trade.pair).Text(R"(","bid":)");
    w.JsonNumber(trade.price_e8).Text(R"(,"last":)").JsonNumber(trade.price_e8).Text("}]}");
  } else {
    w.Text(R"({"channel":"book","type":"update","data":[{"symbol":")")
        .Text(trade.pair)
        .Text(R"(","bids":[],"asks":[{)");
    w.Text(R"("price":)").JsonNumber(trade.price_e8).Text(R"(,"qty":)").JsonNumber(trade.quantity_e8).Text("}]}]}");
  }
}

constexpr Corruption kKrakenCorruptions[] = {{R"("price":)", "12.3.4"},       {R"("price":)", "0"},
                                             {R"("qty":)", "1e-9"},           {R"("qty":)", "-1"},
                                             {R"("price":)", R"("1.5")"},     {R"("trade_id":)", ""},
                                             {R"("symbol":)", R"("NOPAIR")"}, {R"("timestamp":)", R"("noon")"},
                                             {R"("side":)", R"("hold")"}};

}  // namespace

constinit const SimulatedFeed kKrakenFeed{.markets = kKrakenMarkets,
                                          .trades_in_frame_max = 6,
                                          .append_trades = WriteKrakenTrades,
                                          .append_other = WriteKrakenOther,
                                          .corruptions = kKrakenCorruptions};

}  // namespace k2::exchange
