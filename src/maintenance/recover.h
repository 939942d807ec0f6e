// Finds tables by their files, where a catalog was lost or was restored from a copy that is too old (docs/recovery.md).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "storage/file_io.h"

namespace k2::maintenance {

enum class RecoveryOutcome {
  kInOrder,     // the catalog names the newest whole state
  kRegistered,  // the catalog did not have the table
  kMovedOn,     // the catalog named an older state, or one whose files are gone
  kLeft,        // nothing to register: a table that never held a snapshot, or one that the catalog's table has replaced
  kFailed,      // cannot be decided, or no whole state is there
};
std::string_view ToString(RecoveryOutcome outcome);

struct RecoveredTable {
  std::string table;  // namespace.name
  RecoveryOutcome outcome = RecoveryOutcome::kFailed;
  std::string metadata_location;  // that is registered, or would be
  std::string before;             // that the catalog named; empty: none
  int64_t updated_ms = 0;
  int64_t snapshots = 0;
  int64_t rows = 0;
  std::string note;  // what was found beside it, what is missing, what to do
};

struct RecoverOptions {
  bool dry_run = false;
  // Folders outside the warehouse that hold metadata files (write.metadata.path).
  std::vector<std::string> metadata_folders;
  // Table (namespace.name) and the metadata file that it shall have, whatever else is found.
  std::map<std::string, std::string> use;
};

// Lists the warehouse and takes, for each table uuid, the newest state whose files are all there. States are ordered by
// the chain of commits that their metadata logs tell; where two at its end are the same number of commits old, nothing
// is chosen. A state that the catalog names and whose files are there is never left for an older one, nor for one that
// may be an attempt which no catalog has taken. `catalog` null: says what would be registered in an empty one. Error:
// where the warehouse or the catalog cannot be read; a table's own troubles are its outcome.
Result<std::vector<RecoveredTable>> Recover(catalog::Catalog* catalog, const std::shared_ptr<storage::FileIo>& io,
                                            const std::string& warehouse, const RecoverOptions& options);

// Whether a newer whole state of the table lies beside the one that the catalog names, from which it came: the catalog
// was restored from a copy, and a commit would part from what was committed since. kInvalidData names `k2 tables
// recover`.
Status CheckCatalogIsNewest(catalog::Catalog& catalog, const std::shared_ptr<storage::FileIo>& io,
                            const catalog::TableName& table);

}  // namespace k2::maintenance
