#include "query/symbol_choice.h"

#include <gtest/gtest.h>

namespace k2::query {
namespace {

TEST(SymbolChoice, FoldsWhatPeopleType) {
  for (const char* typed : {"BTCUSDT", "btcusdt", "BTC/USDT", "btc-usdt", "BTC_USDT", "Btc:Usdt", " btcusdt "}) {
    EXPECT_EQ(FoldSymbol(typed), "BTCUSDT") << typed;
  }
  EXPECT_EQ(FoldSymbol("XBT/USD"), "BTCUSD");
  EXPECT_EQ(FoldSymbol("xdg/eur"), "DOGEEUR");
  EXPECT_EQ(FoldSymbol("AAPLx/USD"), "AAPLXUSD");
  EXPECT_EQ(FoldSymbol("\xe5\xb8\x81usdt"), "\xe5\xb8\x81USDT");
}

TEST(SymbolChoice, SuggestsWhatIsNear) {
  const std::vector<std::string> known = {"BTCUSDT", "BTCUSD", "ETHUSDT", "ETHBTC", "SOLUSDT", "AAPLxUSD"};
  EXPECT_EQ(SimilarSymbols("btc", known), (std::vector<std::string>{"BTCUSD", "BTCUSDT"}));
  EXPECT_EQ(SimilarSymbols("BTC-USTD", known).front(), "BTCUSD");
  EXPECT_EQ(SimilarSymbols("EHTUSDT", known).front(), "ETHUSDT");
  EXPECT_EQ(SimilarSymbols("AAPL", known), (std::vector<std::string>{"AAPLxUSD"}));
  EXPECT_TRUE(SimilarSymbols("Q", known).empty());
  EXPECT_EQ(SimilarSymbols("", known).size(), 0U);
  EXPECT_EQ(SimilarSymbols("BTCUSDT", known, 1).size(), 1U);
}

}  // namespace
}  // namespace k2::query
