// Names of actions, types and fields: rest-catalog-open-api.yaml, "TableUpdate" and "TableRequirement".
#include "base/json_text.h"
#include "iceberg/schema_json.h"
#include "iceberg/table_metadata_json.h"
#include "iceberg/table_update.h"

namespace k2::iceberg {

namespace {

struct UpdateWriter {
  JsonWriter& json;

  JsonWriter& Action(std::string_view name) const { return json.Field("action", name); }

  void operator()(const AssignUuid& update) const { Action("assign-uuid").Field("uuid", update.uuid); }
  void operator()(const UpgradeFormatVersion& update) const {
    Action("upgrade-format-version").Field("format-version", update.format_version);
  }
  void operator()(const AddSchema& update) const {
    WriteSchema(Action("add-schema").Key("schema"), update.schema);
    if (update.last_column_id > 0) json.Field("last-column-id", update.last_column_id);
  }
  void operator()(const SetCurrentSchema& update) const {
    Action("set-current-schema").Field("schema-id", update.schema_id);
  }
  void operator()(const AddSpec& update) const { WritePartitionSpec(Action("add-spec").Key("spec"), update.spec); }
  void operator()(const SetDefaultSpec& update) const { Action("set-default-spec").Field("spec-id", update.spec_id); }
  void operator()(const AddSortOrder& update) const {
    WriteSortOrder(Action("add-sort-order").Key("sort-order"), update.order);
  }
  void operator()(const SetDefaultSortOrder& update) const {
    Action("set-default-sort-order").Field("sort-order-id", update.order_id);
  }
  void operator()(const AddSnapshot& update) const {
    WriteSnapshot(Action("add-snapshot").Key("snapshot"), update.snapshot, 2);
  }
  void operator()(const SetSnapshotRef& update) const {
    WriteRefFields(Action("set-snapshot-ref").Field("ref-name", update.name), update.ref);
  }
  void operator()(const RemoveSnapshots& update) const {
    Action("remove-snapshots").Key("snapshot-ids").BeginArray();
    for (const int64_t id : update.snapshot_ids) json.Int(id);
    json.EndArray();
  }
  void operator()(const RemoveSnapshotRef& update) const {
    Action("remove-snapshot-ref").Field("ref-name", update.name);
  }
  void operator()(const SetLocation& update) const { Action("set-location").Field("location", update.location); }
  void operator()(const SetProperties& update) const {
    Action("set-properties").Key("updates").StringMap(update.values);
  }
  void operator()(const RemoveProperties& update) const {
    Action("remove-properties").Key("removals").BeginArray();
    for (const std::string& name : update.names) json.String(name);
    json.EndArray();
  }
};

struct RequirementWriter {
  JsonWriter& json;

  JsonWriter& Type(std::string_view name) const { return json.Field("type", name); }

  void operator()(const AssertCreate&) const { Type("assert-create"); }
  void operator()(const AssertTableUuid& wanted) const { Type("assert-table-uuid").Field("uuid", wanted.uuid); }
  void operator()(const AssertRefSnapshotId& wanted) const {
    Type("assert-ref-snapshot-id").Field("ref", wanted.ref).Key("snapshot-id");
    if (wanted.snapshot_id) {
      json.Int(*wanted.snapshot_id);
    } else {
      json.Null();
    }
  }
  void operator()(const AssertLastAssignedFieldId& wanted) const {
    Type("assert-last-assigned-field-id").Field("last-assigned-field-id", wanted.id);
  }
  void operator()(const AssertCurrentSchemaId& wanted) const {
    Type("assert-current-schema-id").Field("current-schema-id", wanted.id);
  }
  void operator()(const AssertDefaultSpecId& wanted) const {
    Type("assert-default-spec-id").Field("default-spec-id", wanted.id);
  }
};

template <typename Writer, typename Items>
std::string ListToJson(const Items& items) {
  JsonWriter json;
  json.BeginArray();
  for (const auto& item : items) {
    json.BeginObject();
    std::visit(Writer{json}, item);
    json.EndObject();
  }
  return json.EndArray().Take();
}

}  // namespace

std::string RequirementsToJson(const std::vector<TableRequirement>& requirements) {
  return ListToJson<RequirementWriter>(requirements);
}

std::string UpdatesToJson(const std::vector<TableUpdate>& updates) { return ListToJson<UpdateWriter>(updates); }

}  // namespace k2::iceberg
