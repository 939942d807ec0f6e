// How a message says which schema it was written with: in a prefix of its value, or in a Kafka header
// (docs/messages.md).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace k2 {

// A schema, as a message names it.
struct SchemaRef {
  enum class Kind : uint8_t {
    kId,         // Confluent's id, of one registry
    kGuid,       // Confluent's GUID, of any
    kGlobalId,   // Apicurio's, of a version
    kContentId,  // Apicurio's, of a text
  };
  Kind kind = Kind::kId;
  int64_t id = 0;                  // all but kGuid
  std::array<uint8_t, 16> guid{};  // kGuid
  auto operator<=>(const SchemaRef&) const = default;
};

// For people: "id 7", "GUID 0123…", "global id 7", "content id 7".
std::string ToString(const SchemaRef& schema);

struct MessageHeader {
  std::string_view key;
  std::optional<std::string_view> value;
};

struct MessageFraming {
  SchemaRef schema;
  size_t body = 0;  // where the Avro body begins
  bool operator==(const MessageFraming&) const = default;
};

// Of several headers of a key the last one counts, and a header comes before the prefix: then the whole value is the
// body. Confluent's header comes before Apicurio's, whose content id comes before its global id, as their own readers
// have it. A header that is no schema id counts as none. Nothing: the message is not framed.
std::optional<MessageFraming> FramingOf(std::span<const MessageHeader> headers, std::string_view value);

}  // namespace k2
