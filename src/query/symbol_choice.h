// Which symbol of a table is meant by what somebody typed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace k2::query {

// Capital letters, without what stands between the two assets, exchanges' own names of assets put right: btcusdt,
// BTC/USDT, BTC-USDT and BTC_USDT are BTCUSDT, XBT/USD is BTCUSD. Letters beyond ASCII stay.
std::string FoldSymbol(std::string_view text);

// Those of `known` that come nearest to what was typed, best first: its own beginnings and ends, and few wrong letters.
std::vector<std::string> SimilarSymbols(std::string_view typed, const std::vector<std::string>& known,
                                        size_t count_max = 5);

}  // namespace k2::query
