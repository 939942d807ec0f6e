#include "table/accepted.h"

#include <nlohmann/json.hpp>

#include "base/json_text.h"

namespace k2::table {
namespace {

constexpr int64_t kAcceptedVersion = 1;
constexpr size_t kAcceptedSourceFields = 6;

Status ReadAcceptedSource(const nlohmann::json& source, AcceptedUpstream& upstream) {
  const bool right = source.is_array() && source.size() == kAcceptedSourceFields && source[0].is_string() &&
                     source[1].is_string() && source[2].is_string() && source[3].is_number_integer() &&
                     source[4].is_number_integer() && source[5].is_number_integer();
  if (!right) return Fail(ErrorKind::kInvalidData, "a source is not a list of {} values", kAcceptedSourceFields);
  const SourceKey key{.cluster = source[0].get<std::string>(),
                      .topic = source[1].get<std::string>(),
                      .topic_id = source[2].get<std::string>(),
                      .partition = source[3].get<int32_t>()};
  upstream.sources[key] = {.end = source[4].get<int64_t>(), .messages = source[5].get<int64_t>()};
  return {};
}

Result<Accepted> ParseAccepted(const std::string& text) {
  K2_ASSIGN(nlohmann::json document, ParseJson(text, "it"));
  JsonFields json(document, "it");
  const int64_t version = json.Int64("version");
  nlohmann::json* upstreams = json.OptionalArray("upstream");
  K2_TRY(json.status());
  if (version != kAcceptedVersion) {
    return Fail(ErrorKind::kOffsetMismatch, "version {} is not supported; this K2 supports version {} only", version,
                kAcceptedVersion);
  }
  Accepted accepted;
  if (upstreams == nullptr) return accepted;
  for (nlohmann::json& one : *upstreams) {
    JsonFields fields(one, "an upstream");
    const std::string table = fields.String("table");
    AcceptedUpstream upstream;
    upstream.table_uuid = fields.String("uuid");
    upstream.snapshot_id = fields.Int64("snapshot");
    upstream.sequence_number = fields.Int64("sequence");
    upstream.at = fields.String("at");
    nlohmann::json* sources = fields.OptionalArray("sources");
    K2_TRY(fields.status());
    if (sources != nullptr) {
      for (const nlohmann::json& source : *sources) K2_TRY(ReadAcceptedSource(source, upstream));
    }
    accepted[table] = std::move(upstream);
  }
  return accepted;
}

}  // namespace

Result<Accepted> ReadAccepted(const iceberg::TableMetadata& metadata) {
  const auto found = metadata.properties.find(kAcceptedKey);
  if (found == metadata.properties.end()) return Accepted{};
  Result<Accepted> accepted = ParseAccepted(found->second);
  if (accepted) return accepted;
  return std::unexpected(
      accepted.error().With(fmt::format("the property \"{}\" of {}", kAcceptedKey, metadata.location)));
}

std::string AcceptedToJson(const Accepted& accepted) {
  JsonWriter writer;
  writer.BeginObject().Field("version", kAcceptedVersion).Key("upstream").BeginArray();
  for (const auto& [table, upstream] : accepted) {
    writer.BeginObject().Field("table", table).Field("uuid", upstream.table_uuid);
    writer.Field("snapshot", upstream.snapshot_id).Field("sequence", upstream.sequence_number);
    writer.Field("at", upstream.at);
    if (!upstream.sources.empty()) {
      writer.Key("sources").BeginArray();
      for (const auto& [key, source] : upstream.sources) {
        writer.BeginArray().String(key.cluster).String(key.topic).String(key.topic_id).Int(key.partition);
        writer.Int(source.end).Int(source.messages).EndArray();
      }
      writer.EndArray();
    }
    writer.EndObject();
  }
  return writer.EndArray().EndObject().Take();
}

}  // namespace k2::table
