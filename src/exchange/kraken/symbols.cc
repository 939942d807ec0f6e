#include "exchange/kraken/kraken.h"

namespace k2::exchange {

std::string_view CommonKrakenAsset(std::string_view asset) {
  if (asset == "XBT") return "BTC";
  if (asset == "XDG") return "DOGE";
  return asset;
}

bool SplitKrakenPair(std::string_view pair, Assets& assets) {
  const size_t slash = pair.find('/');
  if (slash == std::string_view::npos || slash == 0 || slash + 1 == pair.size()) return false;
  const std::string_view quote = pair.substr(slash + 1);
  if (quote.find('/') != std::string_view::npos) return false;
  assets = {.base = CommonKrakenAsset(pair.substr(0, slash)), .quote = CommonKrakenAsset(quote)};
  return true;
}

}  // namespace k2::exchange
