// The writer schemas that a task has asked its source for, each id once.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string_view>

#include "source/schema_source.h"
#include "trade/decoder.h"

namespace k2 {

class KnownSchemas {
 public:
  explicit KnownSchemas(std::shared_ptr<SchemaSource> source) : source_(std::move(source)) {}

  // Makes the schema of a message's id known to the decoder, if there is one. An id without a schema, and a schema that
  // cannot be read, are no errors: the decoder rejects their messages. Errors: those of a source that does not answer.
  Status Learn(std::string_view payload, MessageDecoder& decoder);

 private:
  std::shared_ptr<SchemaSource> source_;
  std::set<int32_t> unknown_ids_;
};

}  // namespace k2
