// Literals as text: for people, for partition paths, in JSON.
#include <charconv>
#include <cstring>
#include <limits>

#include "base/time.h"
#include "base/uuid.h"
#include "iceberg/literal.h"

namespace k2::iceberg {
namespace {

constexpr int32_t kMaxDecimalDigits = 38;

std::string Digits(Int128 value) {
  const bool negative = value < 0;
  auto rest = negative ? -static_cast<UInt128>(value) : static_cast<UInt128>(value);
  std::string out;
  do {
    out.insert(out.begin(), static_cast<char>('0' + static_cast<int>(rest % 10)));
    rest /= 10;
  } while (rest != 0);
  return negative ? "-" + out : out;
}

std::string UuidText(const std::string& bytes) {
  Uuid uuid;
  std::memcpy(uuid.bytes.data(), bytes.data(), std::min(bytes.size(), uuid.bytes.size()));
  return uuid.ToString();
}

std::string Base64(std::string_view bytes) {
  static constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t size = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (k < size ? static_cast<uint8_t>(bytes[i + k]) : 0U);
    for (size_t k = 0; k < 4; ++k) out.push_back(k <= size ? kAlphabet[group >> (18 - 6 * k) & 63] : '=');
  }
  return out;
}

std::string Hex(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) out += fmt::format("{:02x}", static_cast<uint8_t>(byte));
  return out;
}

std::optional<std::string> FromHex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string out(text.size() / 2, '\0');
  for (size_t i = 0; i < out.size(); ++i) {
    uint8_t byte = 0;
    const char* end = text.data() + 2 * i + 2;
    if (std::from_chars(end - 2, end, byte, 16).ptr != end) return std::nullopt;
    out[i] = static_cast<char>(byte);
  }
  return out;
}

// HH:MM:SS.ffffff of microseconds since midnight.
std::string TimeText(int64_t micros) {
  const int64_t seconds = micros / kMicrosPerSecond;
  return fmt::format("{:02}:{:02}:{:02}.{:06}", seconds / 3600, seconds / 60 % 60, seconds % 60,
                     micros % kMicrosPerSecond);
}

// The same without what java.time leaves out: a fraction's trailing groups of three zeros, whole seconds that are zero.
std::string JavaTimeText(int64_t micros) {
  std::string text = TimeText(micros);
  if (micros % kMicrosPerSecond == 0) {
    text.resize(8);
    if (text.ends_with(":00")) text.resize(5);
  } else if (micros % 1000 == 0) {
    text.resize(12);
  }
  return text;
}

int64_t MicrosOfDay(int64_t micros) { return FloorMod(micros, kMicrosPerDay); }

std::optional<Int128> ParseDecimal(std::string_view text, int32_t scale) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const size_t point = text.find('.');
  const std::string_view fraction = point == text.npos ? "" : text.substr(point + 1);
  if (fraction.size() > static_cast<size_t>(scale)) return std::nullopt;
  std::string digits(text.substr(0, point));
  digits.append(fraction).append(static_cast<size_t>(scale) - fraction.size(), '0');
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1));
  if (digits.empty() || digits.size() > kMaxDecimalDigits) return std::nullopt;
  Int128 value = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '9') return std::nullopt;
    value = value * 10 + (digit - '0');
  }
  return negative ? -value : value;
}

Result<Literal> TextFromJson(const std::string& text, const Type& type) {
  const auto wrong = [&] { return Fail(ErrorKind::kInvalidData, "\"{}\" is not a {}", text, type.ToString()); };
  switch (type.id) {
    case TypeId::kString: return Literal(text);
    case TypeId::kDate: {
      K2_ASSIGN(const int32_t days, ParseDate(text));
      return Literal(days);
    }
    case TypeId::kTime: {
      K2_ASSIGN(const int64_t micros, ParseTimestamp("1970-01-01T" + text));
      return Literal(micros);
    }
    case TypeId::kTimestamp:
    case TypeId::kTimestamptz: {
      K2_ASSIGN(const int64_t micros, ParseTimestamp(text));
      return Literal(micros);
    }
    case TypeId::kDecimal: {
      const auto value = ParseDecimal(text, type.scale);
      if (!value) return wrong();
      return Literal(*value);
    }
    case TypeId::kUuid: {
      Uuid uuid;
      if (!Uuid::Parse(text, uuid)) return wrong();
      return Literal(std::string(uuid.bytes.begin(), uuid.bytes.end()));
    }
    case TypeId::kFixed:
    case TypeId::kBinary: {
      const auto bytes = FromHex(text);
      if (!bytes || !Fits(*bytes, type)) return wrong();
      return Literal(*bytes);
    }
    default: return wrong();
  }
}

}  // namespace

std::string DecimalToString(Int128 unscaled, int32_t scale) {
  std::string text = Digits(unscaled);
  if (scale <= 0) return text;
  const size_t sign = unscaled < 0 ? 1 : 0;
  const auto places = static_cast<size_t>(scale);
  if (text.size() - sign <= places) text.insert(sign, places + 1 - (text.size() - sign), '0');
  text.insert(text.size() - places, 1, '.');
  return text;
}

std::string ToHumanText(const Literal& literal, const Type& type) {
  if (IsNull(literal)) return "null";
  if (!Fits(literal, type)) return "?";
  switch (type.id) {
    case TypeId::kBoolean: return std::get<bool>(literal) ? "true" : "false";
    case TypeId::kInt: return fmt::to_string(std::get<int32_t>(literal));
    case TypeId::kLong: return fmt::to_string(std::get<int64_t>(literal));
    case TypeId::kFloat: return fmt::to_string(std::get<float>(literal));
    case TypeId::kDouble: return fmt::to_string(std::get<double>(literal));
    case TypeId::kDecimal: return DecimalToString(std::get<Int128>(literal), type.scale);
    case TypeId::kDate: return FormatDate(std::get<int32_t>(literal));
    case TypeId::kTime: return JavaTimeText(MicrosOfDay(std::get<int64_t>(literal)));
    case TypeId::kTimestamp:
    case TypeId::kTimestamptz: {
      const int64_t micros = std::get<int64_t>(literal);
      return FormatDate(DayOfMicros(micros)) + "T" + JavaTimeText(MicrosOfDay(micros)) +
             (type.id == TypeId::kTimestamptz ? "Z" : "");
    }
    case TypeId::kString: return std::get<std::string>(literal);
    case TypeId::kUuid: return UuidText(std::get<std::string>(literal));
    default: return Base64(std::get<std::string>(literal));
  }
}

Result<nlohmann::json> LiteralToJson(const Literal& literal, const Type& type) {
  if (IsNull(literal)) return nlohmann::json(nullptr);
  if (!Fits(literal, type)) return Fail(ErrorKind::kInvalidArgument, "a literal is not a value of {}", type.ToString());
  switch (type.id) {
    case TypeId::kBoolean: return nlohmann::json(std::get<bool>(literal));
    case TypeId::kInt: return nlohmann::json(std::get<int32_t>(literal));
    case TypeId::kLong: return nlohmann::json(std::get<int64_t>(literal));
    case TypeId::kFloat: return nlohmann::json(std::get<float>(literal));
    case TypeId::kDouble: return nlohmann::json(std::get<double>(literal));
    case TypeId::kTime: return nlohmann::json(TimeText(MicrosOfDay(std::get<int64_t>(literal))));
    case TypeId::kTimestamp:
    case TypeId::kTimestamptz: {
      const int64_t micros = std::get<int64_t>(literal);
      return nlohmann::json(FormatDate(DayOfMicros(micros)) + "T" + TimeText(MicrosOfDay(micros)) +
                            (type.id == TypeId::kTimestamptz ? "+00:00" : ""));
    }
    case TypeId::kFixed:
    case TypeId::kBinary: return nlohmann::json(Hex(std::get<std::string>(literal)));
    default: return nlohmann::json(ToHumanText(literal, type));
  }
}

Result<Literal> LiteralFromJson(const nlohmann::json& json, const Type& type) {
  if (json.is_null()) return Literal();
  if (json.is_string()) return TextFromJson(json.get<std::string>(), type);
  std::optional<Literal> literal;
  if (json.is_boolean()) literal = Coerce(json.get<bool>(), type);
  if (json.is_number_integer() && (type.id == TypeId::kInt || type.id == TypeId::kLong)) {
    literal = Coerce(json.get<int64_t>(), type);
  }
  if (json.is_number() && type.id == TypeId::kFloat) literal = json.get<float>();
  if (json.is_number() && type.id == TypeId::kDouble) literal = json.get<double>();
  if (!literal) {
    return Fail(ErrorKind::kInvalidData, "the JSON value {} is not a {}",
                json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), type.ToString());
  }
  return *literal;
}

}  // namespace k2::iceberg
