#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "base/log.h"
#include "base/time.h"
#include "cli/commands.h"
#include "cli/rows_output.h"
#include "exchange/registry.h"
#include "query/candles.h"
#include "query/engine.h"
#include "query/lakehouse_table.h"
#include "query/ohlcv.h"
#include "query/spill_folder.h"
#include "task/market_tables.h"
#include "task/table_shape.h"

namespace k2::cli {
namespace {

struct QueryFlags {
  std::string sql;
  std::string as_of;
  std::string out;
  int64_t rows_max = 1000;
};

struct OhlcvFlags {
  query::OhlcvOptions options;
  std::string exchange;
  std::string interval = "1m";
  std::string from;
  std::string to;
  std::string as_of;
  std::string out;
  bool draw = false;
};

// An engine, and the folder that it spills to.
struct Queries {
  std::unique_ptr<query::SpillFolder> spill;  // goes last
  std::unique_ptr<query::QueryEngine> engine;
};

// Without a place to spill a query fails that needs more memory than it may have; all others go on.
Status SetSpill(const Settings& settings, query::QueryOptions& options, Queries& queries) {
  const std::string& folder = settings.Text("query-spill");
  if (folder == "off") return {};
  K2_ASSIGN(options.temp_bytes_max, settings.Bytes("query-spill-max"));
  std::error_code ignored;
  const bool chosen = !folder.empty();
  const std::string parent = chosen ? folder : std::filesystem::temp_directory_path(ignored).string();
  auto opened = query::SpillFolder::Open(parent);
  if (!opened) {
    if (chosen) return std::unexpected(opened.error().With("--query-spill"));
    log::Info("queries cannot spill", {{"error", opened.error().message}});
    return {};
  }
  queries.spill = std::move(*opened);
  options.temp_dir = queries.spill->path();
  return {};
}

// One that knows every table of the namespace, ours and others'.
Result<Queries> OpenEngine(const Settings& settings, const std::shared_ptr<pipeline::Lakehouse>& lakehouse,
                           const query::AsOf& as_of) {
  K2_ASSIGN(const std::vector<catalog::TableName> tables,
            lakehouse->catalog()->ListTables(std::string(task::kNamespace)));
  query::QueryOptions options;
  Queries queries;
  K2_ASSIGN(options.memory_limit_bytes, settings.Bytes("query-memory"));
  K2_TRY(SetSpill(settings, options, queries));
  options.open_file = query::QueryFilesOf(lakehouse->io());
  if (const auto displacement =
          lakehouse->catalog()->displacement()) {  // files of this machine are opened by their names
    options.open_file = [map = displacement->map, open = options.open_file](const std::string& path) {
      return open(map.ApplyOrKeep(path));
    };
  }
  K2_ASSIGN(queries.engine, query::QueryEngine::Open(options));
  for (const catalog::TableName& table : tables) {
    K2_TRY(queries.engine->AddTable(
        query::MakeQueryTable(table.name, [lakehouse, name = table.name] { return lakehouse->Open(name); }, as_of)));
  }
  return queries;
}

// What Gold's columns are called at that time, by K2's names.
Result<std::map<std::string, std::string>> GoldColumns(const pipeline::Lakehouse& lakehouse, const query::AsOf& as_of) {
  K2_ASSIGN(const table::Table gold, lakehouse.Open(task::kGoldTable));
  K2_ASSIGN(task::ColumnIds ids, task::ColumnsOf(task::kGoldTable, gold.metadata()));
  const auto table =
      query::MakeQueryTable(std::string(task::kGoldTable), [&]() -> Result<table::Table> { return gold; }, as_of);
  K2_ASSIGN(const std::vector<query::ColumnInfo> columns, table->Columns());
  const bool past = as_of.snapshot_id || as_of.timestamp_ms;
  std::map<std::string, std::string> names;
  for (const std::string name :
       {"symbol", "exchange", "timestamp", "exchange_date", "price", "quantity", "source_sequence"}) {
    const int32_t id = ids.find(name)->second;
    auto found = std::ranges::find(columns, id, &query::ColumnInfo::field_id);
    // Before the table was migrated it had another id, and its first name.
    if (found == columns.end() && past) found = std::ranges::find(columns, name, &query::ColumnInfo::name);
    names[name] = found == columns.end() ? "" : found->name;
    if (found != columns.end() || name == "source_sequence") continue;
    return Fail(ErrorKind::kUnsupported,
                "{}.{} has no column {} (field id {}) any more: there are no candles without it", task::kNamespace,
                task::kGoldTable, name, id);
  }
  return names;
}

Result<query::AsOf> AsOfFlag(const std::string& text) { return text.empty() ? query::AsOf{} : query::ParseAsOf(text); }

Result<int> PrintQuery(query::QueryEngine& engine, const std::string& sql, const Settings& settings,
                       const std::string& out, int64_t rows_max) {
  K2_ASSIGN(const query::OutputFormat format, ParseOutputFormat(settings.Text("output")));
  if (format == query::OutputFormat::kParquet && out.empty() && IsTerminal(STDOUT_FILENO)) {
    return Fail(ErrorKind::kInvalidArgument, "Parquet is no text for a terminal: give --out FILE, or redirect");
  }
  const Result<int64_t> rows = engine.WriteTo(
      sql, format, {.path = out, .stream = stdout, .rows_max = rows_max, .width = TerminalWidth(STDOUT_FILENO)});
  if (rows) return 0;
  // SQL that would write is the caller's mistake, not a missing permission of the machine.
  if (rows.error().kind == ErrorKind::kPermission) {
    Error error = rows.error();
    error.kind = ErrorKind::kInvalidArgument;
    return std::unexpected(std::move(error));
  }
  return std::unexpected(rows.error());
}

Result<int> RunQuery(const Settings& settings, const QueryFlags& flags) {
  K2_ASSIGN(const query::AsOf as_of, AsOfFlag(flags.as_of));
  K2_ASSIGN(const std::shared_ptr<pipeline::Lakehouse> lakehouse, OpenLakehouseToRead(settings));
  K2_ASSIGN(const Queries queries, OpenEngine(settings, lakehouse, as_of));
  return PrintQuery(*queries.engine, flags.sql, settings, flags.out, flags.rows_max);
}

Result<int> RunOhlcv(const Settings& settings, OhlcvFlags flags) {
  if (!flags.exchange.empty()) flags.options.exchange = flags.exchange;
  K2_ASSIGN(flags.options.interval_micros, query::ParseInterval(flags.interval));
  const auto time = [](const std::string& text, const char* flag, std::optional<int64_t>& into) -> Status {
    if (text.empty()) return {};
    const auto micros = ParseTimestamp(text);
    if (!micros) {
      return WithHint(Fail(ErrorKind::kInvalidArgument, "cannot read the time '{}' ({})", text, flag),
                      "2024-08-08T23:55:00Z, or a day such as 2024-08-08; times are UTC");
    }
    into = *micros;
    return {};
  };
  K2_TRY(time(flags.from, "--from", flags.options.from_micros));
  K2_TRY(time(flags.to, "--to", flags.options.to_micros));
  K2_TRY(query::OhlcvSql(flags.options));  // what is wrong with the flags is told before any table is opened
  K2_ASSIGN(const query::AsOf as_of, AsOfFlag(flags.as_of));
  K2_ASSIGN(const std::shared_ptr<pipeline::Lakehouse> lakehouse, OpenLakehouseToRead(settings));
  K2_ASSIGN(flags.options.columns, GoldColumns(*lakehouse, as_of));
  K2_ASSIGN(const Queries queries, OpenEngine(settings, lakehouse, as_of));
  K2_ASSIGN(const std::string empty, query::FindSymbol(*queries.engine, flags.options));
  if (!empty.empty()) std::fprintf(stderr, "k2: %s\n", empty.c_str());
  K2_ASSIGN(const std::string sql, query::OhlcvSql(flags.options));
  if (!flags.draw) return PrintQuery(*queries.engine, sql, settings, flags.out, INT64_MAX);
  K2_ASSIGN(const query::QueryResult result, queries.engine->Run(sql));
  K2_ASSIGN(const std::vector<query::Candle> candles, query::CandlesOf(result));
  const int width = TerminalWidth(STDOUT_FILENO);
  const std::string picture =
      query::DrawCandles(candles, {.width = width > 0 ? width : 100,
                                   .height = 18,
                                   .colour = WantsColour(STDOUT_FILENO),
                                   .title = fmt::format("{} {}", flags.options.symbol, flags.interval)});
  std::fputs(picture.c_str(), stdout);
  return 0;
}

}  // namespace

void AddQuery(Program& program) {
  CLI::App* command = AddCommand(program, kExploreCommands, "query", "Run one SQL statement, read-only");
  auto flags = std::make_shared<QueryFlags>();
  command
      ->add_option("sql", flags->sql,
                   "One statement. Tables: bronze_trades, silver_EXCHANGE_trades, rejected_trades, gold_crypto_trades")
      ->required();
  command->add_option("--as-of", flags->as_of, "Read the tables as they were: UTC time or snapshot id")
      ->type_name("TIME");
  command->add_option("--out", flags->out, "Write to FILE instead of standard output")->type_name("FILE");
  command->add_option("--max-rows", flags->rows_max, "Print at most this many rows of a table")
      ->type_name("N")
      ->capture_default_str();
  program.settings.BeginGroup("output");
  const SettingText texts[] = {
      {"query-memory", "SIZE", "512MB", "Limit on a query's memory"},
      {"query-spill", "FOLDER", "",
       "Where larger sorts and joins spill to; without one the system's temporary folder (TMPDIR, /tmp); off: they "
       "fail"},
      {"query-spill-max", "SIZE", "10GB", "Limit on what one process spills"},
  };
  for (const SettingText& text : texts) program.settings.Add(program.app, text);
  command->footer(
      "Examples:\n"
      "  k2 query \"SELECT symbol, count(*), sum(quantity) FROM gold_crypto_trades GROUP BY symbol\"\n"
      "  k2 query --as-of 2024-08-08T23:55:00Z \"SELECT max(timestamp) FROM silver_binance_trades\"\n"
      "  k2 query --output parquet --out day.parquet \"SELECT * FROM gold_crypto_trades WHERE exchange_date = "
      "'2024-08-08'\"");
  command->callback(
      [&program, flags] { program.action = [&program, flags] { return RunQuery(program.settings, *flags); }; });
}

void AddOhlcv(Program& program) {
  CLI::App* command = AddCommand(program, kExploreCommands, "ohlcv",
                                 "Candles of a symbol: open, high, low, close, volume, VWAP, trades");
  auto flags = std::make_shared<OhlcvFlags>();
  command->add_option("symbol", flags->options.symbol, "Symbol, such as BTCUSDT, btcusdt or BTC/USDT")->required();
  command->add_option("--exchange", flags->exchange,
                      exchange::ExchangeNames(&exchange::Exchange::message_name) + "; without it all together");
  command->add_option("--interval", flags->interval, "30s, 1m, 15m, 4h, 1d, 1w")
      ->type_name("INTERVAL")
      ->capture_default_str();
  command->add_option("--from", flags->from, "Start, UTC, inclusive")->type_name("TIME");
  command->add_option("--to", flags->to, "End, UTC, exclusive")->type_name("TIME");
  command->add_flag("--fill", flags->options.fill, "Fill empty intervals with the previous close");
  command->add_option("--as-of", flags->as_of, "Read the table as it was: UTC time or snapshot id")->type_name("TIME");
  command->add_option("--out", flags->out, "Write to FILE instead of standard output")->type_name("FILE");
  command->add_flag("--draw", flags->draw, "Draw the candles in the terminal");
  command->footer("Example:\n  k2 ohlcv BTCUSDT --interval 1m --from 2024-08-08T23:55:00Z --to 2024-08-09 --draw");
  command->callback(
      [&program, flags] { program.action = [&program, flags] { return RunOhlcv(program.settings, *flags); }; });
}

}  // namespace k2::cli
