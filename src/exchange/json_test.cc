#include "exchange/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

namespace k2::exchange::json {
namespace {

TEST(Json, ReadsScalarsAsText) {
  std::deque<std::string> scratch;
  Cursor cursor(R"([ "a\u00e4\ud83d\ude00\n\"" , -1.50e+3 ,true,false,null,{"k":[]},[[]] ])", scratch);
  ASSERT_TRUE(cursor.EnterArray());
  const std::pair<Kind, std::string_view> expected[] = {{Kind::kString, "a\xc3\xa4\xf0\x9f\x98\x80\n\""},
                                                        {Kind::kNumber, "-1.50e+3"},
                                                        {Kind::kBoolean, "true"},
                                                        {Kind::kBoolean, "false"},
                                                        {Kind::kNull, "null"},
                                                        {Kind::kObject, ""},
                                                        {Kind::kArray, ""}};
  for (const auto& [kind, text] : expected) {
    ASSERT_TRUE(cursor.NextElement());
    const Value value = cursor.Read();
    EXPECT_EQ(value.kind, kind);
    EXPECT_EQ(value.text, text);
  }
  EXPECT_FALSE(cursor.NextElement());
  EXPECT_TRUE(cursor.Finished());
}

TEST(Json, ParsesUnsignedNumbersInRange) {
  int64_t value = 0;
  EXPECT_TRUE(ParseUnsigned("9223372036854775807", value));
  EXPECT_EQ(value, INT64_MAX);
  for (const char* text : {"", "9223372036854775808", "01", "-1", "1.0", "1e3", " 1", "99999999999999999999"}) {
    EXPECT_FALSE(ParseUnsigned(text, value)) << text;
  }
}

// Numbers beyond double are JSON all the same: only nlohmann cannot hold them.
bool IsBeyondDouble(const std::string& text) {
  try {
    const auto parsed = nlohmann::json::parse(text);
    return parsed.is_discarded();
  } catch (const nlohmann::json::out_of_range&) {
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

// Texts a byte or two away from valid JSON: our verdict must be nlohmann's.
TEST(Json, AgreesWithAnotherParserOnBrokenTexts) {
  const std::string texts[] = {
      R"({"e":"trade","E":1723161255343,"s":"BTC\u0041","p":"0.1","n":[-0.5e-3,1E2,0],"m":true,"x":{"y":null,"z":[]}})",
      R"([993,[["354.04","0.28","1618678150.8","s","m",""],[]],"trade","XMR\/USD\t\\"])"};
  const auto seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  constexpr std::string_view kBytes = "{}[]:,\"\\ 0123456789.eE+-truefalsn/u\x01\x1f\n";
  int valid = 0;
  for (int i = 0; i < 30'000; ++i) {
    std::string text = texts[random() % 2];
    for (uint64_t changes = 1 + random() % 2; changes > 0; --changes) {
      const size_t at = random() % text.size();
      const char byte = kBytes[random() % kBytes.size()];
      switch (random() % 3) {
        case 0: text[at] = byte; break;
        case 1: text.insert(at, 1, byte); break;
        default: text.erase(at, 1);
      }
    }
    if (IsBeyondDouble(text)) continue;
    const bool accepted = nlohmann::json::accept(text) && (text[0] == '{' || text[0] == '[' || text[0] <= ' ');
    EXPECT_EQ(IsWholeContainer(text), accepted) << text;
    valid += accepted ? 1 : 0;
  }
  EXPECT_GT(valid, 1000);
}

TEST(Json, QuotesOnlyPrintableAscii) {
  EXPECT_EQ(Quoted("a\nb\xff"), "'a?b?'");
  EXPECT_EQ(Quoted(std::string(100, 'x')), "'" + std::string(64, 'x') + "...'");
}

}  // namespace
}  // namespace k2::exchange::json
