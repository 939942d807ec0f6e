#include "avro/references.h"

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "avro/json_depth.h"
#include "avro/schema.h"

namespace k2::avro {
namespace {

using InlinedJson = nlohmann::json;

std::string MemberText(const InlinedJson& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

struct InlinedName {
  std::string full;
  std::string name_space;
};

// Specification, "Names": a dot in the name counts before the namespace, which counts before the enclosing one.
InlinedName NameOf(const InlinedJson& definition, const std::string& outer) {
  std::string name = MemberText(definition, "name");
  if (const size_t dot = name.rfind('.'); dot != std::string::npos) return {name, name.substr(0, dot)};
  const std::string name_space = definition.contains("namespace") ? MemberText(definition, "namespace") : outer;
  return {name_space.empty() ? name : name_space + "." + name, name_space};
}

bool IsNamed(std::string_view type) { return type == "record" || type == "error" || type == "enum" || type == "fixed"; }

// Words of Avro's own, which no definition changes.
bool IsBuiltIn(std::string_view name) {
  if (IsNamed(name)) return true;
  for (auto type = Type::kNull; type <= Type::kUnion; type = static_cast<Type>(static_cast<uint8_t>(type) + 1)) {
    if (name == ToString(type)) return true;
  }
  return false;
}

class ReferenceInliner {
 public:
  // Notes the named types that a reference defines.
  Status Collect(const InlinedJson& schema, const std::string& name_space, int depth) {
    K2_TRY(CheckDepth(depth));
    if (schema.is_array()) {
      for (const InlinedJson& branch : schema) K2_TRY(Collect(branch, name_space, depth + 1));
    }
    if (!schema.is_object()) return {};
    std::string inner = name_space;
    if (IsNamed(MemberText(schema, "type"))) {
      const InlinedName name = NameOf(schema, name_space);
      if (!IsBuiltIn(name.full)) definitions_.try_emplace(name.full, Definition{&schema, name_space});
      inner = name.name_space;
    }
    for (const char* key : {"type", "items", "values"}) {
      if (const auto part = schema.find(key); part != schema.end()) K2_TRY(Collect(*part, inner, depth + 1));
    }
    const auto fields = schema.find("fields");
    if (fields == schema.end() || !fields->is_array()) return {};
    for (const InlinedJson& field : *fields) {
      if (!field.is_object() || !field.contains("type")) continue;
      K2_TRY(Collect(field["type"], inner, depth + 1));
    }
    return {};
  }

  // `referred`: the schema is one of the references, or a part of it.
  Result<InlinedJson> Inline(const InlinedJson& schema, const std::string& name_space, int depth, bool referred) {
    K2_TRY(CheckDepth(depth));
    if (schema.is_string()) return InlineName(schema, name_space, depth);
    if (schema.is_array()) {
      InlinedJson branches = InlinedJson::array();
      for (const InlinedJson& branch : schema) {
        K2_ASSIGN(InlinedJson inlined, Inline(branch, name_space, depth + 1, referred));
        branches.push_back(std::move(inlined));
      }
      return branches;
    }
    if (!schema.is_object()) return schema;
    const auto type = schema.find("type");
    if (type == schema.end()) return schema;
    if (IsNamed(MemberText(schema, "type"))) return InlineDefinition(schema, name_space, depth, referred);
    if (type->is_string() && Find(type->get<std::string>(), name_space)) return InlineName(*type, name_space, depth);
    InlinedJson inlined = InlinedJson::object();
    for (const auto& [key, value] : schema.items()) {
      const bool is_type = key == "items" || key == "values" || (key == "type" && !value.is_string());
      if (!is_type) {
        inlined[key] = value;
        continue;
      }
      K2_ASSIGN(inlined[key], Inline(value, name_space, depth + 1, referred));
    }
    return inlined;
  }

 private:
  struct Definition {
    const InlinedJson* json = nullptr;
    std::string name_space;  // that encloses it
  };

  static Status CheckDepth(int depth) {
    if (depth <= kMaxJsonDepth) return {};
    return Fail(ErrorKind::kInvalidData, "Avro schema: nested more than {} levels with its references", kMaxJsonDepth);
  }

  // The full name of a type that a reference defines.
  [[nodiscard]] std::optional<std::string> Find(const std::string& name, const std::string& name_space) const {
    if (name.find('.') == std::string::npos && !name_space.empty()) {
      const std::string full = name_space + "." + name;
      if (defined_.contains(full)) return std::nullopt;
      if (definitions_.contains(full)) return full;
    }
    if (!definitions_.contains(name)) return std::nullopt;
    return name;
  }

  Result<InlinedJson> InlineName(const InlinedJson& use, const std::string& name_space, int depth) {
    const auto full = Find(use.get<std::string>(), name_space);
    if (!full) return use;
    if (defined_.contains(*full)) return InlinedJson(*full);
    const Definition& definition = definitions_.at(*full);
    return Inline(*definition.json, definition.name_space, depth + 1, true);
  }

  Result<InlinedJson> InlineDefinition(const InlinedJson& schema, const std::string& outer, int depth, bool referred) {
    const InlinedName name = NameOf(schema, outer);
    // The same type by two ways; one that the schema itself defines twice is an error of the schema's.
    if (!defined_.insert(name.full).second && referred) return InlinedJson(name.full);
    InlinedJson inlined = InlinedJson::object();
    for (const auto& [key, value] : schema.items()) {
      if (key != "fields" || !value.is_array()) {
        inlined[key] = value;
        continue;
      }
      InlinedJson& fields = inlined[key] = InlinedJson::array();
      for (const InlinedJson& field : value) {
        InlinedJson& copy = fields.emplace_back(InlinedJson::object());
        if (!field.is_object()) {
          copy = field;
          continue;
        }
        for (const auto& [field_key, part] : field.items()) {
          if (field_key != "type") {
            copy[field_key] = part;
            continue;
          }
          K2_ASSIGN(copy[field_key], Inline(part, name.name_space, depth + 1, referred));
        }
      }
    }
    // It may stand in another namespace now.
    if (referred && schema.contains("name")) {
      inlined["name"] = name.full;
      inlined["namespace"] = name.name_space;
    }
    return inlined;
  }

  std::map<std::string, Definition> definitions_;  // by full name, of the references
  std::set<std::string> defined_;                  // full names, in what was written so far
};

Result<InlinedJson> ParseForInlining(std::string_view text) {
  if (NestsTooDeep(text)) {
    return Fail(ErrorKind::kInvalidData, "Avro schema: JSON nested more than {} levels", kMaxJsonDepth);
  }
  InlinedJson parsed = InlinedJson::parse(text, nullptr, false);
  if (parsed.is_discarded()) return Fail(ErrorKind::kInvalidData, "Avro schema: not JSON");
  return parsed;
}

}  // namespace

Result<std::string> InlineReferences(std::string_view json, const std::vector<std::string>& references) {
  std::vector<InlinedJson> parsed;
  parsed.reserve(references.size());
  ReferenceInliner inliner;
  for (const std::string& reference : references) {
    K2_ASSIGN(InlinedJson one, ParseForInlining(reference));
    parsed.push_back(std::move(one));
    K2_TRY(inliner.Collect(parsed.back(), "", 0));
  }
  K2_ASSIGN(const InlinedJson schema, ParseForInlining(json));
  K2_ASSIGN(const InlinedJson inlined, inliner.Inline(schema, "", 0, false));
  return inlined.dump(-1, ' ', false, InlinedJson::error_handler_t::replace);
}

}  // namespace k2::avro
