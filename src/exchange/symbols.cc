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
