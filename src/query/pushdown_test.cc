// Which predicates reach a table's planner, by SQL.
#include "query/fake_table.h"

namespace k2::query {
namespace {

std::string Text(const PredicateValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* number = std::get_if<int64_t>(&value)) return std::to_string(*number);
  if (const auto* real = std::get_if<double>(&value)) return fmt::format("{}f", *real);
  if (const auto* text = std::get_if<std::string>(&value)) return "'" + *text + "'";
  const auto& decimal = std::get<DecimalValue>(value);
  return fmt::format("{}e-{}", static_cast<int64_t>(decimal.unscaled), decimal.scale);
}

std::string Text(const ColumnPredicate& predicate) {
  static constexpr const char* kOps[] = {"=", "<", "<=", ">", ">=", "in", "is null", "is not null"};
  std::string out = fmt::format("{} {}", predicate.field_id, kOps[static_cast<size_t>(predicate.op)]);
  for (const auto& value : predicate.values) out += " " + Text(value);
  return out;
}

// The predicates of a plan, sorted: their order means nothing.
std::string Text(const std::vector<ColumnPredicate>& conjuncts) {
  std::vector<std::string> texts;
  for (const auto& predicate : conjuncts) texts.push_back(Text(predicate));
  std::ranges::sort(texts);
  return fmt::format("{}", fmt::join(texts, " & "));
}

class PushdownTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string select =
        "SELECT 'm' || i AS message_id, 'BTCUSDT' AS symbol, TIMESTAMPTZ '2024-08-08 00:00:00+00' + to_seconds(i) AS "
        "timestamp, (60000 + i)::DECIMAL(18, 8) AS price, i::BIGINT AS source_sequence, DATE '2024-08-08' AS "
        "exchange_date, 0::INTEGER AS exchange_hour, i::DOUBLE AS score, i % 2 = 0 AS even, "
        "TIMESTAMP '2024-08-08 00:00:00' AS wall, '\\x01'::BLOB AS payload FROM range(10) t(i)";
    file_ = WriteParquet(folder_.File("a.parquet"), select,
                         "{message_id: 1, symbol: 2, timestamp: 3, price: 4, source_sequence: 5, exchange_date: 6, "
                         "exchange_hour: 7, score: 8, even: 9, wall: 10, payload: 11}");
    table_ = std::make_shared<FakeTable>("trades",
                                         std::vector<ColumnInfo>{{"message_id", 1, "string", true, {}},
                                                                 {"symbol", 2, "string", true, {}},
                                                                 {"timestamp", 3, "timestamptz", true, {}},
                                                                 {"price", 4, "decimal(18, 8)", true, {}},
                                                                 {"source_sequence", 5, "long", false, {}},
                                                                 {"exchange_date", 6, "date", true, {}},
                                                                 {"exchange_hour", 7, "int", true, {}},
                                                                 {"score", 8, "double", false, {}},
                                                                 {"even", 9, "boolean", false, {}},
                                                                 {"wall", 10, "timestamp", false, {}},
                                                                 {"payload", 11, "binary", false, {}}},
                                         std::vector<PlannedFile>{file_});
    engine_ = EngineOf({table_});
  }

  // What the last plan of the query was asked for. A new engine each time: an engine does not plan the same twice.
  std::string Asked(const std::string& sql, const std::string& before = "SELECT 1") {
    table_->asked.clear();
    engine_ = EngineOf({table_});
    EXPECT_TRUE(engine_->Run(before));
    const auto result = engine_->Run(sql);
    EXPECT_TRUE(result) << sql << ": " << result.error().message;
    return table_->asked.empty() ? "no plan" : Text(table_->asked.back());
  }
  std::string Where(const std::string& condition) { return Asked("SELECT message_id FROM trades WHERE " + condition); }

  ScratchFolder folder_;
  PlannedFile file_;
  std::shared_ptr<FakeTable> table_;
  std::unique_ptr<QueryEngine> engine_;
};

TEST_F(PushdownTest, ComparesColumnsWithConstants) {
  EXPECT_EQ(Where("symbol = 'BTCUSDT'"), "2 = 'BTCUSDT'");
  EXPECT_EQ(Where("source_sequence < 5"), "5 < 5");
  EXPECT_EQ(Where("5 >= source_sequence"), "5 <= 5");
  EXPECT_EQ(Where("source_sequence BETWEEN 2 AND 4"), "5 <= 4 & 5 >= 2");
  EXPECT_EQ(Where("NOT (source_sequence < 5)"), "5 >= 5");
  EXPECT_EQ(Where("symbol = 'BTCUSDT' AND source_sequence > 3 AND exchange_hour = 0"), "2 = 'BTCUSDT' & 5 > 3 & 7 = 0");
  EXPECT_EQ(Where("source_sequence IS NULL"), "5 is null");
  EXPECT_EQ(Where("source_sequence IS NOT NULL"), "5 is not null");
  EXPECT_EQ(Where("message_id IN ('m1', 'm2')"), "1 in 'm1' 'm2'");
  EXPECT_EQ(Where("message_id = 'm1' OR message_id = 'm2'"), "1 in 'm1' 'm2'");
  EXPECT_EQ(Where("payload = '\\x02'::BLOB"), "11 = '\x02'");
}

TEST_F(PushdownTest, KnowsTimesDatesAndDecimals) {
  // 2024-08-08 is day 19943 after 1970-01-01.
  EXPECT_EQ(Where("timestamp >= '2024-08-08 00:00:01+00' AND timestamp < '2024-08-09'"),
            "3 < 1723161600000000 & 3 >= 1723075201000000");
  EXPECT_EQ(Where("timestamp > TIMESTAMPTZ '2024-08-08 02:00:00+02'"), "3 > 1723075200000000");
  EXPECT_EQ(Where("timestamp > TIMESTAMP '2024-08-08 00:00:00'"), "3 > 1723075200000000");
  EXPECT_EQ(Where("wall <= '2024-08-08 00:00:01'"), "10 <= 1723075201000000");
  EXPECT_EQ(Where("exchange_date = '2024-08-08'"), "6 = 19943");
  EXPECT_EQ(Where("exchange_date IN ('2024-08-08', '2024-08-09')"), "6 in 19943 19944");
  EXPECT_EQ(Where("price = 60001"), "4 = 6000100000000e-8");
  EXPECT_EQ(Where("price > 60000.5"), "4 > 6000050000000e-8");
  EXPECT_EQ(Where("score < 2.5"), "8 < 2.5f");
}

TEST_F(PushdownTest, TurnsCastsIntoRanges) {
  EXPECT_EQ(Where("timestamp::DATE = '2024-08-08'"), "3 < 1723161600000000 & 3 >= 1723075200000000");
  EXPECT_EQ(Where("CAST(timestamp AS DATE) > DATE '2024-08-07'"), "3 >= 1723075200000000");
  EXPECT_EQ(Where("timestamp::DATE < '2024-08-09'"), "3 < 1723161600000000");
  EXPECT_EQ(Where("exchange_date >= TIMESTAMP '2024-08-08 12:00:00'"), "6 >= 19943");
  EXPECT_EQ(Where("exchange_date < TIMESTAMP '2024-08-08 12:00:00'"), "6 <= 19943");
}

TEST_F(PushdownTest, LeavesOutWhatItCannotTell) {
  EXPECT_EQ(Where("length(symbol) = 7"), "");
  EXPECT_EQ(Where("symbol = 'BTCUSDT' OR exchange_hour = 3"), "");
  EXPECT_EQ(Where("symbol <> 'X'"), "");
  EXPECT_EQ(Where("symbol = message_id"), "");
  // DuckDB orders NaN above all numbers, bounds leave it out: nothing may be pruned.
  EXPECT_EQ(Where("score > 2.5"), "");
  EXPECT_EQ(Where("symbol = 'BTCUSDT' AND (exchange_hour = 3 OR even)"), "2 = 'BTCUSDT'");
}

TEST_F(PushdownTest, SeesThroughViewsSubqueriesAndCtes) {
  EXPECT_EQ(Asked("WITH t AS (SELECT symbol s, timestamp FROM trades) SELECT * FROM t WHERE s = 'A'"), "2 = 'A'");
  EXPECT_EQ(Asked("SELECT * FROM (SELECT *, price * 2 AS twice FROM trades) WHERE exchange_date = '2024-08-08'"),
            "6 = 19943");
  EXPECT_EQ(Asked("SELECT symbol, count(*) FROM trades GROUP BY symbol HAVING symbol = 'A'"), "2 = 'A'");
  // After SHOW TABLES the table is a view.
  EXPECT_EQ(Asked("SELECT * FROM trades WHERE symbol = 'A'", "SHOW TABLES"), "2 = 'A'");
}

TEST_F(PushdownTest, TakesTheKeysOfAJoin) {
  const std::string asked =
      Asked("SELECT t.message_id FROM trades t JOIN (VALUES (3::BIGINT), (4)) v(s) ON t.source_sequence = v.s");
  EXPECT_NE(asked.find("5 >= 3"), std::string::npos) << asked;
  EXPECT_NE(asked.find("5 <= 4"), std::string::npos) << asked;
  EXPECT_EQ(Rows(*engine_,
                 "SELECT t.message_id FROM trades t JOIN (VALUES (3::BIGINT), (4)) v(s) ON t.source_sequence = v.s "
                 "ORDER BY 1"),
            "m3;m4");
}

TEST_F(PushdownTest, PlansOnceForTheSameFilters) {
  table_->asked.clear();
  ASSERT_TRUE(engine_->Run("SELECT a.symbol FROM trades a, trades b WHERE a.symbol = 'X' AND b.symbol = 'X'"));
  EXPECT_EQ(table_->asked.size(), 1U);
}

TEST_F(PushdownTest, OpensNoFileThatWasPruned) {
  auto gone = file_;
  gone.path = folder_.File("gone.parquet");
  auto table = std::make_shared<FakeTable>("two", *table_->Columns(), std::vector<PlannedFile>{file_, gone});
  table->keep = [&](const PlannedFile& file, const std::vector<ColumnPredicate>& conjuncts) {
    return conjuncts.empty() || file.path == file_.path;
  };
  auto engine = EngineOf({table});
  EXPECT_EQ(Rows(*engine, "SELECT count(message_id) FROM two WHERE exchange_date = '2024-08-08'"), "10");
  const auto all = engine->Run("SELECT count(message_id) FROM two");
  ASSERT_FALSE(all);
  EXPECT_EQ(all.error().kind, ErrorKind::kNotFound);
  EXPECT_NE(all.error().message.find("gone.parquet"), std::string::npos) << all.error().message;
  table->keep = [](const PlannedFile&, const std::vector<ColumnPredicate>&) { return false; };
  EXPECT_EQ(Rows(*engine, "SELECT count(*), max(price) FROM two WHERE symbol = 'none'"), "0,NULL");
}

}  // namespace
}  // namespace k2::query
