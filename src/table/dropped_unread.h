// What retention dropped from a table before the downstream layer had read it: kept as a table property, so that no
// expiry makes it forgotten. The layer that reads the table stops on it (docs/retention.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "iceberg/table_metadata.h"
#include "table/source_offsets.h"

namespace k2::table {

inline constexpr char kDroppedUnreadKey[] = "k2.dropped-unread";

struct OffsetGap {
  int64_t first = 0;
  int64_t last = 0;  // inclusive
  int64_t rows = 0;  // at most so many in it
  bool operator==(const OffsetGap&) const = default;
};

struct DroppedUnread {
  int64_t rows = 0;
  int64_t sequence_number = 0;          // the newest file that was dropped unread came with this snapshot
  std::map<SourceKey, OffsetGap> gaps;  // of Bronze: by source
  std::string at;                       // when it was dropped last

  [[nodiscard]] bool empty() const { return rows == 0 && gaps.empty(); }
  void Add(const SourceKey& key, const OffsetGap& gap);
  void Add(const DroppedUnread& other);
  bool operator==(const DroppedUnread&) const = default;
};

// nullopt: nothing was dropped that anybody still lacked. kInvalidData: the property cannot be read.
Result<std::optional<DroppedUnread>> ReadDroppedUnread(const iceberg::TableMetadata& metadata);
std::string DroppedUnreadToJson(const DroppedUnread& dropped);

}  // namespace k2::table
