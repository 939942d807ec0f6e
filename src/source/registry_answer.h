// What a schema registry answers (Confluent, "Schema Registry API reference"), out of its JSON. Pure: any bytes may
// come.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace k2 {

// A schema that another one uses: a version of a subject.
struct SchemaReference {
  std::string name;  // that the referring schema uses
  std::string subject;
  int32_t version = 0;
};

struct SchemaAnswer {
  std::string schema;  // its text
  std::string type;    // AVRO, JSON, PROTOBUF or another
  std::vector<SchemaReference> references;
};

// Error kInvalidData: it is not the answer of a registry to a question for a schema.
Result<SchemaAnswer> ParseSchemaAnswer(std::string_view body);

struct ErrorAnswer {
  int64_t code = 0;     // the registry's own; 0: the answer has none
  std::string message;  // may be empty
};
ErrorAnswer ParseErrorAnswer(std::string_view body);

}  // namespace k2
