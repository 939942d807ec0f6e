#include "exchange/kraken/kraken.h"

#include <gtest/gtest.h>

#include "exchange/collected_frames.h"

namespace k2::exchange {
namespace {

constexpr int64_t kKrakenReceiveUs = 1'695'628'117'000'000;
constexpr std::string_view kV2 =
    R"({"channel":"trade","type":"update","data":[{"symbol":"MATIC/USD","side":"buy","price":0.5147,"qty":6423.46326,)"
    R"("ord_type":"limit","trade_id":4665846,"timestamp":"2023-09-25T07:48:36.925533Z"},{"symbol":"BTC/USD",)"
    R"("side":"sell","price":10780,"qty":2.5e-7,"ord_type":"market","trade_id":128,)"
    R"("timestamp":"2019-07-01T00:01:57.870000Z"}]})";
constexpr std::string_view kV1 =
    R"([993,[["354.04000000","0.28245396","1618678150.826417","s","m",""],["353.81000000","1.71754604",)"
    R"("1618678150.827816","b","l","x"]],"trade","XBT/USD"])";

using Vendor = std::vector<std::pair<std::string, std::string>>;

FrameOutcome ParseKraken(std::string_view frame, CollectingSink& sink) {
  return FrameParser::Create(kKrakenExchange)->Parse(frame, kKrakenReceiveUs, sink);
}

std::string With(std::string_view whole, std::string_view from, std::string_view to) {
  std::string frame(whole);
  const size_t at = frame.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return frame.replace(at, from.size(), to);
}

// The reject of a frame of two trades of which the first is wrong: the other one must have gone through.
std::string_view ReasonOfFirst(std::string_view frame, std::string_view index) {
  CollectingSink sink;
  EXPECT_EQ(ParseKraken(frame, sink), FrameOutcome::kRejected) << frame;
  EXPECT_EQ(sink.trades.size(), 1U) << frame;
  EXPECT_EQ(sink.rejects.size(), 1U) << frame;
  if (sink.rejects.empty()) return "";
  EXPECT_TRUE(sink.rejects[0].second.starts_with(index)) << sink.rejects[0].second;
  return ToString(sink.rejects[0].first);
}

std::string_view ReasonOfWhole(std::string_view frame) {
  CollectingSink sink;
  EXPECT_EQ(ParseKraken(frame, sink), FrameOutcome::kRejected) << frame;
  EXPECT_TRUE(sink.trades.empty()) << frame;
  EXPECT_EQ(sink.rejects.size(), 1U) << frame;
  return sink.rejects.empty() ? "" : ToString(sink.rejects[0].first);
}

TEST(KrakenV2, ReadsEveryTradeAndField) {
  CollectingSink sink;
  EXPECT_EQ(ParseKraken(kV2, sink), FrameOutcome::kTrades);
  ASSERT_EQ(sink.trades.size(), 2U);
  const CollectedTrade& first = sink.trades[0];
  EXPECT_EQ(first.trade_id, "KRAKEN-4665846");
  EXPECT_EQ(first.symbol, "MATICUSD");
  EXPECT_EQ(first.exchange, "KRAKEN");
  EXPECT_EQ(first.currency, "USD");
  EXPECT_EQ(first.timestamp_us, 1'695'628'116'925'533);
  EXPECT_EQ(first.price_e14, 51'470'000'000'000);
  EXPECT_EQ(first.quantity_e8, 642'346'326'000);
  EXPECT_EQ(first.side, trade::TradeSide::kBuy);
  EXPECT_EQ(first.source_sequence, 4665846);
  EXPECT_EQ(first.ingestion_timestamp_us, kKrakenReceiveUs);
  EXPECT_EQ(first.vendor_data,
            (Vendor{{"pair", "MATIC/USD"}, {"order_type", "limit"}, {"base_asset", "MATIC"}, {"quote_asset", "USD"}}));
  EXPECT_EQ(sink.trades[1].quantity_e8, 25);
  EXPECT_EQ(sink.trades[1].side, trade::TradeSide::kSell);
  EXPECT_EQ(sink.trades[1].price_e14, 1'078'000'000'000'000'000);
}

TEST(KrakenV2, ReadsThePricesThatItsMarketsHave) {
  CollectingSink sink;
  EXPECT_EQ(ParseKraken(With(kV2, "0.5147", "0.0000000001234"), sink), FrameOutcome::kTrades);
  ASSERT_EQ(sink.trades.size(), 2U);
  EXPECT_EQ(sink.trades[0].price_e14, 12340);
}

// The type of a frame tells whether its trades were made before the subscription.
TEST(KrakenV2, TellsSnapshotsFromUpdates) {
  const auto source_of = [](const std::string& frame) {
    CollectingSink sink;
    EXPECT_EQ(ParseKraken(frame, sink), FrameOutcome::kTrades) << frame;
    return sink.trades.empty() ? std::nullopt : sink.trades.front().source;
  };
  const std::string type = R"("type":"update")";
  ASSERT_NE(std::string(kV2).find(type), std::string::npos);
  EXPECT_EQ(source_of(std::string(kV2)), trade::TradeSource::kStream);
  EXPECT_EQ(source_of(With(kV2, type, R"("type":"snapshot")")), trade::TradeSource::kSnapshot);
  EXPECT_EQ(source_of(With(kV2, type, R"("type":"other")")), std::nullopt);
  EXPECT_EQ(source_of(With(kV2, type, R"("type":7)")), std::nullopt);
}

TEST(KrakenV2, IdentityHasTestVectors) {
  CollectingSink sink;
  ParseKraken(With(kV2, "MATIC/USD", "BTC/USD"), sink);
  ASSERT_EQ(sink.trades.size(), 2U);
  EXPECT_EQ(sink.trades[0].message_id, "8821ea69-f07c-5a91-984b-151ba7a2b2f8");
}

TEST(KrakenV2, ReadsASnapshotAndDataBeforeItsChannel) {
  CollectingSink sink;
  EXPECT_EQ(ParseKraken(With(kV2, "update", "snapshot"), sink), FrameOutcome::kTrades);
  EXPECT_EQ(sink.trades.size(), 2U);
  std::string swapped(kV2);
  swapped.replace(swapped.find("\"channel\":\"trade\","), 18, "");
  swapped.insert(swapped.size() - 1, ",\"channel\":\"trade\"");
  EXPECT_EQ(ParseKraken(swapped, sink), FrameOutcome::kTrades);
  EXPECT_EQ(sink.trades.size(), 4U);
}

TEST(Kraken, SkipsWhatIsNoTrade) {
  for (const char* frame :
       {R"({"channel":"heartbeat"})", R"({"channel":"book","type":"update","data":[{"symbol":"BTC/USD"}]})",
        R"({"method":"subscribe","success":true})", R"({"event":"heartbeat"})", R"({ "event":"systemStatus"})",
        R"({"channelID":1,"channelName":"trade","event":"subscriptionStatus"})", R"({"data":[{}],"channel":"ticker"})",
        R"([1664,{"a":[["13.2","0.0","1618678163.3"]],"c":"5"},"book-1000","WAVES/EUR"])",
        R"([1664,{"a":[]},{"b":[]},"book-10","XBT/USD"])", R"([42,["1","2"],"ohlc-5","XBT/USD"] )",
        R"({"error":"x"})"}) {
    CollectingSink sink;
    EXPECT_EQ(ParseKraken(frame, sink), FrameOutcome::kSkipped) << frame;
    EXPECT_TRUE(sink.trades.empty() && sink.rejects.empty()) << frame;
  }
}

TEST(KrakenV2, TellsDataOfOtherChannelsFromReplies) {
  const struct {
    const char *frame, *channel;
  } cases[] = {
      {R"({"channel":"book","data":[{}]})", "book"},
      {R"({"data":[{}],"channel":"ticker"})", "ticker"},
      {R"([42,["1","2"],"ohlc-5","XBT/USD"])", "ohlc-5"},
      {R"([42,["1","2"],"ohlc-5","XBT/USD"] )", "ohlc-5"},
      {R"({"e":"trade","s":"BTCUSDT"})", "without a name"},
      {R"({"feed":"ticker","product_id":"PI_XBTUSD"})", "ticker"},
      {R"({"feed":"heartbeat","time":1})", ""},
      {R"({"channel":"heartbeat"})", ""},
      {R"({"channel":"status","data":[{}]})", ""},
      {R"({"method":"subscribe","success":true})", ""},
      {R"({"success":true,"method":"subscribe"})", ""},
      {R"({"error":"x"})", ""},
      {R"({ "event":"systemStatus"})", ""},
      {"{}", ""},
  };
  for (const auto& c : cases) {
    CollectingSink sink;
    EXPECT_EQ(ParseKraken(c.frame, sink), FrameOutcome::kSkipped) << c.frame;
    EXPECT_EQ(sink.other_channels.empty() ? "" : sink.other_channels[0], c.channel) << c.frame;
  }
}

TEST(KrakenV2, RejectsOneTradeAndKeepsTheOthers) {
  const struct {
    const char *from, *to, *reason;
  } cases[] = {
      {"0.5147", "5e-15", "frame_number_out_of_range"},
      {"6423.46326", "1e16", "frame_number_out_of_range"},
      {"0.5147", "\"0.5147\"", "frame_bad_type"},
      {"\"price\":0.5147,", "", "frame_missing_field"},
      {"\"buy\"", "\"hold\"", "frame_bad_side"},
      {"\"buy\"", "1", "frame_bad_type"},
      {"MATIC/USD", "MATICUSD", "frame_bad_symbol"},
      {"MATIC/USD", "A/B/C", "frame_bad_symbol"},
      {"MATIC/USD", "/USD", "frame_bad_symbol"},
      {"4665846", "-4665846", "frame_bad_number"},
      {"2023-09-25T07:48:36.925533Z", "2023-13-25T07:48:36Z", "frame_bad_time"},
      {"2023-09-25T07:48:36.925533Z", "noon", "frame_bad_time"},
      {"\"ord_type\":\"limit\"", "\"ord_type\":null", "frame_bad_type"},
      {"\"side\":\"buy\"", "\"side\":\"buy\",\"side\":\"sell\"", "frame_bad_type"},
  };
  for (const auto& c : cases) EXPECT_EQ(ReasonOfFirst(With(kV2, c.from, c.to), "data[0]: "), c.reason) << c.to;
  CollectingSink sink;
  ParseKraken(With(kV2, "\"data\":[", "\"data\":[7,"), sink);
  EXPECT_EQ(sink.trades.size(), 2U);
  EXPECT_EQ(sink.rejects.size(), 1U);
}

TEST(KrakenV2, RejectsTheWholeFrame) {
  EXPECT_EQ(ReasonOfWhole(R"({"channel":"trade","type":"update"})"), "frame_missing_field");
  EXPECT_EQ(ReasonOfWhole(R"({"channel":"trade","data":{}})"), "frame_bad_type");
  EXPECT_EQ(ReasonOfWhole(R"({"channel":7,"data":[]})"), "frame_bad_type");
  EXPECT_EQ(ReasonOfWhole(With(kV2, "BTC/USD", "B\xffTC/USD")), "frame_invalid_utf8");
  EXPECT_EQ(ReasonOfWhole("true"), "frame_bad_type");
  EXPECT_EQ(ReasonOfWhole("hello"), "frame_not_json");
  for (size_t size = 0; size < kV2.size(); ++size) EXPECT_EQ(ReasonOfWhole(kV2.substr(0, size)), "frame_not_json");
}

// Kraken's futures are a feed of another shape (docs.kraken.com/api, Futures WebSocket: Trade).
TEST(KrakenV2, RejectsTradesOfFutures) {
  EXPECT_EQ(
      ReasonOfWhole(R"({"feed":"trade","product_id":"PI_XBTUSD","uid":"45ee9737-1877-4682-bc68-e4ef818ef88a",)"
                    R"("side":"sell","type":"fill","seq":653355,"time":1612266317519,"qty":15000,"price":34969.5})"),
      "frame_other_market");
  EXPECT_EQ(ReasonOfWhole(R"({"feed":"trade_snapshot","product_id":"PI_XBTUSD","trades":[{"feed":"trade","seq":1}]})"),
            "frame_other_market");
  for (const char* frame : {R"({"feed":"heartbeat","time":1534262350627})",
                            R"({"feed":"trade","event":"subscribed","product_ids":["PI_XBTUSD"]})"}) {
    CollectingSink sink;
    EXPECT_EQ(ParseKraken(frame, sink), FrameOutcome::kSkipped) << frame;
  }
}

TEST(KrakenV2, ManyBadTradesDoNotMultiplyTheFrame) {
  std::string frame = R"({"channel":"trade","data":[0)";
  for (int i = 1; i < 10'000; ++i) frame += ",0";
  CollectingSink sink;
  EXPECT_EQ(ParseKraken(frame + "]}", sink), FrameOutcome::kRejected);
  EXPECT_EQ(sink.rejects.size(), kMaxRejectsOfFrame);
  EXPECT_NE(sink.rejects.back().second.find("9984 more"), std::string::npos) << sink.rejects.back().second;
}

TEST(KrakenV1, ReadsEveryTradeAndField) {
  CollectingSink sink;
  EXPECT_EQ(ParseKraken(kV1, sink), FrameOutcome::kTrades);
  ASSERT_EQ(sink.trades.size(), 2U);
  const CollectedTrade& trade = sink.trades[1];
  EXPECT_EQ(trade.trade_id, "KRAKEN-XBT/USD:1618678150.827816:353.81000000:1.71754604:b:0");
  EXPECT_EQ(trade.symbol, "BTCUSD");
  EXPECT_EQ(trade.currency, "USD");
  EXPECT_EQ(trade.timestamp_us, 1'618'678'150'827'816);
  EXPECT_EQ(trade.price_e14, 35'381'000'000'000'000);
  EXPECT_EQ(trade.quantity_e8, 171'754'604);
  EXPECT_EQ(trade.side, trade::TradeSide::kBuy);
  EXPECT_EQ(trade.source_sequence, std::nullopt);
  EXPECT_EQ(trade.vendor_data, (Vendor{{"pair", "XBT/USD"},
                                       {"order_type", "l"},
                                       {"misc", "x"},
                                       {"base_asset", "BTC"},
                                       {"quote_asset", "USD"},
                                       {"raw_timestamp", "1618678150.827816"}}));
  EXPECT_EQ(sink.trades[0].side, trade::TradeSide::kSell);
}

TEST(KrakenV1, EqualTradesOfAFrameAreToldApartAndFramesAreNot) {
  const std::string row = R"(["1.0","2.0","1618678150.5","s","m",""])";
  const std::string frame = "[1,[" + row + "," + row + R"(],"trade","XDG/XBT"])";
  CollectingSink sink;
  const auto parser = FrameParser::Create(kKrakenExchange);
  parser->Parse(frame, kKrakenReceiveUs, sink);
  parser->Parse(frame, kKrakenReceiveUs, sink);
  ASSERT_EQ(sink.trades.size(), 4U);
  EXPECT_EQ(sink.trades[0].trade_id, "KRAKEN-XDG/XBT:1618678150.5:1.0:2.0:s:0");
  EXPECT_EQ(sink.trades[1].trade_id, "KRAKEN-XDG/XBT:1618678150.5:1.0:2.0:s:1");
  EXPECT_EQ(sink.trades[2].message_id, sink.trades[0].message_id);
  EXPECT_EQ(sink.trades[0].symbol, "DOGEBTC");
}

TEST(KrakenV1, RejectsOneTradeAndKeepsTheOthers) {
  const struct {
    const char *from, *to, *reason;
  } cases[] = {
      {"\"354.04000000\"", "\"x\"", "frame_bad_number"},
      {"\"354.04000000\"", "354.04", "frame_bad_type"},
      {"\"0.28245396\"", "\"0.123456789012345\"", "frame_number_out_of_range"},
      {"1618678150.826417", "1618678150.", "frame_bad_time"},
      {"1618678150.826417", "1618678150826417000", "frame_bad_time"},
      {"\"s\"", "\"x\"", "frame_bad_side"},
      {"\"m\",\"\"", "\"m\"", "frame_missing_field"},
  };
  for (const auto& c : cases) EXPECT_EQ(ReasonOfFirst(With(kV1, c.from, c.to), "trades[0]: "), c.reason) << c.to;
}

TEST(KrakenV1, RejectsTheWholeFrame) {
  EXPECT_EQ(ReasonOfWhole(R"([1,{},"trade","XBT/USD"])"), "frame_bad_type");
  EXPECT_EQ(ReasonOfWhole(R"([1,2,3])"), "frame_bad_type");
  EXPECT_EQ(ReasonOfWhole(R"([1,[[]],[[]],"trade","XBT/USD"])"), "frame_bad_type");
  EXPECT_EQ(ReasonOfWhole("[]"), "frame_bad_type");
  for (size_t size = 1; size < kV1.size(); ++size) EXPECT_EQ(ReasonOfWhole(kV1.substr(0, size)), "frame_not_json");
}

TEST(KrakenV1, CutsTimesBeyondMicroseconds) {
  CollectingSink sink;
  ParseKraken(With(kV1, "1618678150.826417", "1618678150.8264179"), sink);
  ASSERT_EQ(sink.trades.size(), 2U);
  EXPECT_EQ(sink.trades[0].timestamp_us, 1'618'678'150'826'417);
}

}  // namespace
}  // namespace k2::exchange
