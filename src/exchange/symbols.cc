#include "exchange/symbols.h"

namespace k2 {
namespace {

// Quote assets of Binance spot, now and in the past, longest first: the first match is the longest.
constexpr std::string_view kBinanceQuotes[] = {
    "FDUSD", "RLUSD", "BFUSD", "USDT", "USDC", "TUSD", "BUSD", "USD1", "USDP", "USDS", "BIDR",
    "BVND",  "IDRT",  "BKRW",  "DOGE", "EURI", "BTC",  "ETH",  "BNB",  "EUR",  "TRY",  "BRL",
    "GBP",   "AUD",   "JPY",   "RUB",  "UAH",  "NGN",  "ZAR",  "PLN",  "RON",  "ARS",  "MXN",
    "CZK",   "COP",   "VAI",   "DAI",  "PAX",  "UST",  "TRX",  "XRP",  "SOL",  "DOT"};

std::string_view CommonName(std::string_view kraken_name) {
  if (kraken_name == "XBT") return "BTC";
  if (kraken_name == "XDG") return "DOGE";
  return kraken_name;
}

}  // namespace

bool SplitBinanceSymbol(std::string_view symbol, Assets& assets) {
  for (const std::string_view quote : kBinanceQuotes) {
    if (symbol.size() > quote.size() && symbol.ends_with(quote)) {
      assets = {.base = symbol.substr(0, symbol.size() - quote.size()), .quote = quote};
      return true;
    }
  }
  return false;
}

bool SplitKrakenPair(std::string_view pair, Assets& assets) {
  const size_t slash = pair.find('/');
  if (slash == std::string_view::npos || slash == 0 || slash + 1 == pair.size()) return false;
  const std::string_view quote = pair.substr(slash + 1);
  if (quote.find('/') != std::string_view::npos) return false;
  assets = {.base = CommonName(pair.substr(0, slash)), .quote = CommonName(quote)};
  return true;
}

}  // namespace k2
