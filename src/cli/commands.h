// The commands of k2. Each adds its subcommand to the program; what it does is set as the subcommand's action.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/settings.h"
#include "maintenance/compaction.h"
#include "maintenance/retention.h"
#include "pipeline/lakehouse.h"

namespace k2::cli {

// What all commands share: settings, and the one action that the command line has chosen.
struct Program {
  CLI::App app{"k2: crypto trades from exchanges to Iceberg tables, in one program", "k2"};
  Settings settings;
  std::string config;
  std::function<Result<int>()> action;  // its value is the exit code
};

// {"error": message, "kind": ErrorKind's name, "exit_code", and where they are known "table", "file"}: one line, as
// standard error's last with log-format json, and a task's answer.
std::string FailureToJson(const Error& error);

// Headings of `k2 --help`.
constexpr char kCollectCommands[] = "Collect";
constexpr char kExploreCommands[] = "Explore";
constexpr char kManageCommands[] = "Manage";
constexpr char kSetUpCommands[] = "Set up";
constexpr char kSchedulerCommands[] = "For schedulers";
// Adds a command under one of them.
CLI::App* AddCommand(Program& program, const char* heading, const std::string& name, const std::string& what);

void AddRun(Program& program);
void AddSimulate(Program& program);
void AddProduce(Program& program);
void AddTables(Program& program);
void AddOffsets(Program& program);
void AddOffsetsAccept(CLI::App& offsets, Program& program);
void AddAudit(Program& program);
void AddMaintain(Program& program);
void AddPlan(Program& program);
void AddTask(Program& program);
void AddCommit(Program& program);
void AddRebuild(Program& program);
void AddQuery(Program& program);
void AddOhlcv(Program& program);
void AddDoctor(Program& program);
void AddHelp(Program& program);

// Settings --warehouse and --catalog… (docs/catalogs.md).
void AddLakehouseSettings(Program& program);
// Who expires snapshots, removes orphan files and joins small files: --table-maintenance. Error kInvalidArgument:
// neither k2 nor catalog.
Result<bool> MaintainedByCatalog(const Settings& settings);
// kUnsupported where that is the catalog; `command`: what is refused.
Status CheckOwnMaintenance(const Settings& settings, std::string_view command);
// --warehouse as a URI: s3://… as it is, a folder as file:///….
std::string WarehouseUri(const Settings& settings);
bool HasRestCatalog(const Settings& settings);
// The tables of --warehouse, in the embedded catalog or in the one that --catalog names. With `create`, a warehouse on
// this machine that is missing is made; else it is kNotFound, with a hint. A REST catalog that does not answer is asked
// again for `patience_ms`, here and later, and not while `stopping` is true; then it is kUnavailable.
constexpr int64_t kCatalogPatienceMs = 30'000;
Result<std::shared_ptr<pipeline::Lakehouse>> OpenLakehouse(const Settings& settings, bool create,
                                                           int64_t patience_ms = kCatalogPatienceMs,
                                                           std::function<bool()> stopping = nullptr);

// The same for commands that write nothing: of a warehouse that was copied or moved they read what lies there, and say
// so; it is not asked whether its catalog is older than its files.
Result<std::shared_ptr<pipeline::Lakehouse>> OpenLakehouseToRead(const Settings& settings,
                                                                 int64_t patience_ms = kCatalogPatienceMs);

// For `k2 tables relocate` and `recover`: the catalog of a warehouse wherever it lies, made where it is missing; the
// files as they are.
Result<std::shared_ptr<pipeline::Lakehouse>> OpenLakehouseToRecover(const Settings& settings);
// For `k2 run`, of all tables (maintenance/recover.h). OpenLakehouse has asked it of an embedded catalog.
Status CheckCatalogIsNewest(const pipeline::Lakehouse& lakehouse);

// `k2 tables relocate` and `k2 tables recover` (docs/recovery.md).
void AddPlaces(Program& program, CLI::App& tables);

// `k2 tables definitions`: everything that another engine must know of tables and messages, as one JSON document.
Result<int> PrintTableDefinitions();

// How small files are joined, for `k2 maintain compact` and `k2 plan --compact`.
struct CompactFlags {
  std::vector<std::string> tables;
  std::string target_file_size = "128MB";
  int32_t min_files = 5;
  std::string settled = "15m";
};
void AddCompactFlags(CLI::App& command, CompactFlags& flags);
Result<maintenance::CompactionPolicy> CompactionPolicyOf(const CompactFlags& flags);

// Settings --retain-… and --retention-hold.
Result<maintenance::RetentionPolicy> RetentionOf(const Settings& settings);

// Whether text to this stream (1 or 2) is for a person: a terminal; colours need NO_COLOR unset too.
bool IsTerminal(int descriptor);
bool WantsColour(int descriptor);
int TerminalWidth(int descriptor);  // columns; 0 where it is no terminal

// Reads the command line, runs the command, prints its error. The exit code.
int Main(int argc, char** argv);

}  // namespace k2::cli
