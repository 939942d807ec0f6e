#include "table/progress_json.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "iceberg/json_text.h"

namespace k2 {

using iceberg::JsonFields;
using iceberg::JsonWriter;
using Json = nlohmann::json;

namespace {

constexpr const char* kWhat = "the summary entry \"k2.offsets\"";
constexpr size_t kUncountedFields = 3;
constexpr size_t kKafkaFields = 4;
constexpr size_t kRecordingFields = 6;

bool HasLinePlace(const SourcePosition& position) {
  return position.next_line != 0 || position.next_byte != 0 || !position.line_hash.empty();
}

void WritePosition(JsonWriter& writer, int32_t partition, const SourcePosition& position) {
  writer.BeginArray().Int(partition).Int(position.next_offset).Int(position.leader_epoch);
  if (HasLinePlace(position)) {
    writer.Int(position.next_line).Int(position.next_byte).String(position.line_hash);
  } else if (position.messages >= 0) {
    writer.Int(position.messages);
  }
  writer.EndArray();
}

// Neighbours in the map share cluster, topic and topic id: one object for all their partitions.
void WriteSources(JsonWriter& writer, const SourcePositions& positions) {
  writer.Key("sources").BeginArray();
  const SourceKey* open = nullptr;
  for (const auto& [key, position] : positions) {
    const bool same =
        open != nullptr && open->cluster == key.cluster && open->topic == key.topic && open->topic_id == key.topic_id;
    if (!same) {
      if (open != nullptr) writer.EndArray().EndObject();
      writer.BeginObject().Field("cluster", key.cluster).Field("topic", key.topic).Field("id", key.topic_id);
      writer.Key("at").BeginArray();
      open = &key;
    }
    WritePosition(writer, key.partition, position);
  }
  if (open != nullptr) writer.EndArray().EndObject();
  writer.EndArray();
}

Result<int64_t> Number(const Json& value, int64_t min, int64_t max) {
  K2_ASSIGN(const int64_t number, iceberg::JsonInt64(value, "a position"));
  if (number < min || number > max) return Fail(ErrorKind::kInvalidData, "the position {} is out of range", number);
  return number;
}

Status ReadPosition(Json& at, SourceKey key, SourcePositions& positions) {
  constexpr int64_t kLongMax = std::numeric_limits<int64_t>::max();
  constexpr int64_t kIntMax = std::numeric_limits<int32_t>::max();
  if (!at.is_array() || (at.size() != kUncountedFields && at.size() != kKafkaFields && at.size() != kRecordingFields)) {
    return Fail(ErrorKind::kInvalidData, "a position is not a list of {}, {} or {} values", kUncountedFields,
                kKafkaFields, kRecordingFields);
  }
  SourcePosition position;
  K2_ASSIGN(const int64_t partition, Number(at[0], 0, kIntMax));
  K2_ASSIGN(position.next_offset, Number(at[1], 0, kLongMax));
  K2_ASSIGN(const int64_t epoch, Number(at[2], -1, kIntMax));
  if (at.size() == kKafkaFields) {
    K2_ASSIGN(position.messages, Number(at[3], 0, kLongMax));
  } else if (at.size() == kRecordingFields) {
    K2_ASSIGN(position.next_line, Number(at[3], 0, kLongMax));
    K2_ASSIGN(position.next_byte, Number(at[4], 0, kLongMax));
    if (!at[5].is_string()) return Fail(ErrorKind::kInvalidData, "the line hash of a position is not a string");
    position.line_hash = at[5].get_ref<const std::string&>();
  }
  key.partition = static_cast<int32_t>(partition);
  position.leader_epoch = static_cast<int32_t>(epoch);
  if (!positions.emplace(key, position).second) {
    return Fail(ErrorKind::kInvalidData, "the source {} has two positions", key.ToString());
  }
  return {};
}

Status ReadSources(Json* sources, SourcePositions& positions) {
  if (sources == nullptr) return {};
  for (Json& source : *sources) {
    JsonFields json(source, "a source");
    const SourceKey key{
        .cluster = json.String("cluster"), .topic = json.String("topic"), .topic_id = json.String("id")};
    Json* all = json.Array("at");
    K2_TRY(json.status());
    for (Json& at : *all) K2_TRY(ReadPosition(at, key, positions));
  }
  return {};
}

Status ReadUpstream(Json* upstream, std::map<std::string, UpstreamHint>& hints) {
  if (upstream == nullptr) return {};
  for (auto& [table, hint] : upstream->items()) {
    if (!hint.is_array() || hint.size() < 2 || hint.size() > 3 || !hint[0].is_string()) {
      return Fail(ErrorKind::kInvalidData, "the upstream \"{}\" is not a list of uuid, snapshot id, sequence number",
                  table);
    }
    K2_ASSIGN(const int64_t snapshot_id, iceberg::JsonInt64(hint[1], "the upstream's snapshot id"));
    int64_t sequence_number = 0;
    if (hint.size() == 3) {
      K2_ASSIGN(sequence_number, iceberg::JsonInt64(hint[2], "the upstream's sequence number"));
    }
    hints[table] = {.table = table,
                    .table_uuid = hint[0].get_ref<const std::string&>(),
                    .snapshot_id = snapshot_id,
                    .sequence_number = sequence_number};
  }
  return {};
}

Result<std::optional<LayerProgress>> Read(std::string_view text, std::string_view table_uuid) {
  K2_ASSIGN(Json document, iceberg::ParseJson(text, "it"));
  JsonFields json(document, "it");
  const int64_t version = json.Int64("version");
  const std::string table = json.String("table");
  K2_TRY(json.status());
  if (table != table_uuid) return std::nullopt;
  if (version != kProgressVersion) {
    return Fail(ErrorKind::kOffsetMismatch,
                "it is of version {}, and this K2 knows version {} alone: run the K2 that wrote it, or a later one",
                version, kProgressVersion);
  }
  LayerProgress progress{.rules_version = json.OptionalInt32("rules").value_or(0)};
  Json* sources = json.OptionalArray("sources");
  Json* upstream = json.OptionalObject("upstream");
  K2_TRY(json.status());
  K2_TRY(ReadSources(sources, progress.positions));
  K2_TRY(ReadUpstream(upstream, progress.upstream));
  return progress;
}

}  // namespace

std::string ProgressToJson(const LayerProgress& progress, std::string_view table_uuid) {
  JsonWriter writer;
  writer.BeginObject().Field("version", kProgressVersion).Field("table", table_uuid);
  if (progress.rules_version != 0) writer.Field("rules", progress.rules_version);
  if (!progress.positions.empty()) WriteSources(writer, progress.positions);
  if (!progress.upstream.empty()) {
    writer.Key("upstream").BeginObject();
    for (const auto& [table, hint] : progress.upstream) {
      writer.Key(table).BeginArray().String(hint.table_uuid).Int(hint.snapshot_id);
      if (hint.sequence_number != 0) writer.Int(hint.sequence_number);
      writer.EndArray();
    }
    writer.EndObject();
  }
  return writer.EndObject().Take();
}

Result<std::optional<LayerProgress>> ParseProgress(std::string_view json, std::string_view table_uuid) {
  auto progress = Read(json, table_uuid);
  if (!progress) return std::unexpected(progress.error().With(kWhat));
  return progress;
}

Result<std::optional<LayerProgress>> ProgressOf(const iceberg::Snapshot& snapshot, std::string_view table_uuid) {
  const auto found = snapshot.summary.find(std::string(kOffsetsKey));
  if (found == snapshot.summary.end()) return std::nullopt;
  auto progress = ParseProgress(found->second, table_uuid);
  if (!progress) return std::unexpected(progress.error().With(fmt::format("snapshot {}", snapshot.snapshot_id)));
  return progress;
}

}  // namespace k2
