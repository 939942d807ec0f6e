// What a Silver table notes of rows that it took from rejected_trades, in the commit that takes them: so that a crash
// before they have left rejected_trades is recognised and finished (docs/rebuild.md).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/result.h"
#include "iceberg/table_metadata.h"

namespace k2::pipeline {

inline constexpr std::string_view kRevalidatedKey = "k2.revalidated";  // a property; in a summary the mark's id

// As the columns of a row name it; the id is empty where the row has none.
struct RowSource {
  std::string_view topic;
  std::string_view topic_id;
  int32_t partition = 0;
};

// Places of messages: source and offset, as ranges of consecutive offsets.
class MessagePlaces {
 public:
  void Add(const RowSource& source, int64_t offset);
  void AddRange(const RowSource& source, int64_t first, int64_t last);
  [[nodiscard]] bool Contains(const RowSource& source, int64_t offset) const;
  [[nodiscard]] bool empty() const { return ranges_ == 0; }
  [[nodiscard]] int64_t ranges() const { return ranges_; }
  // Lowest and highest offset of all.
  [[nodiscard]] std::pair<int64_t, int64_t> Bounds() const;

  using Ranges = std::map<int64_t, int64_t>;                     // last offset by first
  using Source = std::tuple<std::string, std::string, int32_t>;  // topic, its id, partition
  [[nodiscard]] const std::map<Source, Ranges>& by_source() const { return by_source_; }

 private:
  std::map<Source, Ranges> by_source_;
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

}  // namespace k2::pipeline
