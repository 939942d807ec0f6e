// Structured logging: one event, its fields, as text for people or JSON lines for machines; always to standard error.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace k2::log {

enum class Level { kDebug, kInfo, kWarn, kError, kOff };
enum class Format { kText, kJson };

void Configure(Level level, Format format);
bool IsJson();

struct Field {
  std::string_view name;
  std::string value;
  bool quoted = true;

  Field(std::string_view field, std::string_view text) : name(field), value(text) {}
  Field(std::string_view field, const char* text) : name(field), value(text) {}
  Field(std::string_view field, const std::string& text) : name(field), value(text) {}
  Field(std::string_view field, bool flag) : name(field), value(flag ? "true" : "false"), quoted(false) {}
  template <typename T>
    requires std::is_arithmetic_v<T>
  Field(std::string_view field, T number) : name(field), value(std::to_string(number)), quoted(false) {}
};

void Write(Level level, std::string_view event, std::initializer_list<Field> fields = {});
inline void Debug(std::string_view event, std::initializer_list<Field> fields = {}) {
  Write(Level::kDebug, event, fields);
}
inline void Info(std::string_view event, std::initializer_list<Field> fields = {}) {
  Write(Level::kInfo, event, fields);
}
inline void Warn(std::string_view event, std::initializer_list<Field> fields = {}) {
  Write(Level::kWarn, event, fields);
}
inline void Error(std::string_view event, std::initializer_list<Field> fields = {}) {
  Write(Level::kError, event, fields);
}

}  // namespace k2::log
