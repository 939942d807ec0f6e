#include "query/candles.h"

#include <gtest/gtest.h>

#include <vector>

#include "query/result.h"

namespace k2::query {
namespace {

constexpr int64_t kStart = 1'723'075'200'000'000;  // 2024-08-08T00:00:00Z
constexpr int64_t kMinute = 60'000'000;

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t start = 0, end = text.find('\n'); end != std::string::npos;
       start = end + 1, end = text.find('\n', start)) {
    lines.push_back(text.substr(start, end - start));
  }
  return lines;
}

TEST(DrawCandlesTest, DrawsBodiesAndWicks) {
  // Four rows of two half cells, prices 0 to 8. The first rises from 2 to 6 within 0 to 8, the second falls.
  const std::vector<Candle> candles = {{kStart, 2, 8, 0, 5.5, 10}, {kStart + kMinute, 5.5, 6, 2, 3, 5}};
  EXPECT_EQ(DrawCandles(candles, {.width = 40, .height = 6}),
            "│╷ ┤ 7.00\n"
            "┃╏ │\n"
            "┃╿ │\n"
            "│  ┤ 1.00\n"
            "█▄ vol 10\n"
            "00:00\n");
}

TEST(DrawCandlesTest, KeepsToWidthAndHeight) {
  std::vector<Candle> candles;
  for (int i = 0; i < 1440; ++i) {
    const double price = 60000 + 100 * (i % 37) - 50 * (i % 11);
    candles.push_back({kStart + i * kMinute, price, price + 40, price - 40, price + 10 * (i % 3 - 1), 1.0 * i});
  }
  for (const int width : {20, 60, 133}) {
    const auto lines = Lines(DrawCandles(candles, {.width = width, .height = 24, .title = "BTCUSDT"}));
    EXPECT_EQ(lines.size(), 24U);
    for (const auto& line : lines) EXPECT_LE(DisplayWidth(line), width) << line;
  }
}

TEST(DrawCandlesTest, JoinsNeighboursThatDoNotFit) {
  std::vector<Candle> candles;
  for (int i = 0; i < 100; ++i) candles.push_back({kStart + i * kMinute, 1, 2, 1, 2, 1});
  candles[99].high = 5;  // the highest price is drawn wherever it comes
  const auto lines = Lines(DrawCandles(candles, {.width = 30, .height = 10}));
  EXPECT_NE(lines[0].find("│"), std::string::npos) << lines[0];
  EXPECT_LE(DisplayWidth(lines[1]), 30);
}

TEST(DrawCandlesTest, ColoursOnlyWhenAsked) {
  const std::vector<Candle> candles = {{kStart, 1, 2, 1, 2, 1}, {kStart + kMinute, 2, 2, 1, 1, 1}};
  EXPECT_EQ(DrawCandles(candles, {}).find('\x1b'), std::string::npos);
  const std::string coloured = DrawCandles(candles, {.colour = true});
  EXPECT_NE(coloured.find("\x1b[32m"), std::string::npos);
  EXPECT_NE(coloured.find("\x1b[31m"), std::string::npos);
  for (const auto& line : Lines(coloured)) {
    EXPECT_EQ(line.find('\x1b') == std::string::npos, line.find("\x1b[0m") == std::string::npos) << line;
  }
}

TEST(DrawCandlesTest, StandsOddInput) {
  EXPECT_EQ(DrawCandles({}, {.title = "X"}), "X\nno candles: no trades in this period\n");
  const std::vector<Candle> flat = {{kStart, 5, 5, 5, 5, 0}};
  EXPECT_NE(DrawCandles(flat, {.width = 1, .height = 1}).find("┤"), std::string::npos);
  const std::vector<Candle> tiny = {{kStart, 1e-8, 2e-8, 1e-8, 2e-8, 1}};
  EXPECT_NE(DrawCandles(tiny, {}).find("0.0000000"), std::string::npos);
}

}  // namespace
}  // namespace k2::query
