#include <cstdio>

#include "cli/commands.h"
#include "cli/kafka_settings.h"
#include "cli/rows_output.h"
#include "pipeline/accept.h"
#include "pipeline/bronze/accept_topic.h"
#include "task/market_tables.h"

namespace k2::cli {
namespace {

struct AcceptFlags {
  std::string topic;
  std::string table;
  int64_t snapshot_id = 0;
  bool dry_run = false;
};

Result<int> Accept(const Settings& settings, const AcceptFlags& flags) {
  K2_ASSIGN(const auto lakehouse, OpenLakehouse(settings, false));
  K2_ASSIGN(const pipeline::AcceptPlan plan, pipeline::PlanAccept(*lakehouse, flags.table, flags.snapshot_id));
  query::QueryResult rows;
  rows.columns = {{"table", "VARCHAR", query::CellKind::kText},    {"source", "VARCHAR", query::CellKind::kText},
                  {"rows", "BIGINT", query::CellKind::kNumber},    {"read", "BIGINT", query::CellKind::kNumber},
                  {"skipped", "BIGINT", query::CellKind::kNumber}, {"missing", "BIGINT", query::CellKind::kNumber}};
  for (const pipeline::AcceptLine& line : plan.lines) {
    rows.rows.push_back({line.table, line.source, std::to_string(line.rows), std::to_string(line.read),
                         std::to_string(line.skipped), std::to_string(line.missing)});
  }
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  K2_TRY(PrintRows(rows, settings.Text("output")));
  if (flags.dry_run) return 0;
  K2_TRY(pipeline::ApplyAccept(*lakehouse, plan));
  for (const pipeline::Acceptance& acceptance : plan.acceptances) {
    std::fprintf(stderr, "%s goes on with %s as it is since snapshot %lld\n", acceptance.table.c_str(),
                 flags.table.c_str(), static_cast<long long>(flags.snapshot_id));
  }
  return 0;
}

// A recreated topic: what Bronze has read under its name, and what the topic holds now.
Result<int> AcceptTopic(const Settings& settings, const AcceptFlags& flags) {
  K2_ASSIGN(const kafka::KafkaOptions options, KafkaOptionsOf(settings));
  if (options.brokers.empty()) {
    return Fail(ErrorKind::kInvalidArgument, "--topic is asked of the brokers: give their addresses with --kafka");
  }
  K2_ASSIGN(const auto lakehouse, OpenLakehouse(settings, false));
  K2_ASSIGN(const pipeline::AcceptTopicPlan plan, pipeline::PlanAcceptTopic(*lakehouse, options, flags.topic));
  query::QueryResult rows;
  rows.columns = {{"topic", "VARCHAR", query::CellKind::kText},       {"topic_id", "VARCHAR", query::CellKind::kText},
                  {"partition", "INTEGER", query::CellKind::kNumber}, {"state", "VARCHAR", query::CellKind::kText},
                  {"from", "BIGINT", query::CellKind::kNumber},       {"to", "BIGINT", query::CellKind::kNumber}};
  for (const auto& [key, position] : plan.before) {
    rows.rows.push_back({key.topic, key.topic_id, std::to_string(key.partition), "was read", "0",
                         std::to_string(position.next_offset)});
  }
  for (size_t partition = 0; partition < plan.holds.size(); ++partition) {
    const kafka::KafkaWatermarks& holds = plan.holds[partition];
    rows.rows.push_back({plan.now.topic, plan.now.topic_id, std::to_string(partition), "will be read",
                         std::to_string(holds.low), std::to_string(holds.high)});
  }
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  K2_TRY(PrintRows(rows, settings.Text("output")));
  if (flags.dry_run) return 0;
  K2_TRY(pipeline::ApplyAcceptTopic(*lakehouse, plan));
  std::fprintf(
      stderr,
      "%s continues with topic %s as it is now, from its beginning; what the former one held and was not read is "
      "lost\n",
      std::string(task::kBronzeTable).c_str(), flags.topic.c_str());
  return 0;
}

Result<int> AcceptEither(const Settings& settings, const AcceptFlags& flags) {
  if (!flags.topic.empty()) return AcceptTopic(settings, flags);
  if (flags.table.empty() || flags.snapshot_id == 0) {
    return Fail(
        ErrorKind::kInvalidArgument,
        "give a table and its snapshot, as in the error of the blocked layer; or --topic, of a Kafka topic that was "
        "recreated");
  }
  return Accept(settings, flags);
}

}  // namespace

void AddOffsetsAccept(CLI::App& offsets, Program& program) {
  CLI::App* accept =
      offsets.add_subcommand("accept", "Continue with an upstream table or a topic that others have changed");
  auto flags = std::make_shared<AcceptFlags>();
  CLI::Option* table =
      accept->add_option("table", flags->table, "Upstream table, as in the error of the blocked layer");
  CLI::Option* snapshot = accept->add_option("snapshot", flags->snapshot_id, "Its snapshot, as in that error");
  accept->add_option("--topic", flags->topic, "Instead: a Kafka topic that was deleted and recreated")
      ->type_name("TOPIC")
      ->excludes(table)
      ->excludes(snapshot);
  accept->add_flag("--dry-run", flags->dry_run, "List what will be read, skipped and missed; change nothing");
  accept->callback(
      [&program, flags] { program.action = [&program, flags] { return AcceptEither(program.settings, *flags); }; });
  accept->footer(
      "Examples:\n  k2 offsets accept silver_binance_trades 5437868902823171052 --dry-run\n  k2 offsets accept --topic "
      "market.crypto.trades.binance --dry-run");
}

}  // namespace k2::cli
