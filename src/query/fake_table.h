// For the tests of the query module: a table whose files DuckDB itself writes, and whose planner remembers what it was
// asked.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "base/uuid.h"
#include "duckdb.hpp"
#include "query/engine.h"

namespace k2::query {

// A folder that is gone when the test is.
class ScratchFolder {
 public:
  ScratchFolder() : path_(std::filesystem::temp_directory_path() / ("k2-scratch-" + RandomHex64())) {
    std::filesystem::create_directories(path_);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string File(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// COPY (select) TO path, with Parquet field ids as in "{a: 1, b: {__duckdb_field_id: 2, element: 3}}"; "": without any.
inline PlannedFile WriteParquet(const std::string& path, const std::string& select, const std::string& field_ids) {
  duckdb::DuckDB database(nullptr);
  duckdb::Connection connection(database);
  for (const std::string& sql :
       {std::string("SET TimeZone = 'UTC'"), "COPY (" + select + ") TO '" + path + "' (FORMAT parquet" +
                                                 (field_ids.empty() ? "" : ", FIELD_IDS " + field_ids) + ")"}) {
    auto result = connection.Query(sql);
    EXPECT_FALSE(result->HasError()) << result->GetError();
  }
  auto rows = connection.Query("SELECT count(*) FROM read_parquet('" + path + "')");
  return {path, static_cast<int64_t>(std::filesystem::file_size(path)), rows->GetValue(0, 0).GetValue<int64_t>()};
}

class FakeTable : public QueryTable {
 public:
  using Filter = std::function<bool(const PlannedFile&, const std::vector<ColumnPredicate>&)>;

  FakeTable(std::string name, std::vector<ColumnInfo> columns, std::vector<PlannedFile> files)
      : name_(std::move(name)), columns_(std::move(columns)), files_(std::move(files)) {}

  const std::string& name() const override { return name_; }
  Result<std::vector<ColumnInfo>> Columns() override {
    ++columns_asked;
    return columns_;
  }
  Result<std::vector<PlannedFile>> Plan(const std::vector<ColumnPredicate>& conjuncts) override {
    const std::lock_guard lock(mutex_);
    asked.push_back(conjuncts);
    if (failure) return std::unexpected(*failure);
    std::vector<PlannedFile> files;
    for (const auto& file : files_) {
      if (!keep || keep(file, conjuncts)) files.push_back(file);
    }
    return files;
  }

  int columns_asked = 0;
  std::vector<std::vector<ColumnPredicate>> asked;
  std::optional<Error> failure;
  Filter keep;

 private:
  std::mutex mutex_;
  std::string name_;
  std::vector<ColumnInfo> columns_;
  std::vector<PlannedFile> files_;
};

inline std::unique_ptr<QueryEngine> EngineOf(const std::vector<std::shared_ptr<FakeTable>>& tables) {
  auto engine = QueryEngine::Open({.threads = 2});
  EXPECT_TRUE(engine) << engine.error().message;
  for (const auto& table : tables) EXPECT_TRUE((*engine)->AddTable(table));
  return std::move(*engine);
}

// All cells of a result, by row: a,b;c,d. Errors come back as their text.
inline std::string Rows(QueryEngine& engine, const std::string& sql) {
  const auto result = engine.Run(sql);
  if (!result) return "error: " + result.error().message;
  std::string out;
  for (const auto& row : result->rows) {
    if (!out.empty()) out += ';';
    for (size_t i = 0; i < row.size(); ++i) out += (i > 0 ? "," : "") + row[i].value_or("NULL");
  }
  return out;
}

}  // namespace k2::query
