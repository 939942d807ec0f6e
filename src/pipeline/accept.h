// Accepting what another engine did to an upstream table, so that a layer which stands goes on
// (docs/source-offsets.md, "When others change an upstream table").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "pipeline/lakehouse.h"
#include "table/accepted.h"

namespace k2::pipeline {

// Of one source of a Silver table, or one file that a snapshot of Silver has added for Gold.
struct AcceptLine {
  std::string table;    // that stands
  std::string source;   // topic and partition, or path
  int64_t rows = 0;     // that are there
  int64_t read = 0;     // of them, those that the table will take
  int64_t skipped = 0;  // those that it has, or that are there twice
  int64_t missing =
      0;  // Silver: rows that Bronze has counted and does not hold; below 0: it holds more than it counted
};

// What is to be recorded in one table that stands.
struct Acceptance {
  std::string table;
  table::AcceptedUpstream upstream;
};

struct AcceptPlan {
  std::string upstream;  // namespace.name
  std::vector<AcceptLine> lines;
  std::vector<Acceptance> acceptances;
};

// `upstream`: bronze_trades, for the Silver tables whose rows do not come to what Bronze has counted; silver_*, for
// Gold. Errors: kInvalidArgument: another table, or nothing stands at that snapshot; kNotFound: the table has no such
// snapshot.
Result<AcceptPlan> PlanAccept(const Lakehouse& lakehouse, std::string_view upstream, int64_t snapshot_id);

// Records it in a commit of each table, and removes the tags of the upstream table.
Status ApplyAccept(const Lakehouse& lakehouse, const AcceptPlan& plan);

}  // namespace k2::pipeline
