#include "query/duckdb_predicates.h"

#include <cmath>
#include <mutex>
#include <optional>

#include "base/time.h"
#include "duckdb/planner/expression/bound_between_expression.hpp"
#include "duckdb/planner/expression/bound_cast_expression.hpp"
#include "duckdb/planner/expression/bound_columnref_expression.hpp"
#include "duckdb/planner/expression/bound_comparison_expression.hpp"
#include "duckdb/planner/expression/bound_conjunction_expression.hpp"
#include "duckdb/planner/expression/bound_constant_expression.hpp"
#include "duckdb/planner/expression/bound_operator_expression.hpp"
#include "duckdb/planner/filter/conjunction_filter.hpp"
#include "duckdb/planner/filter/constant_filter.hpp"
#include "duckdb/planner/filter/dynamic_filter.hpp"
#include "duckdb/planner/filter/in_filter.hpp"
#include "duckdb/planner/filter/optional_filter.hpp"

namespace k2::query {
namespace {

using duckdb::Expression;
using duckdb::ExpressionClass;
using duckdb::ExpressionType;
using duckdb::LogicalTypeId;
using duckdb::Value;

std::optional<PredicateOp> OpOf(ExpressionType type) {
  switch (type) {
    case ExpressionType::COMPARE_EQUAL:
    case ExpressionType::COMPARE_NOT_DISTINCT_FROM: return PredicateOp::kEqual;
    case ExpressionType::COMPARE_LESSTHAN: return PredicateOp::kLess;
    case ExpressionType::COMPARE_LESSTHANOREQUALTO: return PredicateOp::kLessEqual;
    case ExpressionType::COMPARE_GREATERTHAN: return PredicateOp::kGreater;
    case ExpressionType::COMPARE_GREATERTHANOREQUALTO: return PredicateOp::kGreaterEqual;
    default: return std::nullopt;
  }
}

// a op b  is  b Mirrored(op) a
PredicateOp Mirrored(PredicateOp op) {
  switch (op) {
    case PredicateOp::kLess: return PredicateOp::kGreater;
    case PredicateOp::kLessEqual: return PredicateOp::kGreaterEqual;
    case PredicateOp::kGreater: return PredicateOp::kLess;
    case PredicateOp::kGreaterEqual: return PredicateOp::kLessEqual;
    default: return op;
  }
}

Int128 Wide(duckdb::hugeint_t value) { return (static_cast<Int128>(value.upper) << 64) | value.lower; }

Int128 Unscaled(const Value& value) {
  switch (value.type().InternalType()) {
    case duckdb::PhysicalType::INT16: return value.GetValueUnsafe<int16_t>();
    case duckdb::PhysicalType::INT32: return value.GetValueUnsafe<int32_t>();
    case duckdb::PhysicalType::INT64: return value.GetValueUnsafe<int64_t>();
    default: return Wide(value.GetValueUnsafe<duckdb::hugeint_t>());
  }
}

// The constant as the planner knows it, or nothing when it cannot be told in the column's type.
std::optional<PredicateValue> ValueOf(const Value& value, const duckdb::LogicalType& type) {
  if (value.IsNull() || value.type() != type) return std::nullopt;
  switch (type.id()) {
    case LogicalTypeId::BOOLEAN: return value.GetValueUnsafe<bool>();
    case LogicalTypeId::INTEGER: return static_cast<int64_t>(value.GetValueUnsafe<int32_t>());
    case LogicalTypeId::BIGINT: return value.GetValueUnsafe<int64_t>();
    case LogicalTypeId::DATE: {
      const auto date = value.GetValueUnsafe<duckdb::date_t>();
      if (!duckdb::Date::IsFinite(date)) return std::nullopt;
      return static_cast<int64_t>(date.days);
    }
    case LogicalTypeId::TIMESTAMP:
    case LogicalTypeId::TIMESTAMP_TZ: {
      const auto time = value.GetValueUnsafe<duckdb::timestamp_t>();
      if (!duckdb::Timestamp::IsFinite(time)) return std::nullopt;
      return time.value;
    }
    case LogicalTypeId::FLOAT:
    case LogicalTypeId::DOUBLE: {
      const double number =
          type.id() == LogicalTypeId::FLOAT ? value.GetValueUnsafe<float>() : value.GetValueUnsafe<double>();
      if (std::isnan(number)) return std::nullopt;  // DuckDB orders NaN above all, bounds leave it out
      return number;
    }
    case LogicalTypeId::DECIMAL: return DecimalValue{Unscaled(value), duckdb::DecimalType::GetScale(type)};
    case LogicalTypeId::VARCHAR:
    case LogicalTypeId::BLOB: return duckdb::StringValue::Get(value);
    default: return std::nullopt;
  }
}

// DuckDB orders NaN above every number, so bounds (which leave NaN out) cannot prune for > and >= on floats.
bool PrunesNothing(PredicateOp op, const duckdb::LogicalType& type) {
  const bool floating = type.id() == LogicalTypeId::FLOAT || type.id() == LogicalTypeId::DOUBLE;
  return floating && (op == PredicateOp::kGreater || op == PredicateOp::kGreaterEqual);
}

class Translator {
 public:
  Translator(duckdb::idx_t table_index, const std::vector<FilterColumn>& columns)
      : table_(table_index), columns_(columns) {}

  std::vector<ColumnPredicate> Translate(const Expression& filter) const {
    std::vector<ColumnPredicate> out;
    switch (filter.GetExpressionClass()) {
      case ExpressionClass::BOUND_CONJUNCTION:
        Conjunction(filter.Cast<duckdb::BoundConjunctionExpression>(), out);
        break;
      case ExpressionClass::BOUND_COMPARISON: {
        const auto& comparison = filter.Cast<duckdb::BoundComparisonExpression>();
        const auto op = OpOf(comparison.type);
        if (!op) break;
        Comparison(*comparison.left, *op, *comparison.right, out);
        Comparison(*comparison.right, Mirrored(*op), *comparison.left, out);
        break;
      }
      case ExpressionClass::BOUND_BETWEEN: {
        const auto& between = filter.Cast<duckdb::BoundBetweenExpression>();
        const auto above = between.lower_inclusive ? PredicateOp::kGreaterEqual : PredicateOp::kGreater;
        const auto below = between.upper_inclusive ? PredicateOp::kLessEqual : PredicateOp::kLess;
        Comparison(*between.input, above, *between.lower, out);
        Comparison(*between.input, below, *between.upper, out);
        break;
      }
      case ExpressionClass::BOUND_OPERATOR: Operator(filter.Cast<duckdb::BoundOperatorExpression>(), out); break;
      default: break;
    }
    return out;
  }

 private:
  void Conjunction(const duckdb::BoundConjunctionExpression& filter, std::vector<ColumnPredicate>& out) const {
    if (filter.type == ExpressionType::CONJUNCTION_AND) {
      for (const auto& child : filter.children) {
        for (auto& predicate : Translate(*child)) out.push_back(std::move(predicate));
      }
      return;
    }
    // x = 1 OR x IN (2, 3): one list of values, when every branch asks for values of the same column.
    ColumnPredicate all{0, PredicateOp::kIn, {}};
    for (const auto& child : filter.children) {
      const auto branch = Translate(*child);
      if (branch.size() != 1 || (branch[0].op != PredicateOp::kEqual && branch[0].op != PredicateOp::kIn)) return;
      if (!all.values.empty() && all.field_id != branch[0].field_id) return;
      all.field_id = branch[0].field_id;
      all.values.insert(all.values.end(), branch[0].values.begin(), branch[0].values.end());
    }
    if (!all.values.empty()) out.push_back(std::move(all));
  }

  void Operator(const duckdb::BoundOperatorExpression& filter, std::vector<ColumnPredicate>& out) const {
    if (filter.children.empty()) return;
    const FilterColumn* column = ColumnOf(*filter.children[0]);
    if (column == nullptr) return;
    if (filter.type == ExpressionType::OPERATOR_IS_NULL) {
      out.push_back({column->info->field_id, PredicateOp::kIsNull, {}});
    } else if (filter.type == ExpressionType::OPERATOR_IS_NOT_NULL) {
      out.push_back({column->info->field_id, PredicateOp::kIsNotNull, {}});
    } else if (filter.type == ExpressionType::COMPARE_IN) {
      ColumnPredicate in{column->info->field_id, PredicateOp::kIn, {}};
      for (size_t i = 1; i < filter.children.size(); ++i) {
        const Value* constant = ConstantOf(*filter.children[i]);
        if (constant == nullptr) return;
        if (constant->IsNull()) continue;  // x = NULL is never true
        auto value = ValueOf(*constant, column->type);
        if (!value) return;
        in.values.push_back(std::move(*value));
      }
      if (!in.values.empty()) out.push_back(std::move(in));
    }
  }

  void Comparison(const Expression& left, PredicateOp op, const Expression& right,
                  std::vector<ColumnPredicate>& out) const {
    const Value* constant = ConstantOf(right);
    if (constant == nullptr) return;
    if (const FilterColumn* column = ColumnOf(left)) {
      auto value = ValueOf(*constant, column->type);
      if (value && !PrunesNothing(op, column->type)) {
        out.push_back({column->info->field_id, op, {std::move(*value)}});
      }
      return;
    }
    if (left.GetExpressionClass() != ExpressionClass::BOUND_CAST) return;
    const auto& cast = left.Cast<duckdb::BoundCastExpression>();
    const FilterColumn* column = ColumnOf(*cast.child);
    if (column == nullptr) return;
    auto value = ValueOf(*constant, cast.return_type);
    if (value) CastComparison(*column, cast.return_type.id(), op, *value, out);
  }

  // Dates of times and times of dates: `timestamp::date = '2024-08-08'` asks for a range of timestamps. Days are days
  // in UTC, because the session's time zone is UTC and cannot be changed.
  static void CastComparison(const FilterColumn& column, LogicalTypeId to, PredicateOp op, const PredicateValue& value,
                             std::vector<ColumnPredicate>& out) {
    const LogicalTypeId from = column.type.id();
    const auto is_time = [](LogicalTypeId id) {
      return id == LogicalTypeId::TIMESTAMP || id == LogicalTypeId::TIMESTAMP_TZ;
    };
    const auto add = [&](PredicateOp bound, int64_t to_value) {
      out.push_back({column.info->field_id, bound, {PredicateValue(to_value)}});
    };
    if (is_time(from) && is_time(to)) {
      out.push_back({column.info->field_id, op, {value}});
    } else if (is_time(from) && to == LogicalTypeId::DATE) {
      const int64_t start = FirstMicros(std::get<int64_t>(value), kMicrosPerDay);
      const int64_t end = SaturatedMicros(std::get<int64_t>(value) + 1, kMicrosPerDay);
      if (op == PredicateOp::kEqual || op == PredicateOp::kGreaterEqual) add(PredicateOp::kGreaterEqual, start);
      if (op == PredicateOp::kGreater) add(PredicateOp::kGreaterEqual, end);
      if (op == PredicateOp::kLess) add(PredicateOp::kLess, start);
      if (op == PredicateOp::kEqual || op == PredicateOp::kLessEqual) add(PredicateOp::kLess, end);
    } else if (from == LogicalTypeId::DATE && is_time(to)) {
      const int64_t day = FloorDiv(std::get<int64_t>(value), kMicrosPerDay);
      if (op == PredicateOp::kEqual) add(PredicateOp::kEqual, day);
      if (op == PredicateOp::kGreater || op == PredicateOp::kGreaterEqual) add(PredicateOp::kGreaterEqual, day);
      if (op == PredicateOp::kLess || op == PredicateOp::kLessEqual) add(PredicateOp::kLessEqual, day);
    }
  }

  const FilterColumn* ColumnOf(const Expression& expression) const {
    if (expression.GetExpressionClass() != ExpressionClass::BOUND_COLUMN_REF) return nullptr;
    const auto& reference = expression.Cast<duckdb::BoundColumnRefExpression>();
    if (reference.depth != 0 || reference.binding.table_index != table_) return nullptr;
    if (reference.binding.column_index >= columns_.size()) return nullptr;
    const FilterColumn& column = columns_[reference.binding.column_index];
    return column.info == nullptr ? nullptr : &column;
  }

  static const Value* ConstantOf(const Expression& expression) {
    if (expression.GetExpressionClass() != ExpressionClass::BOUND_CONSTANT) return nullptr;
    return &expression.Cast<duckdb::BoundConstantExpression>().value;
  }

  duckdb::idx_t table_;
  const std::vector<FilterColumn>& columns_;
};

void TranslateConstant(const duckdb::ConstantFilter& filter, const FilterColumn& column,
                       std::vector<ColumnPredicate>& out) {
  const auto op = OpOf(filter.comparison_type);
  auto value = ValueOf(filter.constant, column.type);
  if (op && value && !PrunesNothing(*op, column.type)) {
    out.push_back({column.info->field_id, *op, {std::move(*value)}});
  }
}

}  // namespace

void TranslateExpression(const Expression& filter, duckdb::idx_t table_index, const std::vector<FilterColumn>& columns,
                         std::vector<ColumnPredicate>& out) {
  for (auto& predicate : Translator(table_index, columns).Translate(filter)) out.push_back(std::move(predicate));
}

void TranslateTableFilter(const duckdb::TableFilter& filter, const FilterColumn& column,
                          std::vector<ColumnPredicate>& out) {
  if (column.info == nullptr) return;
  switch (filter.filter_type) {
    case duckdb::TableFilterType::CONSTANT_COMPARISON:
      TranslateConstant(filter.Cast<duckdb::ConstantFilter>(), column, out);
      break;
    case duckdb::TableFilterType::IS_NULL: out.push_back({column.info->field_id, PredicateOp::kIsNull, {}}); break;
    case duckdb::TableFilterType::IS_NOT_NULL:
      out.push_back({column.info->field_id, PredicateOp::kIsNotNull, {}});
      break;
    case duckdb::TableFilterType::CONJUNCTION_AND:
      for (const auto& child : filter.Cast<duckdb::ConjunctionAndFilter>().child_filters) {
        TranslateTableFilter(*child, column, out);
      }
      break;
    case duckdb::TableFilterType::OPTIONAL_FILTER: {
      const auto& optional = filter.Cast<duckdb::OptionalFilter>();
      if (optional.child_filter) TranslateTableFilter(*optional.child_filter, column, out);
      break;
    }
    case duckdb::TableFilterType::DYNAMIC_FILTER: {
      const auto& dynamic = filter.Cast<duckdb::DynamicFilter>();
      if (!dynamic.filter_data || !dynamic.filter_data->initialized) break;
      const duckdb::lock_guard<duckdb::mutex> lock(dynamic.filter_data->lock);
      if (dynamic.filter_data->filter) TranslateConstant(*dynamic.filter_data->filter, column, out);
      break;
    }
    case duckdb::TableFilterType::IN_FILTER: {
      ColumnPredicate in{column.info->field_id, PredicateOp::kIn, {}};
      for (const auto& constant : filter.Cast<duckdb::InFilter>().values) {
        auto value = ValueOf(constant, column.type);
        if (!value) return;
        in.values.push_back(std::move(*value));
      }
      if (!in.values.empty()) out.push_back(std::move(in));
      break;
    }
    default: break;
  }
}

}  // namespace k2::query
