#include "iceberg/name_mapping.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/json_text.h"

namespace k2::iceberg {
namespace {

Result<NameMapping> MappedFields(const nlohmann::json& list);

Result<MappedField> MappedFieldOf(const nlohmann::json& value) {
  MappedField field;
  if (!value.is_object()) return Fail(ErrorKind::kInvalidData, "name mapping: a field is not an object");
  if (const auto id = value.find("field-id"); id != value.end() && !id->is_null()) {
    K2_ASSIGN(const int64_t number, JsonInt64(*id, "name mapping: field-id"));
    if (number < 0 || number > INT32_MAX) return Fail(ErrorKind::kInvalidData, "name mapping: field-id {}", number);
    field.field_id = static_cast<int32_t>(number);
  }
  const auto names = value.find("names");
  if (names == value.end() || !names->is_array()) {
    return Fail(ErrorKind::kInvalidData, "name mapping: a field has no list of names");
  }
  for (const nlohmann::json& name : *names) {
    if (!name.is_string()) return Fail(ErrorKind::kInvalidData, "name mapping: a name is not a string");
    field.names.push_back(name.get<std::string>());
  }
  if (const auto nested = value.find("fields"); nested != value.end() && !nested->is_null()) {
    K2_ASSIGN(field.fields, MappedFields(*nested));
  }
  return field;
}

Result<NameMapping> MappedFields(const nlohmann::json& list) {
  if (!list.is_array()) return Fail(ErrorKind::kInvalidData, "name mapping: its fields are not a list");
  NameMapping fields;
  std::set<std::string> seen;
  for (const nlohmann::json& value : list) {
    K2_ASSIGN(MappedField field, MappedFieldOf(value));
    for (const std::string& name : field.names) {
      if (!seen.insert(name).second) {
        return Fail(ErrorKind::kInvalidData, "name mapping: \"{}\" is the name of two fields", name);
      }
    }
    fields.push_back(std::move(field));
  }
  return fields;
}

}  // namespace

Result<NameMapping> ParseNameMapping(std::string_view json) {
  K2_ASSIGN(const nlohmann::json document, ParseJson(json, "name mapping"));
  return MappedFields(document);
}

const MappedField* FindMapped(const NameMapping& fields, std::string_view name) {
  const auto found = std::ranges::find_if(
      fields, [&](const MappedField& field) { return std::ranges::find(field.names, name) != field.names.end(); });
  return found == fields.end() ? nullptr : &*found;
}

}  // namespace k2::iceberg
