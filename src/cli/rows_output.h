// Rows that a command prints, in the format that --output asks for: table, json, csv or parquet.
#pragma once

#include <string>

#include "base/result.h"
#include "query/engine.h"
#include "query/result.h"

namespace k2::cli {

Result<query::OutputFormat> ParseOutputFormat(const std::string& text);

// Rows a command has made itself. Parquet is refused: it is for `k2 query` and `k2 ohlcv`.
Status PrintRows(const query::QueryResult& result, const std::string& output);

// 1234567 -> 1,234,567
std::string WithCommas(int64_t number);
std::string HumanBytes(int64_t bytes);

}  // namespace k2::cli
