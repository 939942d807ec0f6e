#include "query/ohlcv.h"

#include <charconv>

#include "base/time.h"

namespace k2 {
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

}  // namespace

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
    return Fail(ErrorKind::kInvalidArgument,
                "interval '{}' is not a number and one of s, m, h, d, w: 30s, 1m, 15m, 4h, 1d, 1w", text);
  }
  return count * unit_micros;
}

Result<std::string> OhlcvSql(const OhlcvOptions& options) {
  if (options.interval_micros <= 0) {
    return Fail(ErrorKind::kInvalidArgument, "an interval of {} us: it must be above zero", options.interval_micros);
  }
  if (options.from_micros && options.to_micros && *options.from_micros >= *options.to_micros) {
    return Fail(ErrorKind::kInvalidArgument, "from {} is not before to {}", FormatTimestamp(*options.from_micros),
                FormatTimestamp(*options.to_micros));
  }
  const int64_t shift = options.interval_micros % (7 * kMicrosPerDay) == 0 ? kWeekShift : 0;
  // nth: where a trade stands, as one number of 128 bits, for arg_min and arg_max: time above, sequence below.
  // The division is DuckDB's, in doubles: the vwap is kept between low and high. A column that was widened is read as
  // K2 writes it, or the products would need more digits than there are.
  const std::string sql = fmt::format(R"(WITH trades AS (
  SELECT (epoch_us({4}) - {0}) // {1} AS i, {5}::DECIMAL(18, 8) AS price, {6}::DECIMAL(18, 8) AS quantity,
         epoch_us({4})::HUGEINT * 9223372036854775808 +
           coalesce({7}::HUGEINT, ({5}::DECIMAL(38, 8) * 100000000)::HUGEINT) AS nth
  FROM {2} WHERE {3}),
candles AS MATERIALIZED (
  SELECT i, arg_min(price, nth) AS open, max(price) AS high, min(price) AS low, arg_max(price, nth) AS close,
         sum(quantity) AS volume,
         greatest(min(price), least(max(price), (sum(price::DECIMAL(19, 8) * quantity) / sum(quantity))::DECIMAL(20, 8))
                 )::DECIMAL(18, 8) AS vwap,
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
    if (row.size() != 8 || !row[0]) return Fail(ErrorKind::kInternal, "the rows are not those of an OHLCV query");
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

}  // namespace k2
