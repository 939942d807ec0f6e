// What another engine did to the trades of a Silver table by rewriting files (copy-on-write).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/uuid.h"
#include "table/table.h"

namespace k2::pipeline {

// Each row of a data file of Silver or Gold: its message_id, and the hours since 1970 of its time.
using TradeInHour = std::function<void(const Uuid& id, int64_t hour, std::string_view text)>;
Status EachTradeInHour(const table::Table& table, const iceberg::DataFile& file, const TradeInHour& use);

// For a commit of Gold that adds `own` files: kOffsetMismatch where files that another engine has added since the plan
// hold a trade of theirs in the same hour. Reads files whose hours overlap, alone.
std::function<Status(const iceberg::TableMetadata& head, const std::vector<iceberg::DataFile>& added)>
RefuseDoubledTrades(const table::Table& gold, std::vector<iceberg::DataFile> own);

// Trades whose message_id is in a file that the snapshot removed and, in another hour, in one that it added.
struct MovedTrades {
  int64_t count = 0;
  std::string example;  // a message_id
};
// Reads id and time of all rows of those files, in as many passes as `memory_bytes` asks for. A removed file that is
// gone tells nothing: none of its trades counts as moved.
Result<MovedTrades> FindMovedTrades(const table::Table& silver, const iceberg::Snapshot& rewrite, int64_t memory_bytes);

}  // namespace k2::pipeline
