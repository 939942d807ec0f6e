#include "iceberg/value_range.h"

#include <algorithm>
#include <optional>

#include "base/time.h"
#include "iceberg/literal.h"
#include "iceberg/transform.h"

namespace k2::iceberg {
namespace {

std::optional<int64_t> WholeNumber(const Literal& literal) {
  if (const auto* value = std::get_if<int32_t>(&literal)) return *value;
  if (const auto* value = std::get_if<int64_t>(&literal)) return *value;
  return std::nullopt;
}

int64_t Clamp(Int128 value) {
  return static_cast<int64_t>(std::clamp<Int128>(value, ValueRange::kLowest, ValueRange::kHighest));
}

// The first day of a year or month, counted from 1970.
int64_t FirstDay(Transform::Kind kind, int64_t number) {
  if (kind == Transform::Kind::kYear) return DaysFromCivil(1970 + number, 1, 1);
  const int64_t years = FloorDiv(number, 12);
  return DaysFromCivil(1970 + years, static_cast<unsigned>(number - years * 12 + 1), 1);
}

// Where the values of one result of a temporal transform begin, in the unit of the source column.
Int128 BeginOf(Transform::Kind kind, bool of_dates, int64_t number) {
  if (kind == Transform::Kind::kHour) return static_cast<Int128>(number) * kMicrosPerHour;
  const int64_t day = kind == Transform::Kind::kDay ? number : FirstDay(kind, number);
  return of_dates ? Int128{day} : static_cast<Int128>(day) * kMicrosPerDay;
}

ValueRange SourceRange(const Transform& transform, const Type& source, int64_t value) {
  switch (transform.kind) {
    case Transform::Kind::kIdentity: return {value, value};
    case Transform::Kind::kTruncate: return {value, Clamp(static_cast<Int128>(value) + transform.argument - 1)};
    case Transform::Kind::kBucket:
    case Transform::Kind::kVoid: return {};
    default: break;
  }
  const bool of_dates = source.id == TypeId::kDate;
  // Old Java versions rounded times before 1970 towards zero: such a value is one too large (see pruning.cc).
  const bool may_be_one_less = value <= 0 && !(of_dates && transform.kind == Transform::Kind::kDay);
  return {Clamp(BeginOf(transform.kind, of_dates, value - (may_be_one_less ? 1 : 0))),
          Clamp(BeginOf(transform.kind, of_dates, value + 1) - 1)};
}

bool IsOrderedNumber(const Type& type) {
  return type.id == TypeId::kInt || type.id == TypeId::kLong || type.id == TypeId::kDate ||
         type.id == TypeId::kTimestamp || type.id == TypeId::kTimestamptz;
}

std::optional<int64_t> NumberBound(const std::map<int32_t, std::string>& bounds, const NestedField& column) {
  const auto found = bounds.find(column.id);
  if (found == bounds.end()) return std::nullopt;
  const Result<Literal> bound = FromBytes(found->second, column.type);
  return bound ? WholeNumber(*bound) : std::nullopt;
}

}  // namespace

ValueRange ValueRange::And(const ValueRange& other) const {
  const ValueRange both{std::max(first, other.first), std::min(last, other.last)};
  return both.first <= both.last ? both : *this;
}

ValueRange PartitionRange(const TableMetadata& metadata, const DataFile& file, const NestedField& column) {
  ValueRange range;
  const PartitionSpec* spec = metadata.FindSpec(file.spec_id);
  if (spec == nullptr || spec->fields.size() != file.partition.size() || !IsOrderedNumber(column.type)) return range;
  for (size_t i = 0; i < spec->fields.size(); ++i) {
    if (spec->fields[i].source_id != column.id) continue;
    const Result<Transform> transform = Transform::Parse(spec->fields[i].transform);
    const std::optional<int64_t> value = WholeNumber(file.partition[i]);
    if (transform && value) range = range.And(SourceRange(*transform, column.type, *value));
  }
  return range;
}

ValueRange RangeOf(const TableMetadata& metadata, const DataFile& file, const NestedField& column) {
  if (!IsOrderedNumber(column.type)) return {};
  ValueRange bounds;
  if (const auto lower = NumberBound(file.lower_bounds, column)) bounds.first = *lower;
  if (const auto upper = NumberBound(file.upper_bounds, column)) bounds.last = *upper;
  return PartitionRange(metadata, file, column).And(bounds);
}

}  // namespace k2::iceberg
