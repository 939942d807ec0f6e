#include "registry/schema_source.h"

#include <nlohmann/json.hpp>

#include "base/stored_file.h"
#include "trade/trade_schema.h"

namespace k2::registry {
namespace {

constexpr int64_t kMaxSchemaSize = int64_t{4} << 20;

Result<std::string> ReadSchemaFile(const std::string& folder, int64_t id) {
  const std::string path = fmt::format("{}/{}.avsc", folder, id);
  StoredFile file;
  if (const Status opened = file.Open(path); !opened) {
    if (opened.error().kind == ErrorKind::kNotFound) {
      return Fail(ErrorKind::kNotFound, "no schema with id {}: there is no {}", id, path);
    }
    return Fail(ErrorKind::kUnavailable, "schema {}: {}", id, opened.error().message);
  }
  K2_ASSIGN(const int64_t size, file.Size());
  if (size > kMaxSchemaSize) return Fail(ErrorKind::kInvalidData, "{} has {} bytes, so it is not a schema", path, size);
  std::string json(static_cast<size_t>(size), '\0');
  const Result<size_t> bytes = file.Read(json.data(), json.size());
  if (!bytes) return Fail(ErrorKind::kUnavailable, "schema {}: {}", id, bytes.error().message);
  json.resize(*bytes);
  return json;
}

}  // namespace

size_t SchemaSource::AskFor(std::span<const trade::SchemaRef> refs, int64_t /*time_us_max*/) { return refs.size(); }

Result<std::string> FileSchemaSource::SchemaJson(const trade::SchemaRef& ref) {
  if (ref.kind != trade::SchemaRef::Kind::kId) {
    return Fail(ErrorKind::kNotFound, "no schema with {}: only a schema registry resolves it, and none is configured",
                ToString(ref));
  }
  if (const auto own = trade::OwnSchema(ref.id)) return std::string(*own);
  if (folder_.empty()) {
    return Fail(ErrorKind::kNotFound, "no schema with id {}: none is built in, and no schema folder is configured",
                ref.id);
  }
  return ReadSchemaFile(folder_, ref.id);
}

Status FileSchemaSource::CheckFolder() const {
  if (folder_.empty()) return {};
  for (const int32_t id : trade::kOwnSchemaIds) {
    const Result<std::string> text = ReadSchemaFile(folder_, id);
    if (!text && text.error().kind == ErrorKind::kNotFound) continue;
    K2_TRY(text);
    const auto parse = [](std::string_view json) { return nlohmann::json::parse(json, nullptr, false); };
    if (parse(*text) == parse(*trade::OwnSchema(id))) continue;
    return Fail(ErrorKind::kInvalidArgument,
                "schemas: {}/{}.avsc is not the schema that k2 has under the id {} ({}). Give it another id, also in "
                "the messages, or remove the file",
                folder_, id, id, parse(*trade::OwnSchema(id)).at("name").get<std::string>());
  }
  return {};
}

}  // namespace k2::registry
