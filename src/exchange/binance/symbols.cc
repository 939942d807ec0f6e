#include <algorithm>
#include <array>
#include <span>

#include "exchange/binance/assets.h"
#include "exchange/binance/binance.h"

namespace k2::exchange {
namespace {

// Too short to be told by themselves: other assets end with them.
bool NeedsKnownBase(std::string_view quote) { return quote == "USD" || quote == "U"; }

bool IsDate(std::string_view text) {
  return text.size() == 6 && text.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

bool IsBinanceContract(std::string_view symbol) {
  if (const size_t at = symbol.rfind('_'); at != std::string_view::npos && at > 0) {
    const std::string_view end = symbol.substr(at + 1);
    if (end == "PERP" || IsDate(end)) return true;
  }
  if (!symbol.ends_with("-C") && !symbol.ends_with("-P")) return false;
  const size_t date = symbol.find('-');
  return date > 0 && date + 8 < symbol.size() && symbol[date + 7] == '-' && IsDate(symbol.substr(date + 1, 6));
}

bool SplitBinanceSymbol(std::string_view symbol, Assets& assets) {
  std::array<Assets, 4> cuts;
  size_t count = 0;
  for (const std::string_view quote : kBinanceQuotes) {
    if (symbol.size() <= quote.size() || !symbol.ends_with(quote)) continue;
    if (count < cuts.size()) cuts[count++] = {.base = symbol.substr(0, symbol.size() - quote.size()), .quote = quote};
  }
  if (count == 0) return false;
  if (count == 1 && !NeedsKnownBase(cuts[0].quote)) {
    assets = cuts[0];
    return true;
  }
  const Assets* longest = nullptr;
  for (const Assets& cut : std::span(cuts).first(count)) {
    if (!std::ranges::binary_search(kBinanceAssets, cut.base)) continue;
    if (longest == nullptr || cut.base.size() > longest->base.size()) longest = &cut;
  }
  if (longest == nullptr) return false;
  assets = *longest;
  return true;
}

}  // namespace k2::exchange
