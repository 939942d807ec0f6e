#include "trade/decimal.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace k2::trade {
namespace {

Int128 Exact(std::string_view text, DecimalType type = kNumberTypeOfV2) {
  Int128 value = -987654321;
  EXPECT_EQ(ParseDecimal(text, type, value), DecimalStatus::kExact) << text;
  return value;
}

DecimalStatus StatusOf(std::string_view text, DecimalType type = kNumberTypeOfV2) {
  Int128 value = 0;
  return ParseDecimal(text, type, value);
}

TEST(Decimal, ReadsPlainNumbersExactly) {
  EXPECT_EQ(Exact("61837.63000000"), 6183763000000);
  EXPECT_EQ(Exact("0.1"), 10000000);
  EXPECT_EQ(Exact("10780"), 1078000000000);
  EXPECT_EQ(Exact("-0.00000001"), -1);
  EXPECT_EQ(Exact("9999999999.99999999"), 999999999999999999);
  EXPECT_EQ(Exact("-9999999999.99999999"), -999999999999999999);
  EXPECT_EQ(Exact("0"), 0);
  EXPECT_EQ(Exact("-0.000"), 0);
  EXPECT_EQ(Exact("1000.0005"), 100000050000);
}

TEST(Decimal, ReadsExponents) {
  EXPECT_EQ(Exact("1e-8"), 1);
  EXPECT_EQ(Exact("2.5E-7"), 25);
  EXPECT_EQ(Exact("1.5e+3"), 150000000000);
  EXPECT_EQ(Exact("100e-10"), 1);
  EXPECT_EQ(Exact("0e999999999999999999999999"), 0);
  EXPECT_EQ(Exact("0.00000000000000000001e20"), 100000000);
}

TEST(Decimal, ReadsAnyDigitCount) {
  EXPECT_EQ(Exact("1." + std::string(5000, '0')), 100000000);
  EXPECT_EQ(Exact("0." + std::string(4999, '0') + "1e5000"), 100000000);
  EXPECT_EQ(Exact("1" + std::string(5000, '0') + "e-5000"), 100000000);
}

TEST(Decimal, RefusesWhatItCannotHold) {
  for (const char* text : {"0.000000001", "1.123456789", "10000000000", "1e10", "99999999999", "1e-9", "1e400",
                           "1e-400", "1e99999999999999999999", "1e-99999999999999999999",
                           "123456789012345678901234567890", "0.1234567890123456789", "9999999999.999999999"}) {
    EXPECT_EQ(StatusOf(text), DecimalStatus::kOutOfRange) << text;
  }
}

// Prices and quantities of real markets that decimal(18,8) cannot hold.
TEST(Decimal, ReadsWhatMarketsHave) {
  EXPECT_EQ(Exact("61837.63", kPriceType), Int128{6183763} * PowerOfTen(12));
  EXPECT_EQ(Exact("0.0000000001234", kPriceType), 12340);
  EXPECT_EQ(Exact("46116860414", kQuantityType), Int128{46116860414} * PowerOfTen(8));
  EXPECT_EQ(Exact("9999999999.99999999999999", kPriceType), PowerOfTen(24) - 1);
  EXPECT_EQ(Exact("-9999999999.99999999999999", kPriceType), 1 - PowerOfTen(24));
  EXPECT_EQ(Exact("9999999999999999.99999999", kQuantityType), PowerOfTen(24) - 1);
  EXPECT_EQ(Exact("1000000000000000.00000001", kQuantityType), PowerOfTen(23) + 1);
  EXPECT_EQ(Exact("123456789000000000000e-12", kPriceType), Int128{123456789} * PowerOfTen(14));
  for (const char* text :
       {"0.000000000000001", "1.1e-14", "10000000000", "1e10", "1.000000000000001", "9999999999.999999999999995"}) {
    EXPECT_EQ(StatusOf(text, kPriceType), DecimalStatus::kOutOfRange) << text;
  }
  EXPECT_EQ(StatusOf("10000000000000000", kQuantityType), DecimalStatus::kOutOfRange);
  EXPECT_EQ(StatusOf("0.000000001", kQuantityType), DecimalStatus::kOutOfRange);
}

TEST(Decimal, FitsExactlyOrNot) {
  constexpr DecimalType kNarrow = kNumberTypeOfV2;
  EXPECT_TRUE(FitsExactly(PowerOfTen(24) - PowerOfTen(6), 14, kNarrow));
  EXPECT_FALSE(FitsExactly(PowerOfTen(24) - 1, 14, kNarrow));
  EXPECT_TRUE(FitsExactly(PowerOfTen(18) - 1, 8, kNarrow));
  EXPECT_FALSE(FitsExactly(PowerOfTen(18), 8, kNarrow));
  EXPECT_FALSE(FitsExactly(-PowerOfTen(18), 8, kNarrow));
  EXPECT_TRUE(FitsExactly(1 - PowerOfTen(18), 8, kPriceType));
  EXPECT_FALSE(FitsExactly(PowerOfTen(18), 8, kPriceType));
}

TEST(Decimal, RefusesWhatIsNoNumber) {
  for (const char* text : {"", "-", "+1", ".5", "1.", "01", "-01.5", "1e", "1e+", "1.5.2", "0x10", "NaN", "Infinity",
                           " 1", "1 ", "1,5", "--1", "1e1.5", "one"}) {
    EXPECT_EQ(StatusOf(text), DecimalStatus::kNotANumber) << "'" << text << "'";
  }
}

TEST(Decimal, FormatsAndReadsBack) {
  EXPECT_EQ(FormatDecimal(6183763000000, 8), "61837.63000000");
  EXPECT_EQ(FormatDecimal(-1, 8), "-0.00000001");
  const auto seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20000; ++i) {
    const int64_t value = static_cast<int64_t>(random() >> (random() % 60)) % 1'000'000'000'000'000'000;
    EXPECT_EQ(Exact(FormatDecimal(value, 8)), value);
    EXPECT_EQ(Exact(FormatDecimal(-value, 8)), -value);
    const Int128 wide = Int128{value} * static_cast<int64_t>(random() % 1'000'000);
    EXPECT_EQ(Exact(FormatDecimal(wide, 14), kPriceType), wide);
    EXPECT_EQ(Exact(FormatDecimal(-wide, 8), kQuantityType), -wide);
  }
}

}  // namespace
}  // namespace k2::trade
