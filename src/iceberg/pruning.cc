#include "iceberg/pruning.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "iceberg/literal.h"

namespace k2::iceberg {
namespace {

bool IsRange(CompareOp op) {
  return op == CompareOp::kLt || op == CompareOp::kLe || op == CompareOp::kGt || op == CompareOp::kGe;
}
bool IsNullTest(CompareOp op) { return op == CompareOp::kIsNull || op == CompareOp::kIsNotNull; }

bool IsFloating(const Type& type) { return type.id == TypeId::kFloat || type.id == TypeId::kDouble; }

// Values as those of the column's type. False when one is not such a value: then nothing can be said.
bool CoerceValues(ColumnPredicate& predicate, const Type& type) {
  if (!type.IsPrimitive()) return false;
  if (IsNullTest(predicate.op)) return true;
  if (predicate.values.empty() || (predicate.op != CompareOp::kIn && predicate.values.size() != 1)) return false;
  for (Literal& value : predicate.values) {
    std::optional<Literal> coerced = Coerce(value, type);
    if (!coerced || IsNull(*coerced) || IsNan(*coerced)) return false;
    value = *std::move(coerced);
  }
  return true;
}

bool OneMayMatchRange(CompareOp op, const Literal& value, const Literal& lower, const Literal& upper) {
  const bool has_lower = !IsNull(lower) && !IsNan(lower) && Comparable(value, lower);
  const bool has_upper = !IsNull(upper) && !IsNan(upper) && Comparable(value, upper);
  const int to_lower = has_lower ? CompareLiterals(value, lower) : 1;   // sign of value - lower
  const int to_upper = has_upper ? CompareLiterals(value, upper) : -1;  // sign of value - upper
  switch (op) {
    case CompareOp::kLt: return to_lower > 0;
    case CompareOp::kLe: return to_lower >= 0;
    case CompareOp::kGt: return to_upper < 0;
    case CompareOp::kGe: return to_upper <= 0;
    default: return to_lower >= 0 && to_upper <= 0;
  }
}

bool SameAsIdentity(const Transform& transform, const Type& source) {
  return transform.kind == Transform::Kind::kIdentity ||
         (transform.kind == Transform::Kind::kDay && source.id == TypeId::kDate);
}

// Truncating the smallest numbers wraps around (see ApplyTransform), and the order is lost.
bool WrapsAround(const Transform& transform, const Literal& value, const Literal& result) {
  return transform.kind == Transform::Kind::kTruncate && !std::holds_alternative<std::string>(value) &&
         CompareLiterals(result, value) > 0;
}

// Writers of old Java versions rounded times before 1970 towards zero: such a partition value is one too large.
void WidenBeforeEpoch(ColumnPredicate& predicate) {
  std::vector<Literal> extra;
  for (Literal& value : predicate.values) {
    auto* number = std::get_if<int32_t>(&value);
    if (number == nullptr || *number >= 0) continue;
    if (predicate.op == CompareOp::kLe) ++*number;
    if (predicate.op == CompareOp::kEq || predicate.op == CompareOp::kIn) extra.emplace_back(*number + 1);
  }
  if (extra.empty()) return;
  predicate.op = CompareOp::kIn;
  predicate.values.insert(predicate.values.end(), extra.begin(), extra.end());
}

Result<Type> PartitionResultType(const PartitionField& field, const Schema& schema) {
  const NestedField* source = schema.FindById(field.source_id);
  if (source == nullptr) return Fail(ErrorKind::kNotFound, "no source column {}", field.source_id);
  return TransformResultType(field.transform, source->type);
}

Literal BoundOf(const std::map<int32_t, std::string>& bounds, int32_t field_id, const Type& type) {
  const auto found = bounds.find(field_id);
  if (found == bounds.end()) return {};
  Result<Literal> bound = FromBytes(found->second, type);
  return bound ? *std::move(bound) : Literal();
}

Literal SummaryBound(const std::optional<std::string>& bytes, const Type& type) {
  if (!bytes) return {};
  Result<Literal> bound = FromBytes(*bytes, type);
  return bound ? *std::move(bound) : Literal();
}

bool SummaryMayMatch(const ColumnPredicate& predicate, const FieldSummary& summary, const Type& type) {
  if (predicate.op == CompareOp::kIsNull) return summary.contains_null;
  // Some writers leave both bounds out only when every value is null; others whenever they like.
  if (predicate.op == CompareOp::kIsNotNull) return true;
  if (type.id == TypeId::kUuid) return true;  // Java orders them as signed numbers
  if (IsFloating(type) && summary.contains_nan.value_or(true) && IsRange(predicate.op)) return true;
  return MayMatchRange(predicate, SummaryBound(summary.lower_bound, type), SummaryBound(summary.upper_bound, type));
}

}  // namespace

bool Matches(const ColumnPredicate& predicate, const Literal& value) {
  if (predicate.op == CompareOp::kIsNull) return IsNull(value);
  if (IsNull(value)) return false;
  if (predicate.op == CompareOp::kIsNotNull) return true;
  return std::ranges::any_of(predicate.values, [&](const Literal& wanted) {
    if (!Comparable(value, wanted)) return false;
    const int order = CompareLiterals(value, wanted);
    switch (predicate.op) {
      case CompareOp::kLt: return order < 0;
      case CompareOp::kLe: return order <= 0;
      case CompareOp::kGt: return order > 0;
      case CompareOp::kGe: return order >= 0;
      default: return order == 0;
    }
  });
}

bool MayMatchRange(const ColumnPredicate& predicate, const Literal& lower, const Literal& upper) {
  if (IsNullTest(predicate.op)) return true;
  return std::ranges::any_of(predicate.values,
                             [&](const Literal& value) { return OneMayMatchRange(predicate.op, value, lower, upper); });
}

std::optional<ColumnPredicate> ProjectInclusive(const Transform& transform, const Type& source,
                                                const ColumnPredicate& predicate) {
  if (transform.kind == Transform::Kind::kVoid) return std::nullopt;
  ColumnPredicate projected = predicate;
  if (!CoerceValues(projected, source)) return std::nullopt;
  if (IsNullTest(predicate.op) || SameAsIdentity(transform, source)) return projected;
  if (IsRange(predicate.op) && !transform.KeepsOrder()) return std::nullopt;
  for (Literal& value : projected.values) {
    const Result<Literal> result = ApplyTransform(transform, source, value);
    if (!result || WrapsAround(transform, value, *result)) return std::nullopt;
    value = *result;
  }
  if (projected.op == CompareOp::kLt) projected.op = CompareOp::kLe;
  if (projected.op == CompareOp::kGt) projected.op = CompareOp::kGe;
  if (transform.IsTemporal()) WidenBeforeEpoch(projected);
  return projected;
}

std::optional<ColumnPredicate> ProjectStrict(const Transform& transform, const Type& source,
                                             const ColumnPredicate& predicate) {
  if (transform.kind == Transform::Kind::kVoid) return std::nullopt;
  ColumnPredicate projected = predicate;
  if (!CoerceValues(projected, source)) return std::nullopt;
  if (IsNullTest(predicate.op) || SameAsIdentity(transform, source)) return projected;
  if (!IsRange(predicate.op) || !transform.KeepsOrder()) return std::nullopt;
  const Result<Literal> result = ApplyTransform(transform, source, projected.values.front());
  if (!result || WrapsAround(transform, projected.values.front(), *result)) return std::nullopt;
  projected.values.front() = *result;
  // A whole partition lies on one side only when it is another partition than the value's own.
  projected.op = predicate.op == CompareOp::kLt || predicate.op == CompareOp::kLe ? CompareOp::kLt : CompareOp::kGt;
  const auto* number = std::get_if<int32_t>(&projected.values.front());
  if (transform.IsTemporal() && projected.op == CompareOp::kGt && number != nullptr && *number < 0) {
    projected.values.front() = 0;  // see WidenBeforeEpoch: up to 0 the value may be one too large
  }
  return projected;
}

Pruner::Pruner(const TableMetadata& metadata, std::vector<ColumnPredicate> conjuncts)
    : metadata_(&metadata), conjuncts_(std::move(conjuncts)) {
  for (const PartitionSpec& spec : metadata.partition_specs) Project(spec);
}

void Pruner::Project(const PartitionSpec& spec) {
  std::vector<Projected>& projected = by_spec_[spec.spec_id];
  const Schema& schema = metadata_->CurrentSchema();
  for (size_t f = 0; f < spec.fields.size(); ++f) {
    const PartitionField& field = spec.fields[f];
    const Result<Transform> transform = Transform::Parse(field.transform);
    const NestedField* source = schema.FindById(field.source_id);
    const Result<Type> result = PartitionResultType(field, schema);
    if (!transform || source == nullptr || !result) continue;
    for (size_t c = 0; c < conjuncts_.size(); ++c) {
      if (conjuncts_[c].field_id != field.source_id) continue;
      projected.push_back({.conjunct = c,
                           .field = f,
                           .result = *result,
                           .inclusive = ProjectInclusive(*transform, source->type, conjuncts_[c]),
                           .strict = ProjectStrict(*transform, source->type, conjuncts_[c])});
    }
  }
}

bool Pruner::ManifestMayMatch(const ManifestFile& manifest) const {
  const auto found = by_spec_.find(manifest.partition_spec_id);
  if (found == by_spec_.end()) return true;
  return std::ranges::all_of(found->second, [&](const Projected& projected) {
    if (!projected.inclusive || projected.field >= manifest.partitions.size()) return true;
    return SummaryMayMatch(*projected.inclusive, manifest.partitions[projected.field], projected.result);
  });
}

bool Pruner::FileMayMatch(const DataFile& file) const {
  if (const auto found = by_spec_.find(file.spec_id); found != by_spec_.end()) {
    for (const Projected& projected : found->second) {
      if (!projected.inclusive || projected.field >= file.partition.size()) continue;
      const Literal& value = file.partition[projected.field];
      if (IsNan(value) && IsRange(projected.inclusive->op)) continue;
      if (!Matches(*projected.inclusive, value)) return false;
    }
  }
  return std::ranges::all_of(conjuncts_,
                             [&](const ColumnPredicate& predicate) { return BoundsMayMatch(predicate, file); });
}

bool Pruner::BoundsMayMatch(const ColumnPredicate& predicate, const DataFile& file) const {
  const NestedField* field = metadata_->CurrentSchema().FindById(predicate.field_id);
  ColumnPredicate wanted = predicate;
  if (field == nullptr || !CoerceValues(wanted, field->type)) return true;
  const auto nulls = file.null_value_counts.find(predicate.field_id);
  const auto values = file.value_counts.find(predicate.field_id);
  if (nulls != file.null_value_counts.end()) {
    if (predicate.op == CompareOp::kIsNull) return nulls->second != 0;
    // Negative counts are another writer's "unknown".
    const bool all_null = values != file.value_counts.end() && values->second > 0 && nulls->second == values->second;
    if (all_null) return false;
  }
  if (IsNullTest(predicate.op) || field->type.id == TypeId::kUuid) return true;
  if (IsFloating(field->type) && IsRange(predicate.op)) {  // engines that order NaN above all numbers match it
    const auto nans = file.nan_value_counts.find(predicate.field_id);
    if (nans == file.nan_value_counts.end() || nans->second != 0) return true;
  }
  return MayMatchRange(wanted, BoundOf(file.lower_bounds, predicate.field_id, field->type),
                       BoundOf(file.upper_bounds, predicate.field_id, field->type));
}

bool Pruner::AllRowsMatch(const DataFile& file) const {
  std::vector<bool> proved(conjuncts_.size());
  if (const auto found = by_spec_.find(file.spec_id); found != by_spec_.end()) {
    for (const Projected& projected : found->second) {
      if (!projected.strict || projected.field >= file.partition.size()) continue;
      const Literal& value = file.partition[projected.field];
      if (!IsNan(value) && Matches(*projected.strict, value)) proved[projected.conjunct] = true;
    }
  }
  for (size_t c = 0; c < conjuncts_.size(); ++c) {
    if (!proved[c] && !BoundsProve(conjuncts_[c], file)) return false;
  }
  return true;
}

bool Pruner::BoundsProve(const ColumnPredicate& predicate, const DataFile& file) const {
  const NestedField* field = metadata_->CurrentSchema().FindById(predicate.field_id);
  ColumnPredicate wanted = predicate;
  if (field == nullptr || !CoerceValues(wanted, field->type)) return false;
  const auto nulls = file.null_value_counts.find(predicate.field_id);
  const auto values = file.value_counts.find(predicate.field_id);
  if (nulls == file.null_value_counts.end()) return false;
  if (predicate.op == CompareOp::kIsNotNull) return nulls->second == 0;
  if (predicate.op == CompareOp::kIsNull) {
    return values != file.value_counts.end() && values->second > 0 && nulls->second == values->second;
  }
  if (nulls->second != 0 || IsFloating(field->type) || field->type.id == TypeId::kUuid) return false;
  const Literal lower = BoundOf(file.lower_bounds, predicate.field_id, field->type);
  const Literal upper = BoundOf(file.upper_bounds, predicate.field_id, field->type);
  if (predicate.op == CompareOp::kLt || predicate.op == CompareOp::kLe) return Matches(wanted, upper);
  if (predicate.op == CompareOp::kGt || predicate.op == CompareOp::kGe) return Matches(wanted, lower);
  return !IsNull(lower) && !IsNull(upper) && CompareLiterals(lower, upper) == 0 && Matches(wanted, lower);
}

}  // namespace k2::iceberg
