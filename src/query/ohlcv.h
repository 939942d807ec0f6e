// Candles out of trades: open, high, low, close, volume, vwap and number of trades of each interval.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "query/candles.h"
#include "query/engine.h"
#include "query/result.h"

namespace k2::query {

struct OhlcvOptions {
  std::string symbol;
  std::optional<std::string> exchange;  // none: the trades of all exchanges together
  int64_t interval_micros = 60'000'000;
  std::optional<int64_t> from_micros;  // UTC, the first microsecond that counts
  std::optional<int64_t> to_micros;    // the first that no longer counts
  // Empty intervals, from from_micros (or the first trade) to to_micros (or the last): false leaves them out, true
  // gives them the close before them as open, high, low and close, volume 0, trades 0 and no vwap. Intervals before the
  // first trade have no close before them and are always left out.
  bool fill = false;
  std::string table = "gold_crypto_trades";
  // What the table calls the columns symbol, exchange, timestamp, exchange_date, price, quantity and source_sequence;
  // of those that are left out, the same. An empty name: it has no such column.
  std::map<std::string, std::string> columns{};
};

// 30s, 1m, 15m, 4h, 1d, 1w to microseconds. Error: kInvalidArgument.
Result<int64_t> ParseInterval(const std::string& text);

// SQL whose rows are, by time: time timestamptz (the interval's start), open, high, low, close decimal(24,14), volume
// decimal(38,8) (exact), vwap decimal(24,14) (exact, cut; of a candle with a trade of 10^10 or more in quote currency a
// double), trades bigint. Intervals are aligned to midnight UTC, weeks to Monday. Open and close are the first and last
// trade by (timestamp, source_sequence); of trades that an exchange gives one time and no number, the lowest and
// highest price, so that the same rows always give the same candle. Memory is by interval, not by trade. Error:
// kInvalidArgument.
Result<std::string> OhlcvSql(const OhlcvOptions& options);

// Sets the symbol (and the exchange) to what the table calls it: btcusdt, BTC/USDT and BTC-USDT find BTCUSDT. Returns a
// sentence where it has no trades in the time that is asked for: what there is of it; else nothing. Error
// kInvalidData: the table does not know it, or not of this exchange; the message names those that come near.
Result<std::string> FindSymbol(QueryEngine& engine, OhlcvOptions& options);

// The rows of OhlcvSql as numbers to draw. Error: kInternal, when the result is not one of OhlcvSql.
Result<std::vector<Candle>> CandlesOf(const QueryResult& result);

}  // namespace k2::query
