#include <cstdio>

#include "base/error_text.h"
#include "base/time.h"
#include "cli/commands.h"
#include "cli/rows_output.h"
#include "pipeline/bronze/finished_sources.h"
#include "table/audit.h"
#include "table/dropped_unread.h"
#include "table/progress_json.h"
#include "task/market_tables.h"

namespace k2::cli {
namespace {

struct SetFlags {
  std::string table;
  std::string topic;
  std::string topic_id;  // where several topics had the name
  int32_t partition = 0;

  [[nodiscard]] bool Means(const table::SourceKey& key) const {
    return key.topic == topic && key.partition == partition && (topic_id.empty() || key.topic_id == topic_id);
  }
  int64_t next = -1;
  bool accept_loss = false;
};

// Of a recording it is the end of its name.
std::optional<std::string> TopicIdShown(const table::SourceKey& key) {
  if (key.cluster == table::kRecordingCluster) return std::nullopt;
  return key.topic_id;
}

// What has left the table's document: one row with their number, or one row each.
Status ShowFinished(const pipeline::Lakehouse& lakehouse, const std::string& name, bool each,
                    query::QueryResult& rows) {
  K2_ASSIGN(const table::Table table, lakehouse.Open(name));
  const Result<table::LayerProgress> progress = table::ReadProgress(table.metadata());
  if (!progress || progress->finished.generation == 0 || name == task::kRejectedTable) return {};
  const Result<table::SourcePositions> ended = pipeline::FinishedSources(lakehouse).All(table, *progress);
  if (!ended) {
    rows.rows.push_back(
        {name, std::nullopt, std::nullopt, std::nullopt, std::nullopt, MessageAndHint(ended.error()), std::nullopt});
    return {};
  }
  for (const auto& [key, position] : *ended) {
    if (!each) break;
    rows.rows.push_back(
        {name, key.topic, std::to_string(key.partition), std::to_string(position.next_offset), "0", "finished"});
  }
  if (!each) {
    rows.rows.push_back({name, std::nullopt, std::nullopt, std::nullopt, std::nullopt,
                         fmt::format("and {} finished recordings: --finished lists them", ended->size()),
                         std::nullopt});
  }
  return {};
}

Result<int> ShowOffsets(const Settings& settings, bool finished) {
  K2_ASSIGN(const auto lakehouse, OpenLakehouseToRead(settings));
  query::QueryResult rows;
  rows.columns = {
      {"table", "VARCHAR", query::CellKind::kText},          {"topic", "VARCHAR", query::CellKind::kText},
      {"partition", "INTEGER", query::CellKind::kNumber},    {"next_offset", "BIGINT", query::CellKind::kNumber},
      {"behind_bronze", "BIGINT", query::CellKind::kNumber}, {"state", "VARCHAR", query::CellKind::kText},
      {"topic_id", "VARCHAR", query::CellKind::kText}};
  table::LayerProgress bronze;
  K2_ASSIGN(const std::vector<std::string> names, lakehouse->Tables());
  for (const std::string& name : names) {
    if (name == task::kFinishedTable) continue;
    K2_ASSIGN(const table::Table table, lakehouse->Open(name));
    const Result<table::LayerProgress> progress = table::ReadProgress(table.metadata());
    if (!progress) {
      rows.rows.push_back({name, std::nullopt, std::nullopt, std::nullopt, std::nullopt,
                           MessageAndHint(progress.error()), std::nullopt});
      continue;
    }
    if (name == task::kBronzeTable) bronze = *progress;
    for (const auto& [key, position] : progress->positions) {
      const auto upstream = bronze.positions.find(key);
      std::optional<std::string> behind;
      if (upstream != bronze.positions.end())
        behind = std::to_string(upstream->second.next_offset - position.next_offset);
      rows.rows.push_back({name, key.topic, std::to_string(key.partition), std::to_string(position.next_offset), behind,
                           "ok", TopicIdShown(key)});
    }
    K2_TRY(ShowFinished(*lakehouse, name, finished, rows));
  }
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  K2_TRY(PrintRows(rows, settings.Text("output")));
  return 0;
}

// The Silver tables whose retention has dropped rows before Gold had read them; says so in Gold's commit.
Result<std::vector<table::Table>> TablesWithLoss(const pipeline::Lakehouse& lakehouse, std::string_view table,
                                                 table::LayerCommit& commit) {
  std::vector<table::Table> found;
  if (table != task::kGoldTable) return found;
  K2_ASSIGN(const table::Table bronze, lakehouse.Open(task::kBronzeTable));
  K2_ASSIGN(const table::LayerProgress read, table::ReadProgress(bronze.metadata()));
  for (const exchange::Exchange* exchange : exchange::Exchanges()) {
    K2_ASSIGN(std::optional<table::Table> silver, lakehouse.OpenSilver(*exchange, read));
    if (!silver) continue;
    K2_ASSIGN(const std::optional<table::DroppedUnread> dropped, table::ReadDroppedUnread(silver->metadata()));
    if (!dropped) continue;
    commit.summary[table::kOffsetsSetKey] +=
        fmt::format("; without {} rows that {} dropped on {}", dropped->rows, exchange->silver_table, dropped->at);
    found.push_back(std::move(*silver));
  }
  return found;
}

// Where the table stands in a recording that its document no longer names.
Result<table::SourcePositions> FinishedOfTopic(const pipeline::Lakehouse& lakehouse, const table::Table& table,
                                               const table::LayerProgress& progress, const SetFlags& flags) {
  const table::SourceKey key{.cluster = table::kRecordingCluster,
                             .topic = flags.topic,
                             .topic_id = flags.topic.substr(flags.topic.rfind('/') + 1),
                             .partition = flags.partition};
  return pipeline::FinishedSources(lakehouse).Find(table, progress, {key});
}

// An offset of rejected_trades follows Silver's: ahead of it, it would speak of rows that nobody has validated.
Status CheckRejected(const pipeline::Lakehouse& lakehouse, const SetFlags& flags) {
  const exchange::Exchange* exchange = exchange::ExchangeOfTopic(flags.topic);
  if (exchange == nullptr) return {};
  K2_ASSIGN(const table::Table silver, lakehouse.Open(exchange->silver_table));
  K2_ASSIGN(const table::LayerProgress progress, table::ReadProgress(silver.metadata()));
  K2_ASSIGN(table::SourcePositions stands, FinishedOfTopic(lakehouse, silver, progress, flags));
  stands.insert(progress.positions.begin(), progress.positions.end());
  for (const auto& [key, position] : stands) {
    if (flags.Means(key) && position.next_offset >= flags.next) return {};
  }
  return Fail(
      ErrorKind::kInvalidArgument,
      "{} cannot be set ahead of {}: Silver commits both, and has validated nothing there. Set Silver's offset, "
      "which {} follows: `k2 offsets set --table {} --topic {} --partition {} --next {} --accept-loss`",
      task::kRejectedTable, exchange->silver_table, task::kRejectedTable, exchange->silver_table, flags.topic,
      flags.partition, flags.next);
}

// Where a table stands in a source; 0: it has not begun.
Result<int64_t> NextOffsetOf(pipeline::FinishedSources& finished, const table::Table& table,
                             const table::LayerProgress& progress, const table::SourceKey& key) {
  if (const auto named = progress.positions.find(key); named != progress.positions.end()) {
    return named->second.next_offset;
  }
  K2_ASSIGN(const table::SourcePositions ended, finished.Find(table, progress, {key}));
  return ended.empty() ? 0 : ended.begin()->second.next_offset;
}

// Rows that were rejected after the snapshot at which main is would be in no table: Silver has passed them. What is
// more, a Silver table that is rolled back later would take them for accepted.
Status CheckNoRejectsLost(const pipeline::Lakehouse& lakehouse, const table::Table& rejected) {
  K2_ASSIGN(const table::LayerProgress main, table::ReadProgressOfMain(rejected.metadata()));
  K2_ASSIGN(const table::LayerProgress newest, table::ReadProgressOfTag(rejected.metadata()));
  pipeline::FinishedSources finished(lakehouse);
  table::SourcePositions known = newest.positions;
  if (newest.finished != main.finished) {  // some have left the newest document, or both were named in neither
    K2_ASSIGN(const table::SourcePositions ended, finished.All(rejected, newest));
    known.insert(ended.begin(), ended.end());
  }
  for (const auto& [key, position] : known) {
    const exchange::Exchange* exchange = exchange::ExchangeOfTopic(key.topic);
    if (exchange == nullptr) continue;
    K2_ASSIGN(const int64_t stands, NextOffsetOf(finished, rejected, main, key));
    if (position.next_offset <= stands) continue;
    K2_ASSIGN(const table::Table silver, lakehouse.Open(exchange->silver_table));
    K2_ASSIGN(const table::LayerProgress progress, table::ReadProgress(silver.metadata()));
    K2_ASSIGN(const int64_t passed, NextOffsetOf(finished, silver, progress, key));
    if (passed <= stands) continue;
    return Fail(ErrorKind::kOffsetMismatch,
                "{} cannot go on from offset {} of {}: {} is at {}, and what was rejected in between would be in no "
                "table. Roll {} forward to the snapshot that the tag \"{}\" names; or roll {} back too, and accept "
                "that first",
                task::kRejectedTable, stands, key.ToString(), exchange->silver_table, passed, task::kRejectedTable,
                table::kOffsetsTag, exchange->silver_table);
  }
  return {};
}

Status CommitOffsets(table::Table& table, table::LayerCommit commit) {
  const table::LayerCommitOutcome outcome = table.Commit(std::move(commit));
  if (const auto* failed = std::get_if<table::NotCommitted>(&outcome)) return std::unexpected(failed->error());
  if (const auto* unknown = std::get_if<table::OutcomeUnknown>(&outcome)) return std::unexpected(unknown->error);
  return {};
}

// Goes on from what main holds, after a rollback that was meant; Gold also without what Silver's retention has dropped.
// Where finished_sources cannot tell any more, finished recordings are forgotten.
Result<int> AdoptMain(const Settings& settings, const std::string& name) {
  K2_ASSIGN(const auto lakehouse, OpenLakehouse(settings, false));
  K2_ASSIGN(table::Table table, lakehouse->Open(name));
  // Gold drops what it has when it reads all of Silver again.
  if (name != task::kGoldTable) K2_TRY(table::CheckMainHasProgress(table.metadata()));
  if (name == task::kRejectedTable) K2_TRY(CheckNoRejectsLost(*lakehouse, table));
  table::LayerCommit commit;
  commit.accept_loss = true;
  K2_ASSIGN(const table::LayerProgress progress, table::ReadProgressOfMain(table.metadata()));
  commit.base.finished = progress.finished;
  const Status known = pipeline::FinishedSources(*lakehouse).Check(table, progress);
  if (!known && known.error().kind != ErrorKind::kOffsetMismatch) return std::unexpected(known.error());
  commit.forget_finished = !known;
  commit.summary[table::kOffsetsSetKey] = "main's own, after a rollback, at " + FormatTimestamp(NowMicros());
  if (commit.forget_finished) commit.summary[table::kOffsetsSetKey] += "; finished recordings are forgotten";
  K2_ASSIGN(std::vector<table::Table> lossy, TablesWithLoss(*lakehouse, name, commit));
  K2_TRY(CommitOffsets(table, std::move(commit)));
  for (table::Table& upstream : lossy) {
    K2_TRY(upstream.Update([](const auto&) -> Result<std::vector<iceberg::TableUpdate>> {
      return std::vector<iceberg::TableUpdate>{iceberg::RemoveProperties{{table::kDroppedUnreadKey}}};
    }));
  }
  std::fprintf(stderr, "%s now goes on from what main holds\n", name.c_str());
  return 0;
}

// A name may stand for several topics, one of which was recreated as the other.
Status CheckOneId(const table::SourceKey& key, const SetFlags& flags, const table::LayerCommit& commit) {
  for (const auto& [other, position] : commit.next.positions) {
    if (other == key) continue;
    return Fail(ErrorKind::kInvalidArgument,
                "topic {} was recreated, and was read under the ids {} and {}: say which of them with --topic-id",
                flags.topic, other.topic_id, key.topic_id);
  }
  return {};
}

Status CheckFlags(const SetFlags& flags) {
  if (flags.topic.empty() || flags.next < 0) {
    return Fail(ErrorKind::kInvalidArgument, "--topic and --next go together, and --next is at least 0");
  }
  if (flags.table == task::kGoldTable) {
    return Fail(ErrorKind::kInvalidArgument,
                "{} goes on by Silver's snapshots, not by offsets: there is nothing to set", flags.table);
  }
  if (flags.table == task::kBronzeTable && flags.topic.starts_with("recording/")) {
    return Fail(ErrorKind::kInvalidArgument,
                "a recording is read from where Bronze stands, line by line; it cannot be entered elsewhere. Cut the "
                "file instead: "
                "a recording with another first line is another source");
  }
  return {};
}

// Sets one key of one table, in a commit that says so. It is the way on when the source or the upstream no longer has
// what was not read yet; rows between the old and the new offset are given up, hence the flag.
Result<int> SetOffset(const Settings& settings, const SetFlags& flags) {
  if (flags.topic.empty() && flags.next < 0) {
    if (flags.accept_loss) return AdoptMain(settings, flags.table);
    return Fail(ErrorKind::kInvalidArgument,
                "give --topic and --next; or --accept-loss alone, to go on from what main holds after a rollback");
  }
  K2_TRY(CheckFlags(flags));
  K2_ASSIGN(const auto lakehouse, OpenLakehouse(settings, false));
  K2_ASSIGN(table::Table table, lakehouse->Open(flags.table));
  if (flags.table == task::kRejectedTable) K2_TRY(CheckRejected(*lakehouse, flags));
  K2_ASSIGN(const table::LayerProgress bronze, [&]() -> Result<table::LayerProgress> {
    K2_ASSIGN(const table::Table upstream, lakehouse->Open(task::kBronzeTable));
    return table::ReadProgress(upstream.metadata());
  }());
  table::LayerCommit commit;
  commit.accept_loss = flags.accept_loss;
  K2_ASSIGN(const table::LayerProgress progress,
            flags.accept_loss ? table::ReadProgressOfMain(table.metadata()) : table::ReadProgress(table.metadata()));
  commit.base.finished = progress.finished;
  K2_ASSIGN(const table::SourcePositions ended, FinishedOfTopic(*lakehouse, table, progress, flags));
  for (const auto* positions : {&progress.positions, &ended, &bronze.positions}) {
    for (const auto& [key, position] : *positions) {
      if (!flags.Means(key)) continue;
      K2_TRY(CheckOneId(key, flags, commit));
      const auto present = progress.positions.find(key);
      const auto finished = ended.find(key);
      int64_t before = present == progress.positions.end() ? 0 : present->second.next_offset;
      if (finished != ended.end()) before = finished->second.next_offset;
      if (flags.next > before && !flags.accept_loss) {
        return Fail(
            ErrorKind::kInvalidArgument,
            "{} stands at offset {} of {}; going on at {} gives up {} messages. Say --accept-loss if that is meant",
            flags.table, before, flags.topic, flags.next, flags.next - before);
      }
      if (flags.next < before) {
        return Fail(ErrorKind::kInvalidArgument, "{} has offset {} of {} already; going back to {} would double rows",
                    flags.table, before, flags.topic, flags.next);
      }
      if (present != progress.positions.end()) commit.base.positions[key] = present->second;
      commit.next.positions[key] = {.next_offset = flags.next, .leader_epoch = position.leader_epoch};
      // Bronze's count is of the rows it holds, and goes on; another table takes Bronze's over when it is level with
      // it.
      if (flags.table == task::kBronzeTable) commit.next.positions[key].messages = position.messages;
      commit.summary[table::kOffsetsSetKey] = fmt::format("{}/{} from {} to {} at {}", flags.topic, flags.partition,
                                                          before, flags.next, FormatTimestamp(NowMicros()));
    }
  }
  if (commit.next.positions.empty()) {
    return Fail(ErrorKind::kNotFound, "{} and Bronze know no topic {} partition {}; `k2 offsets show` lists them",
                flags.table, flags.topic, flags.partition);
  }
  K2_TRY(CommitOffsets(table, std::move(commit)));
  std::fprintf(stderr, "%s now goes on at offset %lld of %s\n", flags.table.c_str(), static_cast<long long>(flags.next),
               flags.topic.c_str());
  return 0;
}

}  // namespace

void AddOffsets(Program& program) {
  CLI::App* command =
      AddCommand(program, kManageCommands, "offsets", "Show or change the committed offsets of each table");
  command->require_subcommand(1);
  CLI::App* show = command->add_subcommand("show", "Show the committed offsets, and the lag");
  auto finished = std::make_shared<bool>(false);
  show->add_flag("--finished", *finished, "List finished recordings, too");
  show->callback([&program, finished] {
    program.action = [&program, finished] { return ShowOffsets(program.settings, *finished); };
  });
  CLI::App* set = command->add_subcommand("set", "Move a table's offset, in a commit that records it");
  auto flags = std::make_shared<SetFlags>();
  set->add_option("--table", flags->table, "Table, such as silver_binance_trades")->type_name("TABLE")->required();
  set->add_option("--topic", flags->topic, "Topic, as 'k2 offsets show' prints it")->type_name("TOPIC");
  set->add_option("--topic-id", flags->topic_id, "Which one, of a topic that was recreated")->type_name("ID");
  set->add_option("--partition", flags->partition, "Partition of the topic")->type_name("N")->capture_default_str();
  set->add_option("--next", flags->next, "Offset to read next")->type_name("N");
  set->add_flag("--accept-loss", flags->accept_loss, "Give up the messages in between");
  set->callback(
      [&program, flags] { program.action = [&program, flags] { return SetOffset(program.settings, *flags); }; });
  AddOffsetsAccept(*command, program);
  command->footer(
      "Examples:\n  k2 offsets show\n  k2 offsets set --table silver_binance_trades --topic recording/binance/… --next "
      "500 --accept-loss");
}

}  // namespace k2::cli
