// A table of an earlier version of K2 with the columns of this one (docs/upgrades.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "maintenance/compaction.h"
#include "pipeline/lakehouse.h"

namespace k2::maintenance {

// What a table lacks, in words; empty: nothing. Where prices or quantities are of the older format, its files are
// written again, which these numbers are of; else metadata alone.
struct Migration {
  std::vector<std::string> changes;
  bool rewrites = false;
  int64_t files = 0;
  int64_t rows = 0;
  int64_t bytes = 0;
};

// Errors: kUnsupported: a column that others have made has the name of one of K2's and another type, or the table is
// partitioned or sorted by a column that is to have another type.
Result<Migration> PlanMigration(const table::Table& table);

// Makes it so, in one commit: adds the columns that this version has and the table has not, under new ids, or takes up
// one of that name that others have added; gives price and quantity the types of this version, under new ids, and all
// files anew, since Iceberg changes no scale. Rows, source offsets and uuid stay; earlier snapshots keep their schema.
// Columns are never dropped or renamed. Rows that are added meanwhile are written again before the commit; killed, or
// refused, it leaves orphan files and changes nothing. Returns what it did. Errors: PlanMigration's;
// kInvalidData: a value that the new type does not hold; kConflict: other writers are faster, again and again.
Result<Migration> Migrate(const pipeline::Lakehouse& lakehouse, std::string_view table, const CompactionPolicy& policy,
                          const CompactionRun& run);

// The tables in the order in which they are migrated: what is read from comes after its reader, so that nobody is
// handed a value that it cannot hold.
std::vector<std::string> MigrationOrder();

}  // namespace k2::maintenance
