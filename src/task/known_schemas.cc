#include "task/known_schemas.h"

namespace k2 {

Status KnownSchemas::Learn(std::string_view payload, MessageDecoder& decoder) {
  const std::optional<int32_t> id = MessageDecoder::SchemaIdOf(payload);
  if (!id || decoder.HasSchema(*id)) return {};
  if (unknown_ids_.contains(*id)) return {};
  const Result<std::string> schema = source_->SchemaJson(*id);
  if (schema) {
    // A schema that does not resolve is known by its id: its messages are rejected with that reason.
    (void)decoder.AddSchema(*id, *schema);
    return {};
  }
  switch (schema.error().kind) {
    case ErrorKind::kNotFound: unknown_ids_.insert(*id); return {};
    // It is there and can never be read: JSON Schema, references.
    case ErrorKind::kUnsupported:
    case ErrorKind::kInvalidData: (void)decoder.AddSchema(*id, schema.error().message); return {};
    default: return std::unexpected(schema.error());
  }
}

}  // namespace k2
