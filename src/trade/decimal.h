// Exact decimals at scale 8: text or JSON number digits to an unscaled integer, and back. No floating point anywhere.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace k2 {

enum class DecimalStatus : uint8_t {
  kExact,
  kNotANumber,  // not a number of the JSON grammar (RFC 8259 section 6)
  kOutOfRange,  // a number that decimal(18,8) cannot hold exactly
};

// Reads a number of the JSON grammar, of any length and with any exponent, into units of 10^-8. The result is exact
// or refused: digits beyond the eighth decimal must be zeros, and |value| must be below 10^10. `unscaled` is set only
// with kExact.
DecimalStatus ParseDecimal(std::string_view text, int64_t& unscaled);

// The value with all eight decimals: "61837.63000000", "-0.00000001".
std::string FormatDecimal(int64_t unscaled);

}  // namespace k2
