#include "iceberg/table_update.h"

namespace k2::iceberg {

namespace {

template <typename... Args>
std::unexpected<Error> Broken(fmt::format_string<Args...> format, Args&&... args) {
  return Fail(ErrorKind::kConflict, format, std::forward<Args>(args)...);
}

std::string IdOrNone(const std::optional<int64_t>& id) { return id ? std::to_string(*id) : "none"; }

Status Equal(std::string_view what, int32_t wanted, int32_t present) {
  if (wanted == present) return {};
  return Broken("{} is {}, not {}: a concurrent writer changed the table", what, present, wanted);
}

struct Checker {
  const TableMetadata& table;

  Status operator()(const AssertCreate&) const { return Broken("the table already exists"); }
  Status operator()(const AssertTableUuid& wanted) const {
    if (wanted.uuid == table.table_uuid) return {};
    return Broken("the table's uuid is {}, not {}: it was dropped and recreated", table.table_uuid, wanted.uuid);
  }
  Status operator()(const AssertRefSnapshotId& wanted) const {
    const SnapshotRef* ref = table.FindRef(wanted.ref);
    const std::optional<int64_t> present = ref == nullptr ? std::nullopt : std::optional(ref->snapshot_id);
    if (present == wanted.snapshot_id) return {};
    return Broken("\"{}\" is at snapshot {}, not {}: a concurrent writer was first", wanted.ref, IdOrNone(present),
                  IdOrNone(wanted.snapshot_id));
  }
  Status operator()(const AssertLastAssignedFieldId& wanted) const {
    return Equal("the last assigned field id", wanted.id, table.last_column_id);
  }
  Status operator()(const AssertCurrentSchemaId& wanted) const {
    return Equal("the current schema id", wanted.id, table.current_schema_id);
  }
  Status operator()(const AssertDefaultSpecId& wanted) const {
    return Equal("the default partition spec id", wanted.id, table.default_spec_id);
  }
};

}  // namespace

Status CheckRequirements(const TableMetadata* metadata, const std::vector<TableRequirement>& requirements) {
  for (const TableRequirement& requirement : requirements) {
    if (metadata != nullptr) {
      K2_TRY(std::visit(Checker{*metadata}, requirement));
    } else if (!std::holds_alternative<AssertCreate>(requirement)) {
      return Broken("the table does not exist");
    }
  }
  return {};
}

}  // namespace k2::iceberg
