#include "iceberg/schema_json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json_text.h"

namespace k2::iceberg {

using Json = nlohmann::json;

namespace {

constexpr int32_t kDecimalPrecisionMax = 38;

constexpr std::array<std::pair<std::string_view, TypeId>, 12> kPlainTypes = {{{"boolean", TypeId::kBoolean},
                                                                              {"int", TypeId::kInt},
                                                                              {"long", TypeId::kLong},
                                                                              {"float", TypeId::kFloat},
                                                                              {"double", TypeId::kDouble},
                                                                              {"date", TypeId::kDate},
                                                                              {"time", TypeId::kTime},
                                                                              {"timestamp", TypeId::kTimestamp},
                                                                              {"timestamptz", TypeId::kTimestamptz},
                                                                              {"string", TypeId::kString},
                                                                              {"uuid", TypeId::kUuid},
                                                                              {"binary", TypeId::kBinary}}};

void SkipSpaces(std::string_view& text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
}

bool TakeChar(std::string_view& text, char wanted) {
  SkipSpaces(text);
  if (!text.starts_with(wanted)) return false;
  text.remove_prefix(1);
  return true;
}

bool TakeNumber(std::string_view& text, int32_t& number) {
  SkipSpaces(text);
  const auto end = std::from_chars(text.data(), text.data() + text.size(), number);
  if (end.ec != std::errc() || number < 0) return false;
  text.remove_prefix(static_cast<size_t>(end.ptr - text.data()));
  return true;
}

bool TakeEnd(std::string_view& text) {
  SkipSpaces(text);
  return text.empty();
}

Result<Type> TypeFromJson(Json& value);

Result<std::vector<NestedField>> StructFieldsFromJson(JsonFields& object) {
  std::vector<NestedField> fields;
  Json* array = object.Array("fields");
  K2_TRY(object.status());
  fields.reserve(array->size());
  for (Json& element : *array) {
    JsonFields json(element, "schema field");
    NestedField field{.id = json.Int32("id"), .name = json.String("name"), .required = json.Bool("required")};
    field.doc = json.OptionalString("doc").value_or("");
    if (const Json* text = json.OptionalValue("initial-default")) field.initial_default = JsonDump(*text);
    if (const Json* text = json.OptionalValue("write-default")) field.write_default = JsonDump(*text);
    Json* type = json.Value("type");
    K2_TRY(json.status());
    auto parsed = TypeFromJson(*type);
    if (!parsed) return std::unexpected(parsed.error().With(fmt::format("field \"{}\"", field.name)));
    field.type = std::move(*parsed);
    fields.push_back(std::move(field));
  }
  return fields;
}

Result<Type> TypeFromJson(Json& value) {
  if (value.is_string()) return ParsePrimitiveType(value.get_ref<const std::string&>());
  JsonFields json(value, "type");
  const std::string name = json.String("type");
  K2_TRY(json.status());
  if (name == "struct") {
    Type type{.id = TypeId::kStruct};
    K2_ASSIGN(type.fields, StructFieldsFromJson(json));
    return type;
  }
  if (name == "list") {
    const int32_t id = json.Int32("element-id");
    const bool required = json.Bool("element-required");
    Json* element = json.Value("element");
    K2_TRY(json.status());
    K2_ASSIGN(Type type, TypeFromJson(*element));
    return Type::List(id, required, std::move(type));
  }
  if (name == "map") {
    const int32_t key_id = json.Int32("key-id");
    const int32_t value_id = json.Int32("value-id");
    const bool required = json.Bool("value-required");
    Json* key = json.Value("key");
    Json* mapped = json.Value("value");
    K2_TRY(json.status());
    K2_ASSIGN(Type key_type, TypeFromJson(*key));
    K2_ASSIGN(Type value_type, TypeFromJson(*mapped));
    return Type::Map(key_id, std::move(key_type), value_id, required, std::move(value_type));
  }
  return Fail(ErrorKind::kUnsupported, "type \"{}\" is not one of format version 2", name);
}

void WriteFields(JsonWriter& writer, const std::vector<NestedField>& fields);

void WriteType(JsonWriter& writer, const Type& type) {
  switch (type.id) {
    case TypeId::kStruct:
      writer.BeginObject().Field("type", "struct").Key("fields");
      WriteFields(writer, type.fields);
      writer.EndObject();
      break;
    case TypeId::kList:
      writer.BeginObject().Field("type", "list").Field("element-id", type.fields.at(0).id).Key("element");
      WriteType(writer, type.fields[0].type);
      writer.Key("element-required").Bool(type.fields[0].required).EndObject();
      break;
    case TypeId::kMap:
      writer.BeginObject().Field("type", "map").Field("key-id", type.fields.at(0).id).Key("key");
      WriteType(writer, type.fields[0].type);
      writer.Field("value-id", type.fields.at(1).id).Key("value");
      WriteType(writer, type.fields[1].type);
      writer.Key("value-required").Bool(type.fields[1].required).EndObject();
      break;
    default: writer.String(type.ToString());
  }
}

void WriteFields(JsonWriter& writer, const std::vector<NestedField>& fields) {
  writer.BeginArray();
  for (const NestedField& field : fields) {
    writer.BeginObject().Field("id", field.id).Field("name", field.name).Key("required").Bool(field.required);
    writer.Key("type");
    WriteType(writer, field.type);
    if (!field.doc.empty()) writer.Field("doc", field.doc);
    if (!field.initial_default.empty()) writer.Key("initial-default").Raw(field.initial_default);
    if (!field.write_default.empty()) writer.Key("write-default").Raw(field.write_default);
    writer.EndObject();
  }
  writer.EndArray();
}

template <typename Value, typename Write>
std::string ToText(const Value& value, Write write) {
  JsonWriter writer;
  write(writer, value);
  return writer.Take();
}

}  // namespace

Result<Type> ParsePrimitiveType(std::string_view name) {
  const auto plain = std::ranges::find(kPlainTypes, name, &std::pair<std::string_view, TypeId>::first);
  if (plain != kPlainTypes.end()) return Type::Primitive(plain->second);
  std::string_view rest = name;
  if (rest.starts_with("decimal")) {
    rest.remove_prefix(std::string_view("decimal").size());
    int32_t precision = 0;
    int32_t scale = 0;
    if (TakeChar(rest, '(') && TakeNumber(rest, precision) && TakeChar(rest, ',') && TakeNumber(rest, scale) &&
        TakeChar(rest, ')') && TakeEnd(rest) && precision > 0 && precision <= kDecimalPrecisionMax &&
        scale <= precision) {
      return Type::Decimal(precision, scale);
    }
  } else if (rest.starts_with("fixed")) {
    rest.remove_prefix(std::string_view("fixed").size());
    int32_t length = 0;
    if (TakeChar(rest, '[') && TakeNumber(rest, length) && TakeChar(rest, ']') && TakeEnd(rest)) {
      return Type{.id = TypeId::kFixed, .length = length};
    }
  } else {
    return Fail(ErrorKind::kUnsupported, "type \"{}\" is not one of format version 2", name);
  }
  return Fail(ErrorKind::kInvalidData, "\"{}\" is not a type", name);
}

Result<Schema> SchemaFromJson(Json& value) {
  JsonFields json(value, "schema");
  const std::string type = json.String("type");
  Schema schema{.schema_id = json.OptionalInt32("schema-id").value_or(0)};  // optional in version 1
  schema.identifier_field_ids = json.OptionalInt32List("identifier-field-ids");
  K2_TRY(json.status());
  if (type != "struct") return Fail(ErrorKind::kInvalidData, "a schema is of type \"{}\", not a struct", type);
  K2_ASSIGN(schema.fields, StructFieldsFromJson(json));
  K2_TRY(schema.Check());
  return schema;
}

Result<Schema> ParseSchema(std::string_view text) {
  K2_ASSIGN(Json json, ParseJson(text, "schema"));
  return SchemaFromJson(json);
}

void WriteSchema(JsonWriter& writer, const Schema& schema) {
  writer.BeginObject().Field("type", "struct").Field("schema-id", schema.schema_id);
  if (!schema.identifier_field_ids.empty()) {
    writer.Key("identifier-field-ids").BeginArray();
    for (const int32_t id : schema.identifier_field_ids) writer.Int(id);
    writer.EndArray();
  }
  writer.Key("fields");
  WriteFields(writer, schema.fields);
  writer.EndObject();
}

std::string SchemaToJson(const Schema& schema) { return ToText(schema, WriteSchema); }

Result<std::vector<PartitionField>> PartitionFieldsFromJson(Json& value) {
  if (!value.is_array()) return Fail(ErrorKind::kInvalidData, "partition fields are not an array");
  std::vector<PartitionField> fields;
  fields.reserve(value.size());
  for (Json& element : value) {
    JsonFields json(element, "partition field");
    if (json.ok() && !json.Has("source-id") && json.Has("source-ids")) {
      return Fail(ErrorKind::kUnsupported, "a partition field of several columns needs format version 3");
    }
    const int32_t unnumbered = kFirstPartitionFieldId + static_cast<int32_t>(fields.size());
    fields.push_back({.source_id = json.Int32("source-id"),
                      .field_id = json.OptionalInt32("field-id").value_or(unnumbered),
                      .name = json.String("name"),
                      .transform = json.String("transform")});
    K2_TRY(json.status());
  }
  return fields;
}

Result<std::vector<PartitionField>> ParsePartitionFields(std::string_view text) {
  K2_ASSIGN(Json json, ParseJson(text, "partition spec"));
  return PartitionFieldsFromJson(json);
}

Result<PartitionSpec> PartitionSpecFromJson(Json& value) {
  JsonFields json(value, "partition spec");
  PartitionSpec spec{.spec_id = json.Int32("spec-id")};
  Json* fields = json.Array("fields");
  K2_TRY(json.status());
  K2_ASSIGN(spec.fields, PartitionFieldsFromJson(*fields));
  return spec;
}

void WritePartitionFields(JsonWriter& writer, const PartitionSpec& spec) {
  writer.BeginArray();
  for (const PartitionField& field : spec.fields) {
    writer.BeginObject().Field("name", field.name).Field("transform", field.transform);
    writer.Field("source-id", field.source_id);
    if (field.field_id != 0) writer.Field("field-id", field.field_id);  // 0: the receiver assigns one
    writer.EndObject();
  }
  writer.EndArray();
}

void WritePartitionSpec(JsonWriter& writer, const PartitionSpec& spec) {
  writer.BeginObject().Field("spec-id", spec.spec_id).Key("fields");
  WritePartitionFields(writer, spec);
  writer.EndObject();
}

std::string PartitionSpecToJson(const PartitionSpec& spec) { return ToText(spec, WritePartitionSpec); }
std::string PartitionFieldsToJson(const PartitionSpec& spec) { return ToText(spec, WritePartitionFields); }

Result<SortOrder> SortOrderFromJson(Json& value) {
  JsonFields json(value, "sort order");
  SortOrder order{.order_id = json.Int32("order-id")};
  Json* fields = json.Array("fields");
  K2_TRY(json.status());
  order.fields.reserve(fields->size());
  for (Json& element : *fields) {
    JsonFields field(element, "sort field");
    if (field.ok() && !field.Has("source-id") && field.Has("source-ids")) {
      return Fail(ErrorKind::kUnsupported, "a sort field of several columns needs format version 3");
    }
    SortField parsed{.source_id = field.Int32("source-id"), .transform = field.String("transform")};
    const std::string direction = field.String("direction");
    const std::string nulls = field.String("null-order");
    K2_TRY(field.status());
    if ((direction != "asc" && direction != "desc") || (nulls != "nulls-first" && nulls != "nulls-last")) {
      return Fail(ErrorKind::kInvalidData, "sort order {}: \"{}\" \"{}\" is not a direction and null order",
                  order.order_id, direction, nulls);
    }
    parsed.ascending = direction == "asc";
    parsed.nulls_first = nulls == "nulls-first";
    order.fields.push_back(std::move(parsed));
  }
  return order;
}

void WriteSortOrder(JsonWriter& writer, const SortOrder& order) {
  writer.BeginObject().Field("order-id", order.order_id).Key("fields").BeginArray();
  for (const SortField& field : order.fields) {
    writer.BeginObject().Field("transform", field.transform).Field("source-id", field.source_id);
    writer.Field("direction", field.ascending ? "asc" : "desc");
    writer.Field("null-order", field.nulls_first ? "nulls-first" : "nulls-last").EndObject();
  }
  writer.EndArray().EndObject();
}

std::string SortOrderToJson(const SortOrder& order) { return ToText(order, WriteSortOrder); }

}  // namespace k2::iceberg
