// Inside the query module only: from DuckDB's filters to column predicates.
#pragma once

#include <vector>

#include "duckdb.hpp"
#include "duckdb/planner/expression.hpp"
#include "duckdb/planner/table_filter.hpp"
#include "query/query_table.h"

namespace k2::query {

// A column that filters may name: what of it the planner knows, and its type in DuckDB.
struct FilterColumn {
  const ColumnInfo* info = nullptr;  // null: a virtual column; nothing is known of it
  duckdb::LogicalType type;
};

// Appends what `filter` says of single columns; whatever is not understood is left out, which only means that fewer
// files are pruned. Column references must have table `table_index` and are positions in `columns`.
void TranslateExpression(const duckdb::Expression& filter, duckdb::idx_t table_index,
                         const std::vector<FilterColumn>& columns, std::vector<ColumnPredicate>& out);

// The same for a filter that the engine found while it runs: the keys that a join's other side has.
void TranslateTableFilter(const duckdb::TableFilter& filter, const FilterColumn& column,
                          std::vector<ColumnPredicate>& out);

}  // namespace k2::query
