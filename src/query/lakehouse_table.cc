#include "query/lakehouse_table.h"

#include <charconv>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "base/time.h"
#include "iceberg/literal.h"
#include "iceberg/name_mapping.h"
#include "iceberg/transform.h"
#include "table/row_deletes.h"
#include "table/scan.h"

namespace k2::query {
namespace {

// The literal as the engine takes it; nullopt for null.
std::optional<PredicateValue> ToValue(const iceberg::Literal& literal, const iceberg::Type& type) {
  if (const auto* flag = std::get_if<bool>(&literal)) return *flag;
  if (const auto* number = std::get_if<int32_t>(&literal)) return int64_t{*number};
  if (const auto* number = std::get_if<int64_t>(&literal)) return *number;
  if (const auto* number = std::get_if<float>(&literal)) return double{*number};
  if (const auto* number = std::get_if<double>(&literal)) return *number;
  if (const auto* text = std::get_if<std::string>(&literal)) return *text;
  if (const auto* decimal = std::get_if<iceberg::Int128>(&literal)) return DecimalValue{*decimal, type.scale};
  return std::nullopt;
}

Result<ColumnInfo> Describe(const iceberg::NestedField& field, const iceberg::NameMapping& mapping) {
  ColumnInfo column{.name = field.name, .field_id = field.id, .iceberg_type = {}, .required = field.required};
  if (!field.initial_default.empty() && field.type.IsPrimitive()) {
    K2_ASSIGN(const nlohmann::json json, ParseJson(field.initial_default, "initial-default"));
    K2_ASSIGN(const iceberg::Literal value, iceberg::LiteralFromJson(json, field.type));
    column.initial_default = ToValue(value, field.type);
  }
  const auto mapped = std::ranges::find(mapping, field.id, &iceberg::MappedField::field_id);
  if (mapped != mapping.end()) column.mapped_names = mapped->names;
  switch (field.type.id) {
    case iceberg::TypeId::kStruct: column.iceberg_type = "struct"; break;
    case iceberg::TypeId::kList: column.iceberg_type = "list"; break;
    case iceberg::TypeId::kMap: column.iceberg_type = "map"; break;
    default: column.iceberg_type = field.type.ToString(); break;
  }
  for (const iceberg::NestedField& child : field.type.fields) {
    static const iceberg::NameMapping nothing;
    K2_ASSIGN(ColumnInfo nested, Describe(child, mapped == mapping.end() ? nothing : mapped->fields));
    column.children.push_back(std::move(nested));
  }
  return column;
}

iceberg::CompareOp ToCompareOp(PredicateOp op) {
  switch (op) {
    case PredicateOp::kEqual: return iceberg::CompareOp::kEq;
    case PredicateOp::kLess: return iceberg::CompareOp::kLt;
    case PredicateOp::kLessEqual: return iceberg::CompareOp::kLe;
    case PredicateOp::kGreater: return iceberg::CompareOp::kGt;
    case PredicateOp::kGreaterEqual: return iceberg::CompareOp::kGe;
    case PredicateOp::kIn: return iceberg::CompareOp::kIn;
    case PredicateOp::kIsNull: return iceberg::CompareOp::kIsNull;
    case PredicateOp::kIsNotNull: return iceberg::CompareOp::kIsNotNull;
  }
  return iceberg::CompareOp::kIsNotNull;
}

// The value as a literal of the column's type; nullopt where it is none, and the predicate then prunes nothing.
std::optional<iceberg::Literal> ToLiteral(const PredicateValue& value, const iceberg::Type& type) {
  iceberg::Literal literal;
  if (const auto* flag = std::get_if<bool>(&value)) literal = *flag;
  if (const auto* number = std::get_if<int64_t>(&value)) literal = *number;
  if (const auto* number = std::get_if<double>(&value)) literal = *number;
  if (const auto* text = std::get_if<std::string>(&value)) literal = *text;
  if (const auto* decimal = std::get_if<DecimalValue>(&value)) {
    if (type.id != iceberg::TypeId::kDecimal || decimal->scale != type.scale) return std::nullopt;
    literal = static_cast<iceberg::Int128>(decimal->unscaled);
  }
  return iceberg::Coerce(literal, type);
}

class CatalogTable final : public QueryTable {
 public:
  CatalogTable(std::string name, std::function<Result<table::Table>()> load, const AsOf& as_of)
      : name_(std::move(name)), load_(std::move(load)), as_of_(as_of) {}

  const std::string& name() const override { return name_; }

  Result<std::vector<ColumnInfo>> Columns() override {
    K2_TRY(Load());
    iceberg::NameMapping mapping;
    const auto& properties = table_->metadata().properties;
    if (const auto found = properties.find(std::string(iceberg::kNameMappingProperty)); found != properties.end()) {
      auto parsed = iceberg::ParseNameMapping(found->second);
      if (!parsed) return std::unexpected(parsed.error().With(iceberg::kNameMappingProperty));
      mapping = *std::move(parsed);
    }
    std::vector<ColumnInfo> columns;
    for (const iceberg::NestedField& field : SnapshotSchema().fields) {
      K2_ASSIGN(ColumnInfo column, Describe(field, mapping));
      columns.push_back(std::move(column));
    }
    return columns;
  }

  Result<std::vector<PlannedFile>> Plan(const std::vector<ColumnPredicate>& conjuncts) override {
    K2_TRY(Load());
    std::vector<PlannedFile> planned;
    if (snapshot_id_ == 0) return planned;
    std::vector<iceberg::ColumnPredicate> predicates;
    for (const ColumnPredicate& conjunct : conjuncts) {
      const iceberg::NestedField* field = SnapshotSchema().FindById(conjunct.field_id);
      if (field == nullptr) continue;
      iceberg::ColumnPredicate predicate{.field_id = conjunct.field_id, .op = ToCompareOp(conjunct.op), .values = {}};
      bool usable = true;
      for (const PredicateValue& value : conjunct.values) {
        std::optional<iceberg::Literal> literal = ToLiteral(value, field->type);
        usable &= literal.has_value();
        if (literal) predicate.values.push_back(std::move(*literal));
      }
      if (usable) predicates.push_back(std::move(predicate));
    }
    K2_ASSIGN(const std::vector<table::ScanFile> files,
              table::PlanScan(table_->io(), table_->metadata(), snapshot_id_, predicates));
    for (const table::ScanFile& file : files) {
      PlannedFile& one = planned.emplace_back(PlannedFile{.path = file.file.file_path,
                                                          .size_bytes = file.file.file_size_in_bytes,
                                                          .record_count = file.file.record_count,
                                                          .constants = ConstantsOf(file.file)});
      if (file.deletes.empty()) continue;
      table::ReadOptions options;
      options.constants = iceberg::IdentityValues(table_->metadata(), file.file);
      const auto& properties = table_->metadata().properties;
      const auto mapping = properties.find(std::string(iceberg::kNameMappingProperty));
      if (mapping != properties.end()) options.name_mapping = mapping->second;
      one.deleted_rows = [io = table_->io_ptr(), path = file.file.file_path, deletes = file.deletes,
                          schema = SnapshotSchema(), options = std::move(options)] {
        return table::ReadDeletedPositions(*io, path, deletes, schema, options);
      };
    }
    return planned;
  }

 private:
  [[nodiscard]] std::map<int32_t, PredicateValue> ConstantsOf(const iceberg::DataFile& file) const {
    std::map<int32_t, PredicateValue> constants;
    for (const auto& [id, literal] : iceberg::IdentityValues(table_->metadata(), file)) {
      const iceberg::NestedField* field = SnapshotSchema().FindById(id);
      if (field == nullptr) continue;
      if (auto value = ToValue(literal, field->type)) constants.emplace(id, *std::move(value));
    }
    return constants;
  }

  Status Load() {
    const std::lock_guard lock(mutex_);
    if (table_) return {};
    K2_ASSIGN(table::Table table, load_());
    const iceberg::TableMetadata& metadata = table.metadata();
    const std::string help =
        fmt::format("'k2 tables describe {}' lists its snapshots (docs/limits.md says how long they are kept)", name_);
    if (as_of_.snapshot_id) {
      if (metadata.FindSnapshot(*as_of_.snapshot_id) == nullptr) {
        return WithHint(Fail(ErrorKind::kNotFound, "no snapshot {}", *as_of_.snapshot_id), help);
      }
      snapshot_id_ = *as_of_.snapshot_id;
    } else if (as_of_.timestamp_ms) {
      const Result<int64_t> found = table::SnapshotAsOf(metadata, *as_of_.timestamp_ms);
      if (!found) return WithHint(std::unexpected(found.error()), help);
      snapshot_id_ = *found;
    } else {
      snapshot_id_ = metadata.current_snapshot_id.value_or(0);
    }
    table_ = std::make_unique<table::Table>(std::move(table));
    return {};
  }

  [[nodiscard]] const iceberg::Schema& SnapshotSchema() const {
    const iceberg::TableMetadata& metadata = table_->metadata();
    const bool past = as_of_.snapshot_id || as_of_.timestamp_ms;
    const iceberg::Snapshot* snapshot = metadata.FindSnapshot(snapshot_id_);
    if (past && snapshot != nullptr && snapshot->schema_id) {
      if (const iceberg::Schema* schema = metadata.FindSchema(*snapshot->schema_id)) return *schema;
    }
    return metadata.CurrentSchema();
  }

  std::string name_;
  std::function<Result<table::Table>()> load_;
  AsOf as_of_;
  std::mutex mutex_;
  std::unique_ptr<table::Table> table_;
  int64_t snapshot_id_ = 0;
};

}  // namespace

Result<AsOf> ParseAsOf(const std::string& text) {
  AsOf as_of;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size() && number > 0) {
    as_of.snapshot_id = number;
    return as_of;
  }
  const Result<int64_t> micros = ParseTimestamp(text);
  if (!micros) {
    return WithHint(Fail(ErrorKind::kInvalidArgument, "cannot read the time '{}' (--as-of)", text),
                    "2024-08-08T23:55:00Z, a day such as 2024-08-08, or a snapshot id; times are UTC");
  }
  as_of.timestamp_ms = FloorDiv(*micros, 1000);
  return as_of;
}

std::shared_ptr<QueryTable> MakeQueryTable(std::string name, std::function<Result<table::Table>()> load,
                                           const AsOf& as_of) {
  return std::make_shared<CatalogTable>(std::move(name), std::move(load), as_of);
}

}  // namespace k2::query
