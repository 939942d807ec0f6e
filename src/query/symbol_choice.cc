#include "query/symbol_choice.h"

#include <algorithm>
#include <utility>

#include "base/similar.h"
#include "exchange/registry.h"

namespace k2::query {
std::string FoldSymbol(std::string_view text) {
  std::string folded;
  std::string asset;
  const auto take = [&] {
    std::string_view name = asset;
    for (const exchange::Exchange* exchange : exchange::Exchanges()) name = exchange->common_asset(name);
    folded += name;
    asset.clear();
  };
  for (const char c : text) {
    if (c == '/' || c == '-' || c == '_' || c == ' ' || c == ':') {
      take();
    } else {
      asset += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
  }
  take();
  return folded;
}

std::vector<std::string> SimilarSymbols(std::string_view typed, const std::vector<std::string>& known,
                                        size_t count_max) {
  const std::string wanted = FoldSymbol(typed).substr(0, 64);
  std::vector<std::pair<size_t, std::string_view>> near;
  for (const std::string& symbol : known) {
    const std::string folded = FoldSymbol(symbol).substr(0, 64);
    const size_t distance = EditDistance(wanted, folded);
    const bool begins = wanted.size() >= 2 && (folded.starts_with(wanted) || wanted.starts_with(folded));
    if (begins) {
      near.emplace_back(1, symbol);
    } else if (distance <= std::max<size_t>(2, wanted.size() / 3) && distance < wanted.size()) {
      near.emplace_back(distance, symbol);
    }
  }
  std::ranges::sort(near);
  std::vector<std::string> names;
  for (const auto& [distance, symbol] : near) {
    if (names.size() < count_max) names.emplace_back(symbol);
  }
  return names;
}

}  // namespace k2::query
