// The writer schemas that a task has asked its source for, each id once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "source/schema_source.h"
#include "trade/decoder.h"

namespace k2 {

// What one task may ask its source for; what goes beyond is left for the next step. A source remembers more ids that
// are not there than these, or a step that is run again would ask for them again.
inline constexpr size_t kSchemasAskedForMax = 4'096;
inline constexpr int64_t kSchemasAskedForUsMax = 10'000'000;

class KnownSchemas {
 public:
  explicit KnownSchemas(std::shared_ptr<SchemaSource> source) : source_(std::move(source)) {}

  // Asks for the schemas of ids that messages have, side by side. `limited`: by the limits above.
  void AskFor(const std::vector<int32_t>& ids, const MessageDecoder& decoder, bool limited);

  // Makes the schema of a message's id known to the decoder, if there is one. An id without a schema, and a schema that
  // cannot be read, are no errors: the decoder rejects their messages. Errors: those of a source that does not answer,
  // the same for an id from then on; kUnavailable: the id is beyond the limits.
  Status Learn(std::string_view payload, MessageDecoder& decoder);

 private:
  std::shared_ptr<SchemaSource> source_;
  std::set<int32_t> unknown_ids_;
  std::map<int32_t, Error> waiting_;
  size_t asked_ = 0;
  int64_t asked_us_ = 0;
};

}  // namespace k2
