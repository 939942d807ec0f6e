#include "query/duckdb_columns.h"

#include <algorithm>

#include "duckdb/common/multi_file/base_file_reader.hpp"
#include "duckdb/common/multi_file/multi_file_states.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "query/duckdb_catalog.h"

namespace k2::query {
namespace {

using duckdb::MultiFileColumnDefinition;
using duckdb::Value;

constexpr int32_t kNoFieldId = INT32_MAX;  // of the specification's reserved ids, and no column's

Value ConstantOf(const PredicateValue& value, const duckdb::LogicalType& type) {
  if (const auto* flag = std::get_if<bool>(&value)) return Value::BOOLEAN(*flag);
  if (const auto* number = std::get_if<double>(&value)) return Value::DOUBLE(*number).DefaultCastAs(type);
  if (const auto* decimal = std::get_if<DecimalValue>(&value)) {
    const duckdb::hugeint_t unscaled(static_cast<int64_t>(decimal->unscaled >> 64),
                                     static_cast<uint64_t>(decimal->unscaled));
    return Value::DECIMAL(unscaled, 38, static_cast<uint8_t>(decimal->scale)).DefaultCastAs(type);
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    if (type.id() == duckdb::LogicalTypeId::VARCHAR) return Value(*text);
    if (type.id() == duckdb::LogicalTypeId::BLOB) return Value::BLOB_RAW(*text);
    throw duckdb::NotImplementedException("a constant of type " + type.ToString());
  }
  const int64_t number = std::get<int64_t>(value);
  switch (type.id()) {
    case duckdb::LogicalTypeId::DATE: return Value::DATE(duckdb::date_t(static_cast<int32_t>(number)));
    case duckdb::LogicalTypeId::TIME: return Value::TIME(duckdb::dtime_t(number));
    case duckdb::LogicalTypeId::TIMESTAMP: return Value::TIMESTAMP(duckdb::timestamp_t(number));
    case duckdb::LogicalTypeId::TIMESTAMP_TZ: return Value::TIMESTAMPTZ(duckdb::timestamp_tz_t(number));
    default: return Value::BIGINT(number).DefaultCastAs(type);
  }
}

const ColumnInfo* Mapped(const std::vector<ColumnInfo>& table, const std::string& name) {
  const auto found = std::ranges::find_if(table, [&](const ColumnInfo& column) {
    return std::ranges::find(column.mapped_names, name) != column.mapped_names.end();
  });
  return found == table.end() ? nullptr : &*found;
}

void MapColumns(const std::vector<ColumnInfo>& table, duckdb::vector<MultiFileColumnDefinition>& columns);

// What is inside a list or map is found by its place, what is inside a struct by name.
void MapNested(const ColumnInfo& column, MultiFileColumnDefinition& local) {
  const bool by_place = local.type.id() == duckdb::LogicalTypeId::LIST || local.type.id() == duckdb::LogicalTypeId::MAP;
  if (!by_place) return MapColumns(column.children, local.children);
  auto* nested = &local.children;
  if (local.type.id() == duckdb::LogicalTypeId::MAP && nested->size() == 1) nested = &nested->front().children;
  for (size_t i = 0; i < nested->size() && i < column.children.size(); ++i) {
    MultiFileColumnDefinition& child = (*nested)[i];
    if (child.identifier.IsNull()) child.identifier = Value::INTEGER(column.children[i].field_id);
    MapNested(column.children[i], child);
  }
}

void MapColumns(const std::vector<ColumnInfo>& table, duckdb::vector<MultiFileColumnDefinition>& columns) {
  for (MultiFileColumnDefinition& local : columns) {
    if (!local.identifier.IsNull()) {
      const int32_t id = local.GetIdentifierFieldId();
      const auto known = std::ranges::find(table, id, &ColumnInfo::field_id);
      if (known != table.end()) MapNested(*known, local);
      continue;
    }
    const ColumnInfo* column = Mapped(table, local.name);
    local.identifier = Value::INTEGER(column == nullptr ? kNoFieldId : column->field_id);
    if (column != nullptr) MapNested(*column, local);
  }
}

}  // namespace

MultiFileColumnDefinition ColumnDefinition(const ColumnInfo& column) {
  MultiFileColumnDefinition definition(column.name, DuckDbType(column));
  definition.identifier = Value::INTEGER(column.field_id);
  // What a row of a file without the column has.
  const Value missing =
      column.initial_default ? ConstantOf(*column.initial_default, definition.type) : Value(definition.type);
  definition.default_expression = duckdb::make_uniq<duckdb::ConstantExpression>(missing);
  for (const auto& child : column.children) definition.children.push_back(ColumnDefinition(child));
  return definition;
}

void FitFile(const std::vector<ColumnInfo>& table, const PlannedFile& planned,
             const duckdb::vector<duckdb::ColumnIndex>& wanted, QueryFiles& files,
             duckdb::MultiFileReaderData& reader_data) {
  auto& local = reader_data.reader->columns;
  const bool all_have_ids = std::ranges::none_of(local, [](const auto& column) { return column.identifier.IsNull(); });
  MapColumns(table, local);
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i].GetPrimaryIndex() >= table.size()) continue;  // row numbers and the like
    const ColumnInfo& column = table[wanted[i].GetPrimaryIndex()];
    const bool there =
        std::ranges::any_of(local, [&](const auto& one) { return one.GetIdentifierFieldId() == column.field_id; });
    if (there) continue;
    if (const auto constant = planned.constants.find(column.field_id); constant != planned.constants.end()) {
      reader_data.constant_map.Add(duckdb::MultiFileGlobalIndex(i), ConstantOf(constant->second, DuckDbType(column)));
      continue;
    }
    if (!column.required || column.initial_default) continue;
    Throw(files,
          Error{ErrorKind::kInvalidData,
                fmt::format(
                    "data file {} has no column of field id {}, the required column '{}'{}", planned.path,
                    column.field_id, column.name,
                    all_have_ids
                        ? ""
                        : ": its columns have no field ids, and the table's property schema.name-mapping.default maps "
                          "none of them to it; set the property to the mapping that the file was written for")});
  }
}

}  // namespace k2::query
