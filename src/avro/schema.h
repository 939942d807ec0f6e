// Avro schemas: JSON to an immutable tree, Parsing Canonical Form, fingerprints (specification, "Schema Declaration").
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace k2::avro {

enum class Type : uint8_t {
  kNull,
  kBoolean,
  kInt,
  kLong,
  kFloat,
  kDouble,
  kBytes,
  kString,
  kRecord,
  kEnum,
  kFixed,
  kArray,
  kMap,
  kUnion,
};
std::string_view ToString(Type type);

// A logical type that is unknown, or does not fit its underlying type, is kNone: the specification tells readers to
// ignore it. kMap is Iceberg's: an array of {key, value} records.
enum class LogicalType : uint8_t {
  kNone,
  kDecimal,
  kUuid,
  kDate,
  kTimeMillis,
  kTimeMicros,
  kTimestampMillis,
  kTimestampMicros,
  kTimestampNanos,
  kMap,
};

struct Node;

struct Field {
  std::string name;
  std::vector<std::string> aliases;
  std::string doc;
  const Node* type = nullptr;
  bool has_default = false;
  nlohmann::json default_value;
  nlohmann::json attributes = nlohmann::json::object();  // what the specification does not name, as Iceberg's field-id

  [[nodiscard]] std::optional<int64_t> IntAttribute(std::string_view key) const;
};

// One type of a schema. A named type that is referred to again is the same node, so a tree may contain itself.
struct Node {
  Type type = Type::kNull;
  LogicalType logical = LogicalType::kNone;
  int precision = 0;  // decimal
  int scale = 0;      // decimal
  std::string name;   // full name: record, enum, fixed
  std::vector<std::string> aliases;
  std::string doc;
  std::vector<Field> fields;                  // record
  std::vector<std::string> symbols;           // enum
  std::optional<std::string> default_symbol;  // enum
  int64_t size = 0;                           // fixed
  const Node* items = nullptr;                // array: its items; map: its values
  std::vector<const Node*> branches;          // union
  nlohmann::json attributes =
      nlohmann::json::object();  // what the specification does not name, as Iceberg's element-id

  [[nodiscard]] std::optional<int64_t> IntAttribute(std::string_view key) const;
  // Index of the record's field of this name, or -1.
  [[nodiscard]] int FieldIndex(std::string_view field) const;
  // Index of the record's field with this Iceberg field-id, or -1.
  [[nodiscard]] int FieldIndexById(int64_t field_id) const;
  // The other branch of a union of null and one type; any other type is itself.
  [[nodiscard]] const Node& NonNull() const;
};

inline constexpr size_t kMaxSchemaSize = 1 << 20;  // bytes of JSON
inline constexpr int kMaxSchemaDepth = 64;         // levels of nested types
inline constexpr int64_t kMaxFixedSize = 1 << 20;

// A parsed schema. Copies share the tree.
class Schema {
 public:
  // Error kInvalidData: not JSON, not a schema, or beyond the limits above. Field names are taken as they come, since
  // there are Iceberg writers that put column names there without escaping them.
  static Result<Schema> Parse(std::string_view json);

  [[nodiscard]] const Node& root() const { return *root_; }

  // Parsing Canonical Form (specification, "Transforming into Parsing Canonical Form").
  [[nodiscard]] std::string CanonicalForm() const;
  // CRC-64-AVRO of the canonical form.
  [[nodiscard]] uint64_t Fingerprint() const;
  // SHA-256 of the canonical form.
  [[nodiscard]] std::array<uint8_t, 32> Sha256() const;

 private:
  using Nodes = std::vector<std::unique_ptr<Node>>;
  Schema(std::shared_ptr<const Nodes> nodes, const Node* root) : nodes_(std::move(nodes)), root_(root) {}

  std::shared_ptr<const Nodes> nodes_;
  const Node* root_;
};

// The Rabin fingerprint of the specification, of any bytes.
uint64_t Crc64Avro(std::string_view bytes);

}  // namespace k2::avro
