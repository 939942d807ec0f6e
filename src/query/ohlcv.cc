#include "query/ohlcv.h"

#include <algorithm>
#include <charconv>
#include <span>

#include "base/time.h"
#include "query/symbol_choice.h"

namespace k2::query {
namespace {

// 1970-01-05, the first Monday.
constexpr int64_t kWeekShift = 4 * kMicrosPerDay;

std::string Quoted(const std::string& text, char quote) {
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote) out += quote;
    out += c;
  }
  return out + quote;
}

std::string ColumnName(const OhlcvOptions& options, const std::string& column) {
  const auto found = options.columns.find(column);
  if (found == options.columns.end()) return Quoted(column, '"');
  return found->second.empty() ? "NULL" : Quoted(found->second, '"');
}

std::string Where(const OhlcvOptions& options) {
  const std::string time = ColumnName(options, "timestamp");
  const std::string date = ColumnName(options, "exchange_date");
  std::string out = fmt::format("{} = {}", ColumnName(options, "symbol"), Quoted(options.symbol, '\''));
  if (options.exchange) {
    out += fmt::format(" AND {} = {}", ColumnName(options, "exchange"), Quoted(*options.exchange, '\''));
  }
  // The dates say nothing new about the rows; they let whole manifests be passed over.
  if (options.from_micros) {
    out += fmt::format(" AND {} >= TIMESTAMPTZ '{}' AND {} >= DATE '{}'", time, FormatTimestamp(*options.from_micros),
                       date, FormatDate(DayOfMicros(*options.from_micros)));
  }
  if (options.to_micros) {
    out += fmt::format(" AND {} < TIMESTAMPTZ '{}' AND {} <= DATE '{}'", time, FormatTimestamp(*options.to_micros),
                       date, FormatDate(DayOfMicros(*options.to_micros - 1)));
  }
  return out;
}

std::string FilledTail(const OhlcvOptions& options, int64_t shift) {
  const auto bound = [&](const std::optional<int64_t>& micros, const char* from_rows) {
    if (!micros) return fmt::format("(SELECT {}(i) FROM candles)", from_rows);
    return fmt::format("{}", FloorDiv(*micros - shift, options.interval_micros));
  };
  auto last = options.to_micros;
  if (last) --*last;
  return fmt::format(R"(,
intervals AS (SELECT unnest(generate_series({}, {})) AS i),
filled AS (
  SELECT i, open, high, low, close, volume, vwap, trades,
         last_value(close IGNORE NULLS) OVER (ORDER BY i ROWS UNBOUNDED PRECEDING) AS before
  FROM intervals LEFT JOIN candles USING (i))
SELECT make_timestamptz(i * {} + {}) AS time, coalesce(open, before) AS open, coalesce(high, before) AS high,
       coalesce(low, before) AS low, coalesce(close, before) AS close, coalesce(volume, 0) AS volume, vwap,
       coalesce(trades, 0) AS trades
FROM filled WHERE before IS NOT NULL ORDER BY i)",
                     bound(options.from_micros, "min"), bound(last, "max"), options.interval_micros, shift);
}

Result<bool> HasTrades(QueryEngine& engine, const OhlcvOptions& options) {
  K2_ASSIGN(const QueryResult found,
            engine.Run(fmt::format("SELECT 1 FROM {} WHERE {} LIMIT 1", Quoted(options.table, '"'), Where(options))));
  return found.row_count > 0;
}

// What a table holds of one symbol of one exchange.
struct SymbolRows {
  std::string symbol, exchange, count, first, last;
};

Result<std::vector<SymbolRows>> AllSymbols(QueryEngine& engine, const OhlcvOptions& options) {
  const std::string time = ColumnName(options, "timestamp");
  K2_ASSIGN(const QueryResult found,
            engine.Run(fmt::format("SELECT {0}, {1}, count(*), min({2}), max({2}) FROM {3} GROUP BY 1, 2 ORDER BY 1, 2",
                                   ColumnName(options, "symbol"), ColumnName(options, "exchange"), time,
                                   Quoted(options.table, '"'))));
  std::vector<SymbolRows> rows;
  for (const ResultRow& row : found.rows) {
    rows.push_back(
        {row[0].value_or(""), row[1].value_or(""), row[2].value_or(""), row[3].value_or(""), row[4].value_or("")});
  }
  return rows;
}

std::string WhatThereIs(const std::vector<SymbolRows>& rows) {
  std::vector<std::string> texts;
  for (const SymbolRows& row : rows) {
    texts.push_back(fmt::format("{} of {} from {} to {}", row.count, row.exchange, row.first, row.last));
  }
  return fmt::format("{}", fmt::join(texts, "; "));
}

std::unexpected<Error> UnknownSymbol(const OhlcvOptions& options, const std::vector<SymbolRows>& all) {
  std::vector<std::string> names;
  for (const SymbolRows& row : all) {
    if (names.empty() || names.back() != row.symbol) names.push_back(row.symbol);
  }
  std::string hint = "the table holds no trades at all";
  if (const auto near = SimilarSymbols(options.symbol, names); !near.empty()) {
    hint = fmt::format("did you mean {}?", fmt::join(near, ", "));
  } else if (!names.empty()) {
    const size_t shown = std::min<size_t>(names.size(), 10);
    hint = fmt::format("it has {}{}", fmt::join(std::span(names).first(shown), ", "),
                       shown < names.size() ? fmt::format(" and {} more", names.size() - shown) : "");
  }
  return Fail(ErrorKind::kInvalidData, "{} has no trades of a symbol '{}': {}", options.table, options.symbol, hint);
}

}  // namespace

Result<std::string> FindSymbol(QueryEngine& engine, OhlcvOptions& options) {
  if (options.exchange) options.exchange = FoldSymbol(*options.exchange);
  OhlcvOptions asked = options;
  const std::string folded = FoldSymbol(options.symbol);
  for (const std::string& symbol : {asked.symbol, folded}) {
    options.symbol = symbol;
    K2_ASSIGN(const bool found, HasTrades(engine, options));
    if (found) return "";
  }
  K2_ASSIGN(const std::vector<SymbolRows> all, AllSymbols(engine, options));
  const auto exact = [&](const SymbolRows& row) { return row.symbol == asked.symbol; };
  const bool is_exact = std::ranges::any_of(all, exact);
  std::vector<SymbolRows> meant;
  for (const SymbolRows& row : all) {
    if (is_exact ? exact(row) : FoldSymbol(row.symbol) == folded) meant.push_back(row);
  }
  if (meant.empty()) return UnknownSymbol(asked, all);
  options.symbol = meant.front().symbol;
  const std::string there = WhatThereIs(meant);
  if (options.exchange) {
    std::erase_if(meant, [&](const SymbolRows& row) { return row.exchange != *options.exchange; });
    if (meant.empty()) {
      return Fail(ErrorKind::kInvalidData, "{} has no trades of {} by {}; there are {}", options.table, options.symbol,
                  *options.exchange, there);
    }
  }
  K2_ASSIGN(const bool found, HasTrades(engine, options));
  if (found) return "";
  return fmt::format("no trades of {} in the given period; {} holds {}", options.symbol, options.table,
                     WhatThereIs(meant));
}

Result<int64_t> ParseInterval(const std::string& text) {
  int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string unit(end, text.data() + text.size());
  const int64_t unit_micros = unit == "s"   ? kMicrosPerSecond
                              : unit == "m" ? 60 * kMicrosPerSecond
                              : unit == "h" ? kMicrosPerHour
                              : unit == "d" ? kMicrosPerDay
                              : unit == "w" ? 7 * kMicrosPerDay
                                            : 0;
  if (error != std::errc() || count <= 0 || unit_micros == 0 || count > 3'660 * kMicrosPerDay / unit_micros) {
    return WithHint(Fail(ErrorKind::kInvalidArgument, "cannot read the interval '{}'", text),
                    "a number and s, m, h, d or w, such as 30s, 1m, 15m, 4h, 1d");
  }
  return count * unit_micros;
}

Result<std::string> OhlcvSql(const OhlcvOptions& options) {
  if (options.interval_micros <= 0) {
    return Fail(ErrorKind::kInvalidArgument, "interval of {} us: it must be greater than zero",
                options.interval_micros);
  }
  if (options.from_micros && options.to_micros && *options.from_micros >= *options.to_micros) {
    return Fail(ErrorKind::kInvalidArgument, "from {} is not before to {}", FormatTimestamp(*options.from_micros),
                FormatTimestamp(*options.to_micros));
  }
  const int64_t shift = options.interval_micros % (7 * kMicrosPerDay) == 0 ? kWeekShift : 0;
  // nth: where a trade stands, as one number of 128 bits, for arg_min and arg_max: time above, sequence below,
  // or the price where there is none: its order fits 63 bits.
  // Products are exact, decimal(38,22), and so is the vwap, cut after 14 decimals: DuckDB divides decimals as doubles,
  // so that its parts are divided as whole numbers, of units of 10^-22 and 10^-8. Trades of 10^10 or more could soon
  // need more digits than there are: the vwap of its candle is one of doubles, kept between low and high. A column that
  // was widened is read as K2 writes it, for the same reason.
  const std::string sql = fmt::format(R"(WITH trades AS (
  SELECT (epoch_us({4}) - {0}) // {1} AS i, {5}::DECIMAL(24, 14) AS price, {6}::DECIMAL(24, 8) AS quantity,
         {5}::DOUBLE * {6}::DOUBLE >= 1e10 AS large,
         epoch_us({4})::HUGEINT * 9223372036854775808 +
           coalesce({7}::HUGEINT, CASE WHEN {5} < 90000 THEN ({5}::DECIMAL(38, 14) * 100000000000000)::HUGEINT
           ELSE 9000000000000000000 + ({5}::DECIMAL(38, 7) * 10000000)::HUGEINT END) AS nth
  FROM {2} WHERE {3}),
candles AS MATERIALIZED (
  SELECT i, arg_min(price, nth) AS open, max(price) AS high, min(price) AS low, arg_max(price, nth) AS close,
         sum(quantity) AS volume,
         CASE WHEN bool_or(large) THEN
           greatest(min(price), least(max(price),
             ((coalesce(sum(CASE WHEN NOT large THEN price * quantity END), 0)::DOUBLE +
               sum(CASE WHEN large THEN price::DOUBLE * quantity::DOUBLE END)) / sum(quantity)::DOUBLE
             )::DECIMAL(38, 14)))::DECIMAL(24, 14)
         ELSE
           ((replace(sum(CASE WHEN NOT large THEN price * quantity END)::VARCHAR, '.', '')::HUGEINT //
             replace(sum(quantity)::VARCHAR, '.', '')::HUGEINT) * 0.00000000000001)::DECIMAL(24, 14)
         END AS vwap,
         count(*) AS trades
  FROM trades GROUP BY i))",
                                      shift, options.interval_micros, Quoted(options.table, '"'), Where(options),
                                      ColumnName(options, "timestamp"), ColumnName(options, "price"),
                                      ColumnName(options, "quantity"), ColumnName(options, "source_sequence"));
  if (options.fill) return sql + FilledTail(options, shift);
  return sql + fmt::format(R"(
SELECT make_timestamptz(i * {} + {}) AS time, open, high, low, close, volume, vwap, trades
FROM candles ORDER BY i)",
                           options.interval_micros, shift);
}

Result<std::vector<Candle>> CandlesOf(const QueryResult& result) {
  std::vector<Candle> candles;
  for (const auto& row : result.rows) {
    if (row.size() != 8 || !row[0]) return Fail(ErrorKind::kInternal, "the rows are not the result of an OHLCV query");
    std::string time = row[0]->substr(0, row[0]->rfind('+'));  // 2024-08-08 00:01:00+00
    if (time.size() > 10) time[10] = 'T';
    const auto start = ParseTimestamp(time);
    if (!start) return Fail(ErrorKind::kInternal, "an OHLCV row has the time '{}'", *row[0]);
    double numbers[5] = {};
    for (size_t i = 0; i < 5; ++i) {
      const auto& text = row[i + 1];
      if (!text) return Fail(ErrorKind::kInternal, "an OHLCV row has no {}", result.columns[i + 1].name);
      std::from_chars(text->data(), text->data() + text->size(), numbers[i]);
    }
    candles.push_back({*start, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]});
  }
  return candles;
}

}  // namespace k2::query
