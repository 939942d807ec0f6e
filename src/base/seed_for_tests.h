// The seed of a test that draws at random: K2_SEED where it is set. What fails must tell it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>

namespace k2 {

inline uint64_t SeedForTests() {
  const char* set = std::getenv("K2_SEED");
  return set != nullptr ? std::strtoull(set, nullptr, 10) : std::random_device{}();
}

}  // namespace k2
