// How a message says which schema it was written with: in a prefix of its value, or in a Kafka header
// (docs/messages.md).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace k2::trade {

// A schema, as a message names it.
struct SchemaRef {
  enum class Kind : uint8_t {
    kId,         // Confluent's id, of one registry
    kGuid,       // Confluent's GUID, of any
    kGlobalId,   // Apicurio's, of a version
    kContentId,  // Apicurio's, of a text
  };
  SchemaRef() = default;
  SchemaRef(int32_t confluent_id) : id(confluent_id) {}  // NOLINT(google-explicit-constructor): most are ids
  SchemaRef(Kind of_kind, int64_t number) : kind(of_kind), id(number) {}
  // The 16 bytes of a GUID.
  static SchemaRef OfGuid(std::string_view bytes);

  Kind kind = Kind::kId;
  int64_t id = 0;                  // all but kGuid
  std::array<uint64_t, 2> guid{};  // kGuid: its halves, in the order of its text
  auto operator<=>(const SchemaRef&) const = default;
};
inline constexpr size_t kSchemaRefKinds = 4;

// For people: "id 7", "GUID 0123…", "global id 7", "content id 7".
std::string ToString(const SchemaRef& schema);
// A GUID's usual text: 89791e5c-4b6a-4d21-9f60-00abcdefff02.
std::string GuidText(const SchemaRef& schema);

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
// body. So Confluent's and Apicurio's own readers have it (DualSchemaIdDeserializer, AbstractKafkaDeserializer), and of
// Apicurio's ids the content's comes before the global one (DefaultSchemaResolver). Confluent's header comes before
// Apicurio's, which no reader of theirs knows both of. A header that is no schema id counts as none, where theirs stop.
// Nothing: the message is not framed.
std::optional<MessageFraming> FramingOf(std::span<const MessageHeader> headers, std::string_view value);

}  // namespace k2::trade
