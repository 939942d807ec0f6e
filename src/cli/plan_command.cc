#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/log.h"
#include "base/time.h"
#include "cli/commands.h"
#include "cli/kafka_settings.h"
#include "cli/layer_settings.h"
#include "cli/opened_tables.h"
#include "cli/stop_on_signal.h"
#include "pipeline/bronze/bronze_plan.h"
#include "pipeline/gold/gold_layer.h"
#include "pipeline/rebuild.h"
#include "pipeline/silver/silver_layer.h"

namespace k2::cli {
namespace {

struct PlanFlags {
  std::string layer;
  int64_t tasks = 0;
  int64_t cores = 0;
  int64_t rows = 4'194'304;
  bool rebuild = false;
  std::string from;
  std::string to;
  CompactFlags compact;
};

Result<pipeline::StepPlan> MakePlan(const Settings& settings, const PlanFlags& flags,
                                    const pipeline::Lakehouse& lakehouse, const pipeline::LayerOptions& options) {
  const auto tasks = static_cast<int32_t>(flags.tasks > 0 ? std::min<int64_t>(flags.tasks, 1 << 20)
                                                          : std::max(1U, std::thread::hardware_concurrency()));
  const auto cores = static_cast<int32_t>(flags.cores > 0 ? std::min<int64_t>(flags.cores, tasks) : tasks);
  if (flags.layer.empty()) {
    K2_ASSIGN(const maintenance::CompactionPolicy policy, CompactionPolicyOf(flags.compact));
    K2_ASSIGN(const table::Table table, lakehouse.Open(flags.compact.tables.front()));
    return maintenance::PlanCompaction(table, policy, NowMicros());
  }
  K2_ASSIGN(const pipeline::LayerId layer, LayerOfFlag(flags.layer));
  if (flags.rebuild) {
    K2_ASSIGN(const pipeline::DayRange days, DaysOf(flags.from, flags.to));
    return pipeline::PlanRebuild(lakehouse, options, layer, days, tasks);
  }
  if (layer == pipeline::LayerId::kBronze) {
    K2_ASSIGN(const pipeline::KafkaFeed feed, KafkaFeedOf(settings));
    if (feed.options.brokers.empty()) {
      return Fail(ErrorKind::kInvalidArgument, "bronze is planned over Kafka: give --kafka BROKERS");
    }
    return pipeline::PlanBronze(lakehouse, options, feed, flags.rows, tasks);
  }
  if (layer == pipeline::LayerId::kSilver) {
    K2_ASSIGN(const auto silver, pipeline::SilverLayer::Open(lakehouse, options, nullptr, nullptr));
    K2_ASSIGN(pipeline::StepPlan plan, silver->Plan(tasks));
    return plan.empty() ? silver->PlanSettling() : std::move(plan);
  }
  K2_ASSIGN(const auto gold, pipeline::GoldLayer::Open(lakehouse, options, nullptr));
  K2_ASSIGN(pipeline::StepPlan plan, gold->Plan({.tasks = tasks, .cores = cores}));
  return plan.empty() ? gold->PlanSettling() : std::move(plan);
}

Result<int> RunPlan(const Settings& settings, const PlanFlags& flags) {
  if (flags.layer.empty() == flags.compact.tables.empty()) {
    return Fail(ErrorKind::kInvalidArgument, "either --layer LAYER or --compact TABLE");
  }
  if (!flags.layer.empty()) {
    K2_TRY(LayerOfFlag(flags.layer, flags.rebuild ? "silver or gold" : "bronze, silver or gold"));
  }
  if (flags.layer.empty()) K2_TRY(CheckOwnMaintenance(settings, "k2 plan --compact"));
  if (!flags.rebuild && !(flags.from.empty() && flags.to.empty())) {
    return Fail(ErrorKind::kInvalidArgument, "--from, --to: they are of a --rebuild");
  }
  if (flags.rows < 1) return Fail(ErrorKind::kInvalidArgument, "--rows {}: at least 1", flags.rows);
  pipeline::LayerOptions options;
  options.rows_per_step = flags.rows;
  options.schema_folder = settings.Text("schemas");
  K2_ASSIGN(options.gold_index_bytes, settings.Bytes("dedup-memory"));
  if (!settings.Text("kafka").empty()) {
    K2_ASSIGN(const pipeline::KafkaFeed feed, KafkaFeedOf(settings));
    options.owns = OwnedBy(feed);
  }
  K2_ASSIGN(const std::shared_ptr<pipeline::Lakehouse> lakehouse, OpenLakehouse(settings, false));
  K2_ASSIGN(const pipeline::StepPlan plan, MakePlan(settings, flags, *lakehouse, options));
  OpenedTables tables(*lakehouse);
  K2_ASSIGN(const std::string text, pipeline::StepPlanToJson(plan, tables.by_name()));
  std::printf("%s\n", text.c_str());
  return 0;
}

Result<std::string> ReadAll(const std::string& path) {
  std::error_code error;
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path, error)) {
    return Fail(ErrorKind::kNotFound, "--plan {}: the file cannot be read", path);
  }
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) return Fail(ErrorKind::kIo, "--plan {}: the file cannot be read to its end", path);
  return text;
}

Result<std::vector<task::TaskResult>> ReadResults() {
  std::vector<task::TaskResult> results;
  for (std::string line; std::getline(std::cin, line);) {
    if (line.empty()) continue;
    Result<task::TaskResult> result = task::TaskResultFromJson(line);
    if (!result) return std::unexpected(result.error().With(fmt::format("line {}", results.size() + 1)));
    results.push_back(*std::move(result));
  }
  return results;
}

// A courtesy to tools that show lag: a failure is only logged.
void ShowGroupOffsets(const table::SourcePositions& positions, const kafka::KafkaOptions& options) {
  if (options.group.empty() || positions.empty()) return;
  const auto admin = kafka::KafkaAdmin::Create(options);
  const Status shown = admin ? (*admin)->CommitGroup(options.group, positions) : std::unexpected(admin.error());
  if (!shown) log::Warn("offsets are not shown to lag tools", {{"error", shown.error().message}});
}

Result<int> RunCommit(const Settings& settings, const std::string& path) {
  K2_ASSIGN(const std::string text, ReadAll(path));
  K2_ASSIGN(const std::vector<task::TaskResult> results, ReadResults());
  const StopOnSignal signals;  // a commit is not cut off
  K2_ASSIGN(const std::shared_ptr<pipeline::Lakehouse> lakehouse, OpenLakehouse(settings, false));
  OpenedTables tables(*lakehouse);
  K2_ASSIGN(pipeline::StepPlan plan, pipeline::StepPlanFromJson(text, tables.by_name()));
  if (const Status complete = pipeline::Complete(results, plan); !complete) {
    if (complete.error().kind != ErrorKind::kUpstreamChanged) return std::unexpected(complete.error());
    return std::unexpected(pipeline::StandAtMiscount(*lakehouse, results, plan, complete.error()));
  }
  if (plan.rebuild) {
    K2_ASSIGN(const std::shared_ptr<registry::SchemaSource> schemas, SchemasOf(settings));
    K2_ASSIGN(const int64_t memory_bytes, settings.Bytes("dedup-memory"));
    K2_TRY(pipeline::CheckNothingVanishes(plan, tables.by_name(), schemas, memory_bytes));
  }
  kafka::KafkaOptions kafka;
  table::SourcePositions read;
  if (plan.layer == pipeline::LayerId::kBronze && !plan.commits.empty()) {
    K2_ASSIGN(kafka, KafkaOptionsOf(settings));
    K2_TRY(pipeline::ConfirmSources(plan, kafka));
    read = plan.commits.front().commit.next.positions;
  }
  table::CommitPolicy policy;
  policy.keep_files = true;
  pipeline::LayerStats stats;
  const std::string_view layer = ToString(plan.layer);
  K2_TRY(pipeline::CommitCompleted(std::move(plan), tables.by_name(), policy, stats));
  ShowGroupOffsets(read, kafka);
  for (const task::TaskResult& result : results) pipeline::AddResult(result, stats);
  const nlohmann::ordered_json report = {{"layer", layer},
                                         {"tasks", results.size()},
                                         {"rows_in", stats.rows_in},
                                         {"rows_out", stats.rows_out},
                                         {"rows_by_table", stats.rows_by_table},
                                         {"commits", stats.commits},
                                         {"commit_attempts", stats.commit_attempts},
                                         {"commit_seconds", static_cast<double>(stats.commit_us) / 1e6},
                                         {"files", stats.files},
                                         {"file_bytes", stats.file_bytes},
                                         {"rejected", stats.rejected},
                                         {"duplicates", stats.duplicates},
                                         {"identity_conflicts", stats.identity_conflicts}};
  std::printf("%s\n", report.dump().c_str());
  return 0;
}

}  // namespace

void AddPlan(Program& program) {
  CLI::App* command =
      AddCommand(program, kSchedulerCommands, "plan", "Plan a layer's next step as tasks, JSON, to be run anywhere");
  auto flags = std::make_shared<PlanFlags>();
  command->add_option("--layer", flags->layer, "Layer: bronze, silver or gold")->type_name("LAYER");
  command->add_option("--tasks", flags->tasks, "Plan at most this many tasks; 0: one per core of this machine")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option(
          "--cores", flags->cores,
          "Cores that the tasks run on; 0: as many as tasks. Each share of an hour of Gold reads all of it, so there "
          "are hardly more shares than cores")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--rows", flags->rows, "Plan at most about this many rows")
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--rebuild", flags->rebuild, "Plan all rows of the layer, as 'k2 rebuild' does");
  command->add_option("--from", flags->from, "With --rebuild of Gold: first exchange_date")->type_name("DATE");
  command->add_option("--to", flags->to, "With --rebuild of Gold: last exchange_date")->type_name("DATE");
  command->add_option("--compact", flags->compact.tables, "Instead of a layer: table whose small files to compact")
      ->type_name("TABLE")
      ->expected(1);
  AddCompactFlags(*command, flags->compact);
  for (const char* name : {"--target-file-size", "--min-input-files", "--settled"}) {
    command->get_option(name)->needs("--compact");
  }
  for (const char* name : {"--layer", "--rebuild", "--tasks", "--cores", "--rows"}) {
    command->get_option(name)->excludes("--compact");
  }
  command->footer(
      "A plan without tasks and commits means that nothing is left to do. Example:\n"
      "  k2 plan --layer silver --tasks 8 > plan.json\n"
      "  jq -c '.tasks[]' plan.json | while read -r task; do k2 task <<< \"$task\"; done > results.jsonl\n"
      "  k2 commit --plan plan.json < results.jsonl");
  command->callback(
      [&program, flags] { program.action = [&program, flags] { return RunPlan(program.settings, *flags); }; });
}

void AddCommit(Program& program) {
  CLI::App* command =
      AddCommand(program, kSchedulerCommands, "commit", "Commit a planned step: task results on standard input");
  auto path = std::make_shared<std::string>();
  command->add_option("--plan", *path, "File with the output of 'k2 plan'")->type_name("FILE")->required();
  command->footer(
      "One result a line, in the order of the plan's tasks. All of them go into one\n"
      "snapshot a table, with the source offsets; repeated, the commit changes nothing.\n"
      "If a concurrent writer has moved the layer's offsets, nothing is committed (exit\n"
      "code 1): plan again. Example:\n  k2 commit --plan plan.json < results.jsonl");
  command->callback(
      [&program, path] { program.action = [&program, path] { return RunCommit(program.settings, *path); }; });
}

}  // namespace k2::cli
