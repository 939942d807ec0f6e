#include "iceberg/table_metadata.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <limits>
#include <unordered_set>

namespace k2::iceberg {

namespace {

template <typename Items, typename Projection>
auto* FindBy(const Items& items, const auto& key, Projection projection) {
  const auto found = std::ranges::find(items, key, projection);
  return found == items.end() ? nullptr : &*found;
}

// Counters and ids have room for a next one, so that arithmetic on them is safe.
Status CheckCounters(const TableMetadata& metadata) {
  const int32_t highest = std::max(metadata.last_column_id, metadata.last_partition_id);
  if (highest == std::numeric_limits<int32_t>::max() ||
      metadata.last_sequence_number == std::numeric_limits<int64_t>::max()) {
    return Fail(ErrorKind::kInvalidData, "the table's last ids are too large to assign another one");
  }
  if (metadata.last_sequence_number < 0 || metadata.last_updated_ms < 0 || metadata.last_column_id < 0) {
    return Fail(ErrorKind::kInvalidData, "the table's last sequence number, column id or update time is negative");
  }
  return {};
}

template <typename Items, typename Projection>
Status CheckUnique(const Items& items, Projection projection, std::string_view what) {
  std::unordered_set<int64_t> ids;
  for (const auto& item : items) {
    const int64_t id = std::invoke(projection, item);
    if (id < 0 || id == std::numeric_limits<int32_t>::max()) {
      return Fail(ErrorKind::kInvalidData, "{} cannot be an id of {}", id, what);
    }
    if (!ids.insert(id).second) return Fail(ErrorKind::kInvalidData, "two {} have the id {}", what, id);
  }
  return {};
}

Status CheckSources(const TableMetadata& metadata) {
  const Schema& schema = metadata.CurrentSchema();
  for (const PartitionField& field : metadata.DefaultSpec().fields) {
    const NestedField* source = schema.FindById(field.source_id);
    if (source == nullptr && field.transform != "void") {
      return Fail(ErrorKind::kInvalidData, "partition field \"{}\" is of field {}, which schema {} does not have",
                  field.name, field.source_id, schema.schema_id);
    }
  }
  const SortOrder* order = FindBy(metadata.sort_orders, metadata.default_sort_order_id, &SortOrder::order_id);
  if (order == nullptr) {
    return Fail(ErrorKind::kInvalidData, "the default sort order {} is not in \"sort-orders\"",
                metadata.default_sort_order_id);
  }
  for (const SortField& field : order->fields) {
    if (schema.FindById(field.source_id) == nullptr) {
      return Fail(ErrorKind::kInvalidData, "sort order {} is by field {}, which schema {} does not have",
                  order->order_id, field.source_id, schema.schema_id);
    }
  }
  return {};
}

Status CheckSnapshots(const TableMetadata& metadata) {
  std::unordered_set<int64_t> ids;
  ids.reserve(metadata.snapshots.size());
  for (const Snapshot& snapshot : metadata.snapshots) {
    if (!ids.insert(snapshot.snapshot_id).second) {
      return Fail(ErrorKind::kInvalidData, "two snapshots have the id {}", snapshot.snapshot_id);
    }
    if (snapshot.sequence_number < 0 || snapshot.sequence_number > metadata.last_sequence_number) {
      return Fail(ErrorKind::kInvalidData, "snapshot {} has the sequence number {}, the table's last one is {}",
                  snapshot.snapshot_id, snapshot.sequence_number, metadata.last_sequence_number);
    }
  }
  for (const auto& [name, ref] : metadata.refs) {
    if (!ids.contains(ref.snapshot_id)) {
      return Fail(ErrorKind::kInvalidData, "{} \"{}\" references the snapshot {}, which does not exist",
                  ref.is_branch ? "branch" : "tag", name, ref.snapshot_id);
    }
  }
  const SnapshotRef* main = metadata.FindRef(kMainBranch);
  if (main != nullptr && !main->is_branch) return Fail(ErrorKind::kInvalidData, "\"main\" is a tag, not a branch");
  if (metadata.current_snapshot_id != (main == nullptr ? std::nullopt : std::optional(main->snapshot_id))) {
    return Fail(ErrorKind::kInvalidData, "the current snapshot is {}, but the branch main is at {}",
                metadata.current_snapshot_id ? std::to_string(*metadata.current_snapshot_id) : "none",
                main == nullptr ? "none" : std::to_string(main->snapshot_id));
  }
  return {};
}

}  // namespace

const Schema& TableMetadata::CurrentSchema() const {
  static const Schema kEmpty;
  const Schema* schema = FindSchema(current_schema_id);
  return schema == nullptr ? kEmpty : *schema;
}

const Schema* TableMetadata::FindSchema(int32_t schema_id) const {
  return FindBy(schemas, schema_id, &Schema::schema_id);
}

const PartitionSpec& TableMetadata::DefaultSpec() const {
  static const PartitionSpec kUnpartitioned;
  const PartitionSpec* spec = FindSpec(default_spec_id);
  return spec == nullptr ? kUnpartitioned : *spec;
}

const PartitionSpec* TableMetadata::FindSpec(int32_t spec_id) const {
  return FindBy(partition_specs, spec_id, &PartitionSpec::spec_id);
}

const Snapshot* TableMetadata::FindSnapshot(int64_t snapshot_id) const {
  // From the newest: that is the one most often asked for.
  for (auto snapshot = snapshots.rbegin(); snapshot != snapshots.rend(); ++snapshot) {
    if (snapshot->snapshot_id == snapshot_id) return &*snapshot;
  }
  return nullptr;
}

const Snapshot* TableMetadata::CurrentSnapshot() const {
  return current_snapshot_id ? FindSnapshot(*current_snapshot_id) : nullptr;
}

const SnapshotRef* TableMetadata::FindRef(std::string_view name) const {
  const auto found = refs.find(std::string(name));
  return found == refs.end() ? nullptr : &found->second;
}

int64_t TableMetadata::PropertyOr(const std::string& name, int64_t otherwise) const {
  const auto found = properties.find(name);
  if (found == properties.end()) return otherwise;
  const std::string& text = found->second;
  int64_t number = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), number);
  return end.ec == std::errc() && end.ptr == text.data() + text.size() ? number : otherwise;
}

Status TableMetadata::Check() const {
  if (format_version > 1 && table_uuid.empty()) return Fail(ErrorKind::kInvalidData, "the table has no uuid");
  if (location.empty()) return Fail(ErrorKind::kInvalidData, "the table has no location");
  K2_TRY(CheckCounters(*this));
  K2_TRY(CheckUnique(schemas, &Schema::schema_id, "schemas"));
  K2_TRY(CheckUnique(partition_specs, &PartitionSpec::spec_id, "partition specs"));
  K2_TRY(CheckUnique(sort_orders, &SortOrder::order_id, "sort orders"));
  if (FindSchema(current_schema_id) == nullptr) {
    return Fail(ErrorKind::kInvalidData, "the current schema {} is not in \"schemas\"", current_schema_id);
  }
  if (FindSpec(default_spec_id) == nullptr) {
    return Fail(ErrorKind::kInvalidData, "the default spec {} is not in \"partition-specs\"", default_spec_id);
  }
  K2_TRY(CheckSources(*this));
  return CheckSnapshots(*this);
}

}  // namespace k2::iceberg
