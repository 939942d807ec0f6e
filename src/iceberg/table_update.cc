#include "iceberg/table_update.h"

#include <algorithm>
#include <unordered_set>

namespace k2::iceberg {

namespace {

constexpr int32_t kLastAdded = -1;
constexpr int64_t kClockToleranceMs = 60'000;  // what Java allows between commits of different machines
constexpr int64_t kPreviousVersionsMax = 100;  // default of write.metadata.previous-versions-max

template <typename... Args>
std::unexpected<Error> Refuse(fmt::format_string<Args...> format, Args&&... args) {
  return Fail(ErrorKind::kInvalidArgument, format, std::forward<Args>(args)...);
}

bool SameOrigin(const PartitionField& a, const PartitionField& b) {
  return a.source_id == b.source_id && a.transform == b.transform && a.name == b.name;
}

// Applies updates one by one; what later ones lean on ("the one just added") is kept beside the table.
class Applier {
 public:
  Applier(TableMetadata metadata, int64_t now_ms)
      : table_(std::move(metadata)), now_ms_(std::max(now_ms, table_.last_updated_ms)) {}

  Status operator()(const AssignUuid& update);
  Status operator()(const UpgradeFormatVersion& update);
  Status operator()(const AddSchema& update);
  Status operator()(const SetCurrentSchema& update);
  Status operator()(const AddSpec& update);
  Status operator()(const SetDefaultSpec& update);
  Status operator()(const AddSortOrder& update);
  Status operator()(const SetDefaultSortOrder& update);
  Status operator()(const AddSnapshot& update);
  Status operator()(const SetSnapshotRef& update);
  Status operator()(const RemoveSnapshots& update);
  Status operator()(const RemoveSnapshotRef& update);
  Status operator()(const SetLocation& update);
  Status operator()(const SetProperties& update);
  Status operator()(const RemoveProperties& update);

  Result<TableMetadata> Finish();

 private:
  Status AssignPartitionFieldIds(PartitionSpec& spec);
  void FinishSnapshotLog();

  TableMetadata table_;
  int64_t now_ms_;
  std::optional<int32_t> last_schema_;
  std::optional<int32_t> last_spec_;
  std::optional<int32_t> last_order_;
  std::unordered_set<int64_t> added_snapshots_;
};

Status Applier::operator()(const AssignUuid& update) {
  if (update.uuid.empty()) return Refuse("a table's uuid must not be empty");
  if (!table_.table_uuid.empty() && table_.table_uuid != update.uuid) {
    return Refuse("the table has the uuid {}; it cannot become {}", table_.table_uuid, update.uuid);
  }
  table_.table_uuid = update.uuid;
  return {};
}

Status Applier::operator()(const UpgradeFormatVersion& update) {
  if (update.format_version > 2) {
    return Fail(ErrorKind::kUnsupported, "K2 writes format version 2, not {}", update.format_version);
  }
  if (update.format_version < table_.format_version) {
    return Refuse("a table of format version {} cannot go back to {}", table_.format_version, update.format_version);
  }
  table_.format_version = update.format_version;
  return {};
}

Status Applier::operator()(const AddSchema& update) {
  Schema schema = update.schema;
  if (const Status checked = schema.Check(); !checked) return Refuse("new schema: {}", checked.error().message);
  if (update.last_column_id != 0 && update.last_column_id < table_.last_column_id) {
    return Refuse("new schema: its last column id {} is below the table's {}", update.last_column_id,
                  table_.last_column_id);
  }
  table_.last_column_id = std::max({table_.last_column_id, update.last_column_id, schema.HighestFieldId()});
  int32_t next_id = 0;
  for (const Schema& present : table_.schemas) {
    if (present.SameFields(schema) && present.identifier_field_ids == schema.identifier_field_ids) {
      last_schema_ = present.schema_id;
      return {};
    }
    next_id = std::max(next_id, present.schema_id + 1);
  }
  schema.schema_id = next_id;
  table_.schemas.push_back(std::move(schema));
  last_schema_ = next_id;
  return {};
}

Status Applier::operator()(const SetCurrentSchema& update) {
  if (update.schema_id == kLastAdded && !last_schema_) return Refuse("no schema was added to become current");
  const int32_t id = update.schema_id == kLastAdded ? *last_schema_ : update.schema_id;
  if (table_.FindSchema(id) == nullptr) return Refuse("schema {} cannot become current: it does not exist", id);
  table_.current_schema_id = id;
  return {};
}

// A partition field keeps its id in every spec it occurs in, and no other field gets it (spec, "Partition Evolution").
Status Applier::AssignPartitionFieldIds(PartitionSpec& spec) {
  std::unordered_set<int32_t> used;
  for (PartitionField& field : spec.fields) {
    for (const PartitionSpec& present : table_.partition_specs) {
      for (const PartitionField& known : present.fields) {
        if (field.field_id == 0 && SameOrigin(field, known)) field.field_id = known.field_id;
        if (field.field_id == known.field_id &&
            (field.source_id != known.source_id || field.transform != known.transform) && known.transform != "void" &&
            field.transform != "void") {
          return Refuse("partition field \"{}\" takes the id {} of \"{}\"", field.name, field.field_id, known.name);
        }
      }
    }
    if (field.field_id == 0) continue;
    if (field.field_id < kFirstPartitionFieldId) {
      return Refuse("partition field \"{}\" has the id {}; they start at {}", field.name, field.field_id,
                    kFirstPartitionFieldId);
    }
    if (!used.insert(field.field_id).second) return Refuse("two partition fields have the id {}", field.field_id);
    table_.last_partition_id = std::max(table_.last_partition_id, field.field_id);
  }
  for (PartitionField& field : spec.fields) {
    if (field.field_id == 0) field.field_id = ++table_.last_partition_id;
  }
  return {};
}

Status Applier::operator()(const AddSpec& update) {
  PartitionSpec spec = update.spec;
  int32_t next_id = 0;
  for (const PartitionSpec& present : table_.partition_specs) {
    if (std::ranges::equal(present.fields, spec.fields, SameOrigin)) {
      last_spec_ = present.spec_id;
      return {};
    }
    next_id = std::max(next_id, present.spec_id + 1);
  }
  std::unordered_set<std::string_view> names;
  for (const PartitionField& field : spec.fields) {
    if (field.name.empty() || !names.insert(field.name).second) {
      return Refuse("partition field names must be unique and not empty: \"{}\"", field.name);
    }
    const NestedField* source = table_.CurrentSchema().FindById(field.source_id);
    if (source == nullptr) {
      return Refuse("partition field \"{}\" is of field {}, which the schema does not have", field.name,
                    field.source_id);
    }
    const auto type = TransformResultType(field.transform, source->type);
    if (!type) return Refuse("partition field \"{}\": {}", field.name, type.error().message);
  }
  K2_TRY(AssignPartitionFieldIds(spec));
  spec.spec_id = next_id;
  table_.partition_specs.push_back(std::move(spec));
  last_spec_ = next_id;
  return {};
}

Status Applier::operator()(const SetDefaultSpec& update) {
  if (update.spec_id == kLastAdded && !last_spec_) return Refuse("no partition spec was added to become default");
  const int32_t id = update.spec_id == kLastAdded ? *last_spec_ : update.spec_id;
  if (table_.FindSpec(id) == nullptr) return Refuse("partition spec {} cannot become default: it does not exist", id);
  table_.default_spec_id = id;
  return {};
}

Status Applier::operator()(const AddSortOrder& update) {
  SortOrder order = update.order;
  int32_t next_id = order.fields.empty() ? 0 : 1;  // 0 is the unsorted order
  for (const SortOrder& present : table_.sort_orders) {
    if (present.fields == order.fields) {
      last_order_ = present.order_id;
      return {};
    }
    if (!order.fields.empty()) next_id = std::max(next_id, present.order_id + 1);
  }
  for (const SortField& field : order.fields) {
    if (table_.CurrentSchema().FindById(field.source_id) == nullptr) {
      return Refuse("a sort order by field {}, which the schema does not have", field.source_id);
    }
  }
  order.order_id = next_id;
  table_.sort_orders.push_back(std::move(order));
  last_order_ = next_id;
  return {};
}

Status Applier::operator()(const SetDefaultSortOrder& update) {
  if (update.order_id == kLastAdded && !last_order_) return Refuse("no sort order was added to become default");
  const int32_t id = update.order_id == kLastAdded ? *last_order_ : update.order_id;
  if (std::ranges::find(table_.sort_orders, id, &SortOrder::order_id) == table_.sort_orders.end()) {
    return Refuse("sort order {} cannot become default: it does not exist", id);
  }
  table_.default_sort_order_id = id;
  return {};
}

Status Applier::operator()(const AddSnapshot& update) {
  const Snapshot& snapshot = update.snapshot;
  const int64_t id = snapshot.snapshot_id;
  if (table_.format_version < 2) {
    return Fail(ErrorKind::kUnsupported, "K2 writes snapshots of format version 2; upgrade the table first");
  }
  if (id <= 0) return Refuse("{} cannot be the id of a snapshot", id);
  if (table_.FindSnapshot(id) != nullptr) return Refuse("snapshot {} already exists", id);
  if (snapshot.sequence_number != table_.last_sequence_number + 1) {
    return Refuse("snapshot {} has the sequence number {}, where {} is next", id, snapshot.sequence_number,
                  table_.last_sequence_number + 1);
  }
  if (snapshot.parent_snapshot_id && table_.FindSnapshot(*snapshot.parent_snapshot_id) == nullptr) {
    return Refuse("snapshot {} has the parent {}, which does not exist", id, *snapshot.parent_snapshot_id);
  }
  if (snapshot.schema_id && table_.FindSchema(*snapshot.schema_id) == nullptr) {
    return Refuse("snapshot {} has the schema {}, which does not exist", id, *snapshot.schema_id);
  }
  const std::string& operation = snapshot.operation;
  if (operation != "append" && operation != "replace" && operation != "overwrite" && operation != "delete") {
    return Refuse("snapshot {} has the operation \"{}\"", id, operation);
  }
  if (snapshot.manifest_list.empty()) return Refuse("snapshot {} has no manifest list", id);
  if (snapshot.timestamp_ms < table_.last_updated_ms - kClockToleranceMs) {
    return Refuse("snapshot {} is of {} ms, more than a minute before the table's last change at {} ms", id,
                  snapshot.timestamp_ms, table_.last_updated_ms);
  }
  table_.last_sequence_number = snapshot.sequence_number;
  now_ms_ = std::max(now_ms_, snapshot.timestamp_ms);
  added_snapshots_.insert(id);
  table_.snapshots.push_back(snapshot);
  return {};
}

Status Applier::operator()(const SetSnapshotRef& update) {
  const SnapshotRef& ref = update.ref;
  const Snapshot* snapshot = table_.FindSnapshot(ref.snapshot_id);
  if (update.name.empty()) return Refuse("a reference needs a name");
  if (snapshot == nullptr) {
    return Refuse("reference \"{}\" cannot reference the snapshot {}: it does not exist", update.name, ref.snapshot_id);
  }
  const bool is_main = update.name == kMainBranch;
  if (is_main && !ref.is_branch) return Refuse("main is a branch and cannot become a tag");
  if (is_main && ref.max_ref_age_ms) return Refuse("main never expires: max-ref-age-ms is not allowed");
  if (!ref.is_branch && (ref.min_snapshots_to_keep || ref.max_snapshot_age_ms)) {
    return Refuse("tag \"{}\": only branches can set a number or an age of snapshots to keep", update.name);
  }
  if (ref.min_snapshots_to_keep.value_or(1) <= 0 || ref.max_snapshot_age_ms.value_or(1) <= 0 ||
      ref.max_ref_age_ms.value_or(1) <= 0) {
    return Refuse("reference \"{}\": its retention settings must be positive numbers", update.name);
  }
  const SnapshotRef* present = table_.FindRef(update.name);
  if (present != nullptr && present->is_branch != ref.is_branch) {
    return Refuse("\"{}\" is a {}; remove it before it becomes a {}", update.name,
                  present->is_branch ? "branch" : "tag", ref.is_branch ? "branch" : "tag");
  }
  if (present != nullptr && *present == ref) return {};
  if (is_main && table_.current_snapshot_id != ref.snapshot_id) {
    // A roll back to a snapshot that was there before happens now, not at that snapshot's time.
    const bool added = added_snapshots_.contains(ref.snapshot_id);
    table_.snapshot_log.push_back({added ? snapshot->timestamp_ms : now_ms_, ref.snapshot_id});
    table_.current_snapshot_id = ref.snapshot_id;
  }
  table_.refs[update.name] = ref;
  return {};
}

Status Applier::operator()(const RemoveSnapshots& update) {
  const std::unordered_set<int64_t> removed(update.snapshot_ids.begin(), update.snapshot_ids.end());
  for (const auto& [name, ref] : table_.refs) {
    if (removed.contains(ref.snapshot_id)) {
      return Refuse("snapshot {} cannot be removed: {} \"{}\" references it", ref.snapshot_id,
                    ref.is_branch ? "branch" : "tag", name);
    }
  }
  std::erase_if(table_.snapshots, [&](const Snapshot& snapshot) { return removed.contains(snapshot.snapshot_id); });
  const auto of_removed = [&](const StatisticsEntry& entry) { return removed.contains(entry.snapshot_id); };
  std::erase_if(table_.statistics, of_removed);
  std::erase_if(table_.partition_statistics, of_removed);
  // Log entries before a gap would claim that their snapshot was current during it.
  const auto last = std::find_if(table_.snapshot_log.rbegin(), table_.snapshot_log.rend(),
                                 [&](const SnapshotLogEntry& entry) { return removed.contains(entry.snapshot_id); });
  table_.snapshot_log.erase(table_.snapshot_log.begin(), last.base());
  return {};
}

Status Applier::operator()(const RemoveSnapshotRef& update) {
  table_.refs.erase(update.name);
  if (update.name == kMainBranch) table_.current_snapshot_id.reset();
  return {};
}

Status Applier::operator()(const SetLocation& update) {
  std::string location = update.location;
  while (location.size() > 1 && location.ends_with('/') && !location.ends_with("://")) location.pop_back();
  if (location.empty()) return Refuse("a table's location must not be empty");
  table_.location = std::move(location);
  return {};
}

Status Applier::operator()(const SetProperties& update) {
  for (const auto& [name, value] : update.values) table_.properties[name] = value;
  return {};
}

Status Applier::operator()(const RemoveProperties& update) {
  for (const std::string& name : update.names) table_.properties.erase(name);
  return {};
}

// Snapshots that were current only between two updates of one commit were never current for anyone; and the last entry
// is the current snapshot (Java refuses a log that ends otherwise).
void Applier::FinishSnapshotLog() {
  std::erase_if(table_.snapshot_log, [&](const SnapshotLogEntry& entry) {
    return added_snapshots_.contains(entry.snapshot_id) && entry.snapshot_id != table_.current_snapshot_id;
  });
  if (!table_.current_snapshot_id) return;
  if (table_.snapshot_log.empty() || table_.snapshot_log.back().snapshot_id != *table_.current_snapshot_id) {
    table_.snapshot_log.push_back({now_ms_, *table_.current_snapshot_id});
  }
}

Result<TableMetadata> Applier::Finish() {
  table_.last_updated_ms = now_ms_;
  FinishSnapshotLog();
  if (const Status checked = table_.Check(); !checked) {
    return Refuse("the changes would make the table invalid: {}", checked.error().message);
  }
  return std::move(table_);
}

}  // namespace

Result<TableMetadata> ApplyUpdates(TableMetadata metadata, const std::vector<TableUpdate>& updates, int64_t now_ms) {
  if (updates.empty()) return metadata;
  Applier applier(std::move(metadata), now_ms);
  for (const TableUpdate& update : updates) K2_TRY(std::visit(applier, update));
  return applier.Finish();
}

Result<TableMetadata> NewTableMetadata(const std::string& uuid, const std::string& location, const Schema& schema,
                                       const PartitionSpec& spec, const SortOrder& order,
                                       const std::map<std::string, std::string>& properties, int64_t now_ms) {
  std::vector<TableUpdate> updates = {AssignUuid{uuid},    SetLocation{location}, AddSchema{.schema = schema},
                                      SetCurrentSchema{},  AddSpec{spec},         SetDefaultSpec{},
                                      AddSortOrder{order}, SetDefaultSortOrder{}, SetProperties{properties}};
  return ApplyUpdates(TableMetadata{}, updates, now_ms);
}

std::vector<std::string> AddToMetadataLog(TableMetadata& metadata, const std::string& previous_location,
                                          int64_t previous_updated_ms) {
  metadata.metadata_log.push_back({previous_updated_ms, previous_location});
  const auto kept = static_cast<size_t>(
      std::max<int64_t>(1, metadata.PropertyOr("write.metadata.previous-versions-max", kPreviousVersionsMax)));
  std::vector<std::string> dropped;
  if (metadata.metadata_log.size() <= kept) return dropped;
  const auto end = metadata.metadata_log.end() - static_cast<ptrdiff_t>(kept);
  for (auto entry = metadata.metadata_log.begin(); entry != end; ++entry) {
    dropped.push_back(std::move(entry->metadata_file));
  }
  metadata.metadata_log.erase(metadata.metadata_log.begin(), end);
  return dropped;
}

}  // namespace k2::iceberg
