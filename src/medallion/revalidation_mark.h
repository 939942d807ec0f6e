// What a Silver table notes of rows that it took from rejected_trades, in the commit that takes them: so that a crash
// before they have left rejected_trades is recognised and finished (docs/rebuild.md).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "iceberg/table_metadata.h"

namespace k2 {

inline constexpr std::string_view kRevalidatedKey = "k2.revalidated";  // a property; in a summary the mark's id

// Places of messages: topic, partition and offset, as ranges of consecutive offsets.
class MessagePlaces {
 public:
  void Add(std::string_view topic, int32_t partition, int64_t offset);
  void AddRange(std::string_view topic, int32_t partition, int64_t first, int64_t last);
  [[nodiscard]] bool Contains(std::string_view topic, int32_t partition, int64_t offset) const;
  [[nodiscard]] bool empty() const { return ranges_ == 0; }
  [[nodiscard]] int64_t ranges() const { return ranges_; }
  // Lowest and highest offset of all.
  [[nodiscard]] std::pair<int64_t, int64_t> Bounds() const;

  using Ranges = std::map<int64_t, int64_t>;  // last offset by first
  using ByTopic = std::map<std::string, std::map<int32_t, Ranges>, std::less<>>;
  [[nodiscard]] const ByTopic& by_topic() const { return by_topic_; }

 private:
  ByTopic by_topic_;  // and partition
  int64_t ranges_ = 0;
};

struct RevalidationMark {
  std::string id;             // random, of the round; empty: the table never took any
  std::string rejected_uuid;  // the rejected_trades they are of
  MessagePlaces places;       // that are to leave it; empty: they have
  [[nodiscard]] bool pending() const { return !places.empty(); }
};

std::string MarkToJson(const RevalidationMark& mark);
// kInvalidData, kUnsupported: a note that this k2 cannot read.
Result<RevalidationMark> ReadRevalidationMark(const iceberg::TableMetadata& silver);

// kConflict: rows that the table has taken are still in rejected_trades.
Status CheckNoRevalidationPending(const iceberg::TableMetadata& silver);

}  // namespace k2
