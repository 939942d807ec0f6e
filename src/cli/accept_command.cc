#include <cstdio>

#include "cli/commands.h"
#include "cli/rows_output.h"
#include "medallion/accept.h"
#include "task/market_tables.h"

namespace k2 {
namespace {

struct AcceptFlags {
  std::string table;
  int64_t snapshot_id = 0;
  bool dry_run = false;
};

Result<int> Accept(const Settings& settings, const AcceptFlags& flags) {
  K2_ASSIGN(const auto lakehouse, OpenLakehouse(settings, false));
  K2_ASSIGN(const AcceptPlan plan, PlanAccept(*lakehouse, flags.table, flags.snapshot_id));
  QueryResult rows;
  rows.columns = {{"table", "VARCHAR", CellKind::kText},    {"source", "VARCHAR", CellKind::kText},
                  {"rows", "BIGINT", CellKind::kNumber},    {"read", "BIGINT", CellKind::kNumber},
                  {"skipped", "BIGINT", CellKind::kNumber}, {"missing", "BIGINT", CellKind::kNumber}};
  for (const AcceptLine& line : plan.lines) {
    rows.rows.push_back({line.table, line.source, std::to_string(line.rows), std::to_string(line.read),
                         std::to_string(line.skipped), std::to_string(line.missing)});
  }
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  K2_TRY(PrintRows(rows, settings.Text("output")));
  if (flags.dry_run) return 0;
  K2_TRY(ApplyAccept(*lakehouse, plan));
  for (const Acceptance& acceptance : plan.acceptances) {
    std::fprintf(stderr, "%s goes on with %s as it is since snapshot %lld\n", acceptance.table.c_str(),
                 flags.table.c_str(), static_cast<long long>(flags.snapshot_id));
  }
  return 0;
}

}  // namespace

void AddOffsetsAccept(CLI::App& offsets, Program& program) {
  CLI::App* accept = offsets.add_subcommand(
      "accept", "Go on with what another engine has made of an upstream table; recorded in a commit");
  auto flags = std::make_shared<AcceptFlags>();
  accept->add_option("table", flags->table, "the upstream table, as the error of the layer that stands names it")
      ->required();
  accept->add_option("snapshot", flags->snapshot_id, "its snapshot, as that error names it")->required();
  accept->add_flag("--dry-run", flags->dry_run, "list what will be read, skipped and missed, and change nothing");
  accept->callback(
      [&program, flags] { program.action = [&program, flags] { return Accept(program.settings, *flags); }; });
  accept->footer("Example:\n  k2 offsets accept silver_binance_trades 5437868902823171052 --dry-run");
}

}  // namespace k2
