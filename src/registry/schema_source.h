// Writer schemas, as messages name them: from a folder of files, or from a registry.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "trade/message_framing.h"

namespace k2::registry {

class SchemaSource {
 public:
  virtual ~SchemaSource() = default;
  // The schema's JSON text. Errors: kNotFound: there is no such schema; kUnavailable: ask again later.
  virtual Result<std::string> SchemaJson(const trade::SchemaRef& ref) = 0;
  // Asks for schemas that SchemaJson will be asked for next, where that saves time: the first ones of the list, as many
  // as the time suffices for. Gives their number; those behind them were not asked for.
  virtual size_t AskFor(std::span<const trade::SchemaRef> refs, int64_t time_us_max);
};

// The schemas K2 itself writes with (trade/trade_schema.h), and the files `<id>.avsc` of a folder.
// There are none by GUID or Apicurio's ids.
class FileSchemaSource final : public SchemaSource {
 public:
  // Without a folder (empty) only the built-in schemas are known.
  explicit FileSchemaSource(std::string folder = "") : folder_(std::move(folder)) {}
  Result<std::string> SchemaJson(const trade::SchemaRef& ref) override;
  // A file that has an id of K2's own is to hold that schema: kInvalidArgument where it is another one, for its
  // messages would be read as what they are not.
  [[nodiscard]] Status CheckFolder() const;

 private:
  std::string folder_;
};

}  // namespace k2::registry
