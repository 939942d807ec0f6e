#include "task/table_shape.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "iceberg/name_mapping.h"
#include "task/market_tables.h"
#include "trade/decimal.h"

namespace k2::task {
namespace {

using iceberg::NestedField;
using iceberg::Schema;
using iceberg::TableMetadata;
using iceberg::Type;
using iceberg::TypeId;

// Optional, for a tombstone has none, and yet all that Bronze and rejected_trades are for.
constexpr std::string_view kPayloads[] = {"avro_payload", "payload"};

// What tasks compare, sort and partition by: there must be a value in each row.
constexpr std::string_view kComputedWith[] = {"topic",          "partition", "offset",   "kafka_timestamp",
                                              "ingestion_date", "symbol",    "exchange", "trade_id",
                                              "message_id",     "timestamp", "price",    "quantity"};

bool IsOneOf(std::string_view name, std::span<const std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

const NestedField* TopLevel(const Schema& schema, int32_t id) {
  const auto found = std::ranges::find(schema.fields, id, &NestedField::id);
  return found == schema.fields.end() ? nullptr : &*found;
}

// The first schema that has the name tells the id: what was renamed since, or dropped and added again, is known by it.
int32_t FirstIdOf(const TableMetadata& metadata, std::string_view name) {
  std::vector<const Schema*> schemas;
  for (const Schema& schema : metadata.schemas) schemas.push_back(&schema);
  std::ranges::sort(schemas, {}, [](const Schema* schema) { return schema->schema_id; });
  for (const Schema* schema : schemas) {
    if (const NestedField* field = schema->Find(name)) return field->id;
  }
  return 0;
}

Result<ColumnIds> ColumnsFromJson(std::string_view text) {
  const auto document = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  ColumnIds columns;
  std::set<int32_t> ids;
  if (!document.is_object()) return Fail(ErrorKind::kInvalidData, "it is not a JSON object");
  for (const auto& [name, id] : document.items()) {
    if (!id.is_number_integer() || id < 1 || id > INT32_MAX) {
      return Fail(ErrorKind::kInvalidData, "\"{}\" has no field id", name);
    }
    columns[name] = id.get<int32_t>();
    if (!ids.insert(columns[name]).second) {
      return Fail(ErrorKind::kInvalidData, "two columns have the field id {}", columns[name]);
    }
  }
  return columns;
}

struct Problem {
  std::string what;
  std::string remedy;
};

// Of one column of K2, as the table has it; null: not at all.
std::optional<Problem> ProblemOf(const NestedField& own, int32_t id, const NestedField* field, TableUse use) {
  if (field == nullptr) {
    if (!own.required && !IsOneOf(own.name, kPayloads)) return std::nullopt;
    return Problem{id > 0 ? fmt::format("the column {} (field id {}) was dropped", own.name, id)
                          : fmt::format("there is no column {}", own.name),
                   "`k2 tables migrate` adopts a column of that name, or adds one; after that, the values of a dropped "
                   "column can no longer be read, unless its schema is rolled back first"};
  }
  const std::string called = field->name == own.name ? "" : fmt::format(" (now named {})", field->name);
  if (!HoldsValuesOf(field->type, own.type) && !IsOfOlderFormat(field->type, own)) {
    return Problem{fmt::format("the column {}{} has the type {}, but k2 needs {}", own.name, called,
                               field->type.ToString(), own.type.ToString()),
                   "restore that type, or a wider one"};
  }
  if (use == TableUse::kWrite && field->required && !own.required) {
    return Problem{fmt::format("the column {}{} is now required, but k2 does not have a value for it in each row",
                               own.name, called),
                   "make it optional"};
  }
  return std::nullopt;
}

std::unexpected<Error> Unusable(std::string_view table, TableUse use, const Problem& problem) {
  return Fail(ErrorKind::kUnsupported, "cannot {} {}.{}: {}; {}", use == TableUse::kWrite ? "write to" : "read",
              kNamespace, table, problem.what, problem.remedy);
}

}  // namespace

bool HoldsValuesOf(const Type& type, const Type& own) {
  if (own.id == TypeId::kInt && type.id == TypeId::kLong) return true;
  if (own.id == TypeId::kFloat && type.id == TypeId::kDouble) return true;
  if (type.id != own.id || type.length != own.length) return false;
  if (own.id == TypeId::kDecimal) return type.scale == own.scale && type.precision >= own.precision;
  // Members of a struct are found by their names.
  return std::ranges::equal(type.fields, own.fields, [&](const NestedField& a, const NestedField& b) {
    return HoldsValuesOf(a.type, b.type) && (own.id != TypeId::kStruct || a.name == b.name);
  });
}

bool IsOfOlderFormat(const Type& type, const NestedField& own) {
  if (own.name != "price" && own.name != "quantity") return false;
  const Type older = Type::Decimal(trade::kNumberTypeOfV2.precision, trade::kNumberTypeOfV2.scale);
  return HoldsValuesOf(type, older) && !HoldsValuesOf(type, own.type);
}

bool TableShape::OfOlderFormat() const {
  const auto is_older = [&](std::string_view name, trade::DecimalType type) {
    const auto id = columns.find(name);
    const NestedField* field = id == columns.end() ? nullptr : TopLevel(schema, id->second);
    const NestedField own{
        .name = std::string(name), .required = true, .type = Type::Decimal(type.precision, type.scale)};
    return field != nullptr && IsOfOlderFormat(field->type, own);
  };
  return is_older("price", trade::kPriceType) || is_older("quantity", trade::kQuantityType);
}

TableFormat FormatOf(std::string_view table, const TableMetadata& metadata) {
  const bool of_trades = IsSilver(table) || table == kGoldTable;
  if (!of_trades) return TableFormat::kCurrent;
  const Result<ColumnIds> columns = ColumnsOf(table, metadata);
  if (!columns) return TableFormat::kCurrent;  // whoever needs them is told
  const TableShape shape{.schema = metadata.CurrentSchema(), .columns = *columns, .name_mapping = {}};
  return shape.OfOlderFormat() ? TableFormat::kOlder : TableFormat::kCurrent;
}

Schema TableShape::Rows() const {
  std::map<int32_t, std::string_view> own;
  for (const auto& [name, id] : columns) {
    if (id > 0) own[id] = name;
  }
  Schema rows = schema;
  for (NestedField& field : rows.fields) {
    if (const auto found = own.find(field.id); found != own.end()) {
      field.name = found->second;
      field.required |= IsOneOf(field.name, kComputedWith);
    } else if (columns.contains(field.name)) {
      field.name = fmt::format("{} (field id {})", field.name, field.id);
    }
  }
  return rows;
}

TableShape ShapeByNames(const Schema& schema) {
  TableShape shape{.schema = schema};
  for (const NestedField& field : schema.fields) shape.columns[field.name] = field.id;
  return shape;
}

std::string ColumnsToJson(const ColumnIds& columns) {
  nlohmann::json object = nlohmann::json::object();
  for (const auto& [name, id] : columns) {
    if (id > 0) object[name] = id;
  }
  return object.dump();
}

Result<ColumnIds> ColumnsOf(std::string_view table, const TableMetadata& metadata) {
  K2_ASSIGN(const catalog::CreateTableRequest definition, TableDefinition(table));
  const auto property = metadata.properties.find(std::string(kColumnsProperty));
  ColumnIds columns;
  if (property != metadata.properties.end()) {
    auto read = ColumnsFromJson(property->second);
    if (!read) {
      return Fail(ErrorKind::kInvalidData,
                  "{}.{}: the property {} is not what k2 wrote: {}. Remove it to have the columns found by their names",
                  kNamespace, table, kColumnsProperty, read.error().message);
    }
    columns = *std::move(read);
    for (const NestedField& own : definition.schema.fields) columns.try_emplace(own.name, 0);
    return columns;
  }
  for (const NestedField& own : definition.schema.fields) columns[own.name] = FirstIdOf(metadata, own.name);
  return columns;
}

const NestedField* FindColumn(std::string_view table, const TableMetadata& metadata, std::string_view column) {
  const Result<ColumnIds> columns = ColumnsOf(table, metadata);
  if (!columns) return nullptr;
  const auto found = columns->find(column);
  return found == columns->end() || found->second == 0 ? nullptr : TopLevel(metadata.CurrentSchema(), found->second);
}

std::vector<std::string> AbsentColumns(std::string_view table, const TableMetadata& metadata) {
  std::vector<std::string> absent;
  const Result<catalog::CreateTableRequest> definition = TableDefinition(table);
  if (!definition) return absent;
  for (const NestedField& own : definition->schema.fields) {
    if (FindColumn(table, metadata, own.name) == nullptr) absent.push_back(own.name);
  }
  return absent;
}

std::map<std::string, std::string> MissingColumnsProperty(std::string_view table, const TableMetadata& metadata) {
  if (metadata.properties.contains(std::string(kColumnsProperty))) return {};
  const Result<ColumnIds> columns = ColumnsOf(table, metadata);
  if (!columns) return {};
  return {{std::string(kColumnsProperty), ColumnsToJson(*columns)}};
}

Result<TableShape> ShapeOf(std::string_view table, const TableMetadata& metadata, TableUse use) {
  return ShapeOf(table, metadata, metadata.CurrentSchema(), use);
}

Result<TableShape> ShapeOfFile(std::string_view table, const TableMetadata& metadata, const TableShape& now,
                               int64_t snapshot_id) {
  const iceberg::Snapshot* snapshot = metadata.FindSnapshot(snapshot_id);
  if (snapshot == nullptr || !snapshot->schema_id) return now;
  const Schema* schema = metadata.FindSchema(*snapshot->schema_id);
  if (schema == nullptr) return now;
  const auto has = [&](std::string_view name) {
    const auto id = now.columns.find(name);
    return id == now.columns.end() || id->second == 0 || TopLevel(*schema, id->second) != nullptr;
  };
  if (has("price") && has("quantity")) return now;
  return ShapeOf(table, metadata, *schema, TableUse::kRead);
}

Result<TableShape> ShapeOf(std::string_view table, const TableMetadata& metadata, const Schema& schema, TableUse use) {
  TableShape shape{.schema = schema};
  const auto mapping = metadata.properties.find(std::string(iceberg::kNameMappingProperty));
  if (mapping != metadata.properties.end()) shape.name_mapping = mapping->second;
  const Result<catalog::CreateTableRequest> definition = TableDefinition(table);
  if (!definition) return shape;  // a table of others, which compaction may work on
  K2_ASSIGN(shape.columns, ColumnsOf(table, metadata));
  std::set<int32_t> own_ids;
  for (const NestedField& own : definition->schema.fields) {
    int32_t& id = shape.columns[own.name];
    const NestedField* field = id > 0 ? TopLevel(shape.schema, id) : nullptr;
    // A migration has given it another id since: of the present schema that is none of K2's.
    const bool migrates = own.name == "price" || own.name == "quantity";
    if (field == nullptr && migrates && schema.schema_id != metadata.current_schema_id) {
      if (const int32_t former = FirstIdOf(metadata, own.name); former > 0 && TopLevel(schema, former) != nullptr) {
        field = TopLevel(schema, id = former);
      }
    }
    if (const auto problem = ProblemOf(own, id, field, use)) return Unusable(table, use, *problem);
    if (field == nullptr) id = 0;
    own_ids.insert(id);
  }
  if (use == TableUse::kRead) return shape;
  for (const NestedField& field : shape.schema.fields) {
    if (!field.required || own_ids.contains(field.id) || !field.write_default.empty()) continue;
    return Unusable(
        table, use,
        {fmt::format("the column {} (field id {}) is required, but k2 has no value for it", field.name, field.id),
         "make it optional"});
  }
  return shape;
}

}  // namespace k2::task
