#include "cli/rows_output.h"

#include <unistd.h>

#include <cstdio>

#include "cli/commands.h"

namespace k2::cli {

Result<query::OutputFormat> ParseOutputFormat(const std::string& text) {
  if (text == "table") return query::OutputFormat::kTable;
  if (text == "json") return query::OutputFormat::kJson;
  if (text == "csv") return query::OutputFormat::kCsv;
  if (text == "parquet") return query::OutputFormat::kParquet;
  return Fail(ErrorKind::kInvalidArgument, "--output {}: table, json, csv or parquet", text);
}

Status PrintRows(const query::QueryResult& result, const std::string& output) {
  K2_ASSIGN(const query::OutputFormat format, ParseOutputFormat(output));
  std::string text;
  switch (format) {
    case query::OutputFormat::kTable:
      text = query::FormatTable(result, {.width = TerminalWidth(STDOUT_FILENO), .footer = false});
      break;
    case query::OutputFormat::kJson: {
      const query::JsonRows rows(result.columns);
      text = "[";
      for (size_t i = 0; i < result.rows.size(); ++i) {
        text += i == 0 ? "\n" : ",\n";
        rows.Append(result.rows[i], text);
      }
      text += "\n]\n";
      break;
    }
    case query::OutputFormat::kCsv:
      query::AppendCsvHeader(result.columns, text);
      for (const query::ResultRow& row : result.rows) query::AppendCsvRow(row, text);
      break;
    case query::OutputFormat::kParquet:
      return Fail(ErrorKind::kInvalidArgument, "--output parquet is for `k2 query` and `k2 ohlcv`");
  }
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return Fail(ErrorKind::kIo, "standard output cannot be written");
  }
  return {};
}

std::string WithCommas(int64_t number) {
  std::string digits = std::to_string(number < 0 ? -number : number);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<size_t>(at), ",");
  return number < 0 ? "-" + digits : digits;
}

std::string HumanBytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace k2::cli
