#include "table/arrow_schema.h"

#include <arrow/array.h>
#include <arrow/type.h>
#include <arrow/util/key_value_metadata.h>

#include <algorithm>
#include <charconv>

#include "table/data_file_io.h"

namespace k2::table {
namespace {

using iceberg::NestedField;
using iceberg::Type;
using iceberg::TypeId;

void AddLeaves(const NestedField& field, const std::string& path, bool repeated, std::vector<ParquetLeaf>& leaves) {
  switch (field.type.id) {
    case TypeId::kStruct:
      for (const NestedField& child : field.type.fields) AddLeaves(child, path + "." + child.name, repeated, leaves);
      return;
    case TypeId::kList: AddLeaves(field.type.fields[0], path + ".list.element", true, leaves); return;
    case TypeId::kMap:
      AddLeaves(field.type.fields[0], path + ".key_value.key", true, leaves);
      AddLeaves(field.type.fields[1], path + ".key_value.value", true, leaves);
      return;
    default: leaves.push_back({field.id, path, field.type, repeated}); return;
  }
}

// The values of a list or map that belong to its slice.
template <typename ListArray>
std::shared_ptr<arrow::Array> InSlice(const ListArray& list, const std::shared_ptr<arrow::Array>& values) {
  if (list.length() == 0) return values->Slice(0, 0);
  const int64_t begin = list.value_offset(0);
  return values->Slice(begin, list.value_offset(list.length()) - begin);
}

}  // namespace

std::shared_ptr<arrow::DataType> ToArrowType(const Type& type) {
  switch (type.id) {
    case TypeId::kBoolean: return arrow::boolean();
    case TypeId::kInt: return arrow::int32();
    case TypeId::kLong: return arrow::int64();
    case TypeId::kFloat: return arrow::float32();
    case TypeId::kDouble: return arrow::float64();
    case TypeId::kDecimal: return arrow::decimal128(type.precision, type.scale);
    case TypeId::kDate: return arrow::date32();
    case TypeId::kTime: return arrow::time64(arrow::TimeUnit::MICRO);
    case TypeId::kTimestamp: return arrow::timestamp(arrow::TimeUnit::MICRO);
    case TypeId::kTimestamptz: return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
    case TypeId::kString: return arrow::utf8();
    case TypeId::kUuid: return arrow::fixed_size_binary(16);
    case TypeId::kFixed: return arrow::fixed_size_binary(type.length);
    case TypeId::kBinary: return arrow::binary();
    case TypeId::kList: return arrow::list(ToArrowField(type.fields[0]));
    case TypeId::kMap:
      return std::make_shared<arrow::MapType>(ToArrowField(type.fields[0]), ToArrowField(type.fields[1]));
    case TypeId::kStruct: {
      arrow::FieldVector fields;
      for (const NestedField& field : type.fields) fields.push_back(ToArrowField(field));
      return arrow::struct_(std::move(fields));
    }
  }
  return arrow::null();
}

std::shared_ptr<arrow::Field> ToArrowField(const NestedField& field) {
  return arrow::field(field.name, ToArrowType(field.type), !field.required,
                      arrow::key_value_metadata({kFieldIdKey}, {std::to_string(field.id)}));
}

std::shared_ptr<arrow::Schema> ToArrowSchema(const iceberg::Schema& schema) {
  arrow::FieldVector fields;
  for (const NestedField& field : schema.fields) fields.push_back(ToArrowField(field));
  return arrow::schema(std::move(fields));
}

int32_t FieldIdOf(const arrow::Field& field) {
  if (!field.metadata()) return -1;
  const auto text = field.metadata()->Get(kFieldIdKey);
  if (!text.ok()) return -1;
  int32_t id = -1;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), id);
  return error == std::errc() && end == text->data() + text->size() ? id : -1;
}

std::vector<ParquetLeaf> ParquetLeaves(const iceberg::Schema& schema) {
  std::vector<ParquetLeaf> leaves;
  for (const NestedField& field : schema.fields) AddLeaves(field, field.name, false, leaves);
  return leaves;
}

bool HoldsField(const std::vector<int32_t>& field_ids, int32_t field_id) {
  return std::find(field_ids.begin(), field_ids.end(), field_id) != field_ids.end();
}

Status CheckArray(const arrow::Array& array, const NestedField& field) {
  const auto wrong_type = [&] {
    return Fail(ErrorKind::kInvalidData, "column '{}' holds {}, but the table has {}", field.name,
                array.type()->ToString(), field.type.ToString());
  };
  if (field.required && array.null_count() > 0) {
    return Fail(ErrorKind::kInvalidData, "column '{}' is required and has {} nulls", field.name, array.null_count());
  }
  switch (field.type.id) {
    case TypeId::kList: {
      if (array.type_id() != arrow::Type::LIST) return wrong_type();
      const auto& list = static_cast<const arrow::ListArray&>(array);
      return CheckArray(*InSlice(list, list.values()), field.type.fields[0]);
    }
    case TypeId::kMap: {
      if (array.type_id() != arrow::Type::MAP) return wrong_type();
      const auto& map = static_cast<const arrow::MapArray&>(array);
      K2_TRY(CheckArray(*InSlice(map, map.keys()), field.type.fields[0]));
      return CheckArray(*InSlice(map, map.items()), field.type.fields[1]);
    }
    case TypeId::kStruct: {
      if (array.type_id() != arrow::Type::STRUCT) return wrong_type();
      const auto& structs = static_cast<const arrow::StructArray&>(array);
      if (structs.num_fields() != static_cast<int>(field.type.fields.size())) return wrong_type();
      for (int i = 0; i < structs.num_fields(); ++i) {
        if (structs.struct_type()->field(i)->name() != field.type.fields[static_cast<size_t>(i)].name) {
          return wrong_type();
        }
        K2_TRY(CheckArray(*structs.field(i), field.type.fields[static_cast<size_t>(i)]));
      }
      return {};
    }
    default: {
      const arrow::DataType* type = array.type().get();
      if (type->id() == arrow::Type::DICTIONARY) {
        const auto& dictionary = static_cast<const arrow::DictionaryArray&>(array);
        if (dictionary.dictionary()->null_count() > 0) return wrong_type();
        type = static_cast<const arrow::DictionaryType*>(type)->value_type().get();
      }
      if (!type->Equals(*ToArrowType(field.type))) return wrong_type();
      return {};
    }
  }
}

void CountLeafValues(const arrow::Array& array, const Type& type, std::vector<int64_t>& counts) {
  switch (type.id) {
    case TypeId::kList: {
      const auto& list = static_cast<const arrow::ListArray&>(array);
      CountLeafValues(*InSlice(list, list.values()), type.fields[0].type, counts);
      return;
    }
    case TypeId::kMap: {
      const auto& map = static_cast<const arrow::MapArray&>(array);
      CountLeafValues(*InSlice(map, map.keys()), type.fields[0].type, counts);
      CountLeafValues(*InSlice(map, map.items()), type.fields[1].type, counts);
      return;
    }
    case TypeId::kStruct: {
      const auto& structs = static_cast<const arrow::StructArray&>(array);
      for (int i = 0; i < structs.num_fields(); ++i) {
        // Flattened: a null struct's fields are null.
        auto field = structs.GetFlattenedField(i);
        const auto& child = field.ok() ? *field : structs.field(i);
        CountLeafValues(*child, type.fields[static_cast<size_t>(i)].type, counts);
      }
      return;
    }
    default: counts.push_back(array.length() - array.null_count()); return;
  }
}

}  // namespace k2::table
