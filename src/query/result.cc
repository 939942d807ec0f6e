#include "query/result.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace k2::query {
namespace {

constexpr uint32_t kReplacement = 0xFFFD;

// Decodes one code point at `at` and moves past it; a byte that starts none is U+FFFD.
uint32_t NextCodePoint(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0U; };
  const uint32_t first = byte(at++);
  if (first < 0x80) return first;
  const int extra = first >= 0xF0 && first < 0xF5   ? 3
                    : first >= 0xE0 && first < 0xF0 ? 2
                    : first >= 0xC2 && first < 0xE0 ? 1
                                                    : 0;
  if (extra == 0) return kReplacement;
  uint32_t point = first & (0x3FU >> extra);
  for (int i = 0; i < extra; ++i) {
    const uint32_t next = byte(at + static_cast<size_t>(i));
    if ((next & 0xC0U) != 0x80U) return kReplacement;
    point = (point << 6) | (next & 0x3FU);
  }
  const uint32_t least = extra == 1 ? 0x80U : extra == 2 ? 0x800U : 0x10000U;
  if (point < least || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) return kReplacement;
  at += static_cast<size_t>(extra);
  return point;
}

int WidthOf(uint32_t point) {
  if ((point >= 0x300 && point < 0x370) || (point >= 0x200B && point <= 0x200F) ||
      (point >= 0xFE00 && point <= 0xFE0F)) {
    return 0;  // combining marks, joiners, variation selectors
  }
  const bool wide = (point >= 0x1100 && point <= 0x115F) || (point >= 0x2E80 && point <= 0xA4CF) ||
                    (point >= 0xAC00 && point <= 0xD7A3) || (point >= 0xF900 && point <= 0xFAFF) ||
                    (point >= 0xFE30 && point <= 0xFE6F) || (point >= 0xFF00 && point <= 0xFF60) ||
                    (point >= 0x1F300 && point <= 0x1FAFF) || (point >= 0x20000 && point <= 0x3FFFD);
  return wide ? 2 : 1;
}

// What a terminal may be sent: no control characters (a trade's text must not move the cursor).
std::string Printable(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const uint32_t point = NextCodePoint(text, at);
    if (point == '\n') {
      out += "\\n";
    } else if (point == '\t') {
      out += "\\t";
    } else if (point < 0x20 || point == 0x7F || (point >= 0x80 && point < 0xA0)) {
      out += fmt::format("\\x{:02x}", point);
    } else if (point == kReplacement) {
      out += "\uFFFD";
    } else {
      out += text.substr(start, at - start);
    }
  }
  return out;
}

std::string Cut(const std::string& text, int width) {
  if (DisplayWidth(text) <= width) return text;
  std::string out;
  int used = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const int next = WidthOf(NextCodePoint(text, at));
    if (used + next > width - 1) break;
    used += next;
    out += text.substr(start, at - start);
  }
  return out + "…";
}

std::string Repeat(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

constexpr int kNarrowest = 8;  // columns are not cut below this

// Shrinks the widest columns until all fit, then leaves out columns on the right. Returns how many are shown.
size_t FitWidths(std::vector<int>& widths, int limit) {
  if (limit <= 0) return widths.size();
  const auto total = [&](size_t count) {
    int sum = 1;
    for (size_t i = 0; i < count; ++i) sum += widths[i] + 3;
    return sum;
  };
  size_t count = widths.size();
  while (count > 0 && total(count) > limit) {
    const auto widest = std::max_element(widths.begin(), widths.begin() + static_cast<std::ptrdiff_t>(count));
    if (*widest > kNarrowest) {
      --*widest;
    } else if (count > 1) {
      --count;
    } else {
      break;
    }
  }
  return count;
}

constexpr size_t kRecordsMost = 3;  // rows that are turned on their side

// A line for each column of each row: name and value.
std::string Records(const std::vector<std::string>& names, const std::vector<std::vector<std::string>>& cells,
                    int limit) {
  int widest = 0;
  for (const auto& name : names) widest = std::max(widest, DisplayWidth(name));
  std::string out;
  for (const auto& texts : cells) {
    out += Repeat("─", limit) + "\n";
    for (size_t i = 0; i < names.size(); ++i) {
      out += names[i] + Repeat(" ", widest - DisplayWidth(names[i])) + " │ ";
      out += Cut(texts[i], std::max(kNarrowest, limit - widest - 3)) + "\n";
    }
  }
  return out + Repeat("─", limit) + "\n";
}

}  // namespace

int DisplayWidth(std::string_view text) {
  int width = 0;
  for (size_t at = 0; at < text.size();) width += WidthOf(NextCodePoint(text, at));
  return width;
}

// For people: the zeros at the end that all values of a decimal column have say nothing. Values stay under each other.
void CutCommonZeros(const QueryResult& result, size_t column, std::vector<std::vector<std::string>>& cells) {
  if (!result.columns[column].type.starts_with("DECIMAL(")) return;
  const auto zeros_of = [](const std::string& text) {
    const size_t last = text.find_last_not_of('0');
    return text.size() - 1 - last + (text[last] == '.' ? 1 : 0);
  };
  size_t zeros = SIZE_MAX;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (!result.rows[i][column]) continue;
    const std::string& text = cells[i][column];
    if (text.find('.') == std::string::npos) return;
    zeros = std::min(zeros, zeros_of(text));
  }
  if (zeros == SIZE_MAX || zeros == 0) return;
  for (size_t i = 0; i < cells.size(); ++i) {
    std::string& text = cells[i][column];
    if (!result.rows[i][column]) continue;
    text.resize(text.size() - zeros);
    if (text.ends_with('.')) text.pop_back();
  }
}

std::string FormatTable(const QueryResult& result, const TableStyle& style) {
  const size_t columns = result.columns.size();
  std::vector<std::string> names;
  std::vector<int> widths;
  for (const auto& column : result.columns) {
    names.push_back(Printable(column.name));
    widths.push_back(DisplayWidth(names.back()));
  }
  std::vector<std::vector<std::string>> cells;
  for (const auto& row : result.rows) {
    auto& texts = cells.emplace_back();
    for (size_t i = 0; i < columns; ++i) texts.push_back(row[i] ? Printable(*row[i]) : "NULL");
  }
  for (size_t i = 0; i < columns; ++i) {
    CutCommonZeros(result, i, cells);
    for (const auto& texts : cells) widths[i] = std::max(widths[i], DisplayWidth(texts[i]));
  }
  size_t shown = FitWidths(widths, style.width);
  std::string out;
  if (shown < columns && !cells.empty() && cells.size() <= kRecordsMost) {
    out = Records(names, cells, style.width);
    shown = 0;
  }
  const bool records = !out.empty();
  const auto rule = [&](std::string_view left, std::string_view middle, std::string_view right) {
    out += left;
    for (size_t i = 0; i < shown; ++i) {
      if (i > 0) out += middle;
      out += Repeat("─", widths[i] + 2);
    }
    out += right;
    out += '\n';
  };
  const auto line = [&](const std::vector<std::string>& texts, bool header) {
    for (size_t i = 0; i < shown; ++i) {
      const std::string text = Cut(texts[i], widths[i]);
      const std::string space(static_cast<size_t>(widths[i] - DisplayWidth(text)), ' ');
      const bool right = !header && result.columns[i].kind == CellKind::kNumber;
      out += "│ ";
      out += right ? space + text : text + space;
      out += ' ';
    }
    out += "│\n";
  };
  if (shown > 0) {
    rule("┌", "┬", "┐");
    line(names, true);
    rule("├", "┼", "┤");
    for (const auto& texts : cells) line(texts, false);
    rule("└", "┴", "┘");
  }
  if (!style.footer) return out;
  const auto kept = static_cast<int64_t>(result.rows.size());
  out += fmt::format("{} row{}", result.row_count, result.row_count == 1 ? "" : "s");
  if (kept < result.row_count) out += fmt::format(", the first {} shown", kept);
  if (shown < columns && !records) {
    out += fmt::format(", {} of {} columns shown (a wider terminal or --output json shows all)", shown, columns);
  }
  return out + "\n";
}

void AppendJsonString(std::string_view text, std::string& out) {
  out += '"';
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const uint32_t point = NextCodePoint(text, at);
    if (point == '"' || point == '\\') {
      out += '\\';
      out += static_cast<char>(point);
    } else if (point < 0x20) {
      out += fmt::format("\\u{:04x}", point);
    } else if (point == kReplacement) {
      out += "\uFFFD";
    } else {
      out += text.substr(start, at - start);
    }
  }
  out += '"';
}

JsonRows::JsonRows(const std::vector<ResultColumn>& columns) {
  std::map<std::string, int> uses;
  for (const auto& column : columns) {
    std::string name = column.name;
    while (uses.contains(name)) name = fmt::format("{}_{}", column.name, uses[column.name]++);
    uses[name] = 1;
    std::string key;
    AppendJsonString(name, key);
    keys_.push_back(key + ":");
    kinds_.push_back(column.kind);
  }
}

void JsonRows::Append(const ResultRow& row, std::string& out) const {
  out += '{';
  for (size_t i = 0; i < row.size(); ++i) {
    if (i > 0) out += ',';
    out += keys_[i];
    if (!row[i]) {
      out += "null";
    } else if (kinds_[i] == CellKind::kText) {
      AppendJsonString(*row[i], out);
    } else if (kinds_[i] == CellKind::kNumber && row[i]->find_first_not_of("0123456789+-.eE") != std::string::npos) {
      out += "null";
    } else {
      out += *row[i];
    }
  }
  out += '}';
}

void AppendCsvHeader(const std::vector<ResultColumn>& columns, std::string& out) {
  ResultRow names;
  for (const auto& column : columns) names.emplace_back(column.name);
  AppendCsvRow(names, out);
}

void AppendCsvRow(const ResultRow& row, std::string& out) {
  for (size_t i = 0; i < row.size(); ++i) {
    if (i > 0) out += ',';
    if (!row[i]) continue;
    const std::string& text = *row[i];
    if (!text.empty() && text.find_first_of("\",\r\n") == std::string::npos) {
      out += text;
      continue;
    }
    out += '"';
    for (const char c : text) {
      if (c == '"') out += '"';
      out += c;
    }
    out += '"';
  }
  out += "\r\n";
}

}  // namespace k2::query
