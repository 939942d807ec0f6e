// A limit on how deep JSON nests, before nlohmann::json reads it: it copies and prints by recursion.
#pragma once

#include <string_view>

namespace k2::avro {

inline constexpr int kMaxJsonDepth = 256;

// Whether brackets nest deeper than kMaxJsonDepth; of text that need not be JSON.
bool NestsTooDeep(std::string_view text);

}  // namespace k2::avro
