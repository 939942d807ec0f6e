// Gives the tables of a warehouse that was moved or copied the names of where their files lie now (docs/recovery.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "storage/file_io.h"
#include "storage/location_map.h"

namespace k2::maintenance {

struct RelocatedTable {
  std::string table;              // namespace.name
  std::string outcome;            // "relocated", "to relocate" (a dry run), "in place", "elsewhere", "failed"
  std::string metadata_location;  // the new one; of a dry run the one that was read
  int64_t snapshots = 0;
  int64_t manifests = 0;     // rewritten
  int64_t delete_files = 0;  // rewritten, since they name data files
  std::string note;          // what went wrong
};

struct RelocateOptions {
  bool dry_run = false;
  // The original is still there: what the copy would share with it is refused.
  bool copied = false;
};

// Writes a table's manifests, manifest lists, position delete files and metadata again, under new names, with their
// names as `map` has them: all snapshots, branches and tags. Reads and writes at the new place alone; `current` is the
// metadata file to begin with, under either name. The new metadata file is in no catalog yet. What an earlier try has
// left is not used again. Errors: kInvalidData (files are missing), kInvalidArgument (shared with the original).
Result<RelocatedTable> RelocateTable(const std::shared_ptr<storage::FileIo>& io, const storage::LocationMap& map,
                                     const std::string& current, const RelocateOptions& options);

// Whether anything in the metadata is named by the old place.
bool NeedsRelocation(const iceberg::TableMetadata& metadata, const storage::LocationMap& map);

// All tables of a catalog, one after the other, each swapped in when it is whole; then the catalog's place is settled,
// where none has failed. May be run again after it was killed: what is in place is left as it is.
Result<std::vector<RelocatedTable>> RelocateTables(catalog::Catalog& catalog,
                                                   const std::shared_ptr<storage::FileIo>& io,
                                                   const storage::LocationMap& map, const RelocateOptions& options);

// The same by the files alone, for tables of a catalog that lies elsewhere: the newest whole metadata that is found
// under the new place is written again. Nothing is registered.
Result<std::vector<RelocatedTable>> RelocateFiles(const std::shared_ptr<storage::FileIo>& io,
                                                  const storage::LocationMap& map, const RelocateOptions& options);

}  // namespace k2::maintenance
