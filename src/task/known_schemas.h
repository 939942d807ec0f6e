// The writer schemas that a task has asked its source for, each once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "registry/schema_source.h"
#include "trade/decoder.h"

namespace k2::task {

// What one task may ask its source for; what goes beyond is left for the next step. A source remembers more schemas
// that are not there than these, or a step that is run again would ask for them again.
inline constexpr size_t kSchemasAskedForMax = 4'096;
inline constexpr int64_t kSchemasAskedForUsMax = 10'000'000;

class KnownSchemas {
 public:
  explicit KnownSchemas(std::shared_ptr<registry::SchemaSource> source) : source_(std::move(source)) {}

  // Asks for the schemas that messages name, side by side. `limited`: by the limits above.
  void AskFor(const std::vector<trade::SchemaRef>& refs, const trade::MessageDecoder& decoder, bool limited);

  // Makes the schema that a message names known to the decoder, if there is one. One that is not there, and one that
  // cannot be read, are no errors: the decoder rejects their messages. Errors: those of a source that does not answer,
  // the same for a schema from then on; kUnavailable: it is beyond the limits.
  Status Learn(const trade::SchemaRef& ref, trade::MessageDecoder& decoder);

 private:
  std::shared_ptr<registry::SchemaSource> source_;
  std::set<trade::SchemaRef> unknown_;
  std::map<trade::SchemaRef, Error> waiting_;
  size_t asked_ = 0;
  int64_t asked_us_ = 0;
};

}  // namespace k2::task
