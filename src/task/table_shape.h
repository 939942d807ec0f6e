// A table's columns as they are now, whoever has changed them, and which of them are K2's (docs/tables.md, "Changed
// columns").
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "iceberg/schema.h"
#include "iceberg/table_metadata.h"
#include "task/market_tables.h"

namespace k2::task {

// Table property: field ids by K2's names of its columns, as JSON. Names change; ids are given once (Iceberg spec,
// "Schema Evolution"), but by the catalog, so that only the table can tell them.
inline constexpr std::string_view kColumnsProperty = "k2.columns";

// By K2's name of a column; 0: the table has it no more.
using ColumnIds = std::map<std::string, int32_t, std::less<>>;

// What of a table a task needs to know to read its files, or to write some.
struct TableShape {
  iceberg::Schema schema;      // the table's current one
  ColumnIds columns{};         // all that K2 has
  std::string name_mapping{};  // property schema.name-mapping.default, for files without field ids; empty: none

  // The schema with K2's columns under K2's names, whatever the table calls them. Rows in memory have these names. A
  // column of others that has the name of one of K2's is told apart by its id. What K2 computes with is required.
  [[nodiscard]] iceberg::Schema Rows() const;

  bool operator==(const TableShape&) const = default;

  // Whether its prices or quantities have the type that they had until TradeV2, or one that this was widened to.
  [[nodiscard]] bool OfOlderFormat() const;
};

enum class TableUse { kRead, kWrite };

// The one check of a table's columns, for each plan anew. Renamed and moved columns, new optional ones of others, wider
// types (int to long, float to double, more digits of a decimal), and optional columns of K2 that were dropped are
// worked with. Errors: kUnsupported, with the table, the column and what to do: a column that K2 needs was dropped or
// has another type; to write, also one of others that is required. kInvalidData: the property is not what it must be.
Result<TableShape> ShapeOf(std::string_view table, const iceberg::TableMetadata& metadata, TableUse use);
// The same of one of the table's earlier schemas: a column that was migrated since had another id in it.
Result<TableShape> ShapeOf(std::string_view table, const iceberg::TableMetadata& metadata,
                           const iceberg::Schema& schema, TableUse use);
// Of a data file, as of the snapshot that added it: `now`, ShapeOf the present schema, but for files that are older
// than a migration, which a reader that follows the snapshots may still have to read.
Result<TableShape> ShapeOfFile(std::string_view table, const iceberg::TableMetadata& metadata, const TableShape& now,
                               int64_t snapshot_id);

// Of a table of K2's.
TableFormat FormatOf(std::string_view table, const iceberg::TableMetadata& metadata);

// Whether a column of this type holds the values of K2's: of the same type, or one that it may be widened to.
bool HoldsValuesOf(const iceberg::Type& type, const iceberg::Type& own);
// Whether it is a price or quantity as it was until TradeV2: worked with, but it holds fewer values than K2's.
bool IsOfOlderFormat(const iceberg::Type& type, const iceberg::NestedField& own);

// The shape of a schema whose columns have K2's names.
TableShape ShapeByNames(const iceberg::Schema& schema);

// The ids as the property has them; of a table without it, by the names that the columns had first.
Result<ColumnIds> ColumnsOf(std::string_view table, const iceberg::TableMetadata& metadata);
// The table's present field that is this column of K2; null where it has none, or nothing tells.
const iceberg::NestedField* FindColumn(std::string_view table, const iceberg::TableMetadata& metadata,
                                       std::string_view column);
// Names of K2's columns that the table lacks: of a later version than the one that made it, or dropped since.
std::vector<std::string> AbsentColumns(std::string_view table, const iceberg::TableMetadata& metadata);
std::string ColumnsToJson(const ColumnIds& columns);
// The property for a table that lacks it; empty where it is there, or the table is none of K2's.
std::map<std::string, std::string> MissingColumnsProperty(std::string_view table,
                                                          const iceberg::TableMetadata& metadata);

}  // namespace k2::task
