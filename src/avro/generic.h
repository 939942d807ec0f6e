// Values of any schema as a tree: for manifests and other small files. Messages take decode_plan.h instead.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "avro/binary.h"
#include "avro/schema.h"
#include "base/result.h"

namespace k2::avro {

// One value. A union's value is that of its branch, with no mark of which it was.
//   null                          monostate
//   boolean                       bool
//   int, long                     int64_t
//   float, double                 double
//   bytes, string, fixed, enum    std::string: the bytes, or the symbol
//   record                        List: the fields in the schema's order
//   array                         List: the items
//   map                           Map: the entries as they came
class Value {
 public:
  using List = std::vector<Value>;
  using Map = std::vector<std::pair<std::string, Value>>;

  Value() = default;
  Value(bool value) : data_(value) {}                           // NOLINT(google-explicit-constructor)
  Value(int value) : data_(static_cast<int64_t>(value)) {}      // NOLINT(google-explicit-constructor)
  Value(int64_t value) : data_(value) {}                        // NOLINT(google-explicit-constructor)
  Value(double value) : data_(value) {}                         // NOLINT(google-explicit-constructor)
  Value(std::string value) : data_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Value(std::string_view value) : data_(std::string(value)) {}  // NOLINT(google-explicit-constructor)
  Value(const char* value) : data_(std::string(value)) {}       // NOLINT(google-explicit-constructor)
  Value(List value) : data_(std::move(value)) {}                // NOLINT(google-explicit-constructor)
  Value(Map value) : data_(std::move(value)) {}                 // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool IsNull() const { return std::holds_alternative<std::monostate>(data_); }

  // The value as one kind, or nullptr when it is another.
  [[nodiscard]] const bool* Boolean() const { return std::get_if<bool>(&data_); }
  [[nodiscard]] const int64_t* Long() const { return std::get_if<int64_t>(&data_); }
  [[nodiscard]] const double* Double() const { return std::get_if<double>(&data_); }
  [[nodiscard]] const std::string* Bytes() const { return std::get_if<std::string>(&data_); }
  [[nodiscard]] const List* Items() const { return std::get_if<List>(&data_); }
  [[nodiscard]] const Map* Entries() const { return std::get_if<Map>(&data_); }
  [[nodiscard]] List* MutableItems() { return std::get_if<List>(&data_); }

  bool operator==(const Value&) const = default;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, List, Map> data_;
};

// Appends the value's encoding. In a union the first branch that the value fits is taken. Error kInvalidArgument: the
// value does not fit the schema (a record with too few fields, an int out of range, an unknown symbol); out then holds
// a part of the value.
Status Encode(const Node& schema, const Value& value, std::string& out);

// Reads one value as its writer's schema says, and leaves the reader behind it. Strings are not checked for UTF-8.
// Depth and the number of values are bounded by the bytes that are there. Error kInvalidData.
Result<Value> Decode(const Node& schema, BinaryReader& reader);

// A field's default, in its JSON form (specification, "Complex Types: Records"), as a value. A union's default belongs
// to the first branch that it fits. Error kInvalidData: not a value of this type.
Result<Value> FromDefault(const Node& schema, const nlohmann::json& value);

}  // namespace k2::avro
