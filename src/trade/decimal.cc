#include "trade/decimal.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace k2::trade {
namespace {

constexpr int kMaxDigits = 24;  // of the widest type
static_assert(kPriceType.precision <= kMaxDigits && kQuantityType.precision <= kMaxDigits);
constexpr int kNarrowDigits = 18;  // that 64 bits hold

constexpr auto kPowersOfTen = [] {
  std::array<Int128, kMaxDigits + 1> powers{};
  for (int i = 0; i <= kMaxDigits; ++i) powers[static_cast<size_t>(i)] = PowerOfTen(i);
  return powers;
}();
constexpr auto kNarrowPowersOfTen = [] {
  std::array<int64_t, kNarrowDigits + 1> powers{};
  for (int i = 0; i <= kNarrowDigits; ++i) powers[static_cast<size_t>(i)] = static_cast<int64_t>(PowerOfTen(i));
  return powers;
}();

// Beyond this an exponent cannot bring any text that fits in memory back into range; it only must not overflow.
constexpr int64_t kExponentLimit = int64_t{1} << 40;

constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The significant digits of a number without their trailing zeros, so that `value` x 10^`trailing_zeros` is what was
// read. More than kMaxDigits of them cannot be held at any scale.
class Significand {
 public:
  void Add(char c) {
    const int64_t digit = c - '0';
    if (digit == 0) {
      trailing_zeros_ += count_ > 0 ? 1 : 0;
      return;
    }
    const int64_t zeros = std::exchange(trailing_zeros_, 0);
    count_ += zeros + 1;
    if (count_ <= kNarrowDigits) [[likely]] {
      narrow_ =
          zeros == 0 ? narrow_ * 10 + digit : narrow_ * 10 * kNarrowPowersOfTen[static_cast<size_t>(zeros)] + digit;
    } else if (count_ <= kMaxDigits) {
      if (wide_ == 0) wide_ = narrow_;
      wide_ = wide_ * kPowersOfTen[static_cast<size_t>(zeros + 1)] + digit;
    }
  }
  [[nodiscard]] Int128 value() const { return count_ <= kNarrowDigits ? narrow_ : wide_; }
  [[nodiscard]] int64_t count() const { return count_; }
  [[nodiscard]] int64_t trailing_zeros() const { return trailing_zeros_; }

 private:
  int64_t narrow_ = 0;
  Int128 wide_ = 0;  // once there are more than kNarrowDigits
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

DecimalStatus ParseDecimal(std::string_view text, DecimalType type, Int128& unscaled) {
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
  const int64_t shift = exponent - fraction_digits + digits.trailing_zeros() + type.scale;
  if (shift < 0 || digits.count() + shift > type.precision) return DecimalStatus::kOutOfRange;
  const Int128 magnitude = digits.value() * kPowersOfTen[static_cast<size_t>(shift)];
  unscaled = negative ? -magnitude : magnitude;
  return DecimalStatus::kExact;
}

std::string FormatDecimal(Int128 unscaled, int scale) {
  const UInt128 magnitude = unscaled < 0 ? 0 - static_cast<UInt128>(unscaled) : static_cast<UInt128>(unscaled);
  const auto unit = static_cast<UInt128>(PowerOfTen(scale));
  std::string fraction = fmt::format("{}", magnitude % unit);
  fraction.insert(0, static_cast<size_t>(scale) - fraction.size(), '0');
  return fmt::format("{}{}.{}", unscaled < 0 ? "-" : "", magnitude / unit, fraction);
}

}  // namespace k2::trade
