// Short texts, fast: UTF-8 checks, comparing and copying without a call for the lengths that ids and symbols have.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace k2::trade {

// Whether the bytes are well-formed UTF-8 (Unicode, table 3-7: no overlong forms, no surrogates, nothing above
// U+10FFFF).
bool IsUtf8(std::string_view text);
// The text with U+FFFD in the place of bytes that are not UTF-8: one for each maximal part of a broken sequence, as
// Java and the Unicode Standard (3.9) have it.
std::string ValidUtf8(std::string_view text);

namespace text_internal {

template <typename T>
T Load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}
template <typename T>
void Store(char* to, T value) {
  std::memcpy(to, &value, sizeof(value));
}

}  // namespace text_internal

inline constexpr uint64_t kNonAsciiBits = 0x8080808080808080;

// Copies the text and returns the bitwise or of its bytes, spread over the words they were copied by: with
// kNonAsciiBits it tells whether all was ASCII.
inline uint64_t CopyText(char* to, std::string_view text) {
  using text_internal::Load;
  using text_internal::Store;
  const char* from = text.data();
  const size_t size = text.size();
  if (size >= 8) {
    uint64_t bits = 0;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
      auto word = Load<uint64_t>(from + i);
      asm("" : "+r"(word));  // else gcc makes the loop a call of memmove, which costs more than it saves here
      bits |= word;
      Store(to + i, word);
    }
    const auto last = Load<uint64_t>(from + size - 8);  // overlaps the one before
    Store(to + size - 8, last);
    return bits | last;
  }
  if (size >= 4) {
    const auto first = Load<uint32_t>(from);
    const auto last = Load<uint32_t>(from + size - 4);
    Store(to, first);
    Store(to + size - 4, last);
    return first | last;
  }
  uint64_t bits = 0;
  for (size_t i = 0; i < size; ++i) {
    bits |= static_cast<uint8_t>(from[i]);
    to[i] = from[i];
  }
  return bits;
}

inline bool SameText(const char* a, const char* b, size_t size) {
  using text_internal::Load;
  if (size >= 8) {
    uint64_t difference = Load<uint64_t>(a + size - 8) ^ Load<uint64_t>(b + size - 8);
    for (size_t i = 0; i + 8 <= size; i += 8) difference |= Load<uint64_t>(a + i) ^ Load<uint64_t>(b + i);
    return difference == 0;
  }
  if (size >= 4) {
    return ((Load<uint32_t>(a) ^ Load<uint32_t>(b)) | (Load<uint32_t>(a + size - 4) ^ Load<uint32_t>(b + size - 4))) ==
           0;
  }
  for (size_t i = 0; i < size; ++i) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

// A hash for tables in memory; it is not kept anywhere.
inline uint64_t HashText(std::string_view text) {
  using text_internal::Load;
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
  uint64_t hash = text.size() * kMultiplier;
  const auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * kMultiplier;
    hash ^= hash >> 32;
  };
  const size_t size = text.size();
  if (size >= 8) {
    for (size_t i = 0; i + 8 <= size; i += 8) mix(Load<uint64_t>(text.data() + i));
    mix(Load<uint64_t>(text.data() + size - 8));
  } else {
    uint64_t word = 0;
    for (const char c : text) word = (word << 8) | static_cast<uint8_t>(c);
    mix(word);
  }
  return hash;
}

}  // namespace k2::trade
