// JSON forms of schemas, partition specs and sort orders (format/spec.md, Appendix C). All errors: kInvalidData for
// what breaks the specification, kUnsupported for types and fields of later format versions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "iceberg/schema.h"

namespace k2 {
class JsonWriter;
}

namespace k2::iceberg {

// A schema as table metadata and the "schema" entry of a manifest hold it. Field ids are unique afterwards, and
// identifier fields exist.
Result<Schema> ParseSchema(std::string_view json);
Result<Schema> SchemaFromJson(nlohmann::json& value);
std::string SchemaToJson(const Schema& schema);
void WriteSchema(JsonWriter& writer, const Schema& schema);

// A primitive type's name: "long", "decimal(18, 8)", "fixed[16]".
Result<Type> ParsePrimitiveType(std::string_view name);

// {"spec-id": N, "fields": […]}
Result<PartitionSpec> PartitionSpecFromJson(nlohmann::json& value);
std::string PartitionSpecToJson(const PartitionSpec& spec);
void WritePartitionSpec(JsonWriter& writer, const PartitionSpec& spec);
// The list of fields alone, as the "partition-spec" entry of a manifest and of v1 metadata. Fields without an id (v1)
// are numbered from 1000.
Result<std::vector<PartitionField>> ParsePartitionFields(std::string_view json);
Result<std::vector<PartitionField>> PartitionFieldsFromJson(nlohmann::json& value);
std::string PartitionFieldsToJson(const PartitionSpec& spec);
void WritePartitionFields(JsonWriter& writer, const PartitionSpec& spec);

Result<SortOrder> SortOrderFromJson(nlohmann::json& value);
std::string SortOrderToJson(const SortOrder& order);
void WriteSortOrder(JsonWriter& writer, const SortOrder& order);

}  // namespace k2::iceberg
