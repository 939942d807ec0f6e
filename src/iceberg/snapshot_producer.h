// A new snapshot out of its parent: manifests, manifest list, summary (format/spec.md, "Snapshots"). Does no IO of its
// own and decides nothing: what it writes means nothing until a catalog has taken the snapshot.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "iceberg/manifest_store.h"
#include "iceberg/pruning.h"

namespace k2::iceberg {

struct SnapshotRequest {
  // append: `added` alone. delete: `removed` and `remove_where` alone. replace: the same rows in other files, without
  // those that delete files had removed. overwrite: any of them. No files at all is fine.
  std::string operation = "append";
  std::vector<DataFile> added;
  std::vector<DataFile> removed;  // found by path; spec id and partition only tell where to look first
  // Removes every file all of whose rows match; empty: none. A file with some matching rows is an error.
  std::vector<ColumnPredicate> remove_where;
  // replace, overwrite: sequence number of the snapshot that the rows of `removed` were read at, with its deletes
  // applied; required of a replace. Deletes that came later and may remove rows of `removed` are a conflict, but for
  // equality deletes of a replace: its files take this number as theirs, so that those go on applying, and none that
  // was applied is applied again to a row that came back since (as Java's RewriteFiles does).
  std::optional<int64_t> planned_sequence;
  std::map<std::string, std::string> summary;  // further entries; the counts of Appendix F are not for the caller
  std::string commit_id;                       // summary key "k2.commit-id"; empty: none
  int64_t snapshot_id = 0;                     // the same at every try, since manifests name it
  int64_t now_ms = 0;                          // wall clock
  // ProducedSnapshot::added_manifests of an earlier try: used again, since new entries inherit their sequence number.
  std::vector<ManifestFile> added_manifests;
};

struct ProducedSnapshot {
  Snapshot snapshot;
  std::vector<ManifestFile> added_manifests;  // for the next try, if this one is refused
  std::vector<std::string> written;           // by this try, the manifest list last
  int64_t added_files = 0;
  int64_t removed_files = 0;
  int64_t removed_records = 0;
};

inline constexpr char kCommitIdKey[] = "k2.commit-id";

// Makes the snapshot that follows the head of main in `base`, which must be of format version 2. Every manifest of the
// parent is carried over, delete manifests too; small ones are merged now and then (manifest_merge.h); manifests
// without live files are left out. Delete files that no data file is left for are removed with the files that they
// applied to. Errors: kConflict (a file to remove is not live, or has new deletes; names it), kInvalidArgument (the
// request contradicts its operation or the table's spec), kUnsupported, and those of the store.
Result<ProducedSnapshot> ProduceSnapshot(ManifestStore& store, const TableMetadata& base,
                                         const SnapshotRequest& request);

}  // namespace k2::iceberg
