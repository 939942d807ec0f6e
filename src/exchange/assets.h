// What a market trades: a symbol taken apart.
#pragma once

#include <string_view>

namespace k2::exchange {

struct Assets {
  std::string_view base;
  std::string_view quote;
};

// Of exchanges whose names of assets are the common ones.
constexpr std::string_view SameAsset(std::string_view asset) { return asset; }

}  // namespace k2::exchange
