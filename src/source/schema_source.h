// Writer schemas by the id in a message's header: here from a folder of files, later from a registry.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace k2 {

class SchemaSource {
 public:
  virtual ~SchemaSource() = default;
  // The schema's JSON text. Errors: kNotFound: there is no such id; kUnavailable: ask again later.
  virtual Result<std::string> SchemaJson(int32_t id) = 0;
};

// The schemas K2 itself writes with (kTradeV2SchemaId, kRejectedFrameSchemaId), and the files `<id>.avsc` of a folder.
// A file is not to have an id that K2 itself uses: that one's text is built in.
class FileSchemaSource final : public SchemaSource {
 public:
  // Without a folder (empty) only the built-in schemas are known.
  explicit FileSchemaSource(std::string folder = "") : folder_(std::move(folder)) {}
  Result<std::string> SchemaJson(int32_t id) override;

 private:
  std::string folder_;
};

}  // namespace k2
