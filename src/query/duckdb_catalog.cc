#include "query/duckdb_catalog.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/table_function_catalog_entry.hpp"
#include "duckdb/common/multi_file/multi_file_reader.hpp"
#include "duckdb/common/multi_file/multi_file_states.hpp"
#include "duckdb/function/partition_stats.hpp"
#include "duckdb/function/replacement_scan.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/parsed_data/create_table_function_info.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "query/duckdb_columns.h"
#include "query/duckdb_predicates.h"

namespace k2::query {

std::shared_ptr<const std::vector<ColumnInfo>> SharedTable::Columns() {
  const std::lock_guard lock(mutex_);
  if (!columns_) {
    auto columns = table_->Columns();
    if (!columns) Throw(*files_, columns.error().With(fmt::format("table {}", name())));
    columns_ = std::make_shared<const std::vector<ColumnInfo>>(std::move(*columns));
  }
  return columns_;
}

std::shared_ptr<const Plan> SharedTable::Files(const std::vector<ColumnPredicate>& conjuncts) {
  const std::lock_guard lock(mutex_);
  for (const auto& [asked, plan] : plans_) {
    if (asked == conjuncts) return plan;
  }
  auto files = table_->Plan(conjuncts);
  if (!files) Throw(*files_, files.error().With(fmt::format("table {}", name())));
  for (const auto& file : *files) files_->Allow(file);
  plans_.emplace_back(conjuncts, std::make_shared<const Plan>(std::move(*files)));
  return plans_.back().second;
}

Status Tables::Add(std::shared_ptr<SharedTable> table) {
  const std::lock_guard lock(mutex_);
  const std::string name = table->name();
  if (!tables_.emplace(duckdb::StringUtil::Lower(name), std::move(table)).second) {
    return Fail(ErrorKind::kAlreadyExists, "two tables are named {}; names are case-insensitive", name);
  }
  return {};
}

std::shared_ptr<SharedTable> Tables::Find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = tables_.find(duckdb::StringUtil::Lower(name));
  return found == tables_.end() ? nullptr : found->second;
}

std::vector<std::string> Tables::Names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [key, table] : tables_) names.push_back(table->name());
  return names;
}

duckdb::LogicalType DuckDbType(const ColumnInfo& column) {
  using duckdb::LogicalType;
  const std::string& type = column.iceberg_type;
  static const std::map<std::string, duckdb::LogicalTypeId, std::less<>> kSimple = {
      {"boolean", duckdb::LogicalTypeId::BOOLEAN}, {"int", duckdb::LogicalTypeId::INTEGER},
      {"long", duckdb::LogicalTypeId::BIGINT},     {"float", duckdb::LogicalTypeId::FLOAT},
      {"double", duckdb::LogicalTypeId::DOUBLE},   {"date", duckdb::LogicalTypeId::DATE},
      {"time", duckdb::LogicalTypeId::TIME},       {"timestamp", duckdb::LogicalTypeId::TIMESTAMP},
      {"string", duckdb::LogicalTypeId::VARCHAR},  {"timestamptz", duckdb::LogicalTypeId::TIMESTAMP_TZ},
      {"uuid", duckdb::LogicalTypeId::UUID},       {"binary", duckdb::LogicalTypeId::BLOB},
  };
  if (const auto found = kSimple.find(type); found != kSimple.end()) return LogicalType(found->second);
  if (type.starts_with("fixed[")) return LogicalType::BLOB;
  if (type == "list" && column.children.size() == 1) return LogicalType::LIST(DuckDbType(column.children[0]));
  if (type == "map" && column.children.size() == 2) {
    return LogicalType::MAP(DuckDbType(column.children[0]), DuckDbType(column.children[1]));
  }
  if (type == "struct") {
    duckdb::child_list_t<LogicalType> fields;
    for (const auto& child : column.children) fields.emplace_back(child.name, DuckDbType(child));
    return LogicalType::STRUCT(std::move(fields));
  }
  unsigned precision = 0;
  unsigned scale = 0;
  if (std::sscanf(type.c_str(), "decimal(%u,%u)", &precision, &scale) == 2 ||
      std::sscanf(type.c_str(), "decimal(%u, %u)", &precision, &scale) == 2) {
    if (precision >= 1 && precision <= 38 && scale <= precision) {
      return LogicalType::DECIMAL(static_cast<uint8_t>(precision), static_cast<uint8_t>(scale));
    }
  }
  throw duckdb::NotImplementedException("column " + column.name + " has the Iceberg type '" + type +
                                        "', which k2 query cannot read");
}

namespace {

using duckdb::ClientContext;
using duckdb::idx_t;
using duckdb::LogicalType;
using duckdb::MultiFileList;
using duckdb::OpenFileInfo;

struct TablesInfo : public duckdb::TableFunctionInfo {
  explicit TablesInfo(std::shared_ptr<Tables> all) : tables(std::move(all)) {}
  std::shared_ptr<Tables> tables;
};

bool Contains(const std::vector<ColumnPredicate>& conjuncts, const ColumnPredicate& predicate) {
  return std::find(conjuncts.begin(), conjuncts.end(), predicate) != conjuncts.end();
}

// The files of one scan. Knows the filters first and asks for the plan when the first file is wanted, so that binding
// and optimising a query never plan without its filters.
class PlannedFileList : public MultiFileList {
 public:
  PlannedFileList(std::shared_ptr<SharedTable> table, std::vector<ColumnPredicate> conjuncts)
      : table_(std::move(table)), conjuncts_(std::move(conjuncts)) {}

  SharedTable& table() const { return *table_; }

  duckdb::unique_ptr<MultiFileList> ComplexFilterPushdown(
      ClientContext& /*context*/, const duckdb::MultiFileOptions& /*options*/, duckdb::MultiFilePushdownInfo& info,
      duckdb::vector<duckdb::unique_ptr<duckdb::Expression>>& filters) const override {
    const auto columns = table_->Columns();
    std::vector<FilterColumn> by_position;
    for (const auto id : info.column_ids) by_position.push_back(ColumnAt(*columns, id));
    std::vector<ColumnPredicate> found;
    for (const auto& filter : filters) TranslateExpression(*filter, info.table_index, by_position, found);
    return Narrowed(std::move(found));
  }

  duckdb::unique_ptr<MultiFileList> DynamicFilterPushdown(ClientContext& /*context*/,
                                                          const duckdb::MultiFileOptions& /*options*/,
                                                          const duckdb::vector<std::string>& /*names*/,
                                                          const duckdb::vector<LogicalType>& /*types*/,
                                                          const duckdb::vector<duckdb::column_t>& column_ids,
                                                          duckdb::TableFilterSet& filters) const override {
    const auto columns = table_->Columns();
    std::vector<ColumnPredicate> found;
    for (const auto& [position, filter] : filters.filters) {
      if (position < column_ids.size()) TranslateTableFilter(*filter, ColumnAt(*columns, column_ids[position]), found);
    }
    return Narrowed(std::move(found));
  }

  duckdb::vector<OpenFileInfo> GetAllFiles() const override {
    duckdb::vector<OpenFileInfo> files;
    for (const auto& file : Files()) files.emplace_back(QueryFiles::Path(file.path));
    return files;
  }
  duckdb::FileExpandResult GetExpandResult() const override {
    const size_t count = Files().size();
    if (count == 0) return duckdb::FileExpandResult::NO_FILES;
    return count == 1 ? duckdb::FileExpandResult::SINGLE_FILE : duckdb::FileExpandResult::MULTIPLE_FILES;
  }
  idx_t GetTotalFileCount() const override { return Files().size(); }
  duckdb::unique_ptr<duckdb::NodeStatistics> GetCardinality(ClientContext& /*context*/) const override {
    idx_t rows = 0;
    for (const auto& file : Files()) rows += static_cast<idx_t>(file.record_count);
    return duckdb::make_uniq<duckdb::NodeStatistics>(rows, rows);
  }
  duckdb::unique_ptr<MultiFileList> Copy() const override {
    return duckdb::make_uniq<PlannedFileList>(table_, conjuncts_);
  }

  const Plan& Files() const {
    const std::lock_guard lock(mutex_);
    if (!plan_) plan_ = table_->Files(conjuncts_);
    return *plan_;
  }

 protected:
  OpenFileInfo GetFile(idx_t i) const override {
    const auto& files = Files();
    return i < files.size() ? OpenFileInfo(QueryFiles::Path(files[i].path)) : OpenFileInfo();
  }

 private:
  static FilterColumn ColumnAt(const std::vector<ColumnInfo>& columns, duckdb::column_t id) {
    if (id >= columns.size()) return {};
    return {&columns[id], DuckDbType(columns[id])};
  }

  // This list with more conjuncts; null when there is nothing new.
  duckdb::unique_ptr<MultiFileList> Narrowed(std::vector<ColumnPredicate> found) const {
    auto all = conjuncts_;
    for (auto& predicate : found) {
      if (!Contains(all, predicate)) all.push_back(std::move(predicate));
    }
    if (all.size() == conjuncts_.size()) return nullptr;
    return duckdb::make_uniq<PlannedFileList>(table_, std::move(all));
  }

  std::shared_ptr<SharedTable> table_;
  std::vector<ColumnPredicate> conjuncts_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const Plan> plan_;
};

// Leaves out rows by their positions in a file.
class DeletedRowsFilter : public duckdb::DeleteFilter {
 public:
  explicit DeletedRowsFilter(std::shared_ptr<const std::vector<int64_t>> deleted) : deleted_(std::move(deleted)) {}

  idx_t Filter(duckdb::row_t start_row_index, idx_t count, duckdb::SelectionVector& result) override {
    result.Initialize(STANDARD_VECTOR_SIZE);
    auto next = std::lower_bound(deleted_->begin(), deleted_->end(), start_row_index);
    idx_t kept = 0;
    for (idx_t i = 0; i < count; ++i) {
      if (next != deleted_->end() && *next == start_row_index + static_cast<duckdb::row_t>(i)) {
        ++next;
        continue;
      }
      result.set_index(kept++, i);
    }
    return kept;
  }

 private:
  std::shared_ptr<const std::vector<int64_t>> deleted_;
};

// The files of one scan, for the steps that are told of nothing else.
struct ScanState : public duckdb::MultiFileReaderGlobalState {
  ScanState(const MultiFileList& list, QueryFiles& of_table) : MultiFileReaderGlobalState({}, &list), files(of_table) {}
  QueryFiles& files;
};

class PlannedFileReader : public duckdb::MultiFileReader {
 public:
  explicit PlannedFileReader(std::shared_ptr<Tables> tables) : tables_(std::move(tables)) {
    function_name = kScanFunction;
  }

  static duckdb::unique_ptr<MultiFileReader> Create(const duckdb::TableFunction& function) {
    return duckdb::make_uniq<PlannedFileReader>(function.function_info->Cast<TablesInfo>().tables);
  }

  duckdb::shared_ptr<MultiFileList> CreateFileList(ClientContext& /*context*/, const duckdb::vector<std::string>& paths,
                                                   const duckdb::FileGlobInput& /*glob*/) override {
    auto table = paths.size() == 1 ? tables_->Find(paths[0]) : nullptr;
    if (!table) throw duckdb::BinderException(std::string(kScanFunction) + " takes the name of one table");
    return duckdb::make_shared_ptr<PlannedFileList>(std::move(table), std::vector<ColumnPredicate>{});
  }

  bool Bind(duckdb::MultiFileOptions& /*options*/, MultiFileList& files, duckdb::vector<LogicalType>& return_types,
            duckdb::vector<std::string>& names, duckdb::MultiFileReaderBindData& bind_data) override {
    for (const auto& column : *files.Cast<PlannedFileList>().table().Columns()) {
      bind_data.schema.push_back(ColumnDefinition(column));
      return_types.push_back(bind_data.schema.back().type);
      names.push_back(column.name);
    }
    bind_data.mapping = duckdb::MultiFileColumnMappingMode::BY_FIELD_ID;
    return true;
  }

  void BindOptions(duckdb::MultiFileOptions& options, MultiFileList& files, duckdb::vector<LogicalType>& return_types,
                   duckdb::vector<std::string>& names, duckdb::MultiFileReaderBindData& bind_data) override {
    // Folders named key=value are the writer's habit, not columns.
    options.auto_detect_hive_partitioning = false;
    options.hive_partitioning = false;
    options.union_by_name = false;
    MultiFileReader::BindOptions(options, files, return_types, names, bind_data);
  }

  duckdb::ReaderInitializeType InitializeReader(duckdb::MultiFileReaderData& reader_data,
                                                const duckdb::MultiFileBindData& bind_data,
                                                const duckdb::vector<duckdb::MultiFileColumnDefinition>& global_columns,
                                                const duckdb::vector<duckdb::ColumnIndex>& global_column_ids,
                                                duckdb::optional_ptr<duckdb::TableFilterSet> table_filters,
                                                ClientContext& context, duckdb::MultiFileGlobalState& gstate) override {
    const auto& list = bind_data.file_list->Cast<PlannedFileList>();
    const std::string path = reader_data.reader->file.path.substr(std::strlen(QueryFiles::kPrefix));
    auto planned = list.Files().begin();
    if (const auto at = reader_data.reader->file_list_idx; at.IsValid() && at.GetIndex() < list.Files().size()) {
      planned += static_cast<std::ptrdiff_t>(at.GetIndex());
    }
    if (planned == list.Files().end() || planned->path != path) {
      planned = std::ranges::find(list.Files(), path, &PlannedFile::path);
    }
    if (planned == list.Files().end()) throw duckdb::InternalException("a file that was not planned: " + path);
    FitFile(*list.table().Columns(), *planned, global_column_ids, list.table().files(), reader_data);
    return MultiFileReader::InitializeReader(reader_data, bind_data, global_columns, global_column_ids, table_filters,
                                             context, gstate);
  }

  duckdb::unique_ptr<duckdb::MultiFileReaderGlobalState> InitializeGlobalState(
      ClientContext& /*context*/, const duckdb::MultiFileOptions& /*options*/,
      const duckdb::MultiFileReaderBindData& /*bind_data*/, const MultiFileList& file_list,
      const duckdb::vector<duckdb::MultiFileColumnDefinition>& /*global_columns*/,
      const duckdb::vector<duckdb::ColumnIndex>& /*global_column_ids*/) override {
    return duckdb::make_uniq<ScanState>(file_list, file_list.Cast<PlannedFileList>().table().files());
  }

  void FinalizeBind(duckdb::MultiFileReaderData& reader_data, const duckdb::MultiFileOptions& options,
                    const duckdb::MultiFileReaderBindData& bind_data,
                    const duckdb::vector<duckdb::MultiFileColumnDefinition>& global_columns,
                    const duckdb::vector<duckdb::ColumnIndex>& global_column_ids, ClientContext& context,
                    duckdb::optional_ptr<duckdb::MultiFileReaderGlobalState> state) override {
    MultiFileReader::FinalizeBind(reader_data, options, bind_data, global_columns, global_column_ids, context, state);
    QueryFiles& files = state->Cast<ScanState>().files;
    auto deleted = files.DeletedRows(reader_data.reader->GetFileName());
    if (!deleted) Throw(files, deleted.error());
    if (*deleted && !(*deleted)->empty()) {
      reader_data.reader->deletion_filter = duckdb::make_uniq<DeletedRowsFilter>(*std::move(deleted));
    }
  }

  duckdb::unique_ptr<MultiFileReader> Copy() const override { return duckdb::make_uniq<PlannedFileReader>(tables_); }

 private:
  std::shared_ptr<Tables> tables_;
};

// count(*) without a filter comes from the manifests: no file is opened, but where one may have deleted rows.
duckdb::vector<duckdb::PartitionStatistics> PartitionStats(ClientContext& /*context*/,
                                                           duckdb::GetPartitionStatsInput& input) {
  duckdb::vector<duckdb::PartitionStatistics> result;
  const auto& bind_data = input.bind_data->Cast<duckdb::MultiFileBindData>();
  idx_t row_start = 0;
  for (const auto& file : bind_data.file_list->Cast<PlannedFileList>().Files()) {
    duckdb::PartitionStatistics stats;
    stats.row_start = row_start;
    stats.count = static_cast<idx_t>(file.record_count);
    stats.count_type = file.deleted_rows ? duckdb::CountType::COUNT_APPROXIMATE : duckdb::CountType::COUNT_EXACT;
    row_start += stats.count;
    result.push_back(std::move(stats));
  }
  return result;
}

struct ReplacementData : public duckdb::ReplacementScanData {
  explicit ReplacementData(std::shared_ptr<Tables> all) : tables(std::move(all)) {}
  std::shared_ptr<Tables> tables;
};

duckdb::unique_ptr<duckdb::TableRef> ReplaceName(ClientContext& /*context*/, duckdb::ReplacementScanInput& input,
                                                 duckdb::optional_ptr<duckdb::ReplacementScanData> data) {
  const auto table = data->Cast<ReplacementData>().tables->Find(input.table_name);
  if (!table) return nullptr;
  auto reference = duckdb::make_uniq<duckdb::TableFunctionRef>();
  duckdb::vector<duckdb::unique_ptr<duckdb::ParsedExpression>> arguments;
  arguments.push_back(duckdb::make_uniq<duckdb::ConstantExpression>(duckdb::Value(table->name())));
  reference->function = duckdb::make_uniq<duckdb::FunctionExpression>(kScanFunction, std::move(arguments));
  reference->alias = table->name();
  return reference;
}

void RegisterScan(ClientContext& context, const std::shared_ptr<Tables>& tables) {
  auto& catalog = duckdb::Catalog::GetSystemCatalog(context);
  auto& parquet = catalog.GetEntry<duckdb::TableFunctionCatalogEntry>(context, DEFAULT_SCHEMA, "parquet_scan");
  duckdb::TableFunctionSet functions(kScanFunction);
  auto scan = parquet.functions.GetFunctionByArguments(context, {LogicalType::VARCHAR});
  scan.name = kScanFunction;
  scan.function_info = duckdb::make_shared_ptr<TablesInfo>(tables);
  scan.get_multi_file_reader = PlannedFileReader::Create;
  scan.get_partition_stats = PartitionStats;
  // These take the files for a glob's, or stand on file positions that two differently pruned scans do not share.
  scan.statistics = nullptr;
  scan.statistics_extended = nullptr;
  scan.serialize = nullptr;
  scan.deserialize = nullptr;
  scan.get_bind_info = nullptr;
  scan.late_materialization = false;
  scan.named_parameters.clear();
  functions.AddFunction(std::move(scan));
  duckdb::CreateTableFunctionInfo info(std::move(functions));
  catalog.CreateTableFunction(context, info);
}

}  // namespace

void RegisterTables(duckdb::DatabaseInstance& database, std::shared_ptr<Tables> tables) {
  duckdb::Connection connection(database);
  connection.BeginTransaction();
  RegisterScan(*connection.context, tables);
  connection.Commit();
  duckdb::DBConfig::GetConfig(database).replacement_scans.emplace_back(
      ReplaceName, duckdb::make_uniq<ReplacementData>(std::move(tables)));
}

}  // namespace k2::query
