// Symbols of exchanges, taken apart into base and quote asset.
#pragma once

#include <string_view>

namespace k2 {

struct Assets {
  std::string_view base;
  std::string_view quote;
};

// Binance writes BTCUSDT. Where a known quote asset at the end leaves a known asset before it, they are the two: the
// longest such base, as BNB of BNBUSD, which is not BN/BUSD. Else the quote asset is told only where the symbol can end
// with no other one. False, and nothing is guessed, for all else.
bool SplitBinanceSymbol(std::string_view symbol, Assets& assets);

// Whether a symbol is a contract of Binance's futures or options: BTCUSDT_260327, BTCUSD_PERP, BTC-260327-90000-C.
// Names of the spot market have neither end.
bool IsBinanceContract(std::string_view symbol);

// Kraken writes XBT/USD or BTC/USD: with its own names for two assets (XBT is BTC, XDG is DOGE) put right. False
// without exactly one slash between two names.
bool SplitKrakenPair(std::string_view pair, Assets& assets);

}  // namespace k2
