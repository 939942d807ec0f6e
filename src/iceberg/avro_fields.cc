#include "iceberg/avro_fields.h"

#include <limits>

#include "iceberg/literal.h"

namespace k2::iceberg {
namespace {

bool SkipArray(const avro::Node& item, avro::BinaryReader& reader, int depth) {
  for (;;) {
    int64_t count = 0;
    int64_t byte_size = 0;
    if (!reader.ReadBlock(count, byte_size)) return false;
    if (count == 0) return true;
    if (byte_size >= 0) {
      if (!reader.Skip(byte_size)) return false;
      continue;
    }
    if (static_cast<uint64_t>(count) > reader.remaining()) return false;
    for (int64_t i = 0; i < count; ++i) {
      if (!SkipValue(item, reader, depth + 1)) return false;
    }
  }
}

bool SkipMap(const avro::Node& values, avro::BinaryReader& reader, int depth) {
  for (;;) {
    int64_t count = 0;
    int64_t byte_size = 0;
    if (!reader.ReadBlock(count, byte_size)) return false;
    if (count == 0) return true;
    if (static_cast<uint64_t>(count) > reader.remaining()) return false;
    for (int64_t i = 0; i < count; ++i) {
      if (!reader.SkipBytes() || !SkipValue(values, reader, depth + 1)) return false;
    }
  }
}

}  // namespace

std::vector<int32_t> FieldIdsOf(const avro::Node& record, std::span<const NamedId> names) {
  std::vector<int32_t> ids;
  for (const avro::Field& field : record.fields) {
    const std::optional<int64_t> id = field.IntAttribute("field-id");
    int32_t found = id && *id >= 0 && *id <= std::numeric_limits<int32_t>::max() ? static_cast<int32_t>(*id) : -1;
    for (const auto& [name, known] : names) {
      if (!id && field.name == name) found = known;
    }
    ids.push_back(found);
  }
  return ids;
}

const avro::Node* ResolveUnion(const avro::Node& type, avro::BinaryReader& reader) {
  if (type.type != avro::Type::kUnion) return &type;
  int64_t branch = 0;
  if (!reader.ReadLong(branch) || branch < 0 || static_cast<uint64_t>(branch) >= type.branches.size()) return nullptr;
  return type.branches[static_cast<size_t>(branch)];
}

bool SkipValue(const avro::Node& type, avro::BinaryReader& reader, int depth) {
  if (depth > avro::kMaxSchemaDepth) return false;
  switch (type.type) {
    case avro::Type::kNull: return true;
    case avro::Type::kBoolean: return reader.Skip(1);
    case avro::Type::kInt:
    case avro::Type::kLong:
    case avro::Type::kEnum: {
      int64_t ignored = 0;
      return reader.ReadLong(ignored);
    }
    case avro::Type::kFloat: return reader.Skip(4);
    case avro::Type::kDouble: return reader.Skip(8);
    case avro::Type::kBytes:
    case avro::Type::kString: return reader.SkipBytes();
    case avro::Type::kFixed: return reader.Skip(type.size);
    case avro::Type::kArray: return SkipArray(*type.items, reader, depth);
    case avro::Type::kMap: return SkipMap(*type.items, reader, depth);
    case avro::Type::kUnion: {
      const avro::Node* branch = ResolveUnion(type, reader);
      return branch != nullptr && SkipValue(*branch, reader, depth + 1);
    }
    case avro::Type::kRecord:
      for (const avro::Field& field : type.fields) {
        if (!SkipValue(*field.type, reader, depth + 1)) return false;
      }
      return true;
  }
  return false;
}

bool ReadInteger(const avro::Node& type, avro::BinaryReader& reader, int64_t& value) {
  if (type.type == avro::Type::kLong) return reader.ReadLong(value);
  int32_t number = 0;
  if (type.type != avro::Type::kInt || !reader.ReadInt(number)) return false;
  value = number;
  return true;
}

bool ReadInteger(const avro::Node& type, avro::BinaryReader& reader, int32_t& value) {
  int64_t number = 0;
  if (!ReadInteger(type, reader, number)) return false;
  value = static_cast<int32_t>(number);
  return number == value;
}

bool ReadText(const avro::Node& type, avro::BinaryReader& reader, std::string& value) {
  std::string_view bytes;
  switch (type.type) {
    case avro::Type::kString:
    case avro::Type::kBytes:
      if (!reader.ReadBytes(bytes)) return false;
      break;
    case avro::Type::kFixed:
      if (!reader.ReadFixed(type.size, bytes)) return false;
      break;
    default: return false;
  }
  value.assign(bytes);
  return true;
}

bool ReadFlag(const avro::Node& type, avro::BinaryReader& reader, bool& value) {
  return type.type == avro::Type::kBoolean && reader.ReadBoolean(value);
}

bool ReadLiteral(const avro::Node& type, avro::BinaryReader& reader, Literal& value) {
  switch (type.type) {
    case avro::Type::kBoolean: return reader.ReadBoolean(value.emplace<bool>());
    case avro::Type::kInt: return reader.ReadInt(value.emplace<int32_t>());
    case avro::Type::kLong: return reader.ReadLong(value.emplace<int64_t>());
    case avro::Type::kFloat: return reader.ReadFloat(value.emplace<float>());
    case avro::Type::kDouble: return reader.ReadDouble(value.emplace<double>());
    case avro::Type::kString:
    case avro::Type::kBytes:
    case avro::Type::kFixed: {
      std::string bytes;
      if (!ReadText(type, reader, bytes)) return false;
      if (type.logical != avro::LogicalType::kDecimal) {
        value = std::move(bytes);
        return true;
      }
      const std::optional<Int128> unscaled = BigEndianInt128(bytes);
      if (unscaled) value = *unscaled;
      return unscaled.has_value();
    }
    default: return false;
  }
}

}  // namespace k2::iceberg
