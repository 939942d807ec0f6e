#include <algorithm>
#include <cstdio>
#include <thread>

#include "base/time.h"
#include "cli/commands.h"
#include "cli/rows_output.h"
#include "maintenance/compaction.h"
#include "maintenance/expiry.h"
#include "maintenance/orphans.h"
#include "maintenance/retention.h"
#include "task/market_tables.h"

namespace k2::cli {
namespace {

// A span, or "forever": 0. Nothing at all is no retention.
Result<int64_t> Limit(const Settings& settings, std::string_view name) {
  const Setting& setting = settings.Get(name);
  if (setting.value == "forever") return 0;
  K2_ASSIGN(const int64_t limit_us, settings.Span(name));
  if (limit_us > 0) return limit_us;
  return Fail(ErrorKind::kInvalidArgument, "{} = '{}' ({}): expected a time span such as 7d, or forever", name,
              setting.value, setting.origin);
}

// Asked before anything is dropped.
Status CheckOutput(const Settings& settings) {
  K2_ASSIGN(const query::OutputFormat format, ParseOutputFormat(settings.Text("output")));
  if (format != query::OutputFormat::kParquet) return {};
  return Fail(ErrorKind::kInvalidArgument, "--output parquet: maintenance reports as table, json or csv");
}

std::string TimeOrNone(int64_t us) { return us == 0 || us == INT64_MAX ? "" : FormatTimestamp(us); }

Result<int> RunRetention(const Settings& settings, bool dry_run) {
  K2_TRY(CheckOutput(settings));
  K2_ASSIGN(const maintenance::RetentionPolicy policy, RetentionOf(settings));
  K2_ASSIGN(const auto lakehouse, dry_run ? OpenLakehouseToRead(settings) : OpenLakehouse(settings, false));
  const int64_t now_us = NowMicros();
  const maintenance::RetentionScope scope{.with_young = true};
  query::QueryResult rows;
  rows.columns = {
      {"table", "VARCHAR", query::CellKind::kText},         {"partition", "VARCHAR", query::CellKind::kText},
      {"fate", "VARCHAR", query::CellKind::kText},          {"rows", "BIGINT", query::CellKind::kNumber},
      {"files", "BIGINT", query::CellKind::kNumber},        {"bytes", "BIGINT", query::CellKind::kNumber},
      {"unread_rows", "BIGINT", query::CellKind::kNumber},  {"oldest_commit", "VARCHAR", query::CellKind::kText},
      {"newest_commit", "VARCHAR", query::CellKind::kText}, {"why", "VARCHAR", query::CellKind::kText}};
  Status failed;  // the first error; the other tables are looked after all the same
  K2_ASSIGN(const std::vector<std::string> names, lakehouse->Tables());
  for (const std::string& name : names) {
    if (name == task::kFinishedTable) continue;  // it has no dates
    const Result<maintenance::TableRetention> done = [&]() -> Result<maintenance::TableRetention> {
      if (!dry_run) return maintenance::ApplyRetention(*lakehouse, name, policy, now_us, {}, scope);
      K2_ASSIGN(const table::Table table, lakehouse->Open(name));
      return maintenance::PlanRetention(table, *lakehouse, policy, now_us, scope);
    }();
    if (!done) {
      if (failed) failed = std::unexpected(done.error());
      continue;
    }
    for (const maintenance::PartitionRetention& partition : done->partitions) {
      std::string fate(ToString(partition.fate));
      if (dry_run && partition.fate == maintenance::PartitionFate::kDropped) fate = "to drop";
      rows.rows.push_back({name, partition.partition, fate, std::to_string(partition.rows),
                           std::to_string(partition.files.size()), std::to_string(partition.bytes),
                           std::to_string(partition.unread.rows), TimeOrNone(partition.oldest_commit_us),
                           TimeOrNone(partition.newest_commit_us), partition.reason});
    }
  }
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  K2_TRY(PrintRows(rows, settings.Text("output")));
  K2_TRY(failed);
  return 0;
}

struct ExpireFlags {
  std::string older_than;
  bool dry_run = false;
};

Result<int> RunExpire(const Settings& settings, const ExpireFlags& flags) {
  K2_TRY(CheckOutput(settings));
  if (!flags.dry_run) K2_TRY(CheckOwnMaintenance(settings, "maintain expire"));
  maintenance::ExpiryOptions options{.dry_run = flags.dry_run};
  if (!flags.older_than.empty()) {
    K2_ASSIGN(options.older_than_us, ParseSpan("--older-than", flags.older_than));
  }
  K2_ASSIGN(const auto lakehouse, flags.dry_run ? OpenLakehouseToRead(settings) : OpenLakehouse(settings, false));
  query::QueryResult rows;
  rows.columns = {{"table", "VARCHAR", query::CellKind::kText},
                  {"snapshots", "BIGINT", query::CellKind::kNumber},
                  {"data_files", "BIGINT", query::CellKind::kNumber},
                  {"metadata_files", "BIGINT", query::CellKind::kNumber},
                  {"not_deleted", "BIGINT", query::CellKind::kNumber}};
  Status failed;
  K2_ASSIGN(const std::vector<std::string> names, lakehouse->Tables());
  for (const std::string& name : names) {
    const Result<maintenance::ExpiryReport> done = [&]() -> Result<maintenance::ExpiryReport> {
      K2_ASSIGN(table::Table table, lakehouse->Open(name));
      return maintenance::ExpireSnapshots(table, NowMicros(), options);
    }();
    if (!done) {
      if (failed) failed = std::unexpected(done.error());
      continue;
    }
    rows.rows.push_back({name, std::to_string(done->snapshots.size()), std::to_string(done->data_files),
                         std::to_string(done->metadata_files), std::to_string(done->not_deleted)});
  }
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  K2_TRY(PrintRows(rows, settings.Text("output")));
  K2_TRY(failed);
  return 0;
}

Result<int> RunCompact(const Settings& settings, const CompactFlags& flags) {
  K2_TRY(CheckOutput(settings));
  K2_TRY(CheckOwnMaintenance(settings, "maintain compact"));
  K2_ASSIGN(const maintenance::CompactionPolicy policy, CompactionPolicyOf(flags));
  K2_ASSIGN(const auto lakehouse, OpenLakehouse(settings, false));
  std::vector<std::string> names = flags.tables;
  if (names.empty()) {
    K2_ASSIGN(names, lakehouse->Tables());
    std::erase(names, task::kFinishedTable);  // which joins its files by itself
  }
  query::QueryResult rows;
  rows.columns = {
      {"table", "VARCHAR", query::CellKind::kText},         {"files_before", "BIGINT", query::CellKind::kNumber},
      {"files_after", "BIGINT", query::CellKind::kNumber},  {"rows", "BIGINT", query::CellKind::kNumber},
      {"bytes_before", "BIGINT", query::CellKind::kNumber}, {"bytes_after", "BIGINT", query::CellKind::kNumber}};
  Status failed;
  for (const std::string& name : names) {
    const auto threads = static_cast<int32_t>(std::max(1U, std::thread::hardware_concurrency()));
    const Result<maintenance::CompactionReport> done =
        maintenance::Compact(*lakehouse, name, policy, NowMicros(), {.threads = threads});
    if (!done) {
      if (failed) failed = std::unexpected(done.error());
      continue;
    }
    rows.rows.push_back({name, std::to_string(done->files_in), std::to_string(done->files_out),
                         std::to_string(done->rows), std::to_string(done->bytes_in), std::to_string(done->bytes_out)});
  }
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  K2_TRY(PrintRows(rows, settings.Text("output")));
  K2_TRY(failed);
  return 0;
}

struct OrphanFlags {
  std::vector<std::string> tables;
  std::string older_than = "3d";
  bool dry_run = false;
  bool files = false;
};

Result<int> RunOrphans(const Settings& settings, const OrphanFlags& flags) {
  K2_TRY(CheckOutput(settings));
  if (!flags.dry_run) K2_TRY(CheckOwnMaintenance(settings, "maintain orphans"));
  maintenance::OrphanOptions options{.dry_run = flags.dry_run};
  K2_ASSIGN(options.older_than_us, ParseSpan("--older-than", flags.older_than));
  K2_ASSIGN(const auto lakehouse, flags.dry_run ? OpenLakehouseToRead(settings) : OpenLakehouse(settings, false));
  query::QueryResult rows;
  if (flags.files) {
    rows.columns = {{"table", "VARCHAR", query::CellKind::kText},
                    {"file", "VARCHAR", query::CellKind::kText},
                    {"bytes", "BIGINT", query::CellKind::kNumber},
                    {"modified", "VARCHAR", query::CellKind::kText}};
  } else {
    rows.columns = {{"table", "VARCHAR", query::CellKind::kText},
                    {"files", "BIGINT", query::CellKind::kNumber},
                    {"bytes", "BIGINT", query::CellKind::kNumber},
                    {"not_deleted", "BIGINT", query::CellKind::kNumber}};
  }
  Status failed;
  K2_ASSIGN(const std::vector<std::string> all, lakehouse->Tables());
  for (const std::string& name : flags.tables.empty() ? all : flags.tables) {
    const Result<maintenance::OrphanReport> done = [&]() -> Result<maintenance::OrphanReport> {
      K2_ASSIGN(table::Table table, lakehouse->Open(name));
      return maintenance::RemoveOrphans(table, NowMicros(), options);
    }();
    if (!done) {
      if (failed) failed = std::unexpected(done.error());
      continue;
    }
    if (!flags.files) {
      rows.rows.push_back(
          {name, std::to_string(done->files.size()), std::to_string(done->bytes), std::to_string(done->not_deleted)});
      continue;
    }
    for (const storage::FileInfo& file : done->files) {
      rows.rows.push_back({name, file.location, std::to_string(file.size_bytes), FormatTimestamp(file.modified_us)});
    }
  }
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  K2_TRY(PrintRows(rows, settings.Text("output")));
  K2_TRY(failed);
  return 0;
}

void AddOrphans(Program& program, CLI::App& command) {
  CLI::App* orphans = command.add_subcommand("orphans", "Remove orphan files: files that no snapshot references");
  auto flags = std::make_shared<OrphanFlags>();
  orphans->add_option("--table", flags->tables, "Only this table; repeatable")->type_name("TABLE");
  orphans
      ->add_option("--older-than", flags->older_than,
                   "Remove only older files; at least 24h, for younger ones may belong to a commit in progress")
      ->type_name("DURATION")
      ->capture_default_str();
  orphans->add_flag("--files", flags->files, "Print each file");
  orphans->add_flag("--dry-run", flags->dry_run, "Say what would be removed");
  orphans->callback(
      [&program, flags] { program.action = [&program, flags] { return RunOrphans(program.settings, *flags); }; });
}

}  // namespace

Result<maintenance::CompactionPolicy> CompactionPolicyOf(const CompactFlags& flags) {
  maintenance::CompactionPolicy policy;
  K2_ASSIGN(policy.target_bytes, ParseBytes("--target-file-size", flags.target_file_size));
  K2_ASSIGN(policy.settled_us, ParseSpan("--settled", flags.settled));
  if (policy.target_bytes < 1 || flags.min_files < 2) {
    return Fail(ErrorKind::kInvalidArgument, "--target-file-size is at least 1 byte, --min-input-files at least 2");
  }
  policy.min_files = flags.min_files;
  return policy;
}

void AddCompactFlags(CLI::App& command, CompactFlags& flags) {
  command.add_option("--target-file-size", flags.target_file_size, "Compact small files into files of this size")
      ->type_name("SIZE")
      ->capture_default_str();
  command.add_option("--min-input-files", flags.min_files, "Compact partitions with at least this many small files")
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--settled", flags.settled, "Do not compact partitions that were modified more recently")
      ->type_name("DURATION")
      ->capture_default_str();
}

Result<maintenance::RetentionPolicy> RetentionOf(const Settings& settings) {
  maintenance::RetentionPolicy policy;
  K2_ASSIGN(policy.bronze_us, Limit(settings, "retain-bronze"));
  K2_ASSIGN(policy.silver_us, Limit(settings, "retain-silver"));
  K2_ASSIGN(policy.rejected_us, Limit(settings, "retain-rejected"));
  K2_ASSIGN(policy.gold_us, Limit(settings, "retain-gold"));
  K2_ASSIGN(policy.hold_us, settings.Span("retention-hold"));
  return policy;
}

void AddMaintain(Program& program) {
  CLI::App* command = AddCommand(program, kManageCommands, "maintain",
                                 "Compact, expire snapshots, drop old partitions, remove orphans");
  command->require_subcommand(1);
  Settings& settings = program.settings;
  // For `k2 run` too, so they belong to the program.
  settings.BeginGroup("retention");
  const SettingText texts[] = {
      {"retain-bronze", "DURATION", "7d", "Keep Bronze's rows this long; or forever"},
      {"retain-silver", "DURATION", "30d", "Keep Silver's rows this long"},
      {"retain-rejected", "DURATION", "30d", "Keep the rows of rejected_trades this long"},
      {"retain-gold", "DURATION", "forever", "Keep Gold's rows this long"},
      {"retention-hold", "DURATION", "24h",
       "Keep rows that the downstream layer has not read at most this much longer"},
  };
  for (const SettingText& text : texts) settings.Add(program.app, text);
  CLI::App* retention = command->add_subcommand("retention", "Drop partitions that are past their retention");
  auto dry_run = std::make_shared<bool>(false);
  retention->add_flag("--dry-run", *dry_run, "Say what would be dropped, and why");
  retention->callback([&program, dry_run] {
    program.action = [&program, dry_run] { return RunRetention(program.settings, *dry_run); };
  });
  CLI::App* expire =
      command->add_subcommand("expire", "Expire snapshots and delete the files that only they reference");
  auto flags = std::make_shared<ExpireFlags>();
  expire
      ->add_option(
          "--older-than", flags->older_than,
          "Expire all older snapshots (1h) but those of branches and tags; without it by the tables' properties")
      ->type_name("DURATION");
  expire->add_flag("--dry-run", flags->dry_run, "Say what would be expired");
  expire->callback(
      [&program, flags] { program.action = [&program, flags] { return RunExpire(program.settings, *flags); }; });
  CLI::App* compact =
      command->add_subcommand("compact", "Compact small files within each partition; rows do not change");
  auto joined = std::make_shared<CompactFlags>();
  compact->add_option("--table", joined->tables, "Only this table; repeatable")->type_name("TABLE");
  AddCompactFlags(*compact, *joined);
  compact->callback(
      [&program, joined] { program.action = [&program, joined] { return RunCompact(program.settings, *joined); }; });
  AddOrphans(program, *command);
  command->footer(
      "Examples:\n  k2 maintain compact --table gold_crypto_trades\n  k2 maintain retention --dry-run\n  k2 maintain "
      "retention --retain-bronze 14d\n"
      "  k2 maintain expire --older-than 1h\n  k2 maintain orphans --dry-run --files");
}

}  // namespace k2::cli
