// JSON in and out for the table format: a checked parse, fields read with one sticky error, and text written without a
// document in between. Integers never pass through a double: snapshot ids use all 63 bits.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace k2 {

inline constexpr size_t kJsonBytesMax = size_t{64} << 20;
inline constexpr int kJsonDepthMax = 128;

// Parses a document of at most kJsonBytesMax bytes and kJsonDepthMax levels. `what` names it in errors (kInvalidData).
Result<nlohmann::json> ParseJson(std::string_view text, std::string_view what);

// Reads the fields of one JSON object. The first thing that is wrong is kept in status(); reads after it give zeros.
// Strings are moved out of the document.
class JsonFields {
 public:
  JsonFields(nlohmann::json& value, std::string what);

  bool Has(const char* key);  // present and not null
  int64_t Int64(const char* key);
  int32_t Int32(const char* key);
  bool Bool(const char* key);
  std::string String(const char* key);
  std::optional<int64_t> OptionalInt64(const char* key);  // absent and null: nullopt
  std::optional<int32_t> OptionalInt32(const char* key);
  std::optional<std::string> OptionalString(const char* key);
  std::map<std::string, std::string> OptionalStringMap(const char* key);
  std::vector<int32_t> OptionalInt32List(const char* key);
  nlohmann::json* Value(const char* key);           // null, with an error, when it is absent
  nlohmann::json* OptionalValue(const char* key);   // null when it is absent or JSON's null
  nlohmann::json* Array(const char* key);           // as Value, and an array
  nlohmann::json* OptionalArray(const char* key);   // as OptionalValue, and an array
  nlohmann::json* OptionalObject(const char* key);  // as OptionalValue, and an object

  void SetError(Error error);
  [[nodiscard]] bool ok() const { return status_.has_value(); }
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  nlohmann::json* Expect(nlohmann::json* value, bool right, const char* key, const char* type);

  nlohmann::json* object_ = nullptr;
  std::string what_;
  Status status_;
};

// A JSON integer that fits int64; an error names `what`.
Result<int64_t> JsonInt64(const nlohmann::json& value, std::string_view what);
// The value as compact JSON text.
std::string JsonDump(const nlohmann::json& value);

// Writes compact JSON. Commas are the writer's matter, matching ends the caller's. Bytes that are not UTF-8 become
// U+FFFD.
class JsonWriter {
 public:
  JsonWriter& BeginObject() { return Begin('{'); }
  JsonWriter& EndObject() { return End('}'); }
  JsonWriter& BeginArray() { return Begin('['); }
  JsonWriter& EndArray() { return End(']'); }
  JsonWriter& Key(std::string_view key);
  JsonWriter& Int(int64_t value);
  JsonWriter& Bool(bool value);
  JsonWriter& Null() { return Raw("null"); }
  JsonWriter& String(std::string_view value);
  JsonWriter& Raw(std::string_view json);  // a whole value that is JSON already

  JsonWriter& Field(std::string_view key, int64_t value) { return Key(key).Int(value); }
  JsonWriter& Field(std::string_view key, std::string_view value) { return Key(key).String(value); }
  JsonWriter& StringMap(const std::map<std::string, std::string>& values);

  [[nodiscard]] std::string Take() { return std::move(text_); }
  void Reserve(size_t bytes) { text_.reserve(bytes); }

 private:
  JsonWriter& Begin(char bracket);
  JsonWriter& End(char bracket);
  void Separate();
  void Quote(std::string_view value);

  std::string text_;
};

}  // namespace k2
