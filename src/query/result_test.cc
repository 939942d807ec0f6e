#include "query/result.h"

#include <gtest/gtest.h>

namespace k2::query {
namespace {

QueryResult Sample() {
  return {{{"symbol", "VARCHAR", CellKind::kText}, {"price", "DECIMAL(18,8)", CellKind::kNumber}},
          {{"BTC", "60000.10000000"}, {std::nullopt, "1"}},
          2};
}

TEST(FormatTableTest, DrawsABox) {
  EXPECT_EQ(FormatTable(Sample()),
            "┌────────┬────────────────┐\n"
            "│ symbol │ price          │\n"
            "├────────┼────────────────┤\n"
            "│ BTC    │ 60000.10000000 │\n"
            "│ NULL   │              1 │\n"
            "└────────┴────────────────┘\n"
            "2 rows\n");
}

QueryResult Wide(int64_t rows) {
  QueryResult wide;
  wide.row_count = rows;
  wide.rows.resize(static_cast<size_t>(rows));
  for (int i = 0; i < 12; ++i) {
    wide.columns.push_back({"column", "VARCHAR", CellKind::kText});
    for (auto& row : wide.rows) row.emplace_back("0123456789012345678901234567890");
  }
  return wide;
}

// Zeros that all values of a column end with are left out, and values stay under each other.
TEST(FormatTableTest, CutsTheZerosThatAllValuesOfADecimalColumnHave) {
  QueryResult result{.columns = {{"price", "DECIMAL(24,14)", CellKind::kNumber},
                                 {"whole", "DECIMAL(38,8)", CellKind::kNumber},
                                 {"text", "VARCHAR", CellKind::kText}}};
  result.rows = {{"61837.63000000000000", "3.00000000", "1.50"}, {"0.50000000000000", std::nullopt, "2.00"}};
  result.row_count = 2;
  const std::string text = FormatTable(result);
  EXPECT_NE(text.find("│ 61837.63 │     3 │ 1.50 │"), std::string::npos) << text;
  EXPECT_NE(text.find("│     0.50 │  NULL │ 2.00 │"), std::string::npos) << text;
}

TEST(FormatTableTest, TurnsFewWideRowsOnTheirSide) {
  const std::string text = FormatTable(Wide(1), {.width = 30});
  EXPECT_NE(text.find("column │ 01234567890123456789…\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("shown"), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("1 row\n")) << text;
}

TEST(FormatTableTest, KeepsToTheWidth) {
  const QueryResult wide = Wide(4);
  const std::string text = FormatTable(wide, {.width = 60});
  size_t start = 0;
  for (size_t end = text.find('\n'); start < text.rfind("4 rows"); start = end + 1, end = text.find('\n', start)) {
    EXPECT_LE(DisplayWidth(text.substr(start, end - start)), 60);
  }
  EXPECT_NE(text.find("0123456…"), std::string::npos) << text;
  EXPECT_NE(text.find("5 of 12 columns shown"), std::string::npos) << text;
}

TEST(FormatTableTest, SendsNoControlCharacters) {
  const QueryResult result{{{"a", "VARCHAR", CellKind::kText}}, {{"\x1b[31mred\n\xff"}}, 1};
  const std::string text = FormatTable(result);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_NE(text.find("\\x1b[31mred\\n\uFFFD"), std::string::npos) << text;
}

TEST(FormatTableTest, WidthCountsWhatTheTerminalShows) {
  EXPECT_EQ(DisplayWidth("abc"), 3);
  EXPECT_EQ(DisplayWidth("é€"), 2);
  EXPECT_EQ(DisplayWidth("日本"), 4);
}

TEST(JsonRowsTest, EscapesAndKeepsDigits) {
  const std::vector<ResultColumn> columns = {{"a", "", CellKind::kText},
                                             {"a", "", CellKind::kNumber},
                                             {"b", "", CellKind::kNumber},
                                             {"c", "", CellKind::kBool},
                                             {"d", "", CellKind::kJson}};
  std::string out;
  JsonRows(columns).Append({"\"\\\x01\xc3(", "0.10000000", "nan", "true", "[1]"}, out);
  EXPECT_EQ(out, "{\"a\":\"\\\"\\\\\\u0001\uFFFD(\",\"a_1\":0.10000000,\"b\":null,\"c\":true,\"d\":[1]}");
}

TEST(CsvTest, TellsNullFromEmpty) {
  std::string out;
  AppendCsvRow({std::nullopt, "", "a", "b\"c", "d\ne"}, out);
  EXPECT_EQ(out, ",\"\",a,\"b\"\"c\",\"d\ne\"\r\n");
}

}  // namespace
}  // namespace k2::query
