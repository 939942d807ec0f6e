#include "table/recreated_topics.h"

#include <nlohmann/json.hpp>

#include "base/json_text.h"

namespace k2::table {
namespace {

constexpr int64_t kRecreatedVersion = 1;

Result<RecreatedTopics> ParseRecreated(const std::string& text) {
  K2_ASSIGN(nlohmann::json document, ParseJson(text, "it"));
  JsonFields json(document, "it");
  const int64_t version = json.Int64("version");
  nlohmann::json* topics = json.OptionalArray("topics");
  K2_TRY(json.status());
  if (version != kRecreatedVersion) {
    return Fail(ErrorKind::kOffsetMismatch, "version {} is not supported; this K2 supports version {} only", version,
                kRecreatedVersion);
  }
  RecreatedTopics recreated;
  if (topics == nullptr) return recreated;
  for (nlohmann::json& one : *topics) {
    JsonFields fields(one, "a topic");
    std::string id = fields.String("id");
    RecreatedTopic topic{
        .cluster = fields.String("cluster"), .topic = fields.String("topic"), .at = fields.String("at")};
    K2_TRY(fields.status());
    recreated.emplace(std::move(id), std::move(topic));
  }
  return recreated;
}

}  // namespace

Result<RecreatedTopics> ReadRecreatedTopics(const iceberg::TableMetadata& bronze) {
  const auto found = bronze.properties.find(kRecreatedTopicsKey);
  if (found == bronze.properties.end()) return RecreatedTopics{};
  Result<RecreatedTopics> topics = ParseRecreated(found->second);
  if (topics) return topics;
  return std::unexpected(
      topics.error().With(fmt::format("the property \"{}\" of {}", kRecreatedTopicsKey, bronze.location)));
}

std::string RecreatedTopicsToJson(const RecreatedTopics& topics) {
  JsonWriter writer;
  writer.BeginObject().Field("version", kRecreatedVersion).Key("topics").BeginArray();
  for (const auto& [id, topic] : topics) {
    writer.BeginObject().Field("id", id).Field("cluster", topic.cluster).Field("topic", topic.topic);
    writer.Field("at", topic.at).EndObject();
  }
  writer.EndArray().EndObject();
  return writer.Take();
}

std::string_view TopicIdOfRows(const SourceKey& source) {
  return source.cluster == kRecordingCluster ? std::string_view() : std::string_view(source.topic_id);
}

bool RowIsOf(const SourceKey& source, const RecreatedTopics& recreated, std::string_view topic,
             std::string_view topic_id, int32_t partition) {
  if (source.partition != partition || source.topic != topic) return false;
  return topic_id.empty() ? !recreated.contains(source.topic_id) : source.topic_id == topic_id;
}

const SourceKey* SourceOfRow(const SourcePositions& sources, const RecreatedTopics& recreated, std::string_view topic,
                             std::string_view topic_id, int32_t partition) {
  constexpr std::string_view kOfRecordings = "recording/";
  if (topic.starts_with(kOfRecordings)) {  // there may be very many
    const auto found = sources.find({.cluster = kRecordingCluster,
                                     .topic = std::string(topic),
                                     .topic_id = std::string(topic.substr(topic.rfind('/') + 1)),
                                     .partition = partition});
    return found == sources.end() ? nullptr : &found->first;
  }
  for (const auto& [key, position] : sources) {
    if (RowIsOf(key, recreated, topic, topic_id, partition)) return &key;
  }
  return nullptr;
}

}  // namespace k2::table
