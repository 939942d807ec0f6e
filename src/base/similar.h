// What somebody meant who typed a name that there is not.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace k2 {

// Letters to change, add, leave out or swap with their neighbour to come from one to the other (Damerau-Levenshtein,
// each place edited once).
size_t EditDistance(std::string_view a, std::string_view b);

// The one of `known` that is nearest to what was typed: at most two letters away (one, of a short word), or, with
// `beginnings`, begun with it. Empty: none is.
std::string Nearest(std::string_view typed, std::span<const std::string> known, bool beginnings = true);

// "did you mean 'NAME'?", or `otherwise` where none is near.
std::string DidYouMean(std::string_view typed, std::span<const std::string> known, std::string otherwise);

}  // namespace k2
