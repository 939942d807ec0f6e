// Parts of a metadata.json that also occur by themselves, in the messages of a REST catalog.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "iceberg/table_metadata.h"

namespace k2 {
class JsonWriter;
}

namespace k2::iceberg {

// As ParseTableMetadata, of a document that is parsed already; its strings are moved out.
Result<TableMetadata> TableMetadataFromJson(nlohmann::json& value);

void WriteTableMetadata(JsonWriter& writer, const TableMetadata& metadata);
void WriteSnapshot(JsonWriter& writer, const Snapshot& snapshot, int32_t format_version);
// The fields of a reference, without the braces around them.
void WriteRefFields(JsonWriter& writer, const SnapshotRef& ref);

}  // namespace k2::iceberg
