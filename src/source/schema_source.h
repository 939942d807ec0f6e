// Writer schemas by the id in a message's header: from a folder of files, or from a registry.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace k2 {

class SchemaSource {
 public:
  virtual ~SchemaSource() = default;
  // The schema's JSON text. Errors: kNotFound: there is no such id; kUnavailable: ask again later.
  virtual Result<std::string> SchemaJson(int32_t id) = 0;
  // Asks for schemas that SchemaJson will be asked for next, where that saves time: the first ids of the list, as many
  // as the time suffices for. Gives their number; those behind them were not asked for.
  virtual size_t AskFor(std::span<const int32_t> ids, int64_t time_us_max);
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
