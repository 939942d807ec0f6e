#include "exchange/coinbase/coinbase.h"

#include <gtest/gtest.h>

#include "exchange/collected_frames.h"

namespace k2::exchange {
namespace {

constexpr int64_t kCoinbaseReceiveUs = 1'618'677'817'129'516;
constexpr std::string_view kMatch =
    R"({"type":"match","trade_id":280232,"maker_order_id":"2a0da34e-61f7-4c36-88e5-c9dd15927b16",)"
    R"("taker_order_id":"3c82abaa-c01e-4608-be59-6a1e69742891","side":"sell","size":"985","price":"0.00001305",)"
    R"("product_id":"SKL-BTC","sequence":177100030,"time":"2021-04-17T16:43:37.089723Z"})";

FrameOutcome ParseCoinbase(std::string_view frame, CollectingSink& sink) {
  return FrameParser::Create(kCoinbaseExchange)->Parse(frame, kCoinbaseReceiveUs, sink);
}

std::string With(std::string_view from, std::string_view to) {
  std::string frame(kMatch);
  const size_t at = frame.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return frame.replace(at, from.size(), to);
}

// The one reject of a frame that has no trades, as its code and detail.
std::string CoinbaseReject(std::string_view frame) {
  CollectingSink sink;
  EXPECT_EQ(ParseCoinbase(frame, sink), FrameOutcome::kRejected) << frame;
  EXPECT_TRUE(sink.trades.empty() && sink.rejects.size() == 1) << frame;
  if (sink.rejects.empty()) return "";
  return std::string(ToString(sink.rejects[0].first)) + ": " + sink.rejects[0].second;
}

TEST(Coinbase, ReadsAMatch) {
  CollectingSink sink;
  EXPECT_EQ(ParseCoinbase(kMatch, sink), FrameOutcome::kTrades);
  ASSERT_EQ(sink.trades.size(), 1U);
  const CollectedTrade& trade = sink.trades[0];
  EXPECT_EQ(trade.exchange, "COINBASE");
  EXPECT_EQ(trade.trade_id, "COINBASE-280232");
  EXPECT_EQ(trade.source_sequence, 280232);
  EXPECT_EQ(trade.symbol, "SKLBTC");
  EXPECT_EQ(trade.currency, "BTC");
  EXPECT_EQ(trade.price_e14, 1'305'000'000);
  EXPECT_EQ(trade.quantity_e8, 98'500'000'000);
  EXPECT_EQ(trade.timestamp_us, 1'618'677'817'089'723);
  EXPECT_EQ(trade.ingestion_timestamp_us, kCoinbaseReceiveUs);
  const std::vector<std::pair<std::string, std::string>> vendor = {
      {"event_type", "match"},
      {"maker_side", "sell"},
      {"base_asset", "SKL"},
      {"quote_asset", "BTC"},
      {"sequence", "177100030"},
      {"maker_order_id", "2a0da34e-61f7-4c36-88e5-c9dd15927b16"},
      {"taker_order_id", "3c82abaa-c01e-4608-be59-6a1e69742891"}};
  EXPECT_EQ(trade.vendor_data, vendor);
}

TEST(Coinbase, TheSideIsTheTakersOppositeOfTheMakers) {
  for (const auto& [maker, taker] :
       {std::pair{"\"sell\"", trade::TradeSide::kBuy}, std::pair{"\"buy\"", trade::TradeSide::kSell}}) {
    CollectingSink sink;
    ParseCoinbase(With("\"sell\"", maker), sink);
    ASSERT_EQ(sink.trades.size(), 1U);
    EXPECT_EQ(sink.trades[0].side, taker);
  }
}

// The trade before a subscription comes as last_match, and has come as match before: they are one.
TEST(Coinbase, ALastMatchIsTheSameTrade) {
  CollectingSink sink;
  ParseCoinbase(kMatch, sink);
  EXPECT_EQ(ParseCoinbase(With("match", "last_match"), sink), FrameOutcome::kTrades);
  ASSERT_EQ(sink.trades.size(), 2U);
  EXPECT_EQ(sink.trades[0].source, trade::TradeSource::kStream);
  EXPECT_EQ(sink.trades[1].source, trade::TradeSource::kSnapshot);
  EXPECT_EQ(sink.trades[0].message_id, sink.trades[1].message_id);
  EXPECT_EQ(sink.trades[1].vendor_data[0], (std::pair<std::string, std::string>("event_type", "last_match")));
}

TEST(Coinbase, SkipsWhatIsNoMatch) {
  const std::pair<std::string_view, std::string_view> frames[] = {
      {R"({"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]})", ""},
      {R"({"type":"heartbeat","last_trade_id":1,"product_id":"BTC-USD","sequence":9,"time":"2021-04-17T16:43:37Z"})",
       ""},
      {R"({"type":"error","message":"Failed to subscribe","reason":"no such product"})", ""},
      {R"({})", ""},
      {R"({"type":"ticker","trade_id":881613,"price":"14.7775","side":"buy","product_id":"BAND-GBP"})", "ticker"},
      {R"({ "product_id":"BAND-GBP", "type" : "l2update" })", "l2update"},
      {R"({"type":"snapshot","product_id":"BTC-USD","asks":[["1","2"]],"bids":[]})", "snapshot"},
      {R"({"channel":"market_trades","client_id":"","events":[{"type":"update","trades":[]}]})", "market_trades"},
      {R"({"channel":"trade","type":"update","data":[]})", "trade"},
      {R"([0,1])", "an array"},
      {R"({"e":"aggTrade"})", "without a name"},
  };
  for (const auto& [frame, channel] : frames) {
    CollectingSink sink;
    EXPECT_EQ(ParseCoinbase(frame, sink), FrameOutcome::kSkipped) << frame;
    EXPECT_EQ(sink.other_channels, channel.empty() ? std::vector<std::string>{} : std::vector{std::string(channel)});
  }
}

TEST(Coinbase, RejectsWhatCannotBeRead) {
  EXPECT_EQ(CoinbaseReject(With(R"("985")", R"("985.")")), "frame_bad_number: field 'size': '985.' is not a number");
  EXPECT_TRUE(CoinbaseReject(With(R"("985")", "985")).starts_with("frame_bad_type: field 'size'"));
  EXPECT_TRUE(CoinbaseReject(With("0.00001305", "0.000000000000001")).starts_with("frame_number_out_of_range"));
  EXPECT_TRUE(CoinbaseReject(With("280232", "-1")).starts_with("frame_bad_number: field 'trade_id'"));
  EXPECT_TRUE(CoinbaseReject(With("280232", "\"280232\"")).starts_with("frame_bad_type: field 'trade_id'"));
  EXPECT_TRUE(CoinbaseReject(With(R"("trade_id":280232,)", "")).starts_with("frame_missing_field: field 'trade_id'"));
  EXPECT_TRUE(CoinbaseReject(With(R"("type":"match",)", "")).starts_with("frame_missing_field: field 'type'"));
  EXPECT_TRUE(CoinbaseReject(With(R"("match")", "7")).starts_with("frame_bad_type: field 'type'"));
  EXPECT_TRUE(CoinbaseReject(With("\"sell\"", "\"hold\"")).starts_with("frame_bad_side"));
  for (const char* product : {"SKLBTC", "-BTC", "SKL-", "BTC-28JUN24-CDE", ""}) {
    EXPECT_TRUE(CoinbaseReject(With("SKL-BTC", product)).starts_with("frame_bad_symbol")) << product;
  }
  EXPECT_TRUE(CoinbaseReject(With("2021-04-17T16:43:37.089723Z", "noon")).starts_with("frame_bad_time"));
  EXPECT_TRUE(CoinbaseReject(With(R"("sequence")", R"("price":"1","sequence")")).find("stands there twice") !=
              std::string::npos);
  EXPECT_TRUE(CoinbaseReject(kMatch.substr(0, 100)).starts_with("frame_not_json"));
  EXPECT_TRUE(CoinbaseReject("").starts_with("frame_not_json"));
  EXPECT_TRUE(CoinbaseReject("7").starts_with("frame_bad_type"));
  EXPECT_TRUE(CoinbaseReject(With("SKL-BTC", "\xff")).starts_with("frame_invalid_utf8"));
}

}  // namespace
}  // namespace k2::exchange
