#include "exchange/registry.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "exchange/collected_frames.h"
#include "exchange/simulated_feed.h"

namespace k2::exchange {
namespace {

class EachExchange : public testing::TestWithParam<const Exchange*> {};

INSTANTIATE_TEST_SUITE_P(Registry, EachExchange, testing::ValuesIn(Exchanges().begin(), Exchanges().end()),
                         [](const auto& one) { return std::string(one.param->name); });

TEST_P(EachExchange, IsFoundByEachOfItsNames) {
  const Exchange& exchange = *GetParam();
  EXPECT_EQ(Exchanges()[IndexOf(exchange)], &exchange);
  EXPECT_EQ(ExchangeByName(exchange.name), &exchange);
  EXPECT_EQ(ExchangeBySilverTable(exchange.silver_table), &exchange);
  EXPECT_EQ(ExchangeOfTopic("recording/" + std::string(exchange.name) + "/0123"), &exchange);
  EXPECT_EQ(ExchangeOfTopic("prod.trades." + std::string(exchange.name)), &exchange);
  EXPECT_EQ(*KnownExchange(exchange.name), &exchange);
  // What partitions, topics and tables are called by must do in all of them.
  EXPECT_EQ(exchange.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789"), std::string_view::npos);
  std::string capitals(exchange.name);
  for (char& c : capitals) c = static_cast<char>(std::toupper(c));
  EXPECT_EQ(exchange.message_name, capitals);
  EXPECT_EQ(exchange.silver_table, "silver_" + std::string(exchange.name) + "_trades");
}

// What the simulator writes, the parser reads: number, symbol, assets, price, quantity and the aggressor's side.
TEST_P(EachExchange, ParsesWhatItsSimulatedFeedWrites) {
  const Exchange& exchange = *GetParam();
  const SimulatedFeed& feed = *exchange.simulated;
  const auto parser = FrameParser::Create(exchange);
  std::set<std::string> ids;
  for (const SimulatedMarket& market : feed.markets) {
    std::vector<SimulatedTrade> sent;
    for (int64_t i = 0; i < feed.trades_in_frame_max; ++i) {
      sent.push_back({.pair = market.pair,
                      .id = 1'000'000 + i,
                      .time_us = 1'704'153'600'123'000 + i * 1000,
                      .price_e8 = (market.start_ticks + i) * market.tick_e8,
                      .quantity_e8 = (1 + i) * market.lot_e8,
                      .buy = i % 2 == 0});
    }
    if (sent.size() == 1) sent.push_back(sent.front()), sent.back().buy = false, ++sent.back().id;
    CollectingSink sink;
    for (size_t begin = 0; begin < sent.size(); begin += static_cast<size_t>(feed.trades_in_frame_max)) {
      const size_t count = std::min(sent.size() - begin, static_cast<size_t>(feed.trades_in_frame_max));
      std::string frame;
      feed.append_trades(std::span(sent).subspan(begin, count), frame);
      EXPECT_EQ(parser->Parse(frame, 1'704'153'600'200'000, sink), FrameOutcome::kTrades) << frame;
    }
    ASSERT_EQ(sink.trades.size(), sent.size());
    Assets assets;
    ASSERT_TRUE(exchange.split_symbol(market.pair, assets));
    for (size_t i = 0; i < sent.size(); ++i) {
      const CollectedTrade& got = sink.trades[i];
      EXPECT_EQ(got.exchange, exchange.message_name);
      EXPECT_EQ(got.trade_id, std::string(exchange.message_name) + "-" + std::to_string(sent[i].id));
      EXPECT_EQ(got.source_sequence, sent[i].id);
      EXPECT_EQ(got.symbol, std::string(assets.base) + std::string(assets.quote));
      EXPECT_EQ(got.currency, assets.quote);
      EXPECT_EQ(got.timestamp_us, sent[i].time_us);
      EXPECT_EQ(got.price_e14, Int128{sent[i].price_e8} * 1'000'000);
      EXPECT_EQ(got.quantity_e8, sent[i].quantity_e8);
      EXPECT_EQ(got.side, sent[i].buy ? trade::TradeSide::kBuy : trade::TradeSide::kSell);
      EXPECT_TRUE(ids.insert(got.message_id).second);
      EXPECT_EQ(exchange.common_asset(assets.base), assets.base);
    }
  }
}

TEST_P(EachExchange, SkipsTheOtherFramesOfItsFeedAndEachSpoilingCostsOneTrade) {
  const SimulatedFeed& feed = *GetParam()->simulated;
  const auto parser = FrameParser::Create(*GetParam());
  const SimulatedTrade trade{.pair = feed.markets.front().pair,
                             .id = 7,
                             .time_us = 1'704'153'600'123'000,
                             .price_e8 = 4'425'000'000'000,
                             .quantity_e8 = 100'000};
  for (uint64_t variant = 0; variant < 12; ++variant) {
    CollectingSink sink;
    std::string other;
    feed.append_other(trade, variant, other);
    EXPECT_EQ(parser->Parse(other, 0, sink), FrameOutcome::kSkipped) << other;
  }
  int64_t in_the_frame = 0;
  for (uint64_t variant = 0; variant < feed.corruptions.size() + 3; ++variant) {
    for (uint64_t random = 0; random < 40; ++random) {
      std::string frame;
      feed.append_trades({&trade, 1}, frame);
      SpoilFrame(feed, variant, random * 7, frame);
      CollectingSink sink;
      parser->Parse(frame, 0, sink);
      EXPECT_EQ(sink.trades.size() + sink.rejects.size(), 1U) << frame;
      in_the_frame += static_cast<int64_t>(sink.rejects.size());
      EXPECT_EQ(frame.find('\n'), std::string::npos);
    }
  }
  EXPECT_GT(in_the_frame, 0);
}

TEST(Registry, TellsWhatIsKnownWhereANameIsNot) {
  EXPECT_EQ(ExchangeByName("okx"), nullptr);
  EXPECT_EQ(ExchangeOfTopic("market.crypto.trades.okx"), nullptr);
  EXPECT_EQ(ExchangeOfTopic("recording/okx/0123"), nullptr);
  EXPECT_EQ(ExchangeOfTopic(""), nullptr);
  const auto none = KnownExchange("okx");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message, "unknown exchange 'okx': " + ExchangeNames());
  EXPECT_EQ(ExchangeNames(), "binance, kraken or coinbase");
  EXPECT_TRUE(ExchangeNames(&Exchange::message_name, ".").starts_with(".BINANCE"));
  EXPECT_TRUE(DefaultTopics().starts_with("market.crypto.trades.binance,market.crypto.trades.kraken"));
  // Task documents of version 2 name Silver's tables by their place: these two do not move.
  EXPECT_EQ(Exchanges()[0]->name, "binance");
  EXPECT_EQ(Exchanges()[1]->name, "kraken");
}

}  // namespace
}  // namespace k2::exchange
