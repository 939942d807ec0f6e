#include "avro/generic.h"

#include <algorithm>
#include <cmath>

namespace k2::avro {
namespace {

using Json = nlohmann::json;

constexpr int kMaxValueDepth = 128;

bool IsInt32(int64_t value) {
  return value >= std::numeric_limits<int32_t>::min() && value <= std::numeric_limits<int32_t>::max();
}

// Whether the value is of the branch's kind: enough to choose a branch, the encoder checks the rest.
bool Fits(const Node& schema, const Value& value) {
  switch (schema.type) {
    case Type::kNull: return value.IsNull();
    case Type::kBoolean: return value.Boolean() != nullptr;
    case Type::kInt: return value.Long() != nullptr && IsInt32(*value.Long());
    case Type::kLong: return value.Long() != nullptr;
    case Type::kFloat:
    case Type::kDouble: return value.Double() != nullptr;
    case Type::kBytes:
    case Type::kString: return value.Bytes() != nullptr;
    case Type::kFixed: return value.Bytes() != nullptr && std::cmp_equal(value.Bytes()->size(), schema.size);
    case Type::kEnum:
      return value.Bytes() != nullptr && std::ranges::find(schema.symbols, *value.Bytes()) != schema.symbols.end();
    case Type::kRecord: return value.Items() != nullptr && value.Items()->size() == schema.fields.size();
    case Type::kArray: return value.Items() != nullptr;
    case Type::kMap: return value.Entries() != nullptr;
    case Type::kUnion: return false;
  }
  return false;
}

std::unexpected<Error> Misfit(const Node& schema) {
  return Fail(ErrorKind::kInvalidArgument, "Avro: a value does not fit its type {}{}{}", ToString(schema.type),
              schema.name.empty() ? "" : " ", schema.name);
}

Status EncodeUnion(const Node& schema, const Value& value, std::string& out) {
  for (size_t i = 0; i < schema.branches.size(); ++i) {
    if (!Fits(*schema.branches[i], value)) continue;
    AppendLong(out, static_cast<int64_t>(i));
    return Encode(*schema.branches[i], value, out);
  }
  return Misfit(schema);
}

class Decoder {
 public:
  explicit Decoder(BinaryReader& reader) : reader_(reader), values_left_((int64_t{1} << 16) + 4 * Remaining()) {}

  bool Read(const Node& schema, Value& out, int depth) {
    if (depth > kMaxValueDepth || --values_left_ < 0) return false;
    switch (schema.type) {
      case Type::kNull: out = Value(); return true;
      case Type::kBoolean: return ReadPlain<bool>(out, [&](bool& v) { return reader_.ReadBoolean(v); });
      case Type::kInt: return ReadPlain<int64_t>(out, [&](int64_t& v) { return reader_.ReadLong(v) && IsInt32(v); });
      case Type::kLong: return ReadPlain<int64_t>(out, [&](int64_t& v) { return reader_.ReadLong(v); });
      case Type::kFloat: return ReadPlain<float>(out, [&](float& v) { return reader_.ReadFloat(v); });
      case Type::kDouble: return ReadPlain<double>(out, [&](double& v) { return reader_.ReadDouble(v); });
      case Type::kBytes:
      case Type::kString:
        return ReadPlain<std::string_view>(out, [&](std::string_view& v) { return reader_.ReadBytes(v); });
      case Type::kFixed:
        return ReadPlain<std::string_view>(out, [&](std::string_view& v) { return reader_.ReadFixed(schema.size, v); });
      case Type::kEnum: return ReadEnum(schema, out);
      case Type::kRecord: return ReadRecord(schema, out, depth);
      case Type::kArray: return ReadArray(schema, out, depth);
      case Type::kMap: return ReadMap(schema, out, depth);
      case Type::kUnion: return ReadUnion(schema, out, depth);
    }
    return false;
  }

 private:
  [[nodiscard]] int64_t Remaining() const { return static_cast<int64_t>(reader_.remaining()); }

  template <typename T, typename Reader>
  static bool ReadPlain(Value& out, Reader read) {
    T value{};
    if (!read(value)) return false;
    if constexpr (std::is_same_v<T, float>) {
      out = Value(static_cast<double>(value));
    } else {
      out = Value(value);
    }
    return true;
  }

  bool ReadEnum(const Node& schema, Value& out) {
    int64_t index = 0;
    if (!reader_.ReadLong(index) || index < 0 || std::cmp_greater_equal(index, schema.symbols.size())) return false;
    out = Value(schema.symbols[static_cast<size_t>(index)]);
    return true;
  }

  bool ReadRecord(const Node& schema, Value& out, int depth) {
    Value::List fields(schema.fields.size());
    for (size_t i = 0; i < fields.size(); ++i) {
      if (!Read(*schema.fields[i].type, fields[i], depth + 1)) return false;
    }
    out = Value(std::move(fields));
    return true;
  }

  bool ReadArray(const Node& schema, Value& out, int depth) {
    Value::List items;
    int64_t count = 0;
    int64_t byte_size = 0;
    while (reader_.ReadBlock(count, byte_size)) {
      if (count == 0) {
        out = Value(std::move(items));
        return true;
      }
      if (count > values_left_) return false;
      items.reserve(items.size() + static_cast<size_t>(std::min(count, Remaining())));
      for (int64_t i = 0; i < count; ++i) {
        if (!Read(*schema.items, items.emplace_back(), depth + 1)) return false;
      }
    }
    return false;
  }

  bool ReadMap(const Node& schema, Value& out, int depth) {
    Value::Map entries;
    int64_t count = 0;
    int64_t byte_size = 0;
    while (reader_.ReadBlock(count, byte_size)) {
      if (count == 0) {
        out = Value(std::move(entries));
        return true;
      }
      if (count > values_left_) return false;
      for (int64_t i = 0; i < count; ++i) {
        std::string_view key;
        if (!reader_.ReadBytes(key)) return false;
        auto& entry = entries.emplace_back(std::string(key), Value());
        if (!Read(*schema.items, entry.second, depth + 1)) return false;
      }
    }
    return false;
  }

  bool ReadUnion(const Node& schema, Value& out, int depth) {
    int64_t index = 0;
    if (!reader_.ReadLong(index) || index < 0 || std::cmp_greater_equal(index, schema.branches.size())) return false;
    return Read(*schema.branches[static_cast<size_t>(index)], out, depth + 1);
  }

  BinaryReader& reader_;
  int64_t values_left_;  // values that take no bytes (nulls, empty records) must not multiply without end
};

// Bytes in JSON: one character a byte, code points 0 to 255.
std::optional<std::string> BytesFromJson(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto lead = static_cast<uint8_t>(text[i]);
    if (lead < 0x80) {
      bytes.push_back(text[i]);
    } else if ((lead == 0xc2 || lead == 0xc3) && i + 1 < text.size()) {
      bytes.push_back(static_cast<char>(((lead & 3) << 6) | (static_cast<uint8_t>(text[++i]) & 0x3f)));
    } else {
      return std::nullopt;
    }
  }
  return bytes;
}

std::unexpected<Error> BadDefault(const Node& schema) {
  return Fail(ErrorKind::kInvalidData, "Avro schema: a default is not a value of its type {}{}{}",
              ToString(schema.type), schema.name.empty() ? "" : " ", schema.name);
}

class DefaultReader {
 public:
  Result<Value> Read(const Node& schema, const Json& value, int depth) {
    if (depth > kMaxValueDepth || --values_left_ < 0) return BadDefault(schema);
    switch (schema.type) {
      case Type::kRecord: return ReadRecord(schema, value, depth);
      case Type::kArray: return ReadArray(schema, value, depth);
      case Type::kMap: return ReadMap(schema, value, depth);
      case Type::kUnion:
        for (const Node* branch : schema.branches) {
          if (Result<Value> item = Read(*branch, value, depth + 1)) return item;
        }
        return BadDefault(schema);
      default: return ReadPlain(schema, value);
    }
  }

 private:
  static Result<Value> ReadPlain(const Node& schema, const Json& value) {
    switch (schema.type) {
      case Type::kNull:
        if (value.is_null()) return Value();
        break;
      case Type::kBoolean:
        if (value.is_boolean()) return Value(value.get<bool>());
        break;
      case Type::kInt:
      case Type::kLong: {
        if (!value.is_number_integer()) break;
        if (value.is_number_unsigned() && value.get<uint64_t>() > std::numeric_limits<int64_t>::max()) break;
        const auto number = value.get<int64_t>();
        if (schema.type == Type::kInt && !IsInt32(number)) break;
        return Value(number);
      }
      case Type::kFloat:
      case Type::kDouble:
        if (value.is_number()) return Value(value.get<double>());
        break;
      case Type::kString:
        if (value.is_string()) return Value(value.get<std::string>());
        break;
      case Type::kEnum:
        if (value.is_string() && Fits(schema, Value(value.get<std::string>()))) return Value(value.get<std::string>());
        break;
      case Type::kBytes:
      case Type::kFixed: {
        if (!value.is_string()) break;
        auto bytes = BytesFromJson(value.get_ref<const std::string&>());
        if (!bytes || (schema.type == Type::kFixed && std::cmp_not_equal(bytes->size(), schema.size))) break;
        return Value(std::move(*bytes));
      }
      default: break;
    }
    return BadDefault(schema);
  }

  Result<Value> ReadRecord(const Node& schema, const Json& value, int depth) {
    if (!value.is_object()) return BadDefault(schema);
    Value::List fields;
    for (const Field& field : schema.fields) {
      const auto it = value.find(field.name);
      if (it == value.end() && !field.has_default) return BadDefault(schema);
      K2_ASSIGN(Value item, Read(*field.type, it == value.end() ? field.default_value : *it, depth + 1));
      fields.push_back(std::move(item));
    }
    return Value(std::move(fields));
  }

  Result<Value> ReadArray(const Node& schema, const Json& value, int depth) {
    if (!value.is_array()) return BadDefault(schema);
    Value::List items;
    for (const Json& entry : value) {
      K2_ASSIGN(Value item, Read(*schema.items, entry, depth + 1));
      items.push_back(std::move(item));
    }
    return Value(std::move(items));
  }

  Result<Value> ReadMap(const Node& schema, const Json& value, int depth) {
    if (!value.is_object()) return BadDefault(schema);
    Value::Map entries;
    for (const auto& [key, entry] : value.items()) {
      K2_ASSIGN(Value item, Read(*schema.items, entry, depth + 1));
      entries.emplace_back(key, std::move(item));
    }
    return Value(std::move(entries));
  }

  int values_left_ = 1 << 16;  // defaults of defaults can double at every level
};

Status EncodeItems(const Node& schema, const Value& value, std::string& out) {
  const Value::List& items = *value.Items();
  if (!items.empty()) AppendLong(out, static_cast<int64_t>(items.size()));
  for (const Value& item : items) K2_TRY(Encode(*schema.items, item, out));
  AppendLong(out, 0);
  return {};
}

Status EncodeEntries(const Node& schema, const Value& value, std::string& out) {
  const Value::Map& entries = *value.Entries();
  if (!entries.empty()) AppendLong(out, static_cast<int64_t>(entries.size()));
  for (const auto& [key, item] : entries) {
    AppendBytes(out, key);
    K2_TRY(Encode(*schema.items, item, out));
  }
  AppendLong(out, 0);
  return {};
}

}  // namespace

Status Encode(const Node& schema, const Value& value, std::string& out) {
  if (schema.type == Type::kUnion) return EncodeUnion(schema, value, out);
  if (!Fits(schema, value)) return Misfit(schema);
  switch (schema.type) {
    case Type::kBoolean: AppendBoolean(out, *value.Boolean()); break;
    case Type::kInt:
    case Type::kLong: AppendLong(out, *value.Long()); break;
    case Type::kFloat: AppendFloat(out, static_cast<float>(*value.Double())); break;
    case Type::kDouble: AppendDouble(out, *value.Double()); break;
    case Type::kBytes:
    case Type::kString: AppendBytes(out, *value.Bytes()); break;
    case Type::kFixed: out.append(*value.Bytes()); break;
    case Type::kEnum:
      AppendLong(out, std::ranges::find(schema.symbols, *value.Bytes()) - schema.symbols.begin());
      break;
    case Type::kRecord:
      for (size_t i = 0; i < schema.fields.size(); ++i) {
        if (const Status status = Encode(*schema.fields[i].type, (*value.Items())[i], out); !status) {
          return std::unexpected(status.error().With(schema.fields[i].name));
        }
      }
      break;
    case Type::kArray: return EncodeItems(schema, value, out);
    case Type::kMap: return EncodeEntries(schema, value, out);
    default: break;
  }
  return {};
}

Result<Value> Decode(const Node& schema, BinaryReader& reader) {
  Value value;
  const size_t before = reader.remaining();
  if (!Decoder(reader).Read(schema, value, 0)) {
    return Fail(ErrorKind::kInvalidData, "Avro: a value of type {} is truncated or malformed within its {} bytes",
                ToString(schema.type), before);
  }
  return value;
}

Result<Value> FromDefault(const Node& schema, const nlohmann::json& value) {
  return DefaultReader().Read(schema, value, 0);
}

}  // namespace k2::avro
