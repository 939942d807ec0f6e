#include "maintenance/commit_times.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace k2::maintenance {
namespace {

constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kAgePart = 16;

// Cuts a number and the character behind it off the text; false where there is none.
bool TakeNumber(std::string_view& text, char end, int64_t& value) {
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(at - text.data()));
  if (text.empty()) return end == ' ';
  if (text.front() != end) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

CommitTimes::CommitTimes(const iceberg::TableMetadata& metadata) {
  const auto note = [&](int64_t sequence_number, int64_t ms) {
    const auto [at, fresh] = ms_by_sequence_.try_emplace(sequence_number, ms);
    if (!fresh) at->second = std::min(at->second, ms);
  };
  for (const iceberg::Snapshot& snapshot : metadata.snapshots) {
    snapshot_ms_[snapshot.snapshot_id] = snapshot.timestamp_ms;
    note(snapshot.sequence_number, snapshot.timestamp_ms);
  }
  const auto found = metadata.properties.find(kCommitTimesKey);
  if (found == metadata.properties.end()) return;
  property_ = found->second;
  std::string_view text = property_;
  int64_t sequence_number = 0;
  int64_t ms = 0;
  while (TakeNumber(text, '@', sequence_number) && TakeNumber(text, ' ', ms)) {
    note(sequence_number, ms);
    newest_noted_ms_ = std::max(newest_noted_ms_, ms);
  }
}

CommitTimes::Time CommitTimes::Of(const table::ScanFile& file) const {
  const auto snapshot = snapshot_ms_.find(file.snapshot_id);
  if (snapshot != snapshot_ms_.end()) return {.us = snapshot->second * 1000, .exact = true};
  const auto reached = ms_by_sequence_.lower_bound(file.file_sequence_number);
  if (reached == ms_by_sequence_.end()) return {.us = std::numeric_limits<int64_t>::max(), .exact = false};
  return {.us = reached->second * 1000, .exact = false};
}

std::optional<std::string> CommitTimes::Renewed(int64_t now_ms) const {
  if (ms_by_sequence_.empty()) return std::nullopt;
  const int64_t newest_ms = ms_by_sequence_.rbegin()->second;
  if (newest_noted_ms_ != 0 && newest_ms - newest_noted_ms_ < kHourMs) return std::nullopt;
  std::vector<std::pair<int64_t, int64_t>> kept;  // newest first
  std::pair<int64_t, int64_t> last{0, 0};         // span of the one before
  for (auto at = ms_by_sequence_.rbegin(); at != ms_by_sequence_.rend(); ++at) {
    // Of each hour the newest time; of older ones, of each span of a power of two hours. The spans nest, so that what
    // is kept today is what will be kept tomorrow.
    int64_t span_ms = kHourMs;
    while (2 * span_ms * kAgePart <= now_ms - at->second) span_ms *= 2;
    const std::pair<int64_t, int64_t> span{span_ms, at->second / span_ms};
    if (span != last) kept.emplace_back(*at);
    last = span;
  }
  std::string text;
  for (auto at = kept.rbegin(); at != kept.rend(); ++at) {
    if (!text.empty()) text += ' ';
    text += fmt::format("{}@{}", at->first, at->second);
  }
  if (text == property_) return std::nullopt;
  return text;
}

}  // namespace k2::maintenance
