#include "avro/schema.h"

#include <algorithm>
#include <map>
#include <set>

#include "avro/json_depth.h"

namespace k2::avro {
namespace {

using Json = nlohmann::json;

constexpr std::array<std::string_view, 14> kTypeNames = {"null",   "boolean", "int",    "long",   "float",
                                                         "double", "bytes",   "string", "record", "enum",
                                                         "fixed",  "array",   "map",    "union"};
constexpr size_t kMaxNodes = 1 << 16;

std::optional<Type> PrimitiveType(std::string_view name) {
  for (size_t i = 0; i <= static_cast<size_t>(Type::kString); ++i) {
    if (kTypeNames[i] == name) return static_cast<Type>(i);
  }
  return std::nullopt;
}

bool IsSimpleName(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_'; };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (name.empty() || !letter(name[0])) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || digit(c); });
}

bool IsFullName(std::string_view name) {
  while (true) {
    const size_t dot = name.find('.');
    if (!IsSimpleName(name.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    name.remove_prefix(dot + 1);
  }
}

// A short, printable piece of the schema for an error text.
std::string Excerpt(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

Result<std::string> StringMember(const Json& object, const char* key, std::string_view of) {
  const auto it = object.find(key);
  if (it == object.end()) return Fail(ErrorKind::kInvalidData, "Avro schema: {} has no \"{}\"", of, key);
  if (!it->is_string()) return Fail(ErrorKind::kInvalidData, "Avro schema: \"{}\" of {} is not a string", key, of);
  return it->get<std::string>();
}

std::string OptionalString(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

class Parser {
 public:
  std::vector<std::unique_ptr<Node>> nodes;

  Result<const Node*> Parse(const Json& schema, const std::string& name_space, int depth) {
    if (depth > kMaxSchemaDepth) {
      return Fail(ErrorKind::kInvalidData, "Avro schema: nested more than {} levels", kMaxSchemaDepth);
    }
    if (nodes.size() >= kMaxNodes) return Fail(ErrorKind::kInvalidData, "Avro schema: more than {} types", kMaxNodes);
    if (schema.is_string()) return ParseName(schema.get<std::string>(), name_space);
    if (schema.is_array()) return ParseUnion(schema, name_space, depth);
    if (!schema.is_object()) return Fail(ErrorKind::kInvalidData, "Avro schema: {} is not a type", Excerpt(schema));
    const auto type = schema.find("type");
    if (type == schema.end()) return Fail(ErrorKind::kInvalidData, "Avro schema: {} has no \"type\"", Excerpt(schema));
    if (!type->is_string()) return Parse(*type, name_space, depth + 1);
    const auto name = type->get<std::string>();
    if (name == "record" || name == "error") return ParseRecord(schema, name_space, depth);
    if (name == "enum") return ParseEnum(schema, name_space);
    if (name == "fixed") return ParseFixed(schema, name_space);
    if (name == "array" || name == "map") return ParseContainer(schema, name_space, depth, name == "map");
    const auto primitive = PrimitiveType(name);
    if (!primitive) return ParseName(name, name_space);
    Node& node = Add(*primitive);
    SetLogicalType(node, schema);
    SetAttributes(node, schema, {"type"});
    return &node;
  }

 private:
  Node& Add(Type type) {
    nodes.push_back(std::make_unique<Node>());
    nodes.back()->type = type;
    return *nodes.back();
  }

  Result<const Node*> ParseName(const std::string& name, const std::string& name_space) {
    if (const auto primitive = PrimitiveType(name)) return &Add(*primitive);
    const bool bare = name.find('.') == std::string::npos;
    auto it = named_.find(bare && !name_space.empty() ? name_space + "." + name : name);
    // Java's reader takes a type without a namespace then, and so do schemas that were written with it.
    if (it == named_.end() && bare) it = named_.find(name);
    if (it == named_.end()) {
      return Fail(ErrorKind::kInvalidData, "Avro schema: type {} is not defined before its use", Excerpt(Json(name)));
    }
    return it->second;
  }

  Result<const Node*> ParseUnion(const Json& schema, const std::string& name_space, int depth) {
    Node& node = Add(Type::kUnion);
    std::set<std::pair<Type, std::string>> seen;
    for (const Json& branch : schema) {
      K2_ASSIGN(const Node* type, Parse(branch, name_space, depth + 1));
      if (type->type == Type::kUnion) return Fail(ErrorKind::kInvalidData, "Avro schema: a union directly in a union");
      if (!seen.emplace(type->type, type->name).second) {
        return Fail(ErrorKind::kInvalidData, "Avro schema: a union has {} twice",
                    type->name.empty() ? ToString(type->type) : type->name);
      }
      node.branches.push_back(type);
    }
    return &node;
  }

  // Sets the full name and aliases, registers the type, and returns the namespace for what is inside it.
  Result<std::string> SetName(Node& node, const Json& schema, const std::string& outer) {
    K2_ASSIGN(std::string name, StringMember(schema, "name", ToString(node.type)));
    std::string name_space = outer;
    if (const size_t dot = name.rfind('.'); dot != std::string::npos) {
      name_space = name.substr(0, dot);
      name = name.substr(dot + 1);
    } else if (schema.contains("namespace")) {
      name_space = OptionalString(schema, "namespace");
    }
    const auto full = [](const std::string& in, const std::string& simple) {
      return in.empty() ? simple : in + "." + simple;
    };
    node.name = full(name_space, name);
    if (!IsFullName(node.name) || PrimitiveType(node.name)) {
      return Fail(ErrorKind::kInvalidData, "Avro schema: {} is not a legal type name", Excerpt(Json(node.name)));
    }
    K2_ASSIGN(node.aliases, Aliases(schema));
    for (std::string& alias : node.aliases) {
      if (alias.find('.') == std::string::npos) alias = full(name_space, alias);
    }
    if (!named_.emplace(node.name, &node).second) {
      return Fail(ErrorKind::kInvalidData, "Avro schema: type {} is defined twice", node.name);
    }
    node.doc = OptionalString(schema, "doc");
    return name_space;
  }

  static Result<std::vector<std::string>> Aliases(const Json& schema) {
    std::vector<std::string> aliases;
    const auto it = schema.find("aliases");
    if (it == schema.end()) return aliases;
    if (!it->is_array()) return Fail(ErrorKind::kInvalidData, "Avro schema: \"aliases\" is not an array");
    for (const Json& alias : *it) {
      if (!alias.is_string()) return Fail(ErrorKind::kInvalidData, "Avro schema: an alias is not a string");
      aliases.push_back(alias.get<std::string>());
    }
    return aliases;
  }

  Result<const Node*> ParseRecord(const Json& schema, const std::string& outer, int depth) {
    Node& node = Add(Type::kRecord);
    K2_ASSIGN(const std::string name_space, SetName(node, schema, outer));
    const auto fields = schema.find("fields");
    if (fields == schema.end() || !fields->is_array()) {
      return Fail(ErrorKind::kInvalidData, "Avro schema: record {} has no array \"fields\"", node.name);
    }
    std::set<std::string> seen;
    node.fields.reserve(fields->size());
    for (const Json& item : *fields) {
      if (!item.is_object())
        return Fail(ErrorKind::kInvalidData, "Avro schema: a field of {} is not an object", node.name);
      Field field;
      K2_ASSIGN(field.name, StringMember(item, "name", "a field of " + node.name));
      if (field.name.empty()) return Fail(ErrorKind::kInvalidData, "Avro schema: a field of {} has no name", node.name);
      if (!seen.insert(field.name).second) {
        return Fail(ErrorKind::kInvalidData, "Avro schema: record {} has two fields {}", node.name, field.name);
      }
      const auto type = item.find("type");
      if (type == item.end()) {
        return Fail(ErrorKind::kInvalidData, "Avro schema: field {}.{} has no type", node.name, field.name);
      }
      K2_ASSIGN(field.type, Parse(*type, name_space, depth + 1));
      K2_ASSIGN(field.aliases, Aliases(item));
      field.doc = OptionalString(item, "doc");
      if (const auto value = item.find("default"); value != item.end()) {
        field.has_default = true;
        field.default_value = *value;
      }
      SetAttributes(field, item, {"name", "type", "aliases", "doc", "default", "order"});
      node.fields.push_back(std::move(field));
    }
    SetAttributes(node, schema, {"type", "name", "namespace", "doc", "aliases", "fields"});
    return &node;
  }

  Result<const Node*> ParseEnum(const Json& schema, const std::string& outer) {
    Node& node = Add(Type::kEnum);
    K2_TRY(SetName(node, schema, outer));
    const auto symbols = schema.find("symbols");
    if (symbols == schema.end() || !symbols->is_array()) {
      return Fail(ErrorKind::kInvalidData, "Avro schema: enum {} has no array \"symbols\"", node.name);
    }
    std::set<std::string> seen;
    for (const Json& symbol : *symbols) {
      if (!symbol.is_string() || !IsSimpleName(symbol.get_ref<const std::string&>())) {
        return Fail(ErrorKind::kInvalidData, "Avro schema: enum {} has the illegal symbol {}", node.name,
                    Excerpt(symbol));
      }
      node.symbols.push_back(symbol.get<std::string>());
      if (!seen.insert(node.symbols.back()).second) {
        return Fail(ErrorKind::kInvalidData, "Avro schema: enum {} has {} twice", node.name, node.symbols.back());
      }
    }
    if (schema.contains("default")) {
      K2_ASSIGN(node.default_symbol, StringMember(schema, "default", "enum " + node.name));
      if (!seen.contains(*node.default_symbol)) {
        return Fail(ErrorKind::kInvalidData, "Avro schema: the default of enum {} is none of its symbols", node.name);
      }
    }
    SetAttributes(node, schema, {"type", "name", "namespace", "doc", "aliases", "symbols", "default"});
    return &node;
  }

  Result<const Node*> ParseFixed(const Json& schema, const std::string& outer) {
    Node& node = Add(Type::kFixed);
    K2_TRY(SetName(node, schema, outer));
    const auto size = schema.find("size");
    if (size == schema.end() || !size->is_number_integer() || *size < 0 || *size > kMaxFixedSize) {
      return Fail(ErrorKind::kInvalidData, "Avro schema: fixed {} needs a \"size\" from 0 to {}", node.name,
                  kMaxFixedSize);
    }
    node.size = size->get<int64_t>();
    SetLogicalType(node, schema);
    SetAttributes(node, schema, {"type", "name", "namespace", "doc", "aliases", "size"});
    return &node;
  }

  Result<const Node*> ParseContainer(const Json& schema, const std::string& name_space, int depth, bool map) {
    Node& node = Add(map ? Type::kMap : Type::kArray);
    const char* key = map ? "values" : "items";
    const auto items = schema.find(key);
    if (items == schema.end()) {
      return Fail(ErrorKind::kInvalidData, "Avro schema: {} has no \"{}\"", ToString(node.type), key);
    }
    K2_ASSIGN(node.items, Parse(*items, name_space, depth + 1));
    SetLogicalType(node, schema);
    SetAttributes(node, schema, {"type", key});
    return &node;
  }

  template <typename T>
  static void SetAttributes(T& target, const Json& schema, std::initializer_list<std::string_view> known) {
    for (const auto& [key, value] : schema.items()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) target.attributes[key] = value;
    }
  }

  static void SetLogicalType(Node& node, const Json& schema) {
    const std::string name = OptionalString(schema, "logicalType");
    const auto is = [&](std::string_view logical, Type type) { return name == logical && node.type == type; };
    if (is("decimal", Type::kBytes) || is("decimal", Type::kFixed)) {
      SetDecimal(node, schema);
    } else if (is("uuid", Type::kString) || (is("uuid", Type::kFixed) && node.size == 16)) {
      node.logical = LogicalType::kUuid;
    } else if (is("date", Type::kInt)) {
      node.logical = LogicalType::kDate;
    } else if (is("time-millis", Type::kInt)) {
      node.logical = LogicalType::kTimeMillis;
    } else if (is("time-micros", Type::kLong)) {
      node.logical = LogicalType::kTimeMicros;
    } else if (is("timestamp-millis", Type::kLong)) {
      node.logical = LogicalType::kTimestampMillis;
    } else if (is("timestamp-micros", Type::kLong)) {
      node.logical = LogicalType::kTimestampMicros;
    } else if (is("timestamp-nanos", Type::kLong)) {
      node.logical = LogicalType::kTimestampNanos;
    } else if (is("map", Type::kArray) && node.items->type == Type::kRecord && node.items->fields.size() == 2) {
      node.logical = LogicalType::kMap;
    }
  }

  // A decimal that is not legal (specification, "Decimal") is its underlying type.
  static void SetDecimal(Node& node, const Json& schema) {
    const auto number = [&](const char* key, int64_t absent) {
      const auto it = schema.find(key);
      if (it == schema.end()) return absent;
      return it->is_number_integer() ? it->get<int64_t>() : -1;
    };
    const int64_t precision = number("precision", -1);
    const int64_t scale = number("scale", 0);
    if (precision < 1 || precision > 1000 || scale < 0 || scale > precision) return;
    node.logical = LogicalType::kDecimal;
    node.precision = static_cast<int>(precision);
    node.scale = static_cast<int>(scale);
  }

  std::map<std::string, const Node*> named_;
};

std::optional<int64_t> ReadIntAttribute(const Json& attributes, std::string_view key) {
  const auto it = attributes.find(key);
  if (it == attributes.end() || !it->is_number_integer()) return std::nullopt;
  return it->get<int64_t>();
}

}  // namespace

std::string_view ToString(Type type) { return kTypeNames[static_cast<size_t>(type)]; }

std::optional<int64_t> Field::IntAttribute(std::string_view key) const { return ReadIntAttribute(attributes, key); }
std::optional<int64_t> Node::IntAttribute(std::string_view key) const { return ReadIntAttribute(attributes, key); }

int Node::FieldIndex(std::string_view field) const {
  const auto it = std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.name == field; });
  return it == fields.end() ? -1 : static_cast<int>(it - fields.begin());
}

int Node::FieldIndexById(int64_t field_id) const {
  const auto it = std::find_if(fields.begin(), fields.end(),
                               [&](const Field& f) { return f.IntAttribute("field-id") == field_id; });
  return it == fields.end() ? -1 : static_cast<int>(it - fields.begin());
}

const Node& Node::NonNull() const {
  if (type != Type::kUnion || branches.size() != 2) return *this;
  if (branches[0]->type == Type::kNull) return *branches[1];
  if (branches[1]->type == Type::kNull) return *branches[0];
  return *this;
}

bool NestsTooDeep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

Result<Schema> Schema::Parse(std::string_view text) {
  if (text.size() > kMaxSchemaSize) {
    return Fail(ErrorKind::kInvalidData, "Avro schema: {} bytes of JSON, more than {}", text.size(), kMaxSchemaSize);
  }
  if (NestsTooDeep(text)) {
    return Fail(ErrorKind::kInvalidData, "Avro schema: JSON nested more than {} levels", kMaxJsonDepth);
  }
  const Json document = Json::parse(text, nullptr, false);
  if (document.is_discarded()) return Fail(ErrorKind::kInvalidData, "Avro schema: not JSON");
  Parser parser;
  K2_ASSIGN(const Node* root, parser.Parse(document, "", 0));
  return Schema(std::make_shared<const Nodes>(std::move(parser.nodes)), root);
}

}  // namespace k2::avro
