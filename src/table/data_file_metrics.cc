#include "table/data_file_metrics.h"

#include <parquet/metadata.h>
#include <parquet/statistics.h>

#include <algorithm>

#include "iceberg/literal.h"
#include "iceberg/metrics.h"

namespace k2::table {
namespace {

using iceberg::Literal;
using iceberg::TypeId;

struct Bounds {
  Literal lower;  // null: no value seen yet
  Literal upper;
  bool known = true;
};

template <typename PhysicalType>
auto MinMax(const parquet::Statistics& statistics) {
  const auto& typed = static_cast<const parquet::TypedStatistics<PhysicalType>&>(statistics);
  return std::pair(typed.min(), typed.max());
}

Literal IntegerLiteral(int64_t value, const iceberg::Type& type) {
  switch (type.id) {
    case TypeId::kDecimal: return iceberg::Int128{value};
    case TypeId::kInt:
    case TypeId::kDate: return static_cast<int32_t>(value);
    default: return value;
  }
}

Literal BytesLiteral(const uint8_t* data, size_t size, const iceberg::Type& type) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (type.id != TypeId::kDecimal) return bytes;
  const auto value = iceberg::BigEndianInt128(bytes);
  if (!value) return std::monostate{};
  return *value;
}

std::pair<Literal, Literal> LiteralsOf(const parquet::ColumnChunkMetaData& chunk, const parquet::Statistics& statistics,
                                       const iceberg::Type& type) {
  switch (chunk.type()) {
    case parquet::Type::BOOLEAN: return MinMax<parquet::BooleanType>(statistics);
    case parquet::Type::INT32: {
      const auto [low, high] = MinMax<parquet::Int32Type>(statistics);
      return {IntegerLiteral(low, type), IntegerLiteral(high, type)};
    }
    case parquet::Type::INT64: {
      const auto [low, high] = MinMax<parquet::Int64Type>(statistics);
      return {IntegerLiteral(low, type), IntegerLiteral(high, type)};
    }
    case parquet::Type::FLOAT: return MinMax<parquet::FloatType>(statistics);
    case parquet::Type::DOUBLE: return MinMax<parquet::DoubleType>(statistics);
    case parquet::Type::BYTE_ARRAY: {
      const auto [low, high] = MinMax<parquet::ByteArrayType>(statistics);
      return {BytesLiteral(low.ptr, low.len, type), BytesLiteral(high.ptr, high.len, type)};
    }
    case parquet::Type::FIXED_LEN_BYTE_ARRAY: {
      const auto [low, high] = MinMax<parquet::FLBAType>(statistics);
      const auto size = static_cast<size_t>(statistics.descr()->type_length());
      return {BytesLiteral(low.ptr, size, type), BytesLiteral(high.ptr, size, type)};
    }
    default: return {};
  }
}

void Merge(const parquet::ColumnChunkMetaData& chunk, const iceberg::Type& type, Bounds& bounds) {
  const auto statistics = chunk.statistics();
  if (!statistics) {
    bounds.known = false;
    return;
  }
  if (!statistics->HasMinMax()) {
    // Nothing but nulls has no bounds; else they were left out (NaN, values too long).
    if (!statistics->HasNullCount() || statistics->null_count() != chunk.num_values()) bounds.known = false;
    return;
  }
  auto [low, high] = LiteralsOf(chunk, *statistics, type);
  if (iceberg::IsNull(low) || iceberg::IsNull(high) || iceberg::IsNan(low) || iceberg::IsNan(high)) {
    bounds.known = false;
    return;
  }
  if (iceberg::IsNull(bounds.lower) || iceberg::CompareLiterals(low, bounds.lower) < 0) bounds.lower = std::move(low);
  if (iceberg::IsNull(bounds.upper) || iceberg::CompareLiterals(high, bounds.upper) > 0) bounds.upper = std::move(high);
}

int64_t FirstPage(const parquet::ColumnChunkMetaData& chunk) {
  const int64_t data = chunk.data_page_offset();
  return chunk.has_dictionary_page() ? std::min(data, chunk.dictionary_page_offset()) : data;
}

}  // namespace

Status AddMetrics(const parquet::FileMetaData& footer, const std::vector<ParquetLeaf>& leaves,
                  const std::vector<int64_t>& present, const iceberg::MetricsMode& mode,
                  const std::vector<int32_t>& full_bounds_fields, iceberg::DataFile& file) {
  if (footer.num_columns() != static_cast<int>(leaves.size()) || present.size() != leaves.size()) {
    return Fail(ErrorKind::kInternal, "{} Parquet columns, but {} were written", footer.num_columns(), leaves.size());
  }
  file.record_count = footer.num_rows();
  std::vector<Bounds> bounds(leaves.size());
  std::vector<iceberg::ColumnMetrics> metrics(leaves.size());
  for (auto& column : metrics) column.size_bytes = column.value_count = 0;
  for (int group = 0; group < footer.num_row_groups(); ++group) {
    const auto row_group = footer.RowGroup(group);
    for (int column = 0; column < footer.num_columns(); ++column) {
      const auto chunk = row_group->ColumnChunk(column);
      const auto i = static_cast<size_t>(column);
      if (column == 0) file.split_offsets.push_back(FirstPage(*chunk));
      *metrics[i].size_bytes += chunk->total_compressed_size();
      *metrics[i].value_count += chunk->num_values();
      if (!leaves[i].repeated) Merge(*chunk, leaves[i].type, bounds[i]);
    }
  }
  for (size_t i = 0; i < leaves.size(); ++i) {
    metrics[i].null_count = *metrics[i].value_count - present[i];
    if (!leaves[i].repeated && bounds[i].known) {
      metrics[i].lower = std::move(bounds[i].lower);
      metrics[i].upper = std::move(bounds[i].upper);
    }
    const bool full =
        std::find(full_bounds_fields.begin(), full_bounds_fields.end(), leaves[i].field_id) != full_bounds_fields.end();
    const iceberg::MetricsMode whole{.kind = iceberg::MetricsMode::Kind::kFull};
    K2_TRY(iceberg::AddColumnMetrics(leaves[i].field_id, leaves[i].type, full ? whole : mode, metrics[i], file));
  }
  std::sort(file.split_offsets.begin(), file.split_offsets.end());
  return {};
}

}  // namespace k2::table
