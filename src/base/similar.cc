#include "base/similar.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace k2 {

size_t EditDistance(std::string_view a, std::string_view b) {
  // Rows i - 2, i - 1 and i of the table of distances between the beginnings of both.
  std::vector<size_t> before(b.size() + 1);
  std::vector<size_t> last(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, changed});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::string Nearest(std::string_view typed, std::span<const std::string> known, bool beginnings) {
  constexpr size_t kLettersMax = 64;
  if (typed.size() > kLettersMax) return {};
  const size_t distance_max = typed.size() < 5 ? 1 : 2;  // two letters of three are another word
  std::string_view nearest;
  size_t distance = distance_max + 1;
  for (const std::string_view name : known) {
    if (name.size() > kLettersMax) continue;
    const bool begun = beginnings && typed.size() >= 2 && name.starts_with(typed);
    const size_t here = begun ? 1 : EditDistance(typed, name);
    if (here >= distance || here >= std::min(typed.size(), name.size())) continue;
    nearest = name;
    distance = here;
  }
  return std::string(nearest);
}

std::string DidYouMean(std::string_view typed, std::span<const std::string> known, std::string otherwise) {
  const std::string nearest = Nearest(typed, known);
  return nearest.empty() ? otherwise : fmt::format("did you mean '{}'?", nearest);
}

}  // namespace k2
