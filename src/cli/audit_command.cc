#include <algorithm>
#include <cstdio>

#include "base/time.h"
#include "cli/commands.h"
#include "cli/rows_output.h"
#include "table/audit.h"

namespace k2::cli {
namespace {

struct AuditFlags {
  std::string table;
  std::string since;
};

std::optional<std::string> TextOrNull(const std::string& text) {
  return text.empty() ? std::optional<std::string>() : std::optional(text);
}

// A time, or how long ago. From the beginning where it is empty.
Result<int64_t> SinceOf(const std::string& text) {
  if (text.empty()) return INT64_MIN;
  if (const Result<int64_t> time = ParseTimestamp(text)) return *time;
  if (const Result<int64_t> span = ParseSpan("--since", text)) return NowMicros() - *span;
  return WithHint(Fail(ErrorKind::kInvalidArgument, "cannot read the time '{}' (--since)", text),
                  "2024-08-08T23:55:00Z, or how long ago: 7d; times are UTC");
}

struct TableEvent {
  std::string table;
  table::AuditEvent event;
};

query::ResultRow RowOf(const TableEvent& one) {
  const table::AuditEvent& event = one.event;
  return {FormatTimestamp(event.at_us),
          one.table,
          event.event,
          event.rows ? std::optional(std::to_string(*event.rows)) : std::nullopt,
          event.detail,
          TextOrNull(event.engine),
          TextOrNull(event.version),
          TextOrNull(event.host),
          TextOrNull(event.process),
          std::to_string(event.snapshot_id)};
}

Result<std::vector<table::AuditEvent>> EventsOf(const pipeline::Lakehouse& lakehouse, const std::string& name) {
  K2_ASSIGN(const table::Table table, lakehouse.Open(name));
  return table::ReadAudit(table.metadata());
}

Result<int> Audit(const Settings& settings, const AuditFlags& flags) {
  K2_ASSIGN(const int64_t since_us, SinceOf(flags.since));
  K2_ASSIGN(const auto lakehouse, OpenLakehouseToRead(settings));
  std::vector<std::string> names = {flags.table};
  if (flags.table.empty()) {
    K2_ASSIGN(names, lakehouse->Tables());
  }
  std::vector<TableEvent> events;
  std::optional<Error> failure;  // one table that cannot be read hides none of the others
  for (const std::string& name : names) {
    const Result<std::vector<table::AuditEvent>> of_table = EventsOf(*lakehouse, name);
    if (!of_table) {
      if (!failure) failure = of_table.error();
      continue;
    }
    for (const table::AuditEvent& event : *of_table) {
      if (event.at_us >= since_us) events.push_back({name, event});
    }
  }
  std::ranges::stable_sort(events, {}, [](const TableEvent& one) { return one.event.at_us; });
  query::QueryResult rows;
  rows.columns = {{"time", "VARCHAR", query::CellKind::kText},    {"table", "VARCHAR", query::CellKind::kText},
                  {"event", "VARCHAR", query::CellKind::kText},   {"rows", "BIGINT", query::CellKind::kNumber},
                  {"detail", "VARCHAR", query::CellKind::kText},  {"engine", "VARCHAR", query::CellKind::kText},
                  {"version", "VARCHAR", query::CellKind::kText}, {"host", "VARCHAR", query::CellKind::kText},
                  {"process", "VARCHAR", query::CellKind::kText}, {"snapshot_id", "BIGINT", query::CellKind::kNumber}};
  for (const TableEvent& one : events) rows.rows.push_back(RowOf(one));
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  K2_TRY(PrintRows(rows, settings.Text("output")));
  if (failure) return std::unexpected(*std::move(failure));
  return 0;
}

}  // namespace

void AddAudit(Program& program) {
  CLI::App* command =
      AddCommand(program, kManageCommands, "audit", "List what deleted rows or skipped messages, when, and who did it");
  auto flags = std::make_shared<AuditFlags>();
  command->add_option("table", flags->table, "One table; without it all of K2's");
  command->add_option("--since", flags->since, "UTC time, or how long ago: 7d; without it all that is recorded")
      ->type_name("TIME");
  command->footer(
      "Events: retention, rebuild, offsets set, offsets accept; delete and overwrite of\n"
      "other engines. Each table keeps its newest 100, longer than their snapshots.\n"
      "Examples:\n  k2 audit\n  k2 audit silver_binance_trades --since 30d --output json");
  command->callback(
      [&program, flags] { program.action = [&program, flags] { return Audit(program.settings, *flags); }; });
}

}  // namespace k2::cli
