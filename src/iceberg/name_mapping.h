// Name mappings (format/spec.md, "Name Mapping Serialization"): field ids for the columns of data files that carry
// none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace k2::iceberg {

inline constexpr std::string_view kNameMappingProperty = "schema.name-mapping.default";

struct MappedField {
  std::optional<int32_t> field_id;
  std::vector<std::string> names;   // each of them is the field's
  std::vector<MappedField> fields;  // of a struct; of a list "element", of a map "key" and "value"
  bool operator==(const MappedField&) const = default;
};
using NameMapping = std::vector<MappedField>;

// Error kInvalidData: not a name mapping, or a name that stands twice among the fields of one struct.
Result<NameMapping> ParseNameMapping(std::string_view json);

// The field that a name belongs to; null where there is none.
const MappedField* FindMapped(const NameMapping& fields, std::string_view name);

}  // namespace k2::iceberg
