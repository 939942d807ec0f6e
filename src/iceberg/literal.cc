#include "iceberg/literal.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/time.h"
#include "base/uuid.h"

namespace k2::iceberg {
namespace {

static_assert(std::endian::native == std::endian::little, "fixed-width values are copied as they stand");

template <typename T>
std::string Plain(T value) {
  std::string out(sizeof(T), '\0');
  std::memcpy(out.data(), &value, sizeof(T));
  return out;
}

template <typename T>
T FromPlain(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

template <typename T>
int Order(const T& left, const T& right) {
  if (left < right) return -1;
  return right < left ? 1 : 0;
}

int OrderDoubles(double left, double right) {
  if (std::isnan(left) || std::isnan(right)) return Order(std::isnan(left), std::isnan(right));
  return Order(left, right);
}

std::optional<int64_t> AsInt64(const Literal& literal) {
  if (const auto* value = std::get_if<int32_t>(&literal)) return *value;
  if (const auto* value = std::get_if<int64_t>(&literal)) return *value;
  return std::nullopt;
}

std::optional<double> AsDouble(const Literal& literal) {
  if (const auto* value = std::get_if<float>(&literal)) return *value;
  if (const auto* value = std::get_if<double>(&literal)) return *value;
  return std::nullopt;
}

size_t KindOf(TypeId id) {
  switch (id) {
    case TypeId::kBoolean: return 1;
    case TypeId::kInt:
    case TypeId::kDate: return 2;
    case TypeId::kLong:
    case TypeId::kTime:
    case TypeId::kTimestamp:
    case TypeId::kTimestamptz: return 3;
    case TypeId::kFloat: return 4;
    case TypeId::kDouble: return 5;
    case TypeId::kDecimal: return 6;
    case TypeId::kString:
    case TypeId::kUuid:
    case TypeId::kFixed:
    case TypeId::kBinary: return 7;
    case TypeId::kStruct:
    case TypeId::kList:
    case TypeId::kMap: break;
  }
  return std::variant_npos;
}

}  // namespace

bool IsNan(const Literal& literal) {
  const std::optional<double> value = AsDouble(literal);
  return value && std::isnan(*value);
}

bool Fits(const Literal& literal, const Type& type) {
  if (!type.IsPrimitive()) return false;
  if (IsNull(literal)) return true;
  if (literal.index() != KindOf(type.id)) return false;
  const auto* bytes = std::get_if<std::string>(&literal);
  if (type.id == TypeId::kUuid) return bytes->size() == 16;
  if (type.id == TypeId::kFixed) return bytes->size() == static_cast<size_t>(type.length);
  return true;
}

std::optional<Literal> Coerce(const Literal& literal, const Type& type) {
  if (Fits(literal, type)) return literal;
  const size_t kind = KindOf(type.id);
  if (const auto value = AsInt64(literal)) {
    if (kind == 3) return Literal(*value);
    if (kind == 2 && *value >= std::numeric_limits<int32_t>::min() && *value <= std::numeric_limits<int32_t>::max()) {
      return Literal(static_cast<int32_t>(*value));
    }
  }
  if (const auto value = AsDouble(literal)) {
    if (kind == 5) return Literal(*value);
    if (kind == 4 && static_cast<double>(static_cast<float>(*value)) == *value) {
      return Literal(static_cast<float>(*value));
    }
  }
  return std::nullopt;
}

bool Comparable(const Literal& left, const Literal& right) {
  if (left.index() == right.index()) return true;
  return (AsInt64(left) && AsInt64(right)) || (AsDouble(left) && AsDouble(right));
}

int CompareLiterals(const Literal& left, const Literal& right) {
  if (const auto a = AsInt64(left), b = AsInt64(right); a && b) return Order(*a, *b);
  if (const auto a = AsDouble(left), b = AsDouble(right); a && b) return OrderDoubles(*a, *b);
  if (left.index() != right.index()) return Order(left.index(), right.index());
  if (const auto* a = std::get_if<bool>(&left)) return Order(*a, std::get<bool>(right));
  if (const auto* a = std::get_if<Int128>(&left)) return Order(*a, std::get<Int128>(right));
  if (const auto* a = std::get_if<std::string>(&left)) {
    const int order = a->compare(std::get<std::string>(right));  // char_traits compares chars unsigned
    return order < 0 ? -1 : (order > 0 ? 1 : 0);
  }
  return 0;
}

Result<std::string> ToBytes(const Literal& literal, const Type& type) {
  if (IsNull(literal) || !Fits(literal, type)) {
    return Fail(ErrorKind::kInvalidArgument, "a {} is not a value of type {}", IsNull(literal) ? "null" : "literal",
                type.ToString());
  }
  if (const auto* value = std::get_if<bool>(&literal)) return std::string(1, *value ? '\1' : '\0');
  if (const auto* value = std::get_if<int32_t>(&literal)) return Plain(*value);
  if (const auto* value = std::get_if<int64_t>(&literal)) return Plain(*value);
  if (const auto* value = std::get_if<float>(&literal)) return Plain(*value);
  if (const auto* value = std::get_if<double>(&literal)) return Plain(*value);
  if (const auto* value = std::get_if<Int128>(&literal)) return MinimalBigEndian(*value);
  return std::get<std::string>(literal);
}

Result<Literal> FromBytes(std::string_view bytes, const Type& type) {
  const auto wrong = [&] {
    return Fail(ErrorKind::kInvalidData, "a value of {} bytes is not a {}", bytes.size(), type.ToString());
  };
  switch (KindOf(type.id)) {
    case 1:
      if (bytes.size() != 1) return wrong();
      return Literal(bytes[0] != 0);
    case 2:
      if (bytes.size() != 4) return wrong();
      return Literal(FromPlain<int32_t>(bytes));
    case 3:
      if (bytes.size() == 4 && type.id == TypeId::kLong) return Literal(int64_t{FromPlain<int32_t>(bytes)});
      if (bytes.size() != 8) return wrong();
      return Literal(FromPlain<int64_t>(bytes));
    case 4:
      if (bytes.size() != 4) return wrong();
      return Literal(FromPlain<float>(bytes));
    case 5:
      if (bytes.size() == 4) return Literal(double{FromPlain<float>(bytes)});
      if (bytes.size() != 8) return wrong();
      return Literal(FromPlain<double>(bytes));
    case 6:
      if (const auto value = BigEndianInt128(bytes)) return Literal(*value);
      return wrong();
    case 7:
      if (Literal value{std::string(bytes)}; Fits(value, type)) return value;
      return wrong();
    default: return wrong();
  }
}

std::string MinimalBigEndian(Int128 value) {
  size_t size = 1;
  while (size < 16 && (value >> (8 * size - 1)) != (value < 0 ? -1 : 0)) ++size;
  return *FixedBigEndian(value, size);
}

std::optional<std::string> FixedBigEndian(Int128 value, size_t size) {
  if (size == 0 || (size < 16 && (value >> (8 * size - 1)) != (value < 0 ? -1 : 0))) return std::nullopt;
  std::string out(size, value < 0 ? '\xff' : '\0');
  for (size_t i = 0; i < std::min<size_t>(size, 16); ++i) out[size - 1 - i] = static_cast<char>(value >> (8 * i));
  return out;
}

std::optional<Int128> BigEndianInt128(std::string_view bytes) {
  if (bytes.empty()) return std::nullopt;
  const bool negative = (static_cast<uint8_t>(bytes[0]) & 0x80) != 0;
  while (bytes.size() > 16) {
    if (bytes[0] != (negative ? '\xff' : '\0') || ((static_cast<uint8_t>(bytes[1]) & 0x80) != 0) != negative) {
      return std::nullopt;
    }
    bytes.remove_prefix(1);
  }
  UInt128 bits = negative ? ~static_cast<UInt128>(0) : 0;
  for (const char byte : bytes) bits = (bits << 8) | static_cast<uint8_t>(byte);
  return static_cast<Int128>(bits);
}

size_t DecimalRequiredBytes(int32_t precision) {
  Int128 largest = 1;
  for (int32_t i = 0; i < std::min(precision, 38); ++i) largest *= 10;
  return MinimalBigEndian(largest - 1).size();
}

}  // namespace k2::iceberg
