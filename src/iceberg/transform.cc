#include "iceberg/transform.h"

#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

#include "base/time.h"
#include "iceberg/literal.h"

namespace k2::iceberg {
namespace {

std::unexpected<Error> NotFor(std::string_view transform, const Type& type) {
  return Fail(ErrorKind::kInvalidArgument, "the partition transform {} does not take values of type {}", transform,
              type.ToString());
}

bool IsTimestamp(const Type& type) { return type.id == TypeId::kTimestamp || type.id == TypeId::kTimestamptz; }

int32_t MonthOf(int64_t days) {
  const CivilDate date = CivilFromDays(days);
  return static_cast<int32_t>((date.year - 1970) * 12 + static_cast<int64_t>(date.month) - 1);
}

Result<Literal> ApplyTemporal(const Transform& transform, const Type& source, const Literal& value) {
  if (source.id != TypeId::kDate && !IsTimestamp(source)) return NotFor("of time", source);
  const int64_t days =
      source.id == TypeId::kDate ? std::get<int32_t>(value) : FloorDiv(std::get<int64_t>(value), kMicrosPerDay);
  switch (transform.kind) {
    case Transform::Kind::kYear: return Literal(static_cast<int32_t>(CivilFromDays(days).year - 1970));
    case Transform::Kind::kMonth: return Literal(MonthOf(days));
    case Transform::Kind::kDay: return Literal(static_cast<int32_t>(days));
    default: {
      if (source.id == TypeId::kDate) return NotFor("hour", source);
      const int64_t hours = FloorDiv(std::get<int64_t>(value), kMicrosPerHour);
      if (hours != static_cast<int32_t>(hours)) {
        return Fail(ErrorKind::kInvalidArgument, "the hour of {} us since 1970 is not an int",
                    std::get<int64_t>(value));
      }
      return Literal(static_cast<int32_t>(hours));
    }
  }
}

// v - (((v % W) + W) % W), as the specification writes it; wraps around at the smallest value, as Java does.
template <typename T, typename Unsigned>
T TruncateNumber(T value, int32_t width) {
  T rest = value % width;
  if (rest < 0) rest += width;
  return static_cast<T>(static_cast<Unsigned>(value) - static_cast<Unsigned>(rest));
}

Result<Literal> Truncate(int32_t width, const Type& source, const Literal& value) {
  switch (source.id) {
    case TypeId::kInt: return Literal(TruncateNumber<int32_t, uint32_t>(std::get<int32_t>(value), width));
    case TypeId::kLong: return Literal(TruncateNumber<int64_t, uint64_t>(std::get<int64_t>(value), width));
    case TypeId::kDecimal: return Literal(TruncateNumber<Int128, UInt128>(std::get<Int128>(value), width));
    case TypeId::kBinary: return Literal(std::get<std::string>(value).substr(0, static_cast<size_t>(width)));
    case TypeId::kString: {
      const auto& text = std::get<std::string>(value);
      size_t end = 0;
      for (int32_t points = 0; end < text.size(); ++end) {
        const bool starts_point = (static_cast<uint8_t>(text[end]) & 0xc0) != 0x80;
        if (starts_point && points++ == width) break;
      }
      return Literal(text.substr(0, end));
    }
    default: return NotFor("truncate", source);
  }
}

int32_t HashLong(int64_t value) {
  char bytes[sizeof(value)];
  std::memcpy(bytes, &value, sizeof(value));
  return static_cast<int32_t>(Murmur3({bytes, sizeof(bytes)}));
}

std::string UrlEncode(std::string_view text) {
  std::string out;
  for (const char byte : text) {
    const bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
                       byte == '.' || byte == '-' || byte == '*' || byte == '_';
    if (plain) {
      out.push_back(byte);
    } else if (byte == ' ') {
      out.push_back('+');
    } else {
      out += fmt::format("%{:02X}", static_cast<uint8_t>(byte));
    }
  }
  return out;
}

}  // namespace

Result<Transform> Transform::Parse(std::string_view text) {
  if (text == "identity") return Transform{Kind::kIdentity};
  if (text == "year") return Transform{Kind::kYear};
  if (text == "month") return Transform{Kind::kMonth};
  if (text == "day") return Transform{Kind::kDay};
  if (text == "hour") return Transform{Kind::kHour};
  if (text == "void") return Transform{Kind::kVoid};
  const size_t open = text.find('[');
  if (open != text.npos && text.ends_with(']')) {
    const std::string_view name = text.substr(0, open);
    const std::string_view digits = text.substr(open + 1, text.size() - open - 2);
    int32_t argument = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), argument);
    if (parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size() && argument > 0) {
      if (name == "bucket") return Transform{Kind::kBucket, argument};
      if (name == "truncate") return Transform{Kind::kTruncate, argument};
    }
  }
  return Fail(ErrorKind::kUnsupported, "the partition transform \"{}\" is not one of Iceberg format version 2", text);
}

Result<Literal> ApplyTransform(const Transform& transform, const Type& source, const Literal& value) {
  if (!Fits(value, source)) {
    return Fail(ErrorKind::kInvalidArgument, "a partition source value is not a {}", source.ToString());
  }
  if (IsNull(value) || transform.kind == Transform::Kind::kVoid) return Literal();
  switch (transform.kind) {
    case Transform::Kind::kIdentity: return value;
    case Transform::Kind::kBucket: {
      K2_ASSIGN(const int32_t hash, BucketHash(source, value));
      return Literal((hash & INT32_MAX) % transform.argument);
    }
    case Transform::Kind::kTruncate: return Truncate(transform.argument, source, value);
    default: return ApplyTemporal(transform, source, value);
  }
}

uint32_t Murmur3(std::string_view bytes) {
  constexpr uint32_t kC1 = 0xcc9e2d51;
  constexpr uint32_t kC2 = 0x1b873593;
  const auto scramble = [](uint32_t word) { return std::rotl(word * kC1, 15) * kC2; };
  uint32_t hash = 0;
  size_t at = 0;
  for (; at + 4 <= bytes.size(); at += 4) {
    uint32_t word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof(word));
    hash = std::rotl(hash ^ scramble(word), 13) * 5 + 0xe6546b64;
  }
  uint32_t tail = 0;
  for (size_t i = bytes.size(); i > at; --i) tail = tail << 8 | static_cast<uint8_t>(bytes[i - 1]);
  if (at < bytes.size()) hash ^= scramble(tail);
  hash ^= static_cast<uint32_t>(bytes.size());
  hash = (hash ^ hash >> 16) * 0x85ebca6b;
  hash = (hash ^ hash >> 13) * 0xc2b2ae35;
  return hash ^ hash >> 16;
}

Result<int32_t> BucketHash(const Type& source, const Literal& value) {
  if (IsNull(value) || !Fits(value, source)) return NotFor("bucket", source);
  if (const auto* number = std::get_if<int32_t>(&value)) return HashLong(*number);
  if (const auto* number = std::get_if<int64_t>(&value)) return HashLong(*number);
  if (const auto* number = std::get_if<Int128>(&value)) return static_cast<int32_t>(Murmur3(MinimalBigEndian(*number)));
  if (const auto* bytes = std::get_if<std::string>(&value)) return static_cast<int32_t>(Murmur3(*bytes));
  return NotFor("bucket", source);
}

std::string PartitionValueText(const Transform& transform, const Type& source, const Literal& value) {
  if (IsNull(value)) return "null";
  if (!transform.IsTemporal()) {
    return ToHumanText(value, transform.kind == Transform::Kind::kBucket ? Type::Primitive(TypeId::kInt) : source);
  }
  const auto* number = std::get_if<int32_t>(&value);
  if (number == nullptr) return "?";
  switch (transform.kind) {
    case Transform::Kind::kYear: return fmt::format("{:04}", 1970 + int64_t{*number});
    case Transform::Kind::kMonth: {
      const int64_t years = FloorDiv(*number, 12);
      return fmt::format("{:04}-{:02}", 1970 + years, *number - years * 12 + 1);
    }
    case Transform::Kind::kDay: return FormatDate(*number);
    default: {
      const int64_t days = FloorDiv(*number, 24);
      return fmt::format("{}-{:02}", FormatDate(static_cast<int32_t>(days)), *number - days * 24);
    }
  }
}

std::map<int32_t, Literal> IdentityValues(const PartitionSpec& spec, const std::vector<Literal>& partition) {
  std::map<int32_t, Literal> values;
  for (size_t i = 0; i < spec.fields.size() && i < partition.size(); ++i) {
    if (spec.fields[i].transform == "identity") values.emplace(spec.fields[i].source_id, partition[i]);
  }
  return values;
}

std::map<int32_t, Literal> IdentityValues(const TableMetadata& metadata, const DataFile& file) {
  const PartitionSpec* spec = metadata.FindSpec(file.spec_id);
  return spec == nullptr ? std::map<int32_t, Literal>{} : IdentityValues(*spec, file.partition);
}

Result<std::string> PartitionPath(const PartitionSpec& spec, const Schema& schema,
                                  const std::vector<Literal>& partition) {
  if (partition.size() != spec.fields.size()) {
    return Fail(ErrorKind::kInvalidArgument, "{} partition values for the {} fields of partition spec {}",
                partition.size(), spec.fields.size(), spec.spec_id);
  }
  std::string path;
  for (size_t i = 0; i < partition.size(); ++i) {
    const PartitionField& field = spec.fields[i];
    K2_ASSIGN(const Transform transform, Transform::Parse(field.transform));
    const NestedField* source = schema.FindById(field.source_id);
    if (source == nullptr && transform.kind != Transform::Kind::kVoid) {
      return Fail(ErrorKind::kInvalidArgument, "partition field {} has no source column {}", field.name,
                  field.source_id);
    }
    const std::string value = source == nullptr ? "null" : PartitionValueText(transform, source->type, partition[i]);
    path += fmt::format("{}{}={}", i == 0 ? "" : "/", UrlEncode(field.name), UrlEncode(value));
  }
  return path;
}

}  // namespace k2::iceberg
