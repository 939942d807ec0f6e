#include "table/arrow_adapt.h"

#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/compute/cast.h>
#include <arrow/compute/initialize.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <arrow/util/key_value_metadata.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "iceberg/literal.h"
#include "storage/arrow_error.h"
#include "table/arrow_schema.h"

namespace k2::table {
namespace {

using iceberg::NestedField;
using iceberg::TypeId;
using ArrayPtr = std::shared_ptr<arrow::Array>;

std::unexpected<Error> CannotBecome(const arrow::Array& array, const NestedField& field) {
  return Fail(ErrorKind::kInvalidData, "column '{}' (field id {}) holds {}, which cannot become {}", field.name,
              field.id, array.type()->ToString(), field.type.ToString());
}

bool MayCast(const arrow::DataType& from, const iceberg::Type& to) {
  using arrow::Type;
  switch (to.id) {
    case TypeId::kLong: return from.id() == Type::INT32;
    case TypeId::kDouble: return from.id() == Type::FLOAT;
    case TypeId::kString: return from.id() == Type::LARGE_STRING || from.id() == Type::STRING_VIEW;
    case TypeId::kBinary: return from.id() == Type::LARGE_BINARY || from.id() == Type::BINARY_VIEW;
    case TypeId::kDecimal: {
      if (!arrow::is_decimal(from.id())) return false;
      const auto& decimal = static_cast<const arrow::DecimalType&>(from);
      return decimal.scale() == to.scale && decimal.precision() <= to.precision;
    }
    case TypeId::kTimestamp:
    case TypeId::kTimestamptz: {
      // Other units come from files that other tools wrote and that were added to the table.
      if (from.id() != Type::TIMESTAMP) return false;
      return static_cast<const arrow::TimestampType&>(from).timezone().empty() == (to.id == TypeId::kTimestamp);
    }
    default: return false;
  }
}

Result<ArrayPtr> Cast(const ArrayPtr& array, const std::shared_ptr<arrow::DataType>& type, const NestedField& field) {
  K2_TRY(EnsureArrowKernels());
  auto cast = arrow::compute::Cast(*array, type);
  if (!cast.ok()) return std::unexpected(storage::ArrowError(cast.status(), fmt::format("column '{}'", field.name)));
  return *cast;
}

Result<ArrayPtr> AdaptPrimitive(const ArrayPtr& array, const NestedField& field, const std::vector<int32_t>& keep) {
  const auto target = ToArrowType(field.type);
  if (array->type_id() == arrow::Type::DICTIONARY) {
    const auto& type = static_cast<const arrow::DictionaryType&>(*array->type());
    if (!type.value_type()->Equals(*target)) return CannotBecome(*array, field);
    if (std::find(keep.begin(), keep.end(), field.id) != keep.end()) return array;
    return Cast(array, target, field);
  }
  if (array->type()->Equals(*target)) return array;
  if (!MayCast(*array->type(), field.type)) return CannotBecome(*array, field);
  return Cast(array, target, field);
}

// Which member of a struct is the field: by id, or by name where members have no ids; -1 when it is missing.
int FindMember(const arrow::StructType& type, const NestedField& field) {
  bool has_ids = false;
  for (int i = 0; i < type.num_fields(); ++i) {
    const int32_t id = FieldIdOf(*type.field(i));
    if (id == field.id) return i;
    has_ids |= id >= 0;
  }
  return has_ids ? -1 : type.GetFieldIndex(field.name);
}

Result<ArrayPtr> AdaptStruct(const ArrayPtr& array, const NestedField& field, const std::vector<int32_t>& keep) {
  if (array->type_id() != arrow::Type::STRUCT) return CannotBecome(*array, field);
  const auto& type = static_cast<const arrow::StructType&>(*array->type());
  auto data = array->data()->Copy();  // keeps offset and nulls, which the members as stored go with
  arrow::FieldVector fields;
  data->child_data.clear();
  for (const NestedField& wanted : field.type.fields) {
    ArrayPtr member;
    if (const int found = FindMember(type, wanted); found >= 0) {
      const auto& stored = array->data()->child_data[static_cast<size_t>(found)];
      K2_ASSIGN(member, AdaptArray(arrow::MakeArray(stored), wanted, keep));
    } else {
      K2_ASSIGN(member, MissingColumn(wanted, array->offset() + array->length()));
    }
    fields.push_back(ToArrowField(wanted)->WithType(member->type()));
    data->child_data.push_back(member->data());
  }
  data->type = arrow::struct_(std::move(fields));
  return arrow::MakeArray(data);
}

// A list or map with other children, same offsets and nulls.
ArrayPtr WithChild(const arrow::Array& array, const ArrayPtr& child, std::shared_ptr<arrow::DataType> type) {
  auto data = array.data()->Copy();
  data->child_data = {child->data()};
  data->type = std::move(type);
  return arrow::MakeArray(data);
}

Result<ArrayPtr> AdaptList(const ArrayPtr& array, const NestedField& field, const std::vector<int32_t>& keep) {
  if (array->type_id() == arrow::Type::LARGE_LIST) {
    const auto& type = static_cast<const arrow::LargeListType&>(*array->type());
    K2_ASSIGN(const ArrayPtr list, Cast(array, arrow::list(type.value_field()), field));
    return AdaptList(list, field, keep);
  }
  if (array->type_id() != arrow::Type::LIST) return CannotBecome(*array, field);
  const auto& list = static_cast<const arrow::ListArray&>(*array);
  const NestedField& element = field.type.fields[0];
  K2_ASSIGN(const ArrayPtr values, AdaptArray(list.values(), element, keep));
  return WithChild(list, values, arrow::list(ToArrowField(element)->WithType(values->type())));
}

Result<ArrayPtr> AdaptMap(const ArrayPtr& array, const NestedField& field, const std::vector<int32_t>& keep) {
  if (array->type_id() != arrow::Type::MAP) return CannotBecome(*array, field);
  const auto& map = static_cast<const arrow::MapArray&>(*array);
  const NestedField& key = field.type.fields[0];
  const NestedField& value = field.type.fields[1];
  K2_ASSIGN(const ArrayPtr keys, AdaptArray(map.keys(), key, keep));
  K2_ASSIGN(const ArrayPtr items, AdaptArray(map.items(), value, keep));
  auto type = std::make_shared<arrow::MapType>(ToArrowField(key)->WithType(keys->type()),
                                               ToArrowField(value)->WithType(items->type()));
  auto entries = arrow::StructArray::Make({keys, items}, {type->key_field(), type->item_field()});
  if (!entries.ok()) return std::unexpected(storage::ArrowError(entries.status(), field.name));
  return WithChild(map, *entries, type);
}

constexpr const char* kNoFieldId = "2147483647";  // of the specification's reserved ids, and no column's

std::shared_ptr<arrow::Field> MapMember(const arrow::Field& field, const iceberg::MappedField* mapped,
                                        const ArrayPtr& array) {
  auto with_type = field.WithType(array->type());
  if (FieldIdOf(field) >= 0) return with_type;
  const std::string id = mapped != nullptr && mapped->field_id ? std::to_string(*mapped->field_id) : kNoFieldId;
  return with_type->WithMetadata(arrow::key_value_metadata({kFieldIdKey}, {id}));
}

const iceberg::NameMapping& Below(const iceberg::MappedField* mapped) {
  static const iceberg::NameMapping nothing;
  return mapped == nullptr ? nothing : mapped->fields;
}

Result<std::shared_ptr<arrow::Scalar>> ScalarOf(const iceberg::Literal& value, const iceberg::Type& type) {
  const auto target = ToArrowType(type);
  arrow::Result<std::shared_ptr<arrow::Scalar>> scalar = arrow::Status::Invalid("not a value of ", type.ToString());
  if (const auto* flag = std::get_if<bool>(&value)) scalar = arrow::MakeScalar(target, *flag);
  if (const auto* number = std::get_if<int32_t>(&value)) scalar = arrow::MakeScalar(target, *number);
  if (const auto* number = std::get_if<int64_t>(&value)) scalar = arrow::MakeScalar(target, *number);
  if (const auto* number = std::get_if<float>(&value)) scalar = arrow::MakeScalar(target, *number);
  if (const auto* number = std::get_if<double>(&value)) scalar = arrow::MakeScalar(target, *number);
  if (const auto* decimal = std::get_if<iceberg::Int128>(&value)) {
    const arrow::Decimal128 exact(static_cast<int64_t>(*decimal >> 64), static_cast<uint64_t>(*decimal));
    scalar = std::make_shared<arrow::Decimal128Scalar>(exact, target);
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    scalar = arrow::MakeScalar(target, arrow::Buffer::FromString(*text));
  }
  if (!scalar.ok()) return Fail(ErrorKind::kInvalidArgument, "{}", scalar.status().message());
  return *scalar;
}

}  // namespace

Result<ArrayPtr> ConstantColumn(const iceberg::Literal& value, const iceberg::Type& type, int64_t rows) {
  const auto as_array = [&](const arrow::Result<ArrayPtr>& array) -> Result<ArrayPtr> {
    if (!array.ok()) return std::unexpected(storage::ArrowError(array.status(), "a constant column"));
    return *array;
  };
  if (iceberg::IsNull(value)) return as_array(arrow::MakeArrayOfNull(ToArrowType(type), rows));
  const auto coerced = iceberg::Coerce(value, type);
  if (!coerced) return Fail(ErrorKind::kInvalidArgument, "a constant is not a value of {}", type.ToString());
  K2_ASSIGN(const auto scalar, ScalarOf(*coerced, type));
  return as_array(arrow::MakeArrayFromScalar(*scalar, rows));
}

Result<ArrayPtr> MissingColumn(const NestedField& field, int64_t rows) {
  iceberg::Literal value;
  if (!field.initial_default.empty() && field.type.IsPrimitive()) {
    K2_ASSIGN(const nlohmann::json json, ParseJson(field.initial_default, "initial-default"));
    K2_ASSIGN(value, iceberg::LiteralFromJson(json, field.type));
  }
  return ConstantColumn(value, field.type, rows);
}

bool HasFieldIds(const arrow::Field& field) {
  if (FieldIdOf(field) < 0) return false;
  const arrow::DataType& type = *field.type();
  // The entries of a map are no field of their own.
  if (type.id() == arrow::Type::MAP) {
    const auto& map = static_cast<const arrow::MapType&>(type);
    return HasFieldIds(*map.key_field()) && HasFieldIds(*map.item_field());
  }
  return std::ranges::all_of(type.fields(), [](const auto& child) { return HasFieldIds(*child); });
}

ArrayPtr MapFieldIds(const ArrayPtr& array, const iceberg::NameMapping& mapping) {
  const auto child = [&](size_t i, const iceberg::NameMapping& below) {
    return MapFieldIds(arrow::MakeArray(array->data()->child_data[i]), below);
  };
  auto data = array->data()->Copy();
  switch (array->type_id()) {
    case arrow::Type::STRUCT: {
      arrow::FieldVector fields;
      for (int i = 0; i < array->type()->num_fields(); ++i) {
        const arrow::Field& field = *array->type()->field(i);
        const iceberg::MappedField* mapped = FindMapped(mapping, field.name());
        const ArrayPtr member = child(static_cast<size_t>(i), Below(mapped));
        fields.push_back(MapMember(field, mapped, member));
        data->child_data[static_cast<size_t>(i)] = member->data();
      }
      data->type = arrow::struct_(std::move(fields));
      return arrow::MakeArray(data);
    }
    case arrow::Type::LIST: {
      const ArrayPtr values = child(0, Below(FindMapped(mapping, "element")));
      data->child_data[0] = values->data();
      data->type = arrow::list(array->type()->field(0)->WithType(values->type()));
      return arrow::MakeArray(data);
    }
    case arrow::Type::MAP: {
      // By position: the entries' two members are called key and value in a mapping, whatever the file calls them.
      const auto& type = static_cast<const arrow::MapType&>(*array->type());
      auto entries = data->child_data[0]->Copy();
      const ArrayPtr keys = MapFieldIds(arrow::MakeArray(entries->child_data[0]), Below(FindMapped(mapping, "key")));
      const ArrayPtr items = MapFieldIds(arrow::MakeArray(entries->child_data[1]), Below(FindMapped(mapping, "value")));
      auto mapped = std::make_shared<arrow::MapType>(type.key_field()->WithType(keys->type()),
                                                     type.item_field()->WithType(items->type()));
      entries->child_data = {keys->data(), items->data()};
      entries->type = mapped->value_type();
      data->child_data[0] = std::move(entries);
      data->type = std::move(mapped);
      return arrow::MakeArray(data);
    }
    default: return array;
  }
}

Result<ArrayPtr> AdaptArray(const ArrayPtr& array, const NestedField& field, const std::vector<int32_t>& keep) {
  switch (field.type.id) {
    case TypeId::kStruct: return AdaptStruct(array, field, keep);
    case TypeId::kList: return AdaptList(array, field, keep);
    case TypeId::kMap: return AdaptMap(array, field, keep);
    default: return AdaptPrimitive(array, field, keep);
  }
}

Status EnsureArrowKernels() {
  static const arrow::Status initialized = arrow::compute::Initialize();
  if (!initialized.ok()) return std::unexpected(storage::ArrowError(initialized, "start Arrow's kernels"));
  return {};
}

}  // namespace k2::table
