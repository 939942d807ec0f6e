// Expiry of snapshots without a commit of rows: a table that gets none would keep its old files for ever.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "table/table.h"

namespace k2::maintenance {

struct ExpiryOptions {
  // Where set: all snapshots older than this go, but for those that refs name (main's head and the tag of the source
  // offsets among them). Else the table's own policy rules (docs/tables.md, "Properties").
  std::optional<int64_t> older_than_us;
  bool dry_run = false;
  table::StepHook on_step;  // "committed": the catalog has taken it, no file is deleted yet; "deleted": after each file
};

struct ExpiryReport {
  std::string table;
  std::vector<int64_t> snapshots;  // that are gone, or would be
  int64_t data_files = 0;          // that only those named, deleted files among them
  int64_t metadata_files = 0;      // manifests and manifest lists
  int64_t not_deleted = 0;         // files that could not be deleted: orphans now
};

// Expires, and deletes what only the expired snapshots named, once the catalog has taken it. kCommitUnknown: no file
// was deleted. kUnsupported: the table is not garbage collected (property gc.enabled). kConflict: other writers were
// faster, several times.
Result<ExpiryReport> ExpireSnapshots(table::Table& table, int64_t now_us, const ExpiryOptions& options = {});

}  // namespace k2::maintenance
