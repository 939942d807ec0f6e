// Reading Avro records by Iceberg field id: what a writer's schema lacks is left alone, what we don't know is skipped.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "avro/binary.h"
#include "avro/schema.h"
#include "iceberg/data_file.h"

namespace k2::iceberg {

// Field ids of a record's fields in the writer's order; those without the attribute are found by name, else -1.
struct NamedId {
  std::string_view name;
  int32_t id;
};
std::vector<int32_t> FieldIdsOf(const avro::Node& record, std::span<const NamedId> names);

// Resolves a union to the branch that follows in the bytes; null when the bytes are broken. Other types are themselves.
const avro::Node* ResolveUnion(const avro::Node& type, avro::BinaryReader& reader);

// Reads over one value. False where the bytes are broken.
bool SkipValue(const avro::Node& type, avro::BinaryReader& reader, int depth = 0);

// One value of a type that is no union. False where the bytes are broken or the type is of another kind.
bool ReadInteger(const avro::Node& type, avro::BinaryReader& reader, int64_t& value);
bool ReadInteger(const avro::Node& type, avro::BinaryReader& reader, int32_t& value);
bool ReadText(const avro::Node& type, avro::BinaryReader& reader, std::string& value);
bool ReadFlag(const avro::Node& type, avro::BinaryReader& reader, bool& value);
// A primitive as a literal: decimals as Int128, whatever holds them; dates and times as their numbers.
bool ReadLiteral(const avro::Node& type, avro::BinaryReader& reader, Literal& value);

// Calls item() for each item of an array; false when it is, or the bytes are broken.
template <typename Item>
bool ReadItems(avro::BinaryReader& reader, Item&& item) {
  for (;;) {
    int64_t count = 0;
    int64_t byte_size = 0;
    if (!reader.ReadBlock(count, byte_size)) return false;
    if (count == 0) return true;
    // Every item we read takes at least a byte.
    if (static_cast<uint64_t>(count) > reader.remaining()) return false;
    for (int64_t i = 0; i < count; ++i) {
      if (!item()) return false;
    }
  }
}

enum class Taken { kNo, kYes, kBroken };

// Calls field(id, type) for each field of the record that is not null; `kNo` skips the value.
template <typename Field>
bool ReadRecord(const avro::Node& record, const std::vector<int32_t>& ids, avro::BinaryReader& reader, Field&& field) {
  for (size_t i = 0; i < ids.size(); ++i) {
    const avro::Node* type = ResolveUnion(*record.fields[i].type, reader);
    if (type == nullptr) return false;
    if (type->type == avro::Type::kNull) continue;
    const Taken taken = field(ids[i], *type);
    if (taken == Taken::kBroken || (taken == Taken::kNo && !SkipValue(*type, reader))) return false;
  }
  return true;
}

inline Taken TakenIf(bool read) { return read ? Taken::kYes : Taken::kBroken; }

}  // namespace k2::iceberg
