#include "base/json_text.h"

#include <array>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

namespace k2 {

using Json = nlohmann::json;

namespace {

// Deepest nesting outside strings. Looked at before parsing: code that walks the document is recursive.
bool DepthWithin(std::string_view text, int depth_max) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > depth_max) return false;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return true;
}

}  // namespace

Result<Json> ParseJson(std::string_view text, std::string_view what) {
  if (text.size() > kJsonBytesMax) {
    return Fail(ErrorKind::kInvalidData, "{} has {} bytes of JSON, more than the limit of {}", what, text.size(),
                kJsonBytesMax);
  }
  if (!DepthWithin(text, kJsonDepthMax)) {
    return Fail(ErrorKind::kInvalidData, "{} is JSON nested deeper than {} levels", what, kJsonDepthMax);
  }
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const Json::exception& error) {
    return Fail(ErrorKind::kInvalidData, "{} is not JSON: {}", what, error.what());
  }
}

Result<int64_t> JsonInt64(const Json& value, std::string_view what) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Fail(ErrorKind::kInvalidData, "{} is {}, too large for a long", what, number);
    }
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  return Fail(ErrorKind::kInvalidData, "{} is not an integer", what);
}

std::string JsonDump(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

JsonFields::JsonFields(Json& value, std::string what) : what_(std::move(what)) {
  if (value.is_object()) {
    object_ = &value;
  } else {
    SetError({ErrorKind::kInvalidData, what_ + " is not a JSON object"});
  }
}

void JsonFields::SetError(Error error) {
  if (!status_) return;
  status_ = std::unexpected(std::move(error));
  object_ = nullptr;
}

Json* JsonFields::OptionalValue(const char* key) {
  if (object_ == nullptr) return nullptr;
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

Json* JsonFields::Value(const char* key) {
  Json* value = OptionalValue(key);
  if (value == nullptr) SetError({ErrorKind::kInvalidData, fmt::format("{} has no \"{}\"", what_, key)});
  return value;
}

Json* JsonFields::Expect(Json* value, bool right, const char* key, const char* type) {
  if (value == nullptr || right) return value;
  SetError({ErrorKind::kInvalidData, fmt::format("{}: \"{}\" is not {}", what_, key, type)});
  return nullptr;
}

bool JsonFields::Has(const char* key) { return OptionalValue(key) != nullptr; }

Json* JsonFields::Array(const char* key) {
  Json* value = Value(key);
  return Expect(value, value != nullptr && value->is_array(), key, "an array");
}

Json* JsonFields::OptionalArray(const char* key) {
  Json* value = OptionalValue(key);
  return Expect(value, value != nullptr && value->is_array(), key, "an array");
}

Json* JsonFields::OptionalObject(const char* key) {
  Json* value = OptionalValue(key);
  return Expect(value, value != nullptr && value->is_object(), key, "an object");
}

std::optional<int64_t> JsonFields::OptionalInt64(const char* key) {
  const Json* value = OptionalValue(key);
  if (value == nullptr) return std::nullopt;
  auto number = JsonInt64(*value, key);
  if (!number) {
    SetError(number.error().With(what_));
    return std::nullopt;
  }
  return *number;
}

std::optional<int32_t> JsonFields::OptionalInt32(const char* key) {
  const std::optional<int64_t> number = OptionalInt64(key);
  if (!number) return std::nullopt;
  if (*number < std::numeric_limits<int32_t>::min() || *number > std::numeric_limits<int32_t>::max()) {
    SetError({ErrorKind::kInvalidData, fmt::format("{}: \"{}\" is {}, too large for an int", what_, key, *number)});
    return std::nullopt;
  }
  return static_cast<int32_t>(*number);
}

int64_t JsonFields::Int64(const char* key) { return Value(key) == nullptr ? 0 : OptionalInt64(key).value_or(0); }
int32_t JsonFields::Int32(const char* key) { return Value(key) == nullptr ? 0 : OptionalInt32(key).value_or(0); }

bool JsonFields::Bool(const char* key) {
  Json* value = Value(key);
  value = Expect(value, value != nullptr && value->is_boolean(), key, "true or false");
  return value != nullptr && value->get<bool>();
}

std::optional<std::string> JsonFields::OptionalString(const char* key) {
  Json* value = OptionalValue(key);
  value = Expect(value, value != nullptr && value->is_string(), key, "a string");
  if (value == nullptr) return std::nullopt;
  return std::move(value->get_ref<std::string&>());
}

std::string JsonFields::String(const char* key) {
  return Value(key) == nullptr ? std::string() : OptionalString(key).value_or(std::string());
}

std::map<std::string, std::string> JsonFields::OptionalStringMap(const char* key) {
  std::map<std::string, std::string> values;
  Json* object = OptionalObject(key);
  if (object == nullptr) return values;
  for (auto& [name, value] : object->items()) {
    if (value.is_string()) {
      values.emplace_hint(values.end(), name, std::move(value.get_ref<std::string&>()));
    } else if (value.is_number() || value.is_boolean()) {
      values.emplace_hint(values.end(), name, JsonDump(value));  // some writers leave numbers unquoted
    } else {
      SetError({ErrorKind::kInvalidData, fmt::format("{}: \"{}\" of \"{}\" is not a string", what_, name, key)});
      break;
    }
  }
  return values;
}

std::vector<int32_t> JsonFields::OptionalInt32List(const char* key) {
  std::vector<int32_t> numbers;
  const Json* array = OptionalArray(key);
  if (array == nullptr) return numbers;
  for (const Json& element : *array) {
    const auto number = JsonInt64(element, key);
    if (!number || *number < std::numeric_limits<int32_t>::min() || *number > std::numeric_limits<int32_t>::max()) {
      SetError({ErrorKind::kInvalidData, fmt::format("{}: \"{}\" is not a list of ints", what_, key)});
      break;
    }
    numbers.push_back(static_cast<int32_t>(*number));
  }
  return numbers;
}

void JsonWriter::Separate() {
  if (!text_.empty() && text_.back() != '{' && text_.back() != '[' && text_.back() != ':') text_ += ',';
}

JsonWriter& JsonWriter::Begin(char bracket) {
  Separate();
  text_ += bracket;
  return *this;
}

JsonWriter& JsonWriter::End(char bracket) {
  text_ += bracket;
  return *this;
}

JsonWriter& JsonWriter::Key(std::string_view key) {
  Separate();
  Quote(key);
  text_ += ':';
  return *this;
}

JsonWriter& JsonWriter::Int(int64_t value) {
  Separate();
  std::array<char, 24> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  text_.append(digits.data(), end.ptr);
  return *this;
}

JsonWriter& JsonWriter::Bool(bool value) { return Raw(value ? "true" : "false"); }

JsonWriter& JsonWriter::String(std::string_view value) {
  Separate();
  Quote(value);
  return *this;
}

JsonWriter& JsonWriter::Raw(std::string_view json) {
  Separate();
  text_ += json;
  return *this;
}

JsonWriter& JsonWriter::StringMap(const std::map<std::string, std::string>& values) {
  BeginObject();
  for (const auto& [key, value] : values) Field(key, value);
  return EndObject();
}

void JsonWriter::Quote(std::string_view value) {
  bool plain = true;
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    plain &= byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\';
  }
  if (plain) {
    text_ += '"';
    text_ += value;
    text_ += '"';
  } else {
    text_ += JsonDump(Json(value));
  }
}

}  // namespace k2
