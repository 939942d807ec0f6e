#include "pipeline/nothing_taken.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/log.h"

namespace k2::pipeline {
namespace {

// What most often lies behind a reason that all rows are rejected for. Others have no cause that stands out.
struct LikelyCause {
  std::string_view reason;
  std::string_view cause;
};
constexpr LikelyCause kLikelyCauses[] = {
    {"frame_bad_time",
     "a recording's line begins with the receive time in nanoseconds since 1970 (19 digits) and a space: is it in "
     "another unit (us, ms, s) or form?"},
    {"frame_other_market",
     "these are trades of futures or options: K2 reads spot trades, which exchanges serve at other addresses"},
    {"frame_not_json",
     "a line is a receive time, a space and the frame as it was received: is it wrapped or truncated?"},
    {"exchange_mismatch", "the exchange in the topic's name is not the one in its messages"},
    {"not_framed",
     "messages must be Avro, with a schema id before them or in a header: does the producer use a registry's "
     "serializer, and does Bronze have the column headers (`k2 tables migrate`)?"},
    {"unknown_schema_id", "is --registry the registry that the producers use?"},
    {"schema_not_resolvable", "the producers' schema is not a version of TradeV3: see docs/messages.md"},
    {"timestamp_in_future", "the producers' clock is behind the exchange's, or times are in another unit"},
    {"timestamp_out_of_range", "are times in microseconds since 1970?"},
    {"invalid_asset_class", "K2 reads only trades of the asset class crypto"},
};

std::string Counts(const std::map<std::string, int64_t>& rejected) {
  std::vector<std::pair<int64_t, std::string_view>> order;
  for (const auto& [reason, count] : rejected) {
    if (count > 0) order.emplace_back(-count, reason);
  }
  std::ranges::sort(order);
  std::vector<std::string> texts;
  for (const auto& [count, reason] : order) texts.push_back(fmt::format("{} {}", -count, reason));
  return fmt::format("{}", fmt::join(texts, ", "));
}

std::string AllRejected(int64_t rows, const std::map<std::string, int64_t>& rejected) {
  std::string text = fmt::format("{} messages were read and all of them rejected: {}.", rows, Counts(rejected));
  for (const LikelyCause& likely : kLikelyCauses) {
    const auto found = rejected.find(std::string(likely.reason));
    if (found == rejected.end() || found->second * 2 < rows) continue;
    text += fmt::format(" Likely cause: {}.", likely.cause);
    if (likely.cause.ends_with('?')) text.pop_back();
  }
  return text + " Each is kept with its reason: SELECT reason, detail, count(*) FROM rejected_trades GROUP BY ALL";
}

std::string NoFrameIsATrade(const source::SourceCounts& counts) {
  std::string text =
      fmt::format("{} frames were read and none of them is a trade: {} are market data of other channels",
                  counts.frames, counts.frames_other);
  if (!counts.other_channel.empty()) text += fmt::format(" (first: {})", counts.other_channel);
  return text +
         ". K2 reads the channel `trade`: was another channel recorded (aggTrade, book, ticker), or does the feed come "
         "from another exchange than the one given? (docs/messages.md: Frames of the exchanges)";
}

}  // namespace

std::optional<std::string> NothingTaken(const LayerStats* bronze, const LayerStats* silver) {
  if (silver != nullptr && silver->rows_in > 0) {
    if (silver->rows_out > 0 || silver->rejected.empty()) return std::nullopt;
    return AllRejected(silver->rows_in, silver->rejected);
  }
  if (bronze == nullptr || bronze->source.trades > 0) return std::nullopt;
  const source::SourceCounts& counts = bronze->source;
  if (counts.frames_other > 0) return NoFrameIsATrade(counts);
  if (counts.frames_rejected == 0) return std::nullopt;
  return fmt::format(
      "{} frames were read and none of them is a trade: {} could not be read. Silver writes each with its reason to "
      "rejected_trades",
      counts.frames, counts.frames_rejected);
}

bool RefusalWatch::Look(const LayerStats& stats, int64_t now_us) {
  const bool is_bronze = layer_ == LayerId::kBronze;
  const bool taken = is_bronze ? stats.source.trades > since_.source.trades : stats.rows_out > since_.rows_out;
  if (taken || stats.rows_in < since_.rows_in) {
    since_ = stats;
    since_us_ = 0;
    told_ = false;
    return false;
  }
  LayerStats refused;
  refused.rows_in = stats.rows_in - since_.rows_in;
  refused.source = stats.source.Since(since_.source);
  for (const auto& [reason, count] : stats.rejected) {
    const auto before = since_.rejected.find(reason);
    refused.rejected[reason] = count - (before == since_.rejected.end() ? 0 : before->second);
  }
  const auto why = is_bronze ? NothingTaken(&refused, nullptr) : NothingTaken(nullptr, &refused);
  if (!why || told_) return false;
  if (since_us_ == 0) since_us_ = now_us;
  if (now_us - since_us_ < patience_us_) return false;
  log::Warn("no trades accepted from the input", {{"layer", ToString(layer_)}, {"why", *why}});
  told_ = true;
  return true;
}

}  // namespace k2::pipeline
