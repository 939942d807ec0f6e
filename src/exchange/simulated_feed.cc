#include "exchange/simulated_feed.h"

namespace k2::exchange {
namespace {

void ReplaceValue(std::string& frame, std::string_view key, std::string_view value) {
  const size_t at = frame.find(key) + key.size();
  frame.replace(at, frame.find_first_of(",}", at) - at, value);
}

void RemoveField(std::string& frame, std::string_view key) {
  const size_t at = frame.find(key);
  frame.erase(at, frame.find(',', at) + 1 - at);
}

}  // namespace

void SpoilFrame(const SimulatedFeed& feed, uint64_t variant, uint64_t random, std::string& frame) {
  const std::span<const Corruption> corruptions = feed.corruptions;
  variant %= corruptions.size() + 3;
  if (variant < corruptions.size()) {
    const Corruption& corruption = corruptions[variant];
    corruption.value.empty() ? RemoveField(frame, corruption.key)
                             : ReplaceValue(frame, corruption.key, corruption.value);
  } else if (variant == corruptions.size()) {
    frame.resize(random % frame.size());  // cut anywhere, to nothing even
  } else if (variant == corruptions.size() + 1) {
    frame[frame.find("trade") + 8 + random % 16] = '\xff';
  } else {
    frame = "ping";
  }
}

}  // namespace k2::exchange
