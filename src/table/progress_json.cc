#include "table/progress_json.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "base/json_text.h"

namespace k2::table {

using Json = nlohmann::json;

namespace {

constexpr const char* kWhat = "the summary entry \"k2.offsets\"";
constexpr size_t kUncountedFields = 3;
constexpr size_t kKafkaFields = 4;
constexpr size_t kRecordingFields = 6;
constexpr size_t kSpoolFields = 7;
constexpr std::string_view kRecordingTopic = "recording/";

bool HasLinePlace(const SourcePosition& position) {
  return position.next_line != 0 || position.next_byte != 0 || !position.line_hash.empty() || position.segment != 0;
}

void WriteLinePlace(JsonWriter& writer, const SourcePosition& position) {
  writer.Int(position.next_line).Int(position.next_byte).String(position.line_hash);
  if (position.segment != 0) writer.Int(position.segment);
}

// The exchange of a recording whose key says everything by exchange and hash; empty for any other source.
std::string_view CompactExchange(const SourceKey& key, const SourcePosition& position) {
  std::string_view rest = key.topic;
  if (key.cluster != kRecordingCluster || key.partition != 0 || position.leader_epoch != -1 ||
      position.messages != -1 || !rest.starts_with(kRecordingTopic)) {
    return {};
  }
  rest.remove_prefix(kRecordingTopic.size());
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos || rest.substr(slash + 1) != key.topic_id) return {};
  return rest.substr(0, slash);
}

void WritePosition(JsonWriter& writer, int32_t partition, const SourcePosition& position) {
  writer.BeginArray().Int(partition).Int(position.next_offset).Int(position.leader_epoch);
  if (HasLinePlace(position)) {
    WriteLinePlace(writer, position);
  } else if (position.messages >= 0) {
    writer.Int(position.messages);
  }
  writer.EndArray();
}

// Neighbours in the map share cluster, topic and topic id: one object for all their partitions.
void WriteSources(JsonWriter& writer, const SourcePositions& positions) {
  const SourceKey* open = nullptr;
  for (const auto& [key, position] : positions) {
    if (!CompactExchange(key, position).empty()) continue;
    const bool same =
        open != nullptr && open->cluster == key.cluster && open->topic == key.topic && open->topic_id == key.topic_id;
    if (!same) {
      if (open == nullptr) writer.Key("sources").BeginArray();
      if (open != nullptr) writer.EndArray().EndObject();
      writer.BeginObject().Field("cluster", key.cluster).Field("topic", key.topic).Field("id", key.topic_id);
      writer.Key("at").BeginArray();
      open = &key;
    }
    WritePosition(writer, key.partition, position);
  }
  if (open != nullptr) writer.EndArray().EndObject().EndArray();
}

// In the map they stand by exchange.
void WriteRecordings(JsonWriter& writer, const SourcePositions& positions) {
  std::string_view open;
  for (const auto& [key, position] : positions) {
    const std::string_view exchange = CompactExchange(key, position);
    if (exchange.empty()) continue;
    if (exchange != open) {
      if (open.empty()) writer.Key("recordings").BeginObject();
      if (!open.empty()) writer.EndArray();
      writer.Key(exchange).BeginArray();
      open = exchange;
    }
    writer.BeginArray().String(key.topic_id).Int(position.next_offset);
    if (HasLinePlace(position)) WriteLinePlace(writer, position);
    writer.EndArray();
  }
  if (!open.empty()) writer.EndArray().EndObject();
}

void WriteFinished(JsonWriter& writer, const FinishedMark& finished) {
  if (finished.generation == 0) return;
  writer.Key("finished").BeginArray().String(finished.table_uuid).Int(finished.generation);
  if (!finished.without.empty()) {
    writer.BeginArray();
    for (const auto& [first, last] : finished.without) writer.BeginArray().Int(first).Int(last).EndArray();
    writer.EndArray();
  }
  writer.EndArray();
}

Result<int64_t> Number(const Json& value, int64_t min, int64_t max) {
  K2_ASSIGN(const int64_t number, JsonInt64(value, "a position"));
  if (number < min || number > max) return Fail(ErrorKind::kInvalidData, "the position {} is out of range", number);
  return number;
}

constexpr int64_t kLongMax = std::numeric_limits<int64_t>::max();

// Line, byte, hash and segment, from element `first` on.
Status ReadLinePlace(Json& at, size_t first, SourcePosition& position) {
  K2_ASSIGN(position.next_line, Number(at[first], 0, kLongMax));
  K2_ASSIGN(position.next_byte, Number(at[first + 1], 0, kLongMax));
  if (!at[first + 2].is_string()) return Fail(ErrorKind::kInvalidData, "the line hash of a position is not a string");
  position.line_hash = at[first + 2].get_ref<const std::string&>();
  if (at.size() > first + 3) {
    K2_ASSIGN(position.segment, Number(at[first + 3], 0, kLongMax));
  }
  return {};
}

Status PutPosition(const SourceKey& key, SourcePosition position, SourcePositions& positions) {
  if (positions.emplace(key, std::move(position)).second) return {};
  return Fail(ErrorKind::kInvalidData, "the source {} has two positions", key.ToString());
}

Status ReadPosition(Json& at, SourceKey key, SourcePositions& positions) {
  constexpr int64_t kIntMax = std::numeric_limits<int32_t>::max();
  if (!at.is_array() || (at.size() != kUncountedFields && at.size() != kKafkaFields && at.size() != kRecordingFields &&
                         at.size() != kSpoolFields)) {
    return Fail(ErrorKind::kInvalidData, "a position is not a list of {}, {}, {} or {} values", kUncountedFields,
                kKafkaFields, kRecordingFields, kSpoolFields);
  }
  SourcePosition position;
  K2_ASSIGN(const int64_t partition, Number(at[0], 0, kIntMax));
  K2_ASSIGN(position.next_offset, Number(at[1], 0, kLongMax));
  K2_ASSIGN(const int64_t epoch, Number(at[2], -1, kIntMax));
  if (at.size() == kKafkaFields) {
    K2_ASSIGN(position.messages, Number(at[3], 0, kLongMax));
  } else if (at.size() > kKafkaFields) {
    K2_TRY(ReadLinePlace(at, kUncountedFields, position));
  }
  key.partition = static_cast<int32_t>(partition);
  position.leader_epoch = static_cast<int32_t>(epoch);
  return PutPosition(key, std::move(position), positions);
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

Status ReadRecordings(Json* recordings, SourcePositions& positions) {
  if (recordings == nullptr) return {};
  for (auto& [exchange, all] : recordings->items()) {
    if (!all.is_array()) return Fail(ErrorKind::kInvalidData, "the recordings of \"{}\" are not a list", exchange);
    for (Json& at : all) {
      if (!at.is_array() || (at.size() != 2 && at.size() != 5 && at.size() != 6) || !at[0].is_string()) {
        return Fail(ErrorKind::kInvalidData, "a recording of \"{}\" is not a list of a hash and 1, 4 or 5 more values",
                    exchange);
      }
      SourceKey key{.cluster = kRecordingCluster, .topic = {}, .topic_id = at[0].get_ref<const std::string&>()};
      key.topic = fmt::format("{}{}/{}", kRecordingTopic, exchange, key.topic_id);
      SourcePosition position;
      K2_ASSIGN(position.next_offset, Number(at[1], 0, kLongMax));
      if (at.size() > 2) K2_TRY(ReadLinePlace(at, 2, position));
      K2_TRY(PutPosition(key, std::move(position), positions));
    }
  }
  return {};
}

Status ReadFinished(Json* value, FinishedMark& finished) {
  if (value == nullptr) return {};
  Json& mark = *value;
  const auto broken = [] {
    return Fail(ErrorKind::kInvalidData, "\"finished\" is not a list of uuid, generation and pairs of generations");
  };
  if (mark.size() < 2 || mark.size() > 3 || !mark[0].is_string()) return broken();
  finished.table_uuid = mark[0].get_ref<const std::string&>();
  K2_ASSIGN(finished.generation, Number(mark[1], 1, kLongMax));
  if (mark.size() == 2) return {};
  if (!mark[2].is_array()) return broken();
  for (Json& pair : mark[2]) {
    if (!pair.is_array() || pair.size() != 2) return broken();
    K2_ASSIGN(const int64_t first, Number(pair[0], 1, kLongMax));
    K2_ASSIGN(const int64_t last, Number(pair[1], first, kLongMax));
    finished.without.emplace_back(first, last);
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
    K2_ASSIGN(const int64_t snapshot_id, JsonInt64(hint[1], "the upstream's snapshot id"));
    int64_t sequence_number = 0;
    if (hint.size() == 3) {
      K2_ASSIGN(sequence_number, JsonInt64(hint[2], "the upstream's sequence number"));
    }
    hints[table] = {.table = table,
                    .table_uuid = hint[0].get_ref<const std::string&>(),
                    .snapshot_id = snapshot_id,
                    .sequence_number = sequence_number};
  }
  return {};
}

Result<std::optional<LayerProgress>> Read(std::string_view text, std::string_view table_uuid) {
  K2_ASSIGN(Json document, ParseJson(text, "it"));
  JsonFields json(document, "it");
  const int64_t version = json.Int64("version");
  const std::string table = json.String("table");
  K2_TRY(json.status());
  if (table != table_uuid) return std::nullopt;
  if (version < 1 || version > kProgressVersion) {
    return Fail(
        ErrorKind::kOffsetMismatch,
        "version {} is not supported; this K2 supports versions 1 to {}: run the K2 that wrote it, or a later one",
        version, kProgressVersion);
  }
  LayerProgress progress{.rules_version = json.OptionalInt32("rules").value_or(0)};
  Json* sources = json.OptionalArray("sources");
  Json* recordings = version == 1 ? nullptr : json.OptionalObject("recordings");
  Json* finished = version == 1 ? nullptr : json.OptionalArray("finished");
  Json* upstream = json.OptionalObject("upstream");
  K2_TRY(json.status());
  K2_TRY(ReadSources(sources, progress.positions));
  K2_TRY(ReadRecordings(recordings, progress.positions));
  K2_TRY(ReadFinished(finished, progress.finished));
  K2_TRY(ReadUpstream(upstream, progress.upstream));
  return progress;
}

}  // namespace

std::string ProgressToJson(const LayerProgress& progress, std::string_view table_uuid) {
  JsonWriter writer;
  writer.BeginObject().Field("version", kProgressVersion).Field("table", table_uuid);
  if (progress.rules_version != 0) writer.Field("rules", progress.rules_version);
  WriteSources(writer, progress.positions);
  WriteRecordings(writer, progress.positions);
  WriteFinished(writer, progress.finished);
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

}  // namespace k2::table
