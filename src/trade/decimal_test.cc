#include "trade/decimal.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace k2 {
namespace {

int64_t Exact(std::string_view text) {
  int64_t value = -987654321;
  EXPECT_EQ(ParseDecimal(text, value), DecimalStatus::kExact) << text;
  return value;
}

DecimalStatus StatusOf(std::string_view text) {
  int64_t value = 0;
  return ParseDecimal(text, value);
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

TEST(Decimal, RefusesWhatIsNoNumber) {
  for (const char* text : {"", "-", "+1", ".5", "1.", "01", "-01.5", "1e", "1e+", "1.5.2", "0x10", "NaN", "Infinity",
                           " 1", "1 ", "1,5", "--1", "1e1.5", "one"}) {
    EXPECT_EQ(StatusOf(text), DecimalStatus::kNotANumber) << "'" << text << "'";
  }
}

TEST(Decimal, FormatsAndReadsBack) {
  EXPECT_EQ(FormatDecimal(6183763000000), "61837.63000000");
  EXPECT_EQ(FormatDecimal(-1), "-0.00000001");
  const auto seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20000; ++i) {
    const int64_t value = static_cast<int64_t>(random() >> (random() % 60)) % 1'000'000'000'000'000'000;
    EXPECT_EQ(Exact(FormatDecimal(value)), value);
    EXPECT_EQ(Exact(FormatDecimal(-value)), -value);
  }
}

}  // namespace
}  // namespace k2
