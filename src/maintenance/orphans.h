// Files under a table's location that nothing names: of attempts that were killed, of tasks that ran twice, of commits
// that were refused.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/age.h"
#include "storage/file_io.h"
#include "table/table.h"

namespace k2::maintenance {

// Younger ones may belong to a commit that is on its way. Commits time out long before, by clocks that may differ from
// the storage's.
inline constexpr int64_t kOrphanAgeMinUs = kMicrosPerDay;
static_assert(kOrphanAgeMinUs >= 4 * kAttemptAgeMaxUs);

struct OrphanOptions {
  int64_t older_than_us = 3 * kMicrosPerDay;
  bool dry_run = false;
};

struct OrphanReport {
  std::vector<storage::FileInfo> files;  // that were removed, or would be
  int64_t bytes = 0;                     // of them
  int64_t not_deleted = 0;               // of them
};

// Removes files of `data/` and `metadata/` under the table's location, of the kinds that Iceberg tables have, that no
// snapshot of the table, no branch and no metadata file of its log names, and that are older than asked. Files are told
// apart by their last names alone, which are random: a path that is spelt otherwise (s3a, file:/) is the same file. The
// table must be the only one at its location: metadata of another table uuid there, or of later commits than the
// catalog knows, is kConflict, and nothing is removed. kInvalidArgument below kOrphanAgeMinUs.
Result<OrphanReport> RemoveOrphans(table::Table& table, int64_t now_us, const OrphanOptions& options = {});

}  // namespace k2::maintenance
