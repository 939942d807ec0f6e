#include "query/duckdb_cells.h"

#include <algorithm>

#include "base/time.h"
#include "duckdb/common/vector_operations/vector_operations.hpp"

namespace k2::query {
namespace {

using duckdb::idx_t;
using duckdb::LogicalType;
using duckdb::LogicalTypeId;
using duckdb::Value;

CellKind CellKindOf(const LogicalType& type) {
  switch (type.id()) {
    case LogicalTypeId::BOOLEAN: return CellKind::kBool;
    case LogicalTypeId::TINYINT:
    case LogicalTypeId::SMALLINT:
    case LogicalTypeId::INTEGER:
    case LogicalTypeId::BIGINT:
    case LogicalTypeId::HUGEINT:
    case LogicalTypeId::UTINYINT:
    case LogicalTypeId::USMALLINT:
    case LogicalTypeId::UINTEGER:
    case LogicalTypeId::UBIGINT:
    case LogicalTypeId::UHUGEINT:
    case LogicalTypeId::FLOAT:
    case LogicalTypeId::DOUBLE:
    case LogicalTypeId::DECIMAL: return CellKind::kNumber;
    case LogicalTypeId::LIST:
    case LogicalTypeId::ARRAY:
    case LogicalTypeId::MAP:
    case LogicalTypeId::STRUCT: return CellKind::kJson;
    default: return CellKind::kText;
  }
}

bool IsTime(const LogicalType& type) {
  return type.id() == LogicalTypeId::TIMESTAMP || type.id() == LogicalTypeId::TIMESTAMP_TZ;
}

// ISO 8601; a time without a zone is of no known place and gets no Z.
std::string TimeText(duckdb::timestamp_t time, const LogicalType& type) {
  if (!duckdb::Timestamp::IsFinite(time)) return time == duckdb::timestamp_t::infinity() ? "infinity" : "-infinity";
  std::string text = FormatTimestamp(time.value);
  if (type.id() == LogicalTypeId::TIMESTAMP) text.pop_back();
  return text;
}

void AppendJson(const Value& value, std::string& out);

void AppendJsonArray(const duckdb::vector<Value>& values, std::string& out) {
  out += '[';
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    AppendJson(values[i], out);
  }
  out += ']';
}

void AppendJsonMember(std::string_view key, const Value& value, bool first, std::string& out) {
  if (!first) out += ',';
  AppendJsonString(key, out);
  out += ':';
  AppendJson(value, out);
}

void AppendJson(const Value& value, std::string& out) {
  if (value.IsNull()) {
    out += "null";
    return;
  }
  const auto& type = value.type();
  switch (type.id()) {
    case LogicalTypeId::LIST: return AppendJsonArray(duckdb::ListValue::GetChildren(value), out);
    case LogicalTypeId::ARRAY: return AppendJsonArray(duckdb::ArrayValue::GetChildren(value), out);
    case LogicalTypeId::MAP: {
      out += '{';
      bool first = true;
      for (const auto& entry : duckdb::MapValue::GetChildren(value)) {
        const auto& pair = duckdb::StructValue::GetChildren(entry);
        AppendJsonMember(pair[0].ToString(), pair[1], first, out);
        first = false;
      }
      out += '}';
      return;
    }
    case LogicalTypeId::STRUCT: {
      out += '{';
      const auto& fields = duckdb::StructValue::GetChildren(value);
      for (idx_t i = 0; i < fields.size(); ++i) {
        AppendJsonMember(duckdb::StructType::GetChildName(type, i), fields[i], i == 0, out);
      }
      out += '}';
      return;
    }
    default: break;
  }
  const std::string text =
      IsTime(type) ? TimeText(value.GetValueUnsafe<duckdb::timestamp_t>(), type) : value.ToString();
  const CellKind kind = CellKindOf(type);
  if (kind == CellKind::kText) {
    AppendJsonString(text, out);
  } else if (kind == CellKind::kNumber && text.find_first_not_of("0123456789+-.eE") != std::string::npos) {
    out += "null";  // NaN and infinities
  } else {
    out += text;
  }
}

}  // namespace

std::vector<ResultColumn> ColumnsOf(const duckdb::QueryResult& result) {
  std::vector<ResultColumn> columns;
  for (idx_t i = 0; i < result.names.size(); ++i) {
    columns.push_back({result.names[i], result.types[i].ToString(), CellKindOf(result.types[i])});
  }
  return columns;
}

void AppendRows(duckdb::ClientContext& context, duckdb::DataChunk& chunk, CellStyle style, idx_t rows_max,
                std::vector<ResultRow>& rows) {
  const idx_t count = std::min(chunk.size(), rows_max);
  const size_t first = rows.size();
  rows.resize(first + count, ResultRow(chunk.ColumnCount()));
  for (idx_t column = 0; column < chunk.ColumnCount(); ++column) {
    auto& source = chunk.data[column];
    const auto& type = source.GetType();
    const bool program = style == CellStyle::kProgram;
    if (program && CellKindOf(type) == CellKind::kJson) {
      for (idx_t i = 0; i < count; ++i) {
        const Value value = source.GetValue(i);
        if (!value.IsNull()) AppendJson(value, rows[first + i][column].emplace());
      }
      continue;
    }
    duckdb::UnifiedVectorFormat format;
    if (program && IsTime(type)) {
      source.ToUnifiedFormat(chunk.size(), format);
      const auto* times = duckdb::UnifiedVectorFormat::GetData<duckdb::timestamp_t>(format);
      for (idx_t i = 0; i < count; ++i) {
        const idx_t at = format.sel->get_index(i);
        if (format.validity.RowIsValid(at)) rows[first + i][column] = TimeText(times[at], type);
      }
      continue;
    }
    duckdb::Vector text(LogicalType::VARCHAR, chunk.size());
    duckdb::VectorOperations::Cast(context, source, text, chunk.size());
    text.ToUnifiedFormat(chunk.size(), format);
    const auto* texts = duckdb::UnifiedVectorFormat::GetData<duckdb::string_t>(format);
    for (idx_t i = 0; i < count; ++i) {
      const idx_t at = format.sel->get_index(i);
      if (format.validity.RowIsValid(at)) rows[first + i][column] = texts[at].GetString();
    }
  }
}

}  // namespace k2::query
