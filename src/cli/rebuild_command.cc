#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/commands.h"
#include "cli/kafka_settings.h"
#include "cli/layer_settings.h"
#include "cli/opened_tables.h"
#include "cli/rows_output.h"
#include "cli/stop_on_signal.h"
#include "medallion/rebuild.h"
#include "task/market_tables.h"

namespace k2 {
namespace {

struct RebuildFlags {
  std::string layer;
  std::string from;
  std::string to;
};

Result<int> Rebuild(const Settings& settings, const RebuildFlags& flags) {
  K2_ASSIGN(const DayRange days, DaysOf(flags.from, flags.to));
  LayerOptions options;
  options.rows_per_step = 1 << 20;
  options.threads = static_cast<int32_t>(std::max(1U, std::thread::hardware_concurrency()));
  options.schema_folder = settings.Text("schemas");
  K2_ASSIGN(options.gold_index_bytes, settings.Bytes("dedup-memory"));
  const StopOnSignal signals;  // commits are not cut off
  K2_ASSIGN(const std::shared_ptr<Lakehouse> lakehouse, OpenLakehouse(settings, false));
  K2_ASSIGN(StepPlan plan, PlanRebuild(*lakehouse, options, flags.layer, days, options.threads));
  OpenedTables tables(*lakehouse);
  TaskContext context;
  K2_ASSIGN(const Table* const any, tables.Find(flags.layer == "gold" ? kGoldTable : kRejectedTable));
  context.io = any->io_ptr();
  K2_ASSIGN(context.schemas, SchemasOf(settings));
  LayerStats stats;
  K2_TRY(RunRebuild(std::move(plan), tables.by_name(), context, options, stats));
  QueryResult rows;
  rows.columns = {{"table", "VARCHAR", CellKind::kText}, {"rows", "BIGINT", CellKind::kNumber}};
  for (const auto& [table, count] : stats.rows_by_table) rows.rows.push_back({table, std::to_string(count)});
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  K2_TRY(PrintRows(rows, settings.Text("output")));
  return 0;
}

}  // namespace

void AddRebuild(Program& program) {
  CLI::App* command =
      program.app.add_subcommand("rebuild", "Make Silver again from Bronze, or Gold again from Silver, in one commit");
  auto flags = std::make_shared<RebuildFlags>();
  command->add_option("--layer", flags->layer, "silver or gold")->required();
  command->add_option("--from", flags->from, "Gold: first exchange_date, YYYY-MM-DD");
  command->add_option("--to", flags->to, "Gold: last exchange_date");
  command->footer(
      "For rules or code that have changed. Source offsets stay; the layer below passes over the new snapshot. It is\n"
      "refused, and nothing changes, where a trade would vanish: the layer above must hold all that it was made of.\n"
      "After Silver, rebuild Gold: it does not read what was rebuilt by itself. Gold must not run meanwhile.\n"
      "Examples:\n  k2 rebuild --layer silver\n  k2 rebuild --layer gold --from 2024-01-02 --to 2024-01-03");
  command->callback(
      [&program, flags] { program.action = [&program, flags] { return Rebuild(program.settings, *flags); }; });
}

}  // namespace k2
