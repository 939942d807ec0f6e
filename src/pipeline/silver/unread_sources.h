// What Bronze holds of the rows that a Silver table has yet to read, and what it must hold by its own count.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "table/table.h"
#include "task/interval_set.h"
#include "task/market_tables.h"

namespace k2::pipeline {

struct UnreadSource {
  table::SourceKey key;
  std::string table;
  int64_t begin = 0;
  table::SourcePosition end;  // Bronze's
  int64_t expected = -1;      // rows, by Bronze's count; -1: not known
  int64_t rows = 0;           // that are there
  task::IntervalSet offsets;  // of them

  [[nodiscard]] int64_t distinct() const;
  [[nodiscard]] bool Fits() const { return expected < 0 || expected == distinct(); }
};

// Those sources of an exchange of which its table has yet to read something.
std::vector<UnreadSource> SourcesToRead(const exchange::Exchange& exchange, const table::LayerProgress& silver,
                                        const table::LayerProgress& bronze);

// Counts their rows in Bronze's current snapshot. Reads three columns of the files that may hold any.
Status CountUnread(const table::Table& bronze, std::vector<UnreadSource>& sources);

}  // namespace k2::pipeline
