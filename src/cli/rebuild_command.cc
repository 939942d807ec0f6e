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
#include "pipeline/rebuild.h"
#include "pipeline/silver/revalidate.h"
#include "task/market_tables.h"

namespace k2::cli {
namespace {

struct RebuildFlags {
  std::string layer;
  std::string from;
  std::string to;
  bool dry_run = false;
};

Result<int> RebuildRejected(const Settings& settings, const RebuildFlags& flags,
                            const pipeline::LayerOptions& options) {
  if (!flags.from.empty() || !flags.to.empty()) {
    return Fail(ErrorKind::kInvalidArgument, "--from, --to: they are of Gold");
  }
  const StopOnSignal signals;  // commits are not cut off
  K2_ASSIGN(const std::shared_ptr<pipeline::Lakehouse> lakehouse, OpenLakehouse(settings, false));
  K2_ASSIGN(const std::shared_ptr<registry::SchemaSource> schemas, SchemasOf(settings));
  pipeline::LayerStats stats;
  K2_ASSIGN(const auto by_reason, pipeline::RevalidateRejected(*lakehouse, options, schemas, flags.dry_run, stats));
  query::QueryResult rows;
  rows.columns = {{"reason", "VARCHAR", query::CellKind::kText},
                  {"accepted", "BIGINT", query::CellKind::kNumber},
                  {"trades", "BIGINT", query::CellKind::kNumber},
                  {"left", "BIGINT", query::CellKind::kNumber}};
  for (const auto& [reason, of_reason] : by_reason) {
    rows.rows.push_back(
        {reason, std::to_string(of_reason.accepted), std::to_string(of_reason.trades), std::to_string(of_reason.left)});
  }
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  K2_TRY(PrintRows(rows, settings.Text("output")));
  return 0;
}

Result<int> Rebuild(const Settings& settings, const RebuildFlags& flags) {
  K2_ASSIGN(const pipeline::DayRange days, DaysOf(flags.from, flags.to));
  pipeline::LayerOptions options;
  options.rows_per_step = 1 << 20;
  options.threads = static_cast<int32_t>(std::max(1U, std::thread::hardware_concurrency()));
  options.schema_folder = settings.Text("schemas");
  K2_ASSIGN(options.gold_index_bytes, settings.Bytes("dedup-memory"));
  if (flags.layer == "rejected") return RebuildRejected(settings, flags, options);
  K2_ASSIGN(const pipeline::LayerId layer, LayerOfFlag(flags.layer, "silver, gold or rejected"));
  if (flags.dry_run) return Fail(ErrorKind::kInvalidArgument, "--dry-run: it is of --layer rejected");
  const StopOnSignal signals;  // commits are not cut off
  K2_ASSIGN(const std::shared_ptr<pipeline::Lakehouse> lakehouse, OpenLakehouse(settings, false));
  K2_ASSIGN(pipeline::StepPlan plan, pipeline::PlanRebuild(*lakehouse, options, layer, days, options.threads));
  OpenedTables tables(*lakehouse);
  task::TaskContext context;
  K2_ASSIGN(const table::Table* const any,
            tables.Find(layer == pipeline::LayerId::kGold ? task::kGoldTable : task::kRejectedTable));
  context.io = any->io_ptr();
  K2_ASSIGN(context.schemas, SchemasOf(settings));
  pipeline::LayerStats stats;
  K2_TRY(pipeline::RunRebuild(std::move(plan), tables.by_name(), context, options, stats));
  query::QueryResult rows;
  rows.columns = {{"table", "VARCHAR", query::CellKind::kText}, {"rows", "BIGINT", query::CellKind::kNumber}};
  for (const auto& [table, count] : stats.rows_by_table) rows.rows.push_back({table, std::to_string(count)});
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  K2_TRY(PrintRows(rows, settings.Text("output")));
  return 0;
}

}  // namespace

void AddRebuild(Program& program) {
  CLI::App* command =
      AddCommand(program, kManageCommands, "rebuild", "Rebuild Silver from Bronze, or Gold from Silver, in one commit");
  auto flags = std::make_shared<RebuildFlags>();
  command->add_option("--layer", flags->layer, "silver, gold, or rejected: validate rejected_trades again")
      ->type_name("LAYER")
      ->required();
  command->add_option("--from", flags->from, "Gold: first exchange_date, such as 2024-01-02")->type_name("DATE");
  command->add_option("--to", flags->to, "Gold: last exchange_date")->type_name("DATE");
  command->add_flag("--dry-run", flags->dry_run, "rejected: only count what would be accepted, by reason");
  command->footer(
      "For rules or code that have changed. Source offsets stay; the downstream layer\n"
      "skips the new snapshot. Refused, without any change, if a trade would vanish:\n"
      "the upstream layer must hold all that the layer was made of. After Silver,\n"
      "rebuild Gold: it does not read what was rebuilt. Gold must not run meanwhile.\n"
      "\nrejected: validates the messages in rejected_trades again by the current rules,\n"
      "which needs no Bronze. Accepted rows go to Silver, where Gold reads them as new\n"
      "rows, then leave rejected_trades.\n"
      "Examples:\n  k2 rebuild --layer silver\n  k2 rebuild --layer gold --from 2024-01-02 --to 2024-01-03\n"
      "  k2 rebuild --layer rejected --dry-run");
  command->callback(
      [&program, flags] { program.action = [&program, flags] { return Rebuild(program.settings, *flags); }; });
}

}  // namespace k2::cli
