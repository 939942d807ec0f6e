#include "trade/message_framing.h"

#include <bit>
#include <cstring>

#include "base/result.h"
#include "trade/schema_headers.h"

namespace k2::trade {
namespace {

// io.confluent.kafka.serializers.schema.id.SchemaId: the byte says what follows, an id or a GUID.
constexpr char kIdMagic = '\0';
constexpr char kGuidMagic = '\1';
constexpr size_t kIdFrameSize = 5;
constexpr size_t kGuidFrameSize = 17;
constexpr size_t kApicurioIdSize = 8;

uint64_t BigEndian8(const char* bytes) {
  uint64_t value = 0;
  std::memcpy(&value, bytes, sizeof value);
  return std::endian::native == std::endian::little ? std::byteswap(value) : value;
}
uint32_t BigEndian4(const char* bytes) {
  uint32_t value = 0;
  std::memcpy(&value, bytes, sizeof value);
  return std::endian::native == std::endian::little ? std::byteswap(value) : value;
}

[[gnu::noinline]] std::optional<MessageFraming> GuidFrame(std::string_view bytes) {
  if (bytes.size() < kGuidFrameSize || bytes[0] != kGuidMagic) return std::nullopt;
  return MessageFraming{.schema = SchemaRef::OfGuid(bytes.substr(1)), .body = kGuidFrameSize};
}

// Confluent's frame at the beginning of the bytes.
std::optional<MessageFraming> ConfluentFrame(std::string_view bytes) {
  if (bytes.size() < kIdFrameSize || bytes[0] != kIdMagic) [[unlikely]]
    return GuidFrame(bytes);
  return MessageFraming{.schema = static_cast<int32_t>(BigEndian4(bytes.data() + 1)), .body = kIdFrameSize};
}

std::optional<std::string_view> LastValue(std::span<const MessageHeader> headers, std::string_view key) {
  for (size_t i = headers.size(); i > 0; --i) {
    if (headers[i - 1].key == key) return headers[i - 1].value;
  }
  return std::nullopt;
}

}  // namespace

SchemaRef SchemaRef::OfGuid(std::string_view bytes) {
  SchemaRef schema(Kind::kGuid, 0);
  schema.guid = {BigEndian8(bytes.data()), BigEndian8(bytes.data() + sizeof(uint64_t))};
  return schema;
}

std::string GuidText(const SchemaRef& schema) {
  std::string text = fmt::format("{:016x}{:016x}", schema.guid[0], schema.guid[1]);
  for (const size_t hyphen : {20, 16, 12, 8}) text.insert(hyphen, 1, '-');
  return text;
}

std::string ToString(const SchemaRef& schema) {
  switch (schema.kind) {
    case SchemaRef::Kind::kId: return fmt::format("id {}", schema.id);
    case SchemaRef::Kind::kGlobalId: return fmt::format("global id {}", schema.id);
    case SchemaRef::Kind::kContentId: return fmt::format("content id {}", schema.id);
    case SchemaRef::Kind::kGuid: break;
  }
  return "GUID " + GuidText(schema);
}

std::optional<MessageFraming> FramingOf(std::span<const MessageHeader> headers, std::string_view value) {
  if (headers.empty()) [[likely]]
    return ConfluentFrame(value);
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
    return MessageFraming{.schema = {kind, static_cast<int64_t>(BigEndian8(header->data()))}, .body = 0};
  }
  return ConfluentFrame(value);
}

}  // namespace k2::trade
