// Schemas that use named types of other schemas, as registries keep them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace k2::avro {

// A self-contained schema: the first use of a type that one of the references defines becomes its
// definition. Names that nobody defines stay as they are: Schema::Parse refuses them. Error kInvalidData: one of the
// texts is not JSON, or nests too deep.
Result<std::string> InlineReferences(std::string_view json, const std::vector<std::string>& references);

}  // namespace k2::avro
