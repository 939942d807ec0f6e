#include "query/engine.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/similar.h"
#include "base/uuid.h"
#include "duckdb/common/error_data.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/parsed_data/copy_info.hpp"
#include "duckdb/parser/statement/copy_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "query/duckdb_catalog.h"
#include "query/duckdb_cells.h"
#include "query/duckdb_files.h"

namespace k2::query {
namespace {

using duckdb::ExceptionType;
using duckdb::StatementType;
using duckdb::Value;

ErrorKind ErrorKindOf(ExceptionType type) {
  switch (type) {
    case ExceptionType::PERMISSION: return ErrorKind::kPermission;
    case ExceptionType::OUT_OF_MEMORY: return ErrorKind::kNoSpace;
    case ExceptionType::INTERRUPT: return ErrorKind::kCancelled;
    case ExceptionType::IO: return ErrorKind::kIo;
    case ExceptionType::INTERNAL:
    case ExceptionType::FATAL: return ErrorKind::kInternal;
    default: return ErrorKind::kInvalidArgument;
  }
}

// SHOW TABLES and DuckDB's catalog views list what is in its catalog, where our tables are not until they are asked
// for.
bool AsksForCatalog(const std::string& sql) {
  const std::string lower = duckdb::StringUtil::Lower(sql);
  return std::ranges::any_of(std::initializer_list<std::string_view>{"show", "information_schema", "duckdb_", "pragma"},
                             [&](std::string_view word) { return lower.find(word) != std::string::npos; });
}

bool IsReadOnly(StatementType type) {
  return type == StatementType::SELECT_STATEMENT || type == StatementType::EXPLAIN_STATEMENT ||
         type == StatementType::PRAGMA_STATEMENT || type == StatementType::RELATION_STATEMENT;
}

Error SystemError(const std::string& what, const std::string& path) {
  const ErrorKind kind = errno == ENOSPC   ? ErrorKind::kNoSpace
                         : errno == EACCES ? ErrorKind::kPermission
                                           : ErrorKind::kIo;
  return {kind, fmt::format("cannot {} {}: {}", what, path, std::strerror(errno))};
}

}  // namespace

class QueryEngine::Impl {
 public:
  using Sink = std::function<Status(duckdb::DataChunk&)>;

  explicit Impl(const QueryOptions& options)
      : files_(std::make_shared<query::QueryFiles>(options.open_file)),
        tables_(std::make_shared<query::Tables>()),
        spills_(!options.temp_dir.empty()) {
    duckdb::DBConfig config;
    config.SetOptionByName("autoinstall_known_extensions", Value::BOOLEAN(false));
    config.SetOptionByName("autoload_known_extensions", Value::BOOLEAN(false));
    config.SetOptionByName("memory_limit", Value(fmt::format("{}B", options.memory_limit_bytes)));
    config.SetOptionByName("temp_directory", Value(options.temp_dir));
    if (options.threads > 0) config.SetOptionByName("threads", Value::BIGINT(options.threads));
    // Its cache would copy every page once more for reads that a short-lived process does not repeat.
    config.SetOptionByName("enable_external_file_cache", Value::BOOLEAN(false));
    config.SetOptionByName("enable_external_access", Value::BOOLEAN(false));
    database_ = std::make_unique<duckdb::DuckDB>(nullptr, &config);
    query::RegisterFiles(*database_->instance, files_);
    // After the file system that knows this prefix: DuckDB asks it for the canonical form.
    duckdb::DBConfig::GetConfig(*database_->instance).AddAllowedDirectory(query::QueryFiles::kPrefix);
    if (!options.temp_dir.empty()) {
      duckdb::DBConfig::GetConfig(*database_->instance).AddAllowedDirectory(options.temp_dir);
    }
    query::RegisterTables(*database_->instance, tables_);
    connection_ = std::make_unique<duckdb::Connection>(*database_);
    Setting("SET TimeZone = 'UTC'");
    // As an option of the configuration it is not heeded.
    Setting(fmt::format("SET max_temp_directory_size = '{}B'", options.temp_bytes_max));
    Setting("SET lock_configuration = true");
  }

  Status Add(std::shared_ptr<QueryTable> table) {
    return tables_->Add(std::make_shared<query::SharedTable>(std::move(table), files_));
  }

  // The one statement of the text, if it only reads.
  Result<duckdb::unique_ptr<duckdb::SQLStatement>> Parse(const std::string& sql) {
    auto statements = connection_->ExtractStatements(sql);
    if (statements.empty()) return Fail(ErrorKind::kInvalidArgument, "there is no SQL statement to run");
    if (statements.size() > 1) {
      return Fail(ErrorKind::kInvalidArgument, "one statement at a time: the SQL has {}", statements.size());
    }
    if (!IsReadOnly(statements[0]->type)) {
      const std::string kind = duckdb::StatementTypeToString(statements[0]->type);
      return WithHint(Fail(ErrorKind::kPermission, "queries are read-only: {} is not allowed",
                           duckdb::StringUtil::Replace(kind, "_STATEMENT", "")),
                      "to save a result, use --out FILE");
    }
    if (AsksForCatalog(sql)) ShowTables();
    return std::move(statements[0]);
  }

  Result<std::vector<ResultColumn>> Stream(duckdb::unique_ptr<duckdb::SQLStatement> statement,
                                           const std::function<Status(const std::vector<ResultColumn>&)>& start,
                                           const Sink& sink) {
    auto result = connection_->SendQuery(std::move(statement));
    if (result->HasError()) return std::unexpected(Translate(result->GetErrorObject()));
    auto columns = query::ColumnsOf(*result);
    K2_TRY(start(columns));
    while (true) {
      duckdb::unique_ptr<duckdb::DataChunk> chunk;
      duckdb::ErrorData error;
      if (!result->TryFetch(chunk, error)) return std::unexpected(Translate(error));
      if (!chunk || chunk->size() == 0) return columns;
      K2_TRY(sink(*chunk));
    }
  }

  // Runs `body` with DuckDB's exceptions turned into errors.
  template <typename Body>
  auto Guarded(Body body) -> decltype(body()) {
    files_->TakeFailure();
    try {
      return body();
    } catch (const std::exception& exception) {
      return std::unexpected(Translate(duckdb::ErrorData(exception)));
    }
  }

  Error Translate(const duckdb::ErrorData& error) {
    if (auto failure = files_->TakeFailure()) return *failure;
    std::string message = error.Message();
    std::string hint;
    if (error.Type() == ExceptionType::CATALOG) {
      const auto& extra = error.ExtraInfo();
      const auto type = extra.find("type");
      const auto name = extra.find("name");
      if (type != extra.end() && type->second == "Table" && name != extra.end()) {
        const std::vector<std::string> names = tables_->Names();
        message = fmt::format("there is no table {}", name->second);
        hint = DidYouMean(name->second, names, fmt::format("the tables are {}", fmt::join(names, ", ")));
      }
    }
    if (error.Type() == ExceptionType::OUT_OF_MEMORY) {
      hint = spills_ ? "raise query-memory or query-spill-max, or query less data"
                     : "raise query-memory, set a folder to spill to (query-spill), or query less data";
    }
    if (error.Type() == ExceptionType::OUT_OF_RANGE && message.contains("DECIMAL")) {
      hint = "where more digits are needed than a decimal has, cast: price::DOUBLE (docs/engines.md, \"Arithmetic\")";
    }
    return {.kind = ErrorKindOf(error.Type()), .message = std::move(message), .hint = std::move(hint)};
  }

  Result<int64_t> WriteRows(duckdb::unique_ptr<duckdb::SQLStatement> statement, OutputFormat format, std::FILE* stream);
  Result<int64_t> WriteParquet(duckdb::unique_ptr<duckdb::SQLStatement> statement, std::FILE* stream);

  duckdb::ClientContext& context() { return *connection_->context; }
  void Interrupt() { connection_->Interrupt(); }

 private:
  void Setting(const std::string& sql) {
    auto result = connection_->Query(sql);
    if (result->HasError()) result->ThrowError();
  }

  void ShowTables() {
    if (std::exchange(shown_, true)) return;
    for (const auto& name : tables_->Names()) {
      Setting(fmt::format("CREATE VIEW {} AS SELECT * FROM {}({})", duckdb::KeywordHelper::WriteQuoted(name, '"'),
                          query::kScanFunction, duckdb::KeywordHelper::WriteQuoted(name, '\'')));
    }
  }

  std::shared_ptr<query::QueryFiles> files_;
  std::shared_ptr<query::Tables> tables_;
  std::unique_ptr<duckdb::DuckDB> database_;
  std::unique_ptr<duckdb::Connection> connection_;
  bool spills_;
  bool shown_ = false;
};

Result<int64_t> QueryEngine::Impl::WriteRows(duckdb::unique_ptr<duckdb::SQLStatement> statement, OutputFormat format,
                                             std::FILE* stream) {
  std::optional<JsonRows> json;
  int64_t count = 0;
  std::string text;
  std::vector<ResultRow> rows;
  const auto flush = [&]() -> Status {
    if (std::fwrite(text.data(), 1, text.size(), stream) != text.size()) {
      return std::unexpected(SystemError("write the result to", "its output"));
    }
    text.clear();
    return {};
  };
  const auto start = [&](const std::vector<ResultColumn>& columns) -> Status {
    if (format == OutputFormat::kJson) {
      json.emplace(columns);
      text = "[";
    } else {
      AppendCsvHeader(columns, text);
    }
    return flush();
  };
  K2_TRY(Stream(std::move(statement), start, [&](duckdb::DataChunk& chunk) -> Status {
    rows.clear();
    query::AppendRows(context(), chunk, query::CellStyle::kProgram, chunk.size(), rows);
    for (const auto& row : rows) {
      if (json) {
        text += count == 0 ? "\n" : ",\n";
        json->Append(row, text);
      } else {
        AppendCsvRow(row, text);
      }
      ++count;
    }
    return flush();
  }));
  if (json) text += count == 0 ? "]\n" : "\n]\n";
  K2_TRY(flush());
  return count;
}

Result<int64_t> QueryEngine::Impl::WriteParquet(duckdb::unique_ptr<duckdb::SQLStatement> statement, std::FILE* stream) {
  if (statement->type != StatementType::SELECT_STATEMENT) {
    return Fail(ErrorKind::kInvalidArgument, "only a SELECT can be written as Parquet");
  }
  std::fflush(stream);
  auto copy = duckdb::make_uniq<duckdb::CopyStatement>();
  copy->info->is_from = false;
  copy->info->file_path = query::QueryFiles::kOutput;
  copy->info->format = "parquet";
  copy->info->is_format_auto_detected = false;
  copy->info->options["compression"] = {Value("zstd")};
  copy->info->options["use_tmp_file"] = {Value::BOOLEAN(false)};
  copy->info->select_statement = std::move(statement->Cast<duckdb::SelectStatement>().node);
  files_->SetOutput(::fileno(stream));
  int64_t count = 0;
  const auto written = Guarded([&] {
    return Stream(
        std::move(copy), [](const std::vector<ResultColumn>&) -> Status { return {}; },
        [&](duckdb::DataChunk& chunk) -> Status {
          count += chunk.GetValue(0, 0).GetValue<int64_t>();
          return {};
        });
  });
  files_->ClearOutput();
  if (!written) return std::unexpected(written.error());
  return count;
}

QueryEngine::QueryEngine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
QueryEngine::~QueryEngine() = default;

Result<std::unique_ptr<QueryEngine>> QueryEngine::Open(const QueryOptions& options) {
  try {
    return std::unique_ptr<QueryEngine>(new QueryEngine(std::make_unique<Impl>(options)));
  } catch (const std::exception& exception) {
    return Fail(ErrorKind::kInvalidArgument, "cannot start DuckDB: {}", duckdb::ErrorData(exception).Message());
  }
}

Status QueryEngine::AddTable(std::shared_ptr<QueryTable> table) { return impl_->Add(std::move(table)); }

Result<QueryResult> QueryEngine::Run(const std::string& sql, int64_t rows_max) {
  return impl_->Guarded([&]() -> Result<QueryResult> {
    K2_ASSIGN(auto statement, impl_->Parse(sql));
    QueryResult result;
    K2_ASSIGN(result.columns, impl_->Stream(
                                  std::move(statement), [](const std::vector<ResultColumn>&) -> Status { return {}; },
                                  [&](duckdb::DataChunk& chunk) -> Status {
                                    const int64_t room = rows_max - static_cast<int64_t>(result.rows.size());
                                    if (room > 0) {
                                      query::AppendRows(impl_->context(), chunk, query::CellStyle::kPeople,
                                                        static_cast<duckdb::idx_t>(room), result.rows);
                                    }
                                    result.row_count += static_cast<int64_t>(chunk.size());
                                    return {};
                                  }));
    return result;
  });
}

Result<int64_t> QueryEngine::WriteTo(const std::string& sql, OutputFormat format, const OutputTarget& target) {
  const auto write = [&](std::FILE* stream) -> Result<int64_t> {
    if (format == OutputFormat::kTable) {
      K2_ASSIGN(const auto result, Run(sql, target.rows_max));
      const std::string text = FormatTable(result, {.width = target.width});
      if (std::fwrite(text.data(), 1, text.size(), stream) != text.size()) {
        return std::unexpected(SystemError("write the result to", "its output"));
      }
      return result.row_count;
    }
    return impl_->Guarded([&]() -> Result<int64_t> {
      K2_ASSIGN(auto statement, impl_->Parse(sql));
      if (format == OutputFormat::kParquet) return impl_->WriteParquet(std::move(statement), stream);
      return impl_->WriteRows(std::move(statement), format, stream);
    });
  };
  if (target.path.empty()) {
    auto count = write(target.stream);
    if (count && std::fflush(target.stream) != 0) {
      return std::unexpected(SystemError("write the result to", "its output"));
    }
    return count;
  }
  const std::string part = fmt::format("{}.{}.part", target.path, RandomHex64());
  std::FILE* stream = std::fopen(part.c_str(), "wxbe");
  if (stream == nullptr) return std::unexpected(SystemError("create", target.path));
  auto count = write(stream);
  if (std::fclose(stream) != 0 && count) count = std::unexpected(SystemError("write", target.path));
  if (count && std::rename(part.c_str(), target.path.c_str()) != 0) {
    count = std::unexpected(SystemError("create", target.path));
  }
  if (!count) std::remove(part.c_str());
  return count;
}

void QueryEngine::Interrupt() { impl_->Interrupt(); }

}  // namespace k2::query
