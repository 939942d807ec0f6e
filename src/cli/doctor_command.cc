#include <sys/resource.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "base/uuid.h"
#include "cli/commands.h"
#include "cli/rows_output.h"
#include "io/local_file_io.h"
#include "query/engine.h"
#include "task/market_tables.h"

namespace k2 {
namespace {

struct Check {
  std::string what;
  bool ok = true;
  std::string found;
};

Check CheckWritable(const std::filesystem::path& folder) {
  Check check{.what = "warehouse is writable", .ok = true, .found = folder.string()};
  const auto io = MakeLocalFileIo();
  // In the folder itself, or in the nearest one above it that is there.
  std::filesystem::path at = folder;
  while (!std::filesystem::exists(at) && at.has_parent_path() && at != at.parent_path()) at = at.parent_path();
  const std::string probe = (at / (".k2-doctor-" + RandomHex64())).string();
  if (const Status status = io->WriteNew(probe, "probe"); !status) {
    check.ok = false;
    check.found = status.error().message;
  } else {
    (void)io->Delete(probe);
  }
  return check;
}

Check CheckSpace(const std::filesystem::path& folder) {
  std::filesystem::path at = folder;
  while (!std::filesystem::exists(at) && at.has_parent_path() && at != at.parent_path()) at = at.parent_path();
  struct statvfs space{};
  if (::statvfs(at.c_str(), &space) != 0) return {.what = "disk space", .ok = false, .found = "cannot be read"};
  const auto free = static_cast<int64_t>(space.f_bavail) * static_cast<int64_t>(space.f_frsize);
  return {.what = "disk space", .ok = free > (int64_t{1} << 30), .found = HumanBytes(free) + " free"};
}

Check CheckCatalog(const Settings& settings) {
  const auto lakehouse = OpenLakehouse(settings, false);
  if (!lakehouse) {
    // A warehouse that is not there yet is no fault: the first run makes it.
    return {
        .what = "catalog", .ok = lakehouse.error().kind == ErrorKind::kNotFound, .found = lakehouse.error().message};
  }
  const auto tables = (*lakehouse)->catalog()->ListTables(std::string(kNamespace));
  if (!tables) return {.what = "catalog", .ok = false, .found = tables.error().message};
  for (const TableName& name : *tables) {
    const auto table = (*lakehouse)->Open(name.name);
    if (!table) return {.what = "catalog", .ok = false, .found = table.error().message};
  }
  return {.what = "catalog",
          .ok = true,
          .found = fmt::format("{}, {} tables read", (*lakehouse)->catalog()->Describe(), tables->size())};
}

Check CheckSchemas(const Settings& settings) {
  const std::string& folder = settings.Text("schemas");
  if (folder.empty()) return {.what = "schemas", .ok = true, .found = "built-in ones only"};
  const bool there = std::filesystem::is_directory(folder);
  return {.what = "schemas", .ok = there, .found = there ? folder : "there is no folder " + folder};
}

Check CheckEngine() {
  const auto engine = QueryEngine::Open({});
  if (!engine) return {.what = "query engine", .ok = false, .found = engine.error().message};
  const auto version = (*engine)->Run("SELECT version()");
  if (!version) return {.what = "query engine", .ok = false, .found = version.error().message};
  return {.what = "query engine", .ok = true, .found = "DuckDB " + version->rows.at(0).at(0).value_or("")};
}

Check CheckOpenFiles() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return {.what = "open files", .ok = false, .found = "cannot be read"};
  return {.what = "open files", .ok = limit.rlim_cur >= 1024, .found = fmt::format("limit {}", limit.rlim_cur)};
}

Result<int> RunDoctor(const Settings& settings) {
  const std::filesystem::path warehouse = std::filesystem::absolute(settings.Text("warehouse")).lexically_normal();
  QueryResult rows;
  rows.columns = {{"setting", "VARCHAR", CellKind::kText},
                  {"value", "VARCHAR", CellKind::kText},
                  {"from", "VARCHAR", CellKind::kText}};
  for (const Setting& setting : settings.all()) rows.rows.push_back({setting.name, setting.value, setting.origin});
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  QueryResult checks;
  checks.columns = {
      {"check", "VARCHAR", CellKind::kText}, {"ok", "BOOLEAN", CellKind::kBool}, {"found", "VARCHAR", CellKind::kText}};
  bool well = true;
  for (const Check& check : {CheckWritable(warehouse), CheckSpace(warehouse), CheckCatalog(settings),
                             CheckSchemas(settings), CheckEngine(), CheckOpenFiles()}) {
    checks.rows.push_back({check.what, check.ok ? "true" : "false", check.found});
    well &= check.ok;
  }
  checks.rows.push_back({"cores", "true", std::to_string(std::thread::hardware_concurrency())});
  checks.row_count = static_cast<int64_t>(checks.rows.size());
  const std::string& output = settings.Text("output");
  if (output == "table") {
    K2_TRY(PrintRows(rows, output));
    K2_TRY(PrintRows(checks, output));
  } else {
    // One document for programs: settings are checks that always hold.
    for (const ResultRow& row : rows.rows) {
      checks.rows.push_back(
          {"setting " + row[0].value_or(""), "true", fmt::format("{} ({})", row[1].value_or(""), row[2].value_or(""))});
    }
    K2_TRY(PrintRows(checks, output));
  }
  return well ? 0 : 3;
}

}  // namespace

void AddDoctor(Program& program) {
  CLI::App* command =
      program.app.add_subcommand("doctor", "What is configured, where from, what is reachable and writable");
  command->footer("Example:\n  k2 doctor --warehouse lake");
  command->callback([&program] { program.action = [&program] { return RunDoctor(program.settings); }; });
}

}  // namespace k2
