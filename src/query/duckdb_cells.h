// Inside the query module only: from DuckDB's vectors to the texts of a result.
#pragma once

#include "duckdb.hpp"
#include "query/result.h"

namespace k2::query {

// kPeople: as DuckDB prints values. kProgram: times as RFC 3339, nested values as JSON.
enum class CellStyle { kPeople, kProgram };

std::vector<ResultColumn> ColumnsOf(const duckdb::QueryResult& result);

// Appends the chunk's rows, at most rows_max of them, to `rows`.
void AppendRows(duckdb::ClientContext& context, duckdb::DataChunk& chunk, CellStyle style, duckdb::idx_t rows_max,
                std::vector<ResultRow>& rows);

}  // namespace k2::query
