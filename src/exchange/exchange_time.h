// Times as exchanges write them, to microseconds since 1970. Fractions beyond microseconds are cut (floor).
#pragma once

#include <cstdint>
#include <string_view>

namespace k2::exchange {

// Digits of milliseconds or microseconds: Binance sends either, as the stream was opened (timeUnit). Told apart by
// size: below 10^14 they are milliseconds (until the year 5138), from there microseconds (since 1973). False for other
// text, and beyond the year 9999.
bool ParseEpochTime(std::string_view digits, int64_t& micros);

// "1618678142.557535": seconds and a fraction of any length or none (Kraken v1).
bool ParseEpochSeconds(std::string_view text, int64_t& micros);

}  // namespace k2::exchange
