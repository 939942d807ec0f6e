// Symbols of exchanges, taken apart into base and quote asset.
#pragma once

#include <string_view>

namespace k2 {

struct Assets {
  std::string_view base;
  std::string_view quote;
};

// Binance writes BTCUSDT: the quote asset is the longest known one that the symbol ends with. False when none is, or
// nothing is left for the base.
bool SplitBinanceSymbol(std::string_view symbol, Assets& assets);

// Whether a symbol is a contract of Binance's futures or options: BTCUSDT_260327, BTCUSD_PERP, BTC-260327-90000-C. Names
// of the spot market have neither end.
bool IsBinanceContract(std::string_view symbol);

// Kraken writes XBT/USD or BTC/USD: with its own names for two assets (XBT is BTC, XDG is DOGE) put right. False
// without exactly one slash between two names.
bool SplitKrakenPair(std::string_view pair, Assets& assets);

}  // namespace k2
