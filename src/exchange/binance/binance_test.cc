#include "exchange/binance/binance.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "exchange/collected_frames.h"

namespace k2::exchange {
namespace {

constexpr int64_t kBinanceReceiveUs = 1'723'161'254'087'896;
constexpr std::string_view kTrade =
    R"({"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,)"
    R"("p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}})";

FrameOutcome ParseBinance(std::string_view frame, CollectingSink& sink) {
  return FrameParser::Create(kBinanceExchange)->Parse(frame, kBinanceReceiveUs, sink);
}

// The one reject of a frame that has no trades, as its code.
std::string_view ReasonOf(std::string_view frame) {
  CollectingSink sink;
  EXPECT_EQ(ParseBinance(frame, sink), FrameOutcome::kRejected) << frame;
  EXPECT_TRUE(sink.trades.empty()) << frame;
  EXPECT_EQ(sink.rejects.size(), 1U) << frame;
  return sink.rejects.empty() ? "" : ToString(sink.rejects[0].first);
}

std::string WithInTrade(std::string_view from, std::string_view to) {
  std::string frame(kTrade);
  const size_t at = frame.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return frame.replace(at, from.size(), to);
}

CollectedTrade TradeOf(std::string_view frame) {
  CollectingSink sink;
  EXPECT_EQ(ParseBinance(frame, sink), FrameOutcome::kTrades) << frame;
  EXPECT_EQ(sink.trades.size(), 1U) << frame;
  return sink.trades.empty() ? CollectedTrade{} : sink.trades[0];
}

TEST(Binance, ReadsEveryFieldOfATrade) {
  const CollectedTrade trade = TradeOf(kTrade);
  EXPECT_EQ(trade.message_id, "85cb576c-4aad-52dc-8859-673926c79977");
  EXPECT_EQ(trade.trade_id, "BINANCE-3735683259");
  EXPECT_EQ(trade.symbol, "BTCUSDT");
  EXPECT_EQ(trade.exchange, "BINANCE");
  EXPECT_EQ(trade.currency, "USDT");
  EXPECT_EQ(trade.timestamp_us, 1'723'161'255'342'000);
  EXPECT_EQ(trade.price_e14, 6'183'763'000'000'000'000);
  EXPECT_EQ(trade.quantity_e8, 2'000'000);
  EXPECT_EQ(trade.side, trade::TradeSide::kSell);
  EXPECT_EQ(trade.source, trade::TradeSource::kStream);
  EXPECT_EQ(trade.source_sequence, 3735683259);
  EXPECT_EQ(trade.ingestion_timestamp_us, kBinanceReceiveUs);
  const std::vector<std::pair<std::string, std::string>> vendor = {
      {"is_buyer_maker", "true"},      {"event_type", "trade"}, {"event_time", "1723161255343"},
      {"trade_time", "1723161255342"}, {"base_asset", "BTC"},   {"quote_asset", "USDT"},
      {"is_best_match", "true"}};
  EXPECT_EQ(trade.vendor_data, vendor);
}

TEST(Binance, ReadsABareEventInAnyOrderWithSpacesAndUnknownFields) {
  const CollectedTrade trade = TradeOf(
      " {\"T\" : 1723161255342, \"new\":[1,{\"x\":null}], \"m\":false ,\"q\":\"1\",\"p\":\"2.5e0\",\"t\":7,\"s\":"
      "\"ETHBTC\",\"e\":\"trade\"} ");
  EXPECT_EQ(trade.trade_id, "BINANCE-7");
  EXPECT_EQ(trade.currency, "BTC");
  EXPECT_EQ(trade.price_e14, 250'000'000'000'000);
  EXPECT_EQ(trade.side, trade::TradeSide::kBuy);
  const std::vector<std::pair<std::string, std::string>> vendor = {{"is_buyer_maker", "false"},
                                                                   {"event_type", "trade"},
                                                                   {"trade_time", "1723161255342"},
                                                                   {"base_asset", "ETH"},
                                                                   {"quote_asset", "BTC"}};
  EXPECT_EQ(trade.vendor_data, vendor) << "fields that only vendor_data holds may be missing";
}

TEST(Binance, ReadsMicroseconds) {
  EXPECT_EQ(TradeOf(WithInTrade("\"T\":1723161255342", "\"T\":1723161255342123")).timestamp_us, 1'723'161'255'342'123);
}

TEST(Binance, ReadsEscapedText) {
  EXPECT_EQ(TradeOf(WithInTrade("\"s\":\"BTCUSDT\"", R"("\u0073":"BTC\u0055SDT")")).symbol, "BTCUSDT");
}

TEST(Binance, TakesASymbolApartWhereThatCanBeTold) {
  const struct {
    std::string_view symbol, base, quote;
  } cases[] = {
      {"BTCFDUSD", "BTC", "FDUSD"},
      {"GALAEUR", "GALA", "EUR"},
      {"BTCAEUR", "BTC", "AEUR"},
      {"USDTTRY", "USDT", "TRY"},
      {"NEWLISTUSDT", "NEWLIST", "USDT"},  // no other quote ends so: the base need not be known
      {"1000SATSUSDT", "1000SATS", "USDT"},
      {"BTCUPUSDT", "BTCUP", "USDT"},
      {"USD1USDT", "USD1", "USDT"},
      {"BTCUSD1", "BTC", "USD1"},
      {"BTCU", "BTC", "U"},
      {"UUSDT", "U", "USDT"},
      {"BTCIDR", "BTC", "IDR"},
      {"BTCIDRT", "BTC", "IDRT"},
      {"BTCBIDR", "BTC", "BIDR"},
      {"BNBUSD", "BNB", "USD"},  // binance.us
      {"SHIBUSD", "SHIB", "USD"},
      {"VETUSD", "VET", "USD"},
      {"USDTUSD", "USDT", "USD"},
      {"AVAXUSD", "AVAX", "USD"},
      {"BNBBUSD", "BNB", "BUSD"},
      {"BTCBUSD", "BTC", "BUSD"},
      {"BTCTUSD", "BTC", "TUSD"},
      {"BTTTUSD", "BTT", "TUSD"},
      {"TUSDBTUSD", "TUSDB", "TUSD"},
      {"BTCXUSD", "BTC", "XUSD"},
      {"BNSOLSOL", "BNSOL", "SOL"},
      {"WBETHETH", "WBETH", "ETH"},
      {"QQQBUSD", "", ""},  // QQQ/BUSD or QQQB/USD: nobody knows
      {"QQQTUSD", "", ""},
      {"QQQUSD", "", ""},
      {"QQQU", "", ""},
      {"TUSD", "T", "USD"},
      {"NOQUOTE", "", ""},
      {"USDT", "", ""},
      {"\xe5\xb8\x81\xe5\xae\x89USDT", "\xe5\xb8\x81\xe5\xae\x89", "USDT"},
  };
  for (const auto& c : cases) {
    const CollectedTrade trade = TradeOf(WithInTrade(R"("s":"BTCUSDT")", fmt::format(R"("s":"{}")", c.symbol)));
    EXPECT_EQ(trade.symbol, c.symbol);
    EXPECT_EQ(trade.currency, c.quote) << c.symbol;
    std::map<std::string_view, std::string_view> vendor(trade.vendor_data.begin(), trade.vendor_data.end());
    EXPECT_EQ(vendor["base_asset"], c.base) << c.symbol;
    EXPECT_EQ(vendor["quote_asset"], c.quote) << c.symbol;
    EXPECT_EQ(trade.vendor_data.size(), c.quote.empty() ? 5U : 7U) << c.symbol << ": what is not known has no entry";
  }
}

TEST(Binance, SkipsWhatIsNoTrade) {
  for (const char* frame :
       {R"({"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate"}})", R"({"stream":"btcusdt@aggTrade","data":{}})",
        R"({"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"2"}})",
        R"({"e":"aggTrade","s":"BTCUSDT","t":1,"p":"1","q":"1"})", R"({"e":"serverShutdown","E":1})",
        R"({"lastUpdateId":1,"bids":[["1.0","2.0"]],"asks":[]})", R"({"result":null,"id":1})", "{}", "[]",
        R"([{"e":"24hrTicker"}])", R"( {"u":1,"s":"BNBUSDT","b":"1","B":"1","a":"1","A":"1"})"}) {
    CollectingSink sink;
    EXPECT_EQ(ParseBinance(frame, sink), FrameOutcome::kSkipped) << frame;
    EXPECT_TRUE(sink.trades.empty() && sink.rejects.empty()) << frame;
  }
}

TEST(Binance, TellsDataOfOtherChannelsFromReplies) {
  const struct {
    const char *frame, *channel;
  } cases[] = {
      {R"({"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate"}})", "depth@100ms"},
      {R"({"e":"aggTrade","s":"BTCUSDT"})", "aggTrade"},
      {R"({ "e":"aggTrade","s":"BTCUSDT"})", "aggTrade"},
      {R"({"u":1,"s":"BNBUSDT","b":"1","B":"1","a":"1","A":"1"})", "without a name"},
      {R"([{"e":"24hrTicker"}])", "an array of events"},
      {R"({"channel":"book","data":[{"symbol":"BTC/USD"}]})", "without a name"},
      {R"({"result":null,"id":1})", ""},
      {R"({"error":{"code":-1121},"id":2})", ""},
      {R"({"e":"serverShutdown","E":1})", ""},
      {R"({"E":1,"e":"serverShutdown"})", ""},
      {"{}", ""},
      {"[]", ""},
  };
  for (const auto& c : cases) {
    CollectingSink sink;
    EXPECT_EQ(ParseBinance(c.frame, sink), FrameOutcome::kSkipped) << c.frame;
    EXPECT_EQ(sink.other_channels.empty() ? "" : sink.other_channels[0], c.channel) << c.frame;
  }
}

TEST(Binance, RejectsEachWrongFieldWithItsReason) {
  const struct {
    const char *from, *to, *reason;
  } cases[] = {
      {"\"p\":\"61837.63000000\"", R"("p":"12.3.4")", "frame_bad_number"},
      {"\"p\":\"61837.63000000\"", R"("p":"")", "frame_bad_number"},
      {"\"p\":\"61837.63000000\"", R"("p":"0.123456789012345")", "frame_number_out_of_range"},
      {"\"q\":\"0.02000000\"", R"("q":"12345678901234567")", "frame_number_out_of_range"},
      {"\"p\":\"61837.63000000\"", R"("p":61837.63)", "frame_bad_type"},
      {"\"p\":\"61837.63000000\",", "", "frame_missing_field"},
      {"\"t\":3735683259,", "", "frame_missing_field"},
      {"\"t\":3735683259", "\"t\":-1", "frame_bad_number"},
      {"\"t\":3735683259", "\"t\":1.5", "frame_bad_number"},
      {"\"t\":3735683259", "\"t\":9223372036854775808", "frame_bad_number"},
      {"\"t\":3735683259", "\"t\":\"1\"", "frame_bad_type"},
      {"\"m\":true", "\"m\":\"yes\"", "frame_bad_type"},
      {"\"m\":true,", "", "frame_missing_field"},
      {"\"M\":true", "\"M\":1", "frame_bad_type"},
      {"\"e\":\"trade\"", "\"e\":1", "frame_bad_type"},
      {"\"e\":\"trade\",", "", "frame_missing_field"},
      {"\"s\":\"BTCUSDT\"", R"("s":"A234567890123456789012345678901234567890123456789012345678901BTC5")",
       "frame_bad_symbol"},
      {"\"s\":\"BTCUSDT\"", R"("s":"")", "frame_bad_symbol"},
      {"\"T\":1723161255342", "\"T\":\"noon\"", "frame_bad_type"},
      {"\"T\":1723161255342", "\"T\":1723161255342000000", "frame_bad_time"},
      {"\"T\":1723161255342", "\"T\":-5", "frame_bad_time"},
      {"\"t\":3735683259", "\"t\":1,\"t\":2", "frame_bad_type"},
      {"\"data\":{", "\"data\":[{", "frame_not_json"},
  };
  for (const auto& c : cases) EXPECT_EQ(ReasonOf(WithInTrade(c.from, c.to)), c.reason) << c.to;
  EXPECT_EQ(ReasonOf(R"({"p":"1","q":"1","t":5})"), "frame_missing_field") << "a trade that lost its name";
  EXPECT_EQ(ReasonOf(R"({"stream":"btcusdt@trade","data":[]})"), "frame_missing_field");
}

// Of Binance's own documentation: USD-M, COIN-M (whose symbols and pairs are others) and options send `trade` events
// too.
TEST(Binance, NeverTakesATradeOfFuturesOrOptions) {
  for (const char* more : {R"(,"X":"MARKET")", R"(,"X":"INSURANCE_FUND","st":1)", R"(,"X":"ADL")", R"(,"X":"NA")",
                           R"(,"X":null)", R"(,"ps":"BTCUSD")", R"(,"st":1)", R"(,"S":"-1")"}) {
    EXPECT_EQ(ReasonOf(WithInTrade(R"(,"M":true)", more)), "frame_other_market") << more;
    EXPECT_EQ(ReasonOf(WithInTrade(R"(,"M":true)", std::string(R"(,"M":true)") + more)), "frame_other_market") << more;
  }
  for (const char* contract : {"BTCUSDT_260327", "BTCUSD_PERP", "BTC-260327-90000-C", "ETH-260327-2500.5-P"}) {
    EXPECT_EQ(ReasonOf(WithInTrade(R"("s":"BTCUSDT")", fmt::format(R"("s":"{}")", contract))), "frame_other_market");
  }
  EXPECT_EQ(ReasonOf(WithInTrade(R"("p":"61837.63000000")", R"("p":"","X":"NA")")), "frame_other_market")
      << "whatever else is wrong with it";
  EXPECT_EQ(ReasonOf(R"({"s":"BTCUSDT","t":1,"p":"1","q":"1","X":"MARKET"})"), "frame_other_market");
  EXPECT_EQ(TradeOf(WithInTrade(R"("M":true)", R"("M":true,"b":88,"a":50,"zz":{"X":"MARKET"})")).symbol, "BTCUSDT")
      << "fields of old, and what is not the event's own";
}

TEST(Binance, RejectsWhatIsNotJsonAsAWhole) {
  for (const char* frame :
       {"", "  ", "ping", "{", "nul", "[1,2", "{\"e\" \"trade\"}", "{\"e\":\"trade\",}", "{'e':1}"}) {
    EXPECT_EQ(ReasonOf(frame), "frame_not_json") << frame;
  }
  EXPECT_EQ(ReasonOf("123"), "frame_bad_type");
  EXPECT_EQ(ReasonOf("\"trade\""), "frame_bad_type");
  EXPECT_EQ(ReasonOf(std::string(kTrade) + "}"), "frame_not_json");
  EXPECT_EQ(ReasonOf(std::string(kTrade) + std::string(kTrade)), "frame_not_json");
  EXPECT_EQ(ReasonOf(WithInTrade("\"M\":true", "\"M\":tru")), "frame_not_json");
  EXPECT_EQ(ReasonOf(WithInTrade("\"t\":3735683259", "\"t\":03735683259")), "frame_not_json");
  EXPECT_EQ(ReasonOf(WithInTrade("\"M\":true", "\"x\":\"\\q\"")), "frame_not_json");
  EXPECT_EQ(ReasonOf(WithInTrade("\"M\":true", "\"x\":\"\\ud800\"")), "frame_not_json");
  EXPECT_EQ(ReasonOf(WithInTrade("\"M\":true", "\"x\":\"a\nb\"")), "frame_not_json");
  for (size_t size = 0; size < kTrade.size(); ++size) {
    EXPECT_EQ(ReasonOf(kTrade.substr(0, size)), "frame_not_json") << size;
  }
}

TEST(Binance, RejectsInvalidUtf8) {
  EXPECT_EQ(ReasonOf(WithInTrade("BTCUSDT", "B\xffUSDT")), "frame_invalid_utf8");
  EXPECT_EQ(ReasonOf("\xff\xfe"), "frame_invalid_utf8");
}

TEST(Binance, RejectsAnOversizedFrame) {
  CollectingSink sink;
  const auto parser = FrameParser::Create(kBinanceExchange, 100);
  EXPECT_EQ(parser->Parse(kTrade, kBinanceReceiveUs, sink), FrameOutcome::kRejected);
  ASSERT_EQ(sink.rejects.size(), 1U);
  EXPECT_EQ(sink.rejects[0].first, trade::RejectReason::kFrameOversized);
}

TEST(Binance, RefusesDeepNestingWithoutFalling) {
  EXPECT_EQ(ReasonOf(WithInTrade("\"M\":true", "\"x\":" + std::string(500'000, '['))), "frame_not_json");
}

TEST(Binance, DetailsAreAsciiAndShort) {
  CollectingSink sink;
  ParseBinance(WithInTrade("\"61837.63000000\"", "\"\xc3\xa4" + std::string(1000, 'x') + "\""), sink);
  ASSERT_EQ(sink.rejects.size(), 1U);
  EXPECT_LT(sink.rejects[0].second.size(), 200U);
  for (const char c : sink.rejects[0].second) EXPECT_TRUE(c >= ' ' && c <= '~');
}

}  // namespace
}  // namespace k2::exchange
