// Exact decimals: text or JSON number digits to an unscaled integer, and back. No floating point anywhere.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/int128.h"

namespace k2::trade {

// decimal(precision, scale): the unscaled value counts units of 10^-scale and has at most `precision` digits.
struct DecimalType {
  int precision;
  int scale;
};

// What prices and quantities are, in messages and tables. Markets have prices of 13 decimals, and quantities of eleven
// digits before the point. A product of the two is decimal(38,22) and fits 128 bits.
inline constexpr DecimalType kPriceType = {.precision = 24, .scale = 14};
inline constexpr DecimalType kQuantityType = {.precision = 24, .scale = 8};
// What both were until TradeV2 (docs/tables.md, "The older format").
inline constexpr DecimalType kNumberTypeOfV2 = {.precision = 18, .scale = 8};

constexpr Int128 PowerOfTen(int exponent) {
  Int128 power = 1;
  for (int i = 0; i < exponent; ++i) power *= 10;
  return power;
}

// |unscaled value| is less.
constexpr Int128 LimitOf(DecimalType type) { return PowerOfTen(type.precision); }

// Whether a value of one scale is one of another type, too: nothing is rounded.
constexpr bool FitsExactly(Int128 unscaled, int scale, DecimalType type) {
  if (scale > type.scale) {
    const Int128 factor = PowerOfTen(scale - type.scale);
    if (unscaled % factor != 0) return false;
    unscaled /= factor;
  } else {
    const Int128 limit = LimitOf(type) / PowerOfTen(type.scale - scale);
    return unscaled < limit && unscaled > -limit;
  }
  return unscaled < LimitOf(type) && unscaled > -LimitOf(type);
}

enum class DecimalStatus : uint8_t {
  kExact,
  kNotANumber,  // not a number of the JSON grammar (RFC 8259 section 6)
  kOutOfRange,  // a number that the type cannot hold exactly
};

// Reads a number of the JSON grammar, of any length and with any exponent, into units of the type's scale. The result
// is exact or refused: digits beyond the scale must be zeros, and the value must be below the type's limit. `unscaled`
// is set only with kExact.
DecimalStatus ParseDecimal(std::string_view text, DecimalType type, Int128& unscaled);

// The value with all decimals of its scale: "61837.63000000", "-0.00000001" at scale 8.
std::string FormatDecimal(Int128 unscaled, int scale);

}  // namespace k2::trade
