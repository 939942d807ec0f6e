// Inside the query module only: DuckDB's side of the tables. Includes DuckDB's C++ headers, which are heavy.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "duckdb.hpp"
#include "duckdb/common/multi_file/multi_file_data.hpp"
#include "query/duckdb_files.h"
#include "query/query_table.h"

namespace k2::query {

using Plan = std::vector<PlannedFile>;

// A table as all scans of the engine share it: what was asked of the QueryTable once is not asked again.
class SharedTable {
 public:
  SharedTable(std::shared_ptr<QueryTable> table, std::shared_ptr<QueryFiles> files)
      : table_(std::move(table)), files_(std::move(files)) {}

  const std::string& name() const { return table_->name(); }
  // Both throw duckdb::Exception, with the QueryTable's error kept in QueryFiles for the engine to report.
  std::shared_ptr<const std::vector<ColumnInfo>> Columns();
  std::shared_ptr<const Plan> Files(const std::vector<ColumnPredicate>& conjuncts);
  QueryFiles& files() const { return *files_; }

 private:
  std::shared_ptr<QueryTable> table_;
  std::shared_ptr<QueryFiles> files_;
  std::mutex mutex_;
  std::shared_ptr<const std::vector<ColumnInfo>> columns_;
  std::vector<std::pair<std::vector<ColumnPredicate>, std::shared_ptr<const Plan>>> plans_;
};

// The engine's tables by lower-case name.
class Tables {
 public:
  Status Add(std::shared_ptr<SharedTable> table);
  std::shared_ptr<SharedTable> Find(const std::string& name) const;
  std::vector<std::string> Names() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<SharedTable>> tables_;
};

// The DuckDB type of a column; throws duckdb::NotImplementedException for a type that K2 does not know.
duckdb::LogicalType DuckDbType(const ColumnInfo& column);

// Lets SQL name the tables: registers the scan function and a replacement scan that turns an unknown table name into a
// call of it.
void RegisterTables(duckdb::DatabaseInstance& database, std::shared_ptr<Tables> tables);

inline constexpr const char* kScanFunction = "k2_scan";

}  // namespace k2::query
