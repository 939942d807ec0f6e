#include "trade/text.h"

namespace k2 {
namespace {

bool Continues(std::string_view text, size_t at, uint8_t low = 0x80, uint8_t high = 0xbf) {
  return at < text.size() && static_cast<uint8_t>(text[at]) >= low && static_cast<uint8_t>(text[at]) <= high;
}

// Length of the well-formed sequence that begins at a byte above 0x7f, or 0.
size_t SequenceSize(std::string_view text, size_t at) {
  const auto lead = static_cast<uint8_t>(text[at]);
  if (lead >= 0xc2 && lead <= 0xdf) return Continues(text, at + 1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    const uint8_t low = lead == 0xe0 ? 0xa0 : 0x80;
    const uint8_t high = lead == 0xed ? 0x9f : 0xbf;
    return Continues(text, at + 1, low, high) && Continues(text, at + 2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const uint8_t low = lead == 0xf0 ? 0x90 : 0x80;
    const uint8_t high = lead == 0xf4 ? 0x8f : 0xbf;
    return Continues(text, at + 1, low, high) && Continues(text, at + 2) && Continues(text, at + 3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

bool IsUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    if (i + 8 <= text.size() && (text_internal::Load<uint64_t>(text.data() + i) & kNonAsciiBits) == 0) {
      i += 8;
    } else if (static_cast<uint8_t>(text[i]) < 0x80) {
      ++i;
    } else {
      const size_t size = SequenceSize(text, i);
      if (size == 0) return false;
      i += size;
    }
  }
  return true;
}

}  // namespace k2
