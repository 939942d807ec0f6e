#include "task/data_file_json.h"

#include <stdexcept>

namespace k2::task {
namespace {

using iceberg::Int128;
using iceberg::Literal;
using Json = nlohmann::json;

std::string ToHex(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    text += kHex[static_cast<uint8_t>(c) >> 4];
    text += kHex[static_cast<uint8_t>(c) & 15];
  }
  return text;
}

std::string FromHex(const std::string& text) {
  const auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    throw std::invalid_argument("not hexadecimal");
  };
  if (text.size() % 2 != 0) throw std::invalid_argument("half a hexadecimal byte");
  std::string bytes;
  bytes.reserve(text.size() / 2);
  for (size_t i = 0; i < text.size(); i += 2) bytes += static_cast<char>(digit(text[i]) * 16 + digit(text[i + 1]));
  return bytes;
}

// A literal names its own kind, so that no schema is needed to read it.
struct LiteralWriter {
  Json operator()(std::monostate) const { return nullptr; }
  Json operator()(bool value) const { return {{"bool", value}}; }
  Json operator()(int32_t value) const { return {{"int", value}}; }
  Json operator()(int64_t value) const { return {{"long", value}}; }
  Json operator()(float value) const { return {{"float", value}}; }
  Json operator()(double value) const { return {{"double", value}}; }
  Json operator()(Int128 value) const {
    return {{"decimal", {static_cast<int64_t>(value >> 64), static_cast<uint64_t>(value)}}};
  }
  Json operator()(const std::string& value) const { return {{"bytes", ToHex(value)}}; }
};

Literal ReadLiteral(const Json& value) {
  if (value.is_null()) return std::monostate{};
  if (!value.is_object() || value.size() != 1) throw std::invalid_argument("a literal must be an object of one member");
  const auto item = value.begin();
  const std::string& kind = item.key();
  const Json& content = item.value();
  if (kind == "bool") return content.get<bool>();
  if (kind == "int") return content.get<int32_t>();
  if (kind == "long") return content.get<int64_t>();
  if (kind == "float") return content.get<float>();
  if (kind == "double") return content.get<double>();
  if (kind == "decimal") {
    const auto high = static_cast<Int128>(content.at(0).get<int64_t>()) * (Int128{1} << 64);
    return high + static_cast<Int128>(content.at(1).get<uint64_t>());
  }
  if (kind == "bytes") return FromHex(content.get<std::string>());
  throw std::invalid_argument("a literal of unknown kind " + kind);
}

Json CountsToJson(const std::map<int32_t, int64_t>& counts) {
  Json object = Json::object();
  for (const auto& [id, count] : counts) object[std::to_string(id)] = count;
  return object;
}
std::map<int32_t, int64_t> CountsFromJson(const Json& object) {
  std::map<int32_t, int64_t> counts;
  for (const auto& [id, count] : object.items()) counts[std::stoi(id)] = count.get<int64_t>();
  return counts;
}
Json BoundsToJson(const std::map<int32_t, std::string>& bounds) {
  Json object = Json::object();
  for (const auto& [id, bytes] : bounds) object[std::to_string(id)] = ToHex(bytes);
  return object;
}
std::map<int32_t, std::string> BoundsFromJson(const Json& object) {
  std::map<int32_t, std::string> bounds;
  for (const auto& [id, bytes] : object.items()) bounds[std::stoi(id)] = FromHex(bytes.get<std::string>());
  return bounds;
}

Json LiteralsToJson(const std::vector<Literal>& literals) {
  Json array = Json::array();
  for (const Literal& value : literals) array.push_back(std::visit(LiteralWriter{}, value));
  return array;
}

std::vector<Literal> LiteralsFromJson(const Json& array) {
  std::vector<Literal> literals;
  for (const Json& value : array) literals.push_back(ReadLiteral(value));
  return literals;
}

}  // namespace

Json LiteralMapToJson(const std::map<int32_t, Literal>& literals) {
  Json object = Json::object();
  for (const auto& [id, value] : literals) object[std::to_string(id)] = std::visit(LiteralWriter{}, value);
  return object;
}

std::map<int32_t, Literal> LiteralMapFromJson(const Json& json) {
  std::map<int32_t, Literal> literals;
  for (const auto& [id, value] : json.items()) literals[std::stoi(id)] = ReadLiteral(value);
  return literals;
}

Json DataFileToJson(const iceberg::DataFile& file) {
  Json object = {{"file_path", file.file_path},
                 {"file_format", file.file_format},
                 {"spec_id", file.spec_id},
                 {"partition", LiteralsToJson(file.partition)},
                 {"record_count", file.record_count},
                 {"file_size_in_bytes", file.file_size_in_bytes},
                 {"column_sizes", CountsToJson(file.column_sizes)},
                 {"value_counts", CountsToJson(file.value_counts)},
                 {"null_value_counts", CountsToJson(file.null_value_counts)},
                 {"nan_value_counts", CountsToJson(file.nan_value_counts)},
                 {"lower_bounds", BoundsToJson(file.lower_bounds)},
                 {"upper_bounds", BoundsToJson(file.upper_bounds)},
                 {"split_offsets", file.split_offsets}};
  if (file.sort_order_id) object["sort_order_id"] = *file.sort_order_id;
  return object;
}

iceberg::DataFile DataFileFromJson(const Json& object) {
  iceberg::DataFile file;
  object.at("file_path").get_to(file.file_path);
  object.at("file_format").get_to(file.file_format);
  object.at("spec_id").get_to(file.spec_id);
  file.partition = LiteralsFromJson(object.at("partition"));
  object.at("record_count").get_to(file.record_count);
  object.at("file_size_in_bytes").get_to(file.file_size_in_bytes);
  file.column_sizes = CountsFromJson(object.at("column_sizes"));
  file.value_counts = CountsFromJson(object.at("value_counts"));
  file.null_value_counts = CountsFromJson(object.at("null_value_counts"));
  file.nan_value_counts = CountsFromJson(object.at("nan_value_counts"));
  file.lower_bounds = BoundsFromJson(object.at("lower_bounds"));
  file.upper_bounds = BoundsFromJson(object.at("upper_bounds"));
  object.at("split_offsets").get_to(file.split_offsets);
  if (object.contains("sort_order_id")) file.sort_order_id = object.at("sort_order_id").get<int32_t>();
  return file;
}

}  // namespace k2::task
