// SQL over Iceberg tables: DuckDB in process, over the data files that each table's own planner names.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "query/query_table.h"
#include "query/result.h"

namespace k2::query {

struct QueryOptions {
  int64_t memory_limit_bytes = 512LL << 20;
  int threads = 0;       // 0: as many as there are cores
  std::string temp_dir;  // where sorts and joins larger than memory spill; empty: they fail instead
  int64_t temp_bytes_max = 10LL << 30;
  std::function<Result<std::unique_ptr<QueryFile>>(const std::string& path)> open_file = OpenLocalQueryFile;
};

enum class OutputFormat { kTable, kJson, kCsv, kParquet };

struct OutputTarget {
  std::string path;  // a file, put in place whole when it is complete; empty: write to `stream`
  std::FILE* stream = nullptr;
  int64_t rows_max = 1000;  // of a table; the other formats write all rows
  int width = 0;            // of a table: columns of the terminal, 0 for no limit
};

// Each table is known in SQL under its own name (and under any schema's: market_data.gold_crypto_trades). SQL only
// reads the tables: no other file can be opened, nothing can be written, no extension installed, no setting changed.
// Times are UTC. One query at a time; Interrupt may come from another thread.
class QueryEngine {
 public:
  static Result<std::unique_ptr<QueryEngine>> Open(const QueryOptions& options = {});
  ~QueryEngine();
  QueryEngine(const QueryEngine&) = delete;
  QueryEngine& operator=(const QueryEngine&) = delete;

  // Nothing is asked of the table until a query names it. Error: kAlreadyExists.
  Status AddTable(std::shared_ptr<QueryTable> table);

  // Runs one statement (SELECT, EXPLAIN, DESCRIBE, SHOW, SUMMARIZE) and keeps the first rows_max rows; the others are
  // counted. Errors: kInvalidArgument for SQL that is wrong, kPermission for SQL that would write, what a table's
  // planner or a data file answered, kNoSpace out of memory, kCancelled.
  Result<QueryResult> Run(const std::string& sql, int64_t rows_max = INT64_MAX);

  // Runs one statement and writes its rows as they come: JSON as one array of objects, times as RFC 3339; CSV likewise;
  // Parquet with zstd. Returns the number of rows. Errors as Run's, and kIo, kNoSpace of the output.
  Result<int64_t> WriteTo(const std::string& sql, OutputFormat format, const OutputTarget& target);

  // Ends the running query with kCancelled.
  void Interrupt();

 private:
  class Impl;
  explicit QueryEngine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace k2::query
