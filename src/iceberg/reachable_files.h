// Which files a table's snapshots name: for deleting what expired ones alone named, and for finding orphans.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "iceberg/manifest_store.h"

namespace k2::iceberg {

// Files to delete after an expiry has been committed, in this order.
struct ExpiredFiles {
  std::vector<std::string> data_files;  // delete files too
  std::vector<std::string> manifests;
  std::vector<std::string> manifest_lists;
};

// What the expired snapshots name and no remaining one does. `before` still holds them all; every snapshot of it that
// is not in `expired` remains. Rests on a manifest being in consecutive snapshots only: once dropped it never comes
// back. So it reads the lists of the expired snapshots, of their nearest remaining relatives (not of all that remain),
// and the manifests with deleted files that the expired snapshots, and those that stood directly on them, have written.
Result<ExpiredFiles> FilesOnlyIn(ManifestStore& store, const TableMetadata& before,
                                 const std::vector<int64_t>& expired);

// The same after the catalog has answered: `after` is what it holds now, where snapshots and refs that others have
// added meanwhile count, and a snapshot that it has kept is not expired. Files outside the table's own places
// (own_files.h) are left out, and all are where the table is not garbage collected.
Result<ExpiredFiles> FilesOfExpired(ManifestStore& store, const TableMetadata& before, const TableMetadata& after,
                                    std::vector<int64_t> expired);

enum class ReachableKind { kManifestList, kManifest, kDataFile };
// Calls visit for everything that the table's snapshots name; each manifest is read once, a data file may come twice.
Status ForEachReachable(ManifestStore& store, const TableMetadata& metadata,
                        const std::function<Status(ReachableKind kind, const std::string& path)>& visit);

}  // namespace k2::iceberg
