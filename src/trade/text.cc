#include "trade/text.h"

namespace k2::trade {
namespace {

bool Continues(std::string_view text, size_t at, uint8_t low = 0x80, uint8_t high = 0xbf) {
  return at < text.size() && static_cast<uint8_t>(text[at]) >= low && static_cast<uint8_t>(text[at]) <= high;
}

// Of the sequence that begins at a byte above 0x7f.
struct Sequence {
  size_t size = 1;  // of its well-formed part
  bool whole = false;
};

Sequence SequenceAt(std::string_view text, size_t at) {
  const auto lead = static_cast<uint8_t>(text[at]);
  if (lead < 0xc2 || lead > 0xf4) return {};
  size_t size = 2;
  uint8_t low = 0x80;
  uint8_t high = 0xbf;
  if (lead >= 0xf0) {
    size = 4;
    low = lead == 0xf0 ? 0x90 : 0x80;
    high = lead == 0xf4 ? 0x8f : 0xbf;
  } else if (lead >= 0xe0) {
    size = 3;
    low = lead == 0xe0 ? 0xa0 : 0x80;
    high = lead == 0xed ? 0x9f : 0xbf;
  }
  if (!Continues(text, at + 1, low, high)) return {};
  size_t good = 2;
  while (good < size && Continues(text, at + good)) ++good;
  return {.size = good, .whole = good == size};
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
      const Sequence sequence = SequenceAt(text, i);
      if (!sequence.whole) return false;
      i += sequence.size;
    }
  }
  return true;
}

std::string ValidUtf8(std::string_view text) {
  if (IsUtf8(text)) return std::string(text);
  std::string valid;
  for (size_t i = 0; i < text.size();) {
    const bool ascii = static_cast<uint8_t>(text[i]) < 0x80;
    const Sequence sequence = ascii ? Sequence{.size = 1, .whole = true} : SequenceAt(text, i);
    valid += sequence.whole ? text.substr(i, sequence.size) : std::string_view("\xef\xbf\xbd");
    i += sequence.size;
  }
  return valid;
}

}  // namespace k2::trade
