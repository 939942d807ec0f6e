#include "source/schema_source.h"

#include "source/byte_stream.h"
#include "trade/trade_schema.h"

namespace k2 {
namespace {

constexpr int64_t kMaxSchemaSize = int64_t{4} << 20;

}  // namespace

size_t SchemaSource::AskFor(std::span<const int32_t> ids, int64_t /*time_us_max*/) { return ids.size(); }

Result<std::string> FileSchemaSource::SchemaJson(int32_t id) {
  if (id == kTradeV2SchemaId) return std::string(kTradeV2SchemaJson);
  if (id == kRejectedFrameSchemaId) return std::string(kRejectedFrameSchemaJson);
  if (folder_.empty()) {
    return Fail(ErrorKind::kNotFound, "no schema with id {}: none is built in, and no schema folder is configured", id);
  }
  const std::string path = fmt::format("{}/{}.avsc", folder_, id);
  StoredFile file;
  if (const Status opened = file.Open(path); !opened) {
    if (opened.error().kind == ErrorKind::kNotFound) {
      return Fail(ErrorKind::kNotFound, "no schema with id {}: there is no {}", id, path);
    }
    return Fail(ErrorKind::kUnavailable, "schema {}: {}", id, opened.error().message);
  }
  K2_ASSIGN(const int64_t size, file.Size());
  if (size > kMaxSchemaSize) return Fail(ErrorKind::kInvalidData, "{} has {} bytes, which is no schema", path, size);
  std::string json(static_cast<size_t>(size), '\0');
  const Result<size_t> bytes = file.Read(json.data(), json.size());
  if (!bytes) return Fail(ErrorKind::kUnavailable, "schema {}: {}", id, bytes.error().message);
  json.resize(*bytes);
  return json;
}

}  // namespace k2
