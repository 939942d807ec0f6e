// Iceberg types and schemas (format/spec.md, "Schemas and Data Types"). Values, compared by content.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace k2::iceberg {

enum class TypeId {
  kBoolean,
  kInt,
  kLong,
  kFloat,
  kDouble,
  kDecimal,
  kDate,
  kTime,
  kTimestamp,
  kTimestamptz,
  kString,
  kUuid,
  kFixed,
  kBinary,
  kStruct,
  kList,
  kMap,
};

struct NestedField;

struct Type {
  TypeId id = TypeId::kBoolean;
  int32_t precision = 0;            // decimal
  int32_t scale = 0;                // decimal
  int32_t length = 0;               // fixed
  std::vector<NestedField> fields;  // struct: its fields; list: [element]; map: [key, value]

  bool operator==(const Type&) const;
  [[nodiscard]] bool IsPrimitive() const { return id != TypeId::kStruct && id != TypeId::kList && id != TypeId::kMap; }
  [[nodiscard]] std::string ToString() const;  // "decimal(18, 8)", "list<string>", as the specification writes them

  static Type Primitive(TypeId id);
  static Type Decimal(int32_t precision, int32_t scale);
  static Type Struct(std::vector<NestedField> fields);
  static Type List(int32_t element_id, bool element_required, Type element);
  static Type Map(int32_t key_id, Type key, int32_t value_id, bool value_required, Type value);
};

struct NestedField {
  int32_t id = 0;
  std::string name;
  bool required = false;
  Type type;
  std::string doc;
  std::string initial_default;  // JSON text as it came, empty where there is none: kept for other writers' tables
  std::string write_default;
  bool operator==(const NestedField&) const = default;
};

// Here, since a Type can be made only where NestedField is whole.
inline Type Type::Primitive(TypeId id) { return {.id = id}; }
inline Type Type::Decimal(int32_t precision, int32_t scale) {
  return {.id = TypeId::kDecimal, .precision = precision, .scale = scale};
}

struct Schema {
  int32_t schema_id = 0;
  std::vector<NestedField> fields;
  std::vector<int32_t> identifier_field_ids;

  // Top-level field by name or by id; null when there is none.
  [[nodiscard]] const NestedField* Find(std::string_view name) const;
  [[nodiscard]] const NestedField* FindById(int32_t id) const;  // searches nested fields too
  [[nodiscard]] int32_t HighestFieldId() const;
  // Same fields, whatever the schema id.
  [[nodiscard]] bool SameFields(const Schema& other) const;
  // Ids are not negative and unique, names unique within a struct, identifier fields exist. Error: kInvalidData.
  [[nodiscard]] Status Check() const;
  bool operator==(const Schema&) const = default;
};

// Partition fields (spec "Partitioning"): `identity`, `bucket[N]`, `truncate[W]`, `year`, `month`, `day`, `hour`,
// `void`.
inline constexpr int32_t kFirstPartitionFieldId = 1000;
struct PartitionField {
  int32_t source_id = 0;
  int32_t field_id = 0;  // from kFirstPartitionFieldId
  std::string name;
  std::string transform;
  bool operator==(const PartitionField&) const = default;
};

struct PartitionSpec {
  int32_t spec_id = 0;
  std::vector<PartitionField> fields;
  bool operator==(const PartitionSpec&) const = default;
};

struct SortField {
  int32_t source_id = 0;
  std::string transform = "identity";
  bool ascending = true;
  bool nulls_first = true;
  bool operator==(const SortField&) const = default;
};

struct SortOrder {
  int32_t order_id = 0;  // 0 is the unsorted order
  std::vector<SortField> fields;
  bool operator==(const SortOrder&) const = default;
};

// Result type of a partition field: e.g. `day` of a timestamp is a date (spec "Partition Transforms"). kUnsupported:
// unknown transform; kInvalidArgument: a transform that does not take this type.
Result<Type> TransformResultType(std::string_view transform, const Type& source);

}  // namespace k2::iceberg
