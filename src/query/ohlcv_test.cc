#include "query/ohlcv.h"

#include "base/time.h"
#include "query/fake_table.h"

namespace k2::query {
namespace {

int64_t Time(const std::string& text) { return ParseTimestamp(text).value(); }

class OhlcvTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // Minute 0: four trades, the first and last of them with equal times, told apart by sequence; minute 2: two without
    // a sequence at one time; minute 4: one. Rows in no order. BTCUSD is there to be left out.
    const std::string select =
        "SELECT s AS symbol, 'BINANCE' AS exchange, TIMESTAMPTZ '2024-08-08 00:00:00+00' + to_microseconds(t) AS "
        "timestamp, p::DECIMAL(24, 14) AS price, q::DECIMAL(24, 8) AS quantity, n::BIGINT AS source_sequence, "
        "DATE '2024-08-08' AS exchange_date FROM (VALUES "
        "('BTCUSDT', 59999999, '105', '1', 5), ('BTCUSDT', 0, '101', '0.1', 2), ('BTCUSDT', 59999999, '104', '2', 4), "
        "('BTCUSDT', 0, '100', '0.2', 1), ('BTCUSD', 0, '1', '1', 3), ('BTCUSDT', 120000000, '90', '1', NULL), "
        "('BTCUSDT', 120000000, '95.12345678', '1', NULL), ('BTCUSDT', 240000000, '9999999999.99999999999999', "
        "'9999999999999999.99999999', 9)) v(s, t, p, q, n)";
    const auto file = WriteParquet(
        folder_.File("a.parquet"), select,
        "{symbol: 1, exchange: 2, timestamp: 3, price: 4, quantity: 5, source_sequence: 6, exchange_date: 7}");
    engine_ = EngineOf({std::make_shared<FakeTable>("gold_crypto_trades",
                                                    std::vector<ColumnInfo>{{"symbol", 1, "string", true, {}},
                                                                            {"exchange", 2, "string", true, {}},
                                                                            {"timestamp", 3, "timestamptz", true, {}},
                                                                            {"price", 4, "decimal(24,14)", true, {}},
                                                                            {"quantity", 5, "decimal(24,8)", true, {}},
                                                                            {"source_sequence", 6, "long", false, {}},
                                                                            {"exchange_date", 7, "date", true, {}}},
                                                    std::vector<PlannedFile>{file})});
  }

  std::string Candles(const OhlcvOptions& options) {
    const auto sql = OhlcvSql(options);
    return sql ? Rows(*engine_, *sql) : "error: " + sql.error().message;
  }

  ScratchFolder folder_;
  std::unique_ptr<QueryEngine> engine_;
};

constexpr const char* kMinute0 =
    "2024-08-08 "
    "00:00:00+00,100.00000000000000,105.00000000000000,100.00000000000000,105.00000000000000,3.30000000,103."
    "96969696969696,4;";
constexpr const char* kMinute2 =
    "2024-08-08 "
    "00:02:00+00,90.00000000000000,95.12345678000000,90.00000000000000,95.12345678000000,2.00000000,92.56172839000000,"
    "2";

TEST_F(OhlcvTest, LeavesEmptyIntervalsOut) {
  EXPECT_EQ(Candles({.symbol = "BTCUSDT", .from_micros = {}, .to_micros = Time("2024-08-08T00:03:00Z")}),
            std::string(kMinute0) + kMinute2);
  EXPECT_EQ(Candles({.symbol = "BTCUSDT", .exchange = "KRAKEN"}), "");
}

TEST_F(OhlcvTest, FindsTheSymbolThatIsMeant) {
  for (const char* typed : {"BTCUSDT", "btcusdt", "BTC/USDT", "btc-usdt"}) {
    OhlcvOptions options{.symbol = typed, .exchange = "binance"};
    const auto note = FindSymbol(*engine_, options);
    ASSERT_TRUE(note) << note.error().message;
    EXPECT_EQ(*note, "");
    EXPECT_EQ(options.symbol, "BTCUSDT");
    EXPECT_EQ(options.exchange, "BINANCE");
  }
  OhlcvOptions kraken{.symbol = "xbt/usd"};
  ASSERT_TRUE(FindSymbol(*engine_, kraken));
  EXPECT_EQ(kraken.symbol, "BTCUSD");
}

TEST_F(OhlcvTest, SaysWhatThereIsWhereNothingIsFound) {
  const auto refusal = [&](OhlcvOptions options) {
    const auto found = FindSymbol(*engine_, options);
    EXPECT_FALSE(found);
    return found ? "" : found.error().message;
  };
  EXPECT_EQ(refusal({.symbol = "BTCUST"}),
            "gold_crypto_trades has no trades of a symbol 'BTCUST': did you mean BTCUSD, BTCUSDT?");
  EXPECT_EQ(refusal({.symbol = "ETHEUR"}),
            "gold_crypto_trades has no trades of a symbol 'ETHEUR': it has BTCUSD, BTCUSDT");
  EXPECT_EQ(
      refusal({.symbol = "btcusd", .exchange = "kraken"}),
      "gold_crypto_trades has no trades of BTCUSD by KRAKEN; there are 1 of BINANCE from 2024-08-08 00:00:00+00 to "
      "2024-08-08 00:00:00+00");
  OhlcvOptions later{.symbol = "btcusdt", .from_micros = Time("2025-01-01T00:00:00Z")};
  const auto note = FindSymbol(*engine_, later);
  ASSERT_TRUE(note) << note.error().message;
  EXPECT_EQ(*note,
            "no trades of BTCUSDT in the given period; gold_crypto_trades holds 7 of BINANCE from 2024-08-08 "
            "00:00:00+00 to 2024-08-08 00:04:00+00");
  EXPECT_EQ(later.symbol, "BTCUSDT");
}

TEST_F(OhlcvTest, FillsEmptyIntervalsFromTheCloseBefore) {
  EXPECT_EQ(
      Candles({.symbol = "BTCUSDT",
               .from_micros = Time("2024-08-07T23:58:00Z"),
               .to_micros = Time("2024-08-08T00:04:00Z"),
               .fill = true}),
      std::string(kMinute0) +
          "2024-08-08 "
          "00:01:00+00,105.00000000000000,105.00000000000000,105.00000000000000,105.00000000000000,0.00000000,NULL,0;" +
          kMinute2 +
          ";2024-08-08 "
          "00:03:00+00,95.12345678000000,95.12345678000000,95.12345678000000,95.12345678000000,0.00000000,NULL,0");
  EXPECT_EQ(Candles({.symbol = "NONE", .fill = true}), "");
}

TEST_F(OhlcvTest, HoldsTheLargestDecimals) {
  const std::string most = ",9999999999.99999999999999";
  EXPECT_EQ(Candles({.symbol = "BTCUSDT", .from_micros = Time("2024-08-08T00:04:00Z")}),
            "2024-08-08 00:04:00+00" + most + most + most + most + ",9999999999999999.99999999" + most + ",1");
}

TEST_F(OhlcvTest, AlignsToMidnightAndMonday) {
  const auto first = [&](const std::string& interval) {
    return Candles({.symbol = "BTCUSD", .interval_micros = ParseInterval(interval).value()}).substr(0, 22);
  };
  EXPECT_EQ(first("4h"), "2024-08-08 00:00:00+00");
  EXPECT_EQ(first("1d"), "2024-08-08 00:00:00+00");
  EXPECT_EQ(first("1w"), "2024-08-05 00:00:00+00");  // a Monday
}

TEST_F(OhlcvTest, QuotesWhatItIsGiven) {
  EXPECT_EQ(Candles({.symbol = "x' OR '1'='1"}), "");
  EXPECT_NE(Candles({.symbol = "X", .table = "no\"such"}).find("there is no table"), std::string::npos);
}

TEST_F(OhlcvTest, RefusesWhatIsNoTime) {
  EXPECT_EQ(ParseInterval("15m").value(), 900'000'000);
  for (const char* text : {"", "m", "0m", "-1m", "1", "1y", "1.5h", "99999999999999d"}) {
    EXPECT_FALSE(ParseInterval(text)) << text;
  }
  EXPECT_FALSE(OhlcvSql({.symbol = "X", .from_micros = 5, .to_micros = 5}));
}

TEST_F(OhlcvTest, GivesCandlesToDraw) {
  const auto result = engine_->Run(OhlcvSql({.symbol = "BTCUSDT"}).value());
  ASSERT_TRUE(result) << result.error().message;
  const auto candles = CandlesOf(*result);
  ASSERT_TRUE(candles) << candles.error().message;
  ASSERT_EQ(candles->size(), 3U);
  EXPECT_EQ((*candles)[1].start_micros, Time("2024-08-08T00:02:00Z"));
  EXPECT_DOUBLE_EQ((*candles)[1].high, 95.12345678);
  EXPECT_DOUBLE_EQ((*candles)[0].volume, 3.3);
  EXPECT_FALSE(CandlesOf(engine_->Run("SELECT 1").value()));
}

}  // namespace
}  // namespace k2::query
