#include "task/conform.h"

#include <arrow/compute/cast.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "iceberg/literal.h"
#include "table/arrow_adapt.h"
#include "table/arrow_schema.h"

namespace k2::task {
namespace {

using ColumnPtr = std::shared_ptr<arrow::Array>;
using iceberg::NestedField;

Result<ColumnPtr> UnknownColumn(const NestedField& field, std::string_view table, int64_t rows) {
  iceberg::Literal value;
  if (!field.write_default.empty() && field.type.IsPrimitive()) {
    K2_ASSIGN(const nlohmann::json json, ParseJson(field.write_default, "write-default"));
    K2_ASSIGN(value, iceberg::LiteralFromJson(json, field.type));
  } else if (field.required) {
    return Fail(ErrorKind::kUnsupported, "column {} of table {} is required, but k2 has no value for it", field.name,
                table);
  }
  return table::ConstantColumn(value, field.type, rows);
}

// Wider types take any value; of a narrower one (Silver's column was widened, Gold's not) it must fit.
Result<ColumnPtr> CastColumn(const ColumnPtr& column, const NestedField& field, std::string_view table) {
  const auto target = table::ToArrowType(field.type);
  if (!field.type.IsPrimitive() || column->type()->Equals(*target)) return column;
  if (column->type_id() == arrow::Type::DICTIONARY &&
      static_cast<const arrow::DictionaryType&>(*column->type()).value_type()->Equals(*target)) {
    return column;
  }
  K2_TRY(table::EnsureArrowKernels());
  const auto cast = arrow::compute::Cast(*column, target);
  if (!cast.ok()) {
    return Fail(ErrorKind::kInvalidData,
                "a value of {} does not fit the column {} of {}, which is {}: {}. Widen the column, or run `k2 tables "
                "migrate` if the table has an older format",
                column->type()->ToString(), field.name, table, field.type.ToString(), cast.status().message());
  }
  return *cast;
}

}  // namespace

Result<std::shared_ptr<arrow::RecordBatch>> Conform(const std::shared_ptr<arrow::RecordBatch>& batch,
                                                    const iceberg::Schema& rows, std::string_view table) {
  arrow::FieldVector fields;
  std::vector<ColumnPtr> columns;
  bool same = batch->num_columns() == static_cast<int>(rows.fields.size());
  for (const NestedField& field : rows.fields) {
    const auto at = static_cast<int>(fields.size());
    ColumnPtr column = batch->GetColumnByName(field.name);
    if (column == nullptr) {
      K2_ASSIGN(column, UnknownColumn(field, table, batch->num_rows()));
    } else {
      K2_ASSIGN(column, CastColumn(column, field, table));
    }
    same = same && batch->column_name(at) == field.name && batch->column(at) == column;
    fields.push_back(arrow::field(field.name, column->type(), !field.required));
    columns.push_back(std::move(column));
  }
  if (same) return batch;
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), batch->num_rows(), std::move(columns));
}

}  // namespace k2::task
