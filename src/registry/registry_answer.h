// What a schema registry answers (Confluent, "Schema Registry API reference"; Apicurio, "Core Registry API"), out of
// its JSON. Pure: any bytes may come.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace k2::registry {

// A schema that another one uses: a version of a subject (Confluent), of an artifact of a group (Apicurio).
struct SchemaReference {
  std::string name;   // that the referring schema uses
  std::string group;  // Apicurio's; else empty
  std::string subject;
  std::string version;
};

struct SchemaAnswer {
  std::string schema;  // its text
  std::string type;    // AVRO, JSON, PROTOBUF or another
  std::vector<SchemaReference> references;
};

// Error kInvalidData: it is not the answer of a registry to a question for a schema.
Result<SchemaAnswer> ParseSchemaAnswer(std::string_view body);
// Apicurio's own API tells a schema's references apart from its text. Error kInvalidData: it is no such list.
Result<std::vector<SchemaReference>> ParseArtifactReferences(std::string_view body);
// Whether it is a list: the answer to a question for the types of schemas.
bool IsListAnswer(std::string_view body);

struct ErrorAnswer {
  int64_t code = 0;     // the registry's own; 0: the answer has none
  std::string message;  // may be empty
  std::string name;     // Apicurio's, of the error; else empty
};
ErrorAnswer ParseErrorAnswer(std::string_view body);

}  // namespace k2::registry
