// Changes to a table as the REST catalog's open API names them: requirements that must hold, updates that are applied.
// The embedded catalog applies them here; a REST catalog is sent their JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "iceberg/table_metadata.h"

namespace k2::iceberg {

struct AssignUuid {
  std::string uuid;
};
struct UpgradeFormatVersion {
  int32_t format_version = 2;
};
struct AddSchema {
  Schema schema;
  int32_t last_column_id = 0;
};
struct SetCurrentSchema {
  int32_t schema_id = -1;
};  // -1: the one just added
struct AddSpec {
  PartitionSpec spec;
};
struct SetDefaultSpec {
  int32_t spec_id = -1;
};
struct AddSortOrder {
  SortOrder order;
};
struct SetDefaultSortOrder {
  int32_t order_id = -1;
};
struct AddSnapshot {
  Snapshot snapshot;
};
struct SetSnapshotRef {
  std::string name;
  SnapshotRef ref;
};
struct RemoveSnapshots {
  std::vector<int64_t> snapshot_ids;
};
struct RemoveSnapshotRef {
  std::string name;
};
struct SetLocation {
  std::string location;
};
struct SetProperties {
  std::map<std::string, std::string> values;
};
struct RemoveProperties {
  std::vector<std::string> names;
};

using TableUpdate = std::variant<AssignUuid, UpgradeFormatVersion, AddSchema, SetCurrentSchema, AddSpec, SetDefaultSpec,
                                 AddSortOrder, SetDefaultSortOrder, AddSnapshot, SetSnapshotRef, RemoveSnapshots,
                                 RemoveSnapshotRef, SetLocation, SetProperties, RemoveProperties>;

struct AssertCreate {};
struct AssertTableUuid {
  std::string uuid;
};
struct AssertRefSnapshotId {
  std::string ref;
  std::optional<int64_t> snapshot_id;
};  // nullopt: the ref does not exist
struct AssertLastAssignedFieldId {
  int32_t id = 0;
};
struct AssertCurrentSchemaId {
  int32_t id = 0;
};
struct AssertDefaultSpecId {
  int32_t id = 0;
};

using TableRequirement = std::variant<AssertCreate, AssertTableUuid, AssertRefSnapshotId, AssertLastAssignedFieldId,
                                      AssertCurrentSchemaId, AssertDefaultSpecId>;

// Does `metadata` (null: the table does not exist) satisfy all of them? Error kConflict names the first that fails.
Status CheckRequirements(const TableMetadata* metadata, const std::vector<TableRequirement>& requirements);

// The metadata after the updates. `now_ms` is the wall clock: last-updated-ms never goes backwards (spec: readers
// refuse logs out of order). Snapshot log, refs, last ids and sequence numbers are kept by the rules of the
// specification; removing a snapshot drops the log entries before it. Schemas, specs and orders get their ids here,
// whatever id they bring, and an equal one that is there already is taken instead. Errors: kInvalidArgument (an update
// that breaks a rule), kUnsupported (a snapshot for a table of version 1).
Result<TableMetadata> ApplyUpdates(TableMetadata metadata, const std::vector<TableUpdate>& updates, int64_t now_ms);

// A new table without snapshots, of format version 2; field ids are taken as they are, partition field ids of 0 are
// assigned. Errors as of ApplyUpdates.
Result<TableMetadata> NewTableMetadata(const std::string& uuid, const std::string& location, const Schema& schema,
                                       const PartitionSpec& spec, const SortOrder& order,
                                       const std::map<std::string, std::string>& properties, int64_t now_ms);

// Notes the metadata file that `metadata` replaces and when that one was written; keeps the newest
// `write.metadata.previous-versions-max` (default 100, at least 1). The locations that fell out: they may be deleted
// once the commit has won, if `write.metadata.delete-after-commit.enabled` says so.
std::vector<std::string> AddToMetadataLog(TableMetadata& metadata, const std::string& previous_location,
                                          int64_t previous_updated_ms);

// JSON forms of the open API (rest-catalog-open-api.yaml): arrays of requirement and update objects.
std::string RequirementsToJson(const std::vector<TableRequirement>& requirements);
std::string UpdatesToJson(const std::vector<TableUpdate>& updates);

// Which snapshots to expire, oldest first: of main's history all but those that a ref names, the newest `min_to_keep`,
// and those that are both younger than `max_age_ms` and among the newest `max_to_keep`. A retention that a branch's ref
// carries goes before the policy's age and minimum. What another branch has committed since it left main is kept,
// unless its ref carries a retention. Snapshots outside every branch are kept while they are younger than `max_age_ms`.
struct HistoryPolicy {
  int64_t max_age_ms = 3'600'000;
  int32_t min_to_keep = 10;
  int32_t max_to_keep = 100;
};
std::vector<int64_t> SnapshotsToExpire(const TableMetadata& metadata, const HistoryPolicy& policy, int64_t now_ms);

}  // namespace k2::iceberg
