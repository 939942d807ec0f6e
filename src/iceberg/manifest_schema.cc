#include "iceberg/manifest_schema.h"

#include <nlohmann/json.hpp>
#include <set>

#include "iceberg/literal.h"

namespace k2::iceberg {
namespace {

// Java's field order is kept in the text: readers that take fields by position see what they expect.
using OrderedJson = nlohmann::ordered_json;

OrderedJson Field(int32_t id, std::string_view name, OrderedJson type) {
  return {{"name", name}, {"type", std::move(type)}, {"field-id", id}};
}

OrderedJson Optional(int32_t id, std::string_view name, OrderedJson type) {
  return {
      {"name", name}, {"type", OrderedJson::array({"null", std::move(type)})}, {"default", nullptr}, {"field-id", id}};
}

OrderedJson Record(std::string_view name, OrderedJson fields) {
  return {{"type", "record"}, {"name", name}, {"fields", std::move(fields)}};
}

// A map with integer keys: Avro's have strings only, so it is an array of records (spec, Appendix A).
OrderedJson IntMap(int32_t key_id, int32_t value_id, OrderedJson value) {
  OrderedJson entry =
      Record(fmt::format("k{}_v{}", key_id, value_id),
             OrderedJson::array({Field(key_id, "key", "int"), Field(value_id, "value", std::move(value))}));
  return {{"type", "array"}, {"items", std::move(entry)}, {"logicalType", "map"}};
}

OrderedJson List(int32_t element_id, OrderedJson element) {
  return {{"type", "array"}, {"items", std::move(element)}, {"element-id", element_id}};
}

// A named type is defined once and then named.
OrderedJson Fixed(std::string name, size_t size, OrderedJson more, std::set<std::string>& defined) {
  if (!defined.insert(name).second) return name;
  OrderedJson type = {{"type", "fixed"}, {"name", std::move(name)}, {"size", size}};
  type.update(more);
  return type;
}

OrderedJson Timestamp(bool utc) {
  return {{"type", "long"}, {"logicalType", "timestamp-micros"}, {"adjust-to-utc", utc}};
}

OrderedJson AvroType(const Type& type, std::set<std::string>& defined) {
  switch (type.id) {
    case TypeId::kBoolean: return "boolean";
    case TypeId::kInt: return "int";
    case TypeId::kLong: return "long";
    case TypeId::kFloat: return "float";
    case TypeId::kDouble: return "double";
    case TypeId::kDecimal:
      return Fixed(fmt::format("decimal_{}_{}", type.precision, type.scale), DecimalRequiredBytes(type.precision),
                   {{"logicalType", "decimal"}, {"precision", type.precision}, {"scale", type.scale}}, defined);
    case TypeId::kDate: return {{"type", "int"}, {"logicalType", "date"}};
    case TypeId::kTime: return {{"type", "long"}, {"logicalType", "time-micros"}};
    case TypeId::kTimestamp: return Timestamp(false);
    case TypeId::kTimestamptz: return Timestamp(true);
    case TypeId::kUuid: return Fixed("uuid_fixed", 16, {{"logicalType", "uuid"}}, defined);
    case TypeId::kFixed:
      return Fixed(fmt::format("fixed_{}", type.length), static_cast<size_t>(type.length), OrderedJson::object(),
                   defined);
    case TypeId::kBinary: return "bytes";
    default: return "string";
  }
}

OrderedJson PartitionStruct(const PartitionSpec& spec, const std::vector<Type>& types) {
  std::set<std::string> defined;
  OrderedJson fields = OrderedJson::array();
  for (size_t i = 0; i < spec.fields.size(); ++i) {
    const std::string name = AvroName(spec.fields[i].name);
    OrderedJson field = Optional(spec.fields[i].field_id, name, AvroType(types[i], defined));
    if (name != spec.fields[i].name) field["iceberg-field-name"] = spec.fields[i].name;
    fields.push_back(std::move(field));
  }
  return Record("r102", std::move(fields));
}

OrderedJson DataFileFields(const PartitionSpec& spec, const std::vector<Type>& types) {
  return OrderedJson::array({
      Field(134, "content", "int"),
      Field(100, "file_path", "string"),
      Field(101, "file_format", "string"),
      Field(102, "partition", PartitionStruct(spec, types)),
      Field(103, "record_count", "long"),
      Field(104, "file_size_in_bytes", "long"),
      Optional(108, "column_sizes", IntMap(117, 118, "long")),
      Optional(109, "value_counts", IntMap(119, 120, "long")),
      Optional(110, "null_value_counts", IntMap(121, 122, "long")),
      Optional(137, "nan_value_counts", IntMap(138, 139, "long")),
      Optional(125, "lower_bounds", IntMap(126, 127, "bytes")),
      Optional(128, "upper_bounds", IntMap(129, 130, "bytes")),
      Optional(131, "key_metadata", "bytes"),
      Optional(132, "split_offsets", List(133, "long")),
      Optional(135, "equality_ids", List(136, "int")),
      Optional(140, "sort_order_id", "int"),
      Optional(143, "referenced_data_file", "string"),
  });
}

std::string Dump(const OrderedJson& json) { return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace); }

}  // namespace

std::string AvroName(std::string_view name) {
  std::string out;
  for (size_t i = 0; i < name.size(); ++i) {
    const char byte = name[i];
    const bool digit = byte >= '0' && byte <= '9';
    const bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
    if (letter || (digit && i > 0)) {
      out.push_back(byte);
    } else if (digit) {
      out.append("_").push_back(byte);
    } else {
      out += fmt::format("_x{:X}", static_cast<uint8_t>(byte));
    }
  }
  return out;
}

std::string ManifestEntrySchema(const PartitionSpec& spec, const std::vector<Type>& partition_types) {
  return Dump(Record("manifest_entry", OrderedJson::array({
                                           Field(0, "status", "int"),
                                           Optional(1, "snapshot_id", "long"),
                                           Optional(3, "sequence_number", "long"),
                                           Optional(4, "file_sequence_number", "long"),
                                           Field(2, "data_file", Record("r2", DataFileFields(spec, partition_types))),
                                       })));
}

std::string ManifestListSchema() {
  const OrderedJson summary = Record("r508", OrderedJson::array({
                                                 Field(509, "contains_null", "boolean"),
                                                 Optional(518, "contains_nan", "boolean"),
                                                 Optional(510, "lower_bound", "bytes"),
                                                 Optional(511, "upper_bound", "bytes"),
                                             }));
  return Dump(Record("manifest_file", OrderedJson::array({
                                          Field(500, "manifest_path", "string"),
                                          Field(501, "manifest_length", "long"),
                                          Field(502, "partition_spec_id", "int"),
                                          Field(517, "content", "int"),
                                          Field(515, "sequence_number", "long"),
                                          Field(516, "min_sequence_number", "long"),
                                          Field(503, "added_snapshot_id", "long"),
                                          Field(504, "added_files_count", "int"),
                                          Field(505, "existing_files_count", "int"),
                                          Field(506, "deleted_files_count", "int"),
                                          Field(512, "added_rows_count", "long"),
                                          Field(513, "existing_rows_count", "long"),
                                          Field(514, "deleted_rows_count", "long"),
                                          Optional(507, "partitions", List(508, summary)),
                                          Optional(519, "key_metadata", "bytes"),
                                      })));
}

}  // namespace k2::iceberg
