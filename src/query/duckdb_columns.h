// Inside the query module only: which column of a data file is which of the table.
#pragma once

#include <vector>

#include "duckdb/common/multi_file/multi_file_data.hpp"
#include "query/duckdb_files.h"
#include "query/query_table.h"

namespace k2::query {

duckdb::MultiFileColumnDefinition ColumnDefinition(const ColumnInfo& column);

// Before DuckDB maps a file's columns by field id: gives those without one the id that the table's name mapping has for
// their name, and the columns that the file lacks the constants of its partition. Throws, with the error kept in
// `files`, where the file has no values of a required column that the query reads (Iceberg spec, "Column Projection").
void FitFile(const std::vector<ColumnInfo>& table, const PlannedFile& planned,
             const duckdb::vector<duckdb::ColumnIndex>& wanted, QueryFiles& files,
             duckdb::MultiFileReaderData& reader_data);

}  // namespace k2::query
