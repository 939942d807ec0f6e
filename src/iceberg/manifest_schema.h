// Avro schemas of what we write (format/spec.md, "Manifests", "Manifest Lists"; version 2).
#pragma once

#include <string>
#include <vector>

#include "iceberg/schema.h"

namespace k2::iceberg {

// Schema of a manifest's entries, with the partition struct of this spec, whose values have these types.
std::string ManifestEntrySchema(const PartitionSpec& spec, const std::vector<Type>& partition_types);
// Schema of a manifest list's lines.
std::string ManifestListSchema();
// A name as Avro allows it, escaped as the Java library does: what is neither letter, digit nor _ becomes _x and its
// hex digits, a leading digit gets a _ in front.
std::string AvroName(std::string_view name);

}  // namespace k2::iceberg
