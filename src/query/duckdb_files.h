// Inside the query module only: the one door through which DuckDB reaches files. Its own local file system is switched
// off (enable_external_access = false), so SQL can read the planned data files and nothing else, and write nothing but
// the one output that the engine itself has opened for a moment.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "duckdb.hpp"
#include "query/query_table.h"

namespace k2::query {

using OpenFileFunction = std::function<Result<std::unique_ptr<QueryFile>>(const std::string& path)>;

class QueryFiles {
 public:
  explicit QueryFiles(OpenFileFunction open) : open_(std::move(open)) {}

  // Allows the file to be opened, by Path(file.path).
  void Allow(const PlannedFile& file);
  // Positions of an allowed file's deleted rows, in order; null where it has none. `path`: as Path gives it. Read once.
  Result<std::shared_ptr<const std::vector<int64_t>>> DeletedRows(const std::string& path);
  // Opens an allowed file and holds its size against the plan's.
  Result<std::unique_ptr<QueryFile>> Open(const std::string& path);

  // Between SetOutput and ClearOutput, writes to kOutput go to this descriptor, which stays the caller's.
  void SetOutput(int descriptor);
  void ClearOutput() { SetOutput(-1); }
  int output() const;

  // The first error of a table or file since the last TakeFailure: DuckDB's exceptions carry only text.
  void Fail(const Error& error);
  std::optional<Error> TakeFailure();

  static std::string Path(const std::string& data_file) { return std::string(kPrefix) + data_file; }

  static constexpr const char* kPrefix = "k2data:/";
  static constexpr const char* kOutput = "k2data:/(output)";

 private:
  OpenFileFunction open_;
  mutable std::mutex mutex_;
  struct Allowed {
    int64_t size_bytes = 0;
    std::function<Result<std::vector<int64_t>>()> deleted_rows;
    std::shared_ptr<const std::vector<int64_t>> deleted;  // once they were asked for
  };
  std::unordered_map<std::string, Allowed> allowed_;
  std::optional<Error> failure_;
  int output_ = -1;
};

// Throws the error as a duckdb::IOException after noting it in `files`.
[[noreturn]] void Throw(QueryFiles& files, const Error& error);

void RegisterFiles(duckdb::DatabaseInstance& database, std::shared_ptr<QueryFiles> files);

}  // namespace k2::query
