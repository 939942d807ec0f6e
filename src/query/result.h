// A query's result as text, and how it is drawn: a table for people, JSON and CSV for programs. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace k2::query {

// How a cell's text is put into JSON: quoted, or as it stands.
enum class CellKind { kText, kNumber, kBool, kJson };

struct ResultColumn {
  std::string name;
  std::string type;  // DuckDB's name: BIGINT, DECIMAL(18,8), TIMESTAMP WITH TIME ZONE, ...
  CellKind kind = CellKind::kText;
};

using ResultRow = std::vector<std::optional<std::string>>;  // nullopt: NULL

struct QueryResult {
  std::vector<ResultColumn> columns;
  std::vector<ResultRow> rows;
  int64_t row_count = 0;  // of the whole result; more than rows.size() when only the first were kept
};

struct TableStyle {
  int width = 0;  // columns of the terminal; 0: as wide as it needs
  bool footer = true;
};

// Draws a box around the rows; numbers to the right, NULL shown, cells cut with … where the width asks for it. Where
// not all columns fit, up to three rows are drawn with a line for each column; of more rows, the columns that do not
// fit are left out and counted. Control characters are shown, not sent.
std::string FormatTable(const QueryResult& result, const TableStyle& style = {});

// One JSON object, keys in column order; a name that comes twice gets _1, _2. Numbers as digits, exactly as DuckDB has
// them (decimals keep all places); NaN and infinities are null; nested values are arrays and objects.
class JsonRows {
 public:
  explicit JsonRows(const std::vector<ResultColumn>& columns);
  void Append(const ResultRow& row, std::string& out) const;

 private:
  std::vector<std::string> keys_;  // quoted, with the colon
  std::vector<CellKind> kinds_;
};

// RFC 4180; NULL is an empty field, an empty text is "".
void AppendCsvHeader(const std::vector<ResultColumn>& columns, std::string& out);
void AppendCsvRow(const ResultRow& row, std::string& out);

// Appends the text in quotes with JSON's escapes; bytes that are no UTF-8 become U+FFFD.
void AppendJsonString(std::string_view text, std::string& out);

// The number of terminal columns that UTF-8 text takes.
int DisplayWidth(std::string_view text);

}  // namespace k2::query
