#include "trade/message_framing.h"

#include <algorithm>

#include "base/result.h"

namespace k2 {
namespace {

// io.confluent.kafka.serializers.schema.id.SchemaId: the byte says what follows, an id or a GUID.
constexpr char kIdMagic = '\0';
constexpr char kGuidMagic = '\1';
constexpr size_t kIdFrameSize = 5;
constexpr size_t kGuidFrameSize = 17;
constexpr std::string_view kConfluentHeader = "__value_schema_id";

// io.apicurio.registry.serde.headers: a long, big-endian.
constexpr size_t kApicurioIdSize = 8;
constexpr std::string_view kContentIdHeader = "apicurio.value.contentId";
constexpr std::string_view kGlobalIdHeader = "apicurio.value.globalId";

uint64_t BigEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

// Confluent's frame at the beginning of the bytes.
std::optional<MessageFraming> ConfluentFrame(std::string_view bytes) {
  if (bytes.size() >= kIdFrameSize && bytes[0] == kIdMagic) {
    const auto id = static_cast<int32_t>(static_cast<uint32_t>(BigEndian(bytes.substr(1, kIdFrameSize - 1))));
    return MessageFraming{.schema = {.kind = SchemaRef::Kind::kId, .id = id}, .body = kIdFrameSize};
  }
  if (bytes.size() >= kGuidFrameSize && bytes[0] == kGuidMagic) {
    MessageFraming framing{.schema = {.kind = SchemaRef::Kind::kGuid}, .body = kGuidFrameSize};
    std::ranges::transform(bytes.substr(1, kGuidFrameSize - 1), framing.schema.guid.begin(),
                           [](char c) { return static_cast<uint8_t>(c); });
    return framing;
  }
  return std::nullopt;
}

std::optional<std::string_view> LastValue(std::span<const MessageHeader> headers, std::string_view key) {
  for (size_t i = headers.size(); i > 0; --i) {
    if (headers[i - 1].key == key) return headers[i - 1].value;
  }
  return std::nullopt;
}

}  // namespace

std::string ToString(const SchemaRef& schema) {
  switch (schema.kind) {
    case SchemaRef::Kind::kId: return fmt::format("id {}", schema.id);
    case SchemaRef::Kind::kGlobalId: return fmt::format("global id {}", schema.id);
    case SchemaRef::Kind::kContentId: return fmt::format("content id {}", schema.id);
    case SchemaRef::Kind::kGuid: break;
  }
  std::string text = "GUID ";
  for (size_t i = 0; i < schema.guid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", schema.guid[i]);
  }
  return text;
}

std::optional<MessageFraming> FramingOf(std::span<const MessageHeader> headers, std::string_view value) {
  if (const auto header = LastValue(headers, kConfluentHeader)) {
    if (auto framing = ConfluentFrame(*header); framing && framing->body == header->size()) {
      framing->body = 0;
      return framing;
    }
  }
  for (const auto& [key, kind] : {std::pair(kContentIdHeader, SchemaRef::Kind::kContentId),
                                  std::pair(kGlobalIdHeader, SchemaRef::Kind::kGlobalId)}) {
    const auto header = LastValue(headers, key);
    if (!header || header->size() != kApicurioIdSize) continue;
    return MessageFraming{.schema = {.kind = kind, .id = static_cast<int64_t>(BigEndian(*header))}, .body = 0};
  }
  return ConfluentFrame(value);
}

}  // namespace k2
