#include "trade/decimal.h"

#include <fmt/format.h>

#include "trade/trade_schema.h"

namespace k2 {
namespace {

constexpr int64_t kPowersOfTen[] = {1,
                                    10,
                                    100,
                                    1'000,
                                    10'000,
                                    100'000,
                                    1'000'000,
                                    10'000'000,
                                    100'000'000,
                                    1'000'000'000,
                                    10'000'000'000,
                                    100'000'000'000,
                                    1'000'000'000'000,
                                    10'000'000'000'000,
                                    100'000'000'000'000,
                                    1'000'000'000'000'000,
                                    10'000'000'000'000'000,
                                    100'000'000'000'000'000};
constexpr int64_t kMaxDigits = kTradeDecimalPrecision;
static_assert(sizeof kPowersOfTen / sizeof kPowersOfTen[0] == kMaxDigits);

// Beyond this an exponent cannot bring any text that fits in memory back into range; it only must not overflow.
constexpr int64_t kExponentLimit = int64_t{1} << 40;

constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The significant digits of a number without their trailing zeros, so that `value` x 10^`trailing_zeros` is what was
// read. More than 18 of them cannot be held at any scale.
class Significand {
 public:
  void Add(char c) {
    const int64_t digit = c - '0';
    if (digit == 0) {
      trailing_zeros_ += count_ > 0 ? 1 : 0;
      return;
    }
    count_ += trailing_zeros_ + 1;
    if (count_ > kMaxDigits) return;
    value_ = trailing_zeros_ == 0 ? value_ * 10 + digit : value_ * 10 * kPowersOfTen[trailing_zeros_] + digit;
    trailing_zeros_ = 0;
  }
  [[nodiscard]] int64_t value() const { return value_; }
  [[nodiscard]] int64_t count() const { return count_; }
  [[nodiscard]] int64_t trailing_zeros() const { return trailing_zeros_; }

 private:
  int64_t value_ = 0;
  int64_t count_ = 0;
  int64_t trailing_zeros_ = 0;
};

// Reads `e+12` at p; false when there is an `e` without digits.
bool ReadExponent(const char*& p, const char* end, int64_t& exponent) {
  exponent = 0;
  if (p == end || (*p != 'e' && *p != 'E')) return true;
  ++p;
  const bool negative = p != end && *p == '-';
  if (p != end && (*p == '-' || *p == '+')) ++p;
  if (p == end || !IsDigit(*p)) return false;
  for (; p != end && IsDigit(*p); ++p) {
    if (exponent < kExponentLimit) exponent = exponent * 10 + (*p - '0');
  }
  if (negative) exponent = -exponent;
  return true;
}

}  // namespace

DecimalStatus ParseDecimal(std::string_view text, int64_t& unscaled) {
  const char* p = text.data();
  const char* const end = p + text.size();
  const bool negative = p != end && *p == '-';
  if (negative) ++p;
  if (p == end || !IsDigit(*p)) return DecimalStatus::kNotANumber;
  if (*p == '0' && p + 1 != end && IsDigit(p[1])) return DecimalStatus::kNotANumber;
  Significand digits;
  for (; p != end && IsDigit(*p); ++p) digits.Add(*p);
  int64_t fraction_digits = 0;
  if (p != end && *p == '.') {
    const char* const first = ++p;
    for (; p != end && IsDigit(*p); ++p) digits.Add(*p);
    fraction_digits = p - first;
    if (fraction_digits == 0) return DecimalStatus::kNotANumber;
  }
  int64_t exponent = 0;
  if (!ReadExponent(p, end, exponent) || p != end) return DecimalStatus::kNotANumber;
  if (digits.count() == 0) {
    unscaled = 0;
    return DecimalStatus::kExact;
  }
  const int64_t shift = exponent - fraction_digits + digits.trailing_zeros() + kTradeDecimalScale;
  if (shift < 0 || digits.count() + shift > kMaxDigits) return DecimalStatus::kOutOfRange;
  const int64_t magnitude = digits.value() * kPowersOfTen[shift];
  unscaled = negative ? -magnitude : magnitude;
  return DecimalStatus::kExact;
}

std::string FormatDecimal(int64_t unscaled) {
  const uint64_t magnitude = unscaled < 0 ? 0 - static_cast<uint64_t>(unscaled) : static_cast<uint64_t>(unscaled);
  return fmt::format("{}{}.{:08}", unscaled < 0 ? "-" : "", magnitude / 100'000'000, magnitude % 100'000'000);
}

}  // namespace k2
