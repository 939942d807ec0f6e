#include "iceberg/schema.h"

#include <algorithm>
#include <charconv>
#include <unordered_set>

namespace k2::iceberg {

namespace {

std::string_view PrimitiveName(TypeId id) {
  switch (id) {
    case TypeId::kBoolean: return "boolean";
    case TypeId::kInt: return "int";
    case TypeId::kLong: return "long";
    case TypeId::kFloat: return "float";
    case TypeId::kDouble: return "double";
    case TypeId::kDecimal: return "decimal";
    case TypeId::kDate: return "date";
    case TypeId::kTime: return "time";
    case TypeId::kTimestamp: return "timestamp";
    case TypeId::kTimestamptz: return "timestamptz";
    case TypeId::kString: return "string";
    case TypeId::kUuid: return "uuid";
    case TypeId::kFixed: return "fixed";
    case TypeId::kBinary: return "binary";
    case TypeId::kStruct: return "struct";
    case TypeId::kList: return "list";
    case TypeId::kMap: return "map";
  }
  return "unknown";
}

const NestedField* FindIn(const std::vector<NestedField>& fields, int32_t id) {
  for (const NestedField& field : fields) {
    if (field.id == id) return &field;
    if (const NestedField* nested = FindIn(field.type.fields, id)) return nested;
  }
  return nullptr;
}

int32_t HighestIn(const std::vector<NestedField>& fields) {
  int32_t highest = 0;
  for (const NestedField& field : fields) highest = std::max({highest, field.id, HighestIn(field.type.fields)});
  return highest;
}

Status CheckFields(const std::vector<NestedField>& fields, std::unordered_set<int32_t>& ids) {
  std::unordered_set<std::string_view> names;
  for (const NestedField& field : fields) {
    if (field.id < 0) return Fail(ErrorKind::kInvalidData, "field \"{}\" has the id {}", field.name, field.id);
    if (!ids.insert(field.id).second) {
      return Fail(ErrorKind::kInvalidData, "field id {} is used twice, the second time by \"{}\"", field.id,
                  field.name);
    }
    if (!names.insert(field.name).second) {
      return Fail(ErrorKind::kInvalidData, "two fields of one struct are called \"{}\"", field.name);
    }
    K2_TRY(CheckFields(field.type.fields, ids));
  }
  return {};
}

bool IsTimestamp(TypeId id) { return id == TypeId::kTimestamp || id == TypeId::kTimestamptz; }

// The N of `bucket[N]` or `truncate[W]`: positive, or 0 when the text is something else.
int32_t TransformParameter(std::string_view transform, std::string_view name) {
  if (!transform.starts_with(name) || !transform.ends_with(']')) return 0;
  transform.remove_prefix(name.size());
  if (!transform.starts_with('[')) return 0;
  transform = transform.substr(1, transform.size() - 2);
  int32_t number = 0;
  const auto end = std::from_chars(transform.data(), transform.data() + transform.size(), number);
  return end.ec == std::errc() && end.ptr == transform.data() + transform.size() && number > 0 ? number : 0;
}

bool TakesBucket(TypeId id) {
  switch (id) {
    case TypeId::kInt:
    case TypeId::kLong:
    case TypeId::kDecimal:
    case TypeId::kDate:
    case TypeId::kTime:
    case TypeId::kTimestamp:
    case TypeId::kTimestamptz:
    case TypeId::kString:
    case TypeId::kUuid:
    case TypeId::kFixed:
    case TypeId::kBinary: return true;
    default: return false;
  }
}

bool TakesTruncate(TypeId id) {
  return id == TypeId::kInt || id == TypeId::kLong || id == TypeId::kDecimal || id == TypeId::kString ||
         id == TypeId::kBinary;
}

}  // namespace

bool Type::operator==(const Type& other) const {
  return id == other.id && precision == other.precision && scale == other.scale && length == other.length &&
         fields == other.fields;
}

std::string Type::ToString() const {
  switch (id) {
    case TypeId::kDecimal: return fmt::format("decimal({}, {})", precision, scale);
    case TypeId::kFixed: return fmt::format("fixed[{}]", length);
    case TypeId::kList: return fields.empty() ? "list" : fmt::format("list<{}>", fields[0].type.ToString());
    case TypeId::kMap:
      return fields.size() < 2 ? "map"
                               : fmt::format("map<{}, {}>", fields[0].type.ToString(), fields[1].type.ToString());
    case TypeId::kStruct: {
      std::string text = "struct<";
      for (const NestedField& field : fields) {
        if (text.back() != '<') text += ", ";
        text += fmt::format("{}: {}: {} {}", field.id, field.name, field.required ? "required" : "optional",
                            field.type.ToString());
      }
      return text + '>';
    }
    default: return std::string(PrimitiveName(id));
  }
}

Type Type::Struct(std::vector<NestedField> fields) { return {.id = TypeId::kStruct, .fields = std::move(fields)}; }

Type Type::List(int32_t element_id, bool element_required, Type element) {
  Type type{.id = TypeId::kList};
  type.fields.push_back(
      {.id = element_id, .name = "element", .required = element_required, .type = std::move(element)});
  return type;
}

Type Type::Map(int32_t key_id, Type key, int32_t value_id, bool value_required, Type value) {
  Type type{.id = TypeId::kMap};
  type.fields.reserve(2);
  type.fields.push_back({.id = key_id, .name = "key", .required = true, .type = std::move(key)});
  type.fields.push_back({.id = value_id, .name = "value", .required = value_required, .type = std::move(value)});
  return type;
}

const NestedField* Schema::Find(std::string_view name) const {
  const auto found = std::ranges::find(fields, name, &NestedField::name);
  return found == fields.end() ? nullptr : &*found;
}

const NestedField* Schema::FindById(int32_t id) const { return FindIn(fields, id); }

int32_t Schema::HighestFieldId() const { return HighestIn(fields); }

bool Schema::SameFields(const Schema& other) const { return fields == other.fields; }

Status Schema::Check() const {
  std::unordered_set<int32_t> ids;
  K2_TRY(CheckFields(fields, ids));
  for (const int32_t id : identifier_field_ids) {
    if (!ids.contains(id)) return Fail(ErrorKind::kInvalidData, "identifier field {} is not in the schema", id);
  }
  return {};
}

Result<Type> TransformResultType(std::string_view transform, const Type& source) {
  const auto refuse = [&] {
    return Fail(ErrorKind::kInvalidArgument, "transform {} does not take a column of type {}", transform,
                source.ToString());
  };
  if (transform == "void") return source;
  if (transform == "identity") {
    if (!source.IsPrimitive()) return refuse();
    return source;
  }
  if (transform == "year" || transform == "month") {
    if (source.id != TypeId::kDate && !IsTimestamp(source.id)) return refuse();
    return Type::Primitive(TypeId::kInt);
  }
  if (transform == "day") {
    if (source.id != TypeId::kDate && !IsTimestamp(source.id)) return refuse();
    return Type::Primitive(TypeId::kDate);
  }
  if (transform == "hour") {
    if (!IsTimestamp(source.id)) return refuse();
    return Type::Primitive(TypeId::kInt);
  }
  if (TransformParameter(transform, "bucket") > 0) {
    if (!TakesBucket(source.id)) return refuse();
    return Type::Primitive(TypeId::kInt);
  }
  if (TransformParameter(transform, "truncate") > 0) {
    if (!TakesTruncate(source.id)) return refuse();
    return source;
  }
  return Fail(ErrorKind::kUnsupported, "partition transform \"{}\" is not one of format version 2", transform);
}

}  // namespace k2::iceberg
