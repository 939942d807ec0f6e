#include "table/dropped_unread.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json_text.h"

namespace k2::table {
namespace {

constexpr int64_t kFormatVersion = 1;
constexpr size_t kGapFields = 7;

Status ReadGap(const nlohmann::json& gap, std::map<SourceKey, OffsetGap>& gaps) {
  const bool right = gap.is_array() && gap.size() == kGapFields && gap[0].is_string() && gap[1].is_string() &&
                     gap[2].is_string() && gap[3].is_number_integer() && gap[4].is_number_integer() &&
                     gap[5].is_number_integer() && gap[6].is_number_integer();
  if (!right) return Fail(ErrorKind::kInvalidData, "a source is not a list of {} values", kGapFields);
  const SourceKey key{.cluster = gap[0].get<std::string>(),
                      .topic = gap[1].get<std::string>(),
                      .topic_id = gap[2].get<std::string>(),
                      .partition = gap[3].get<int32_t>()};
  gaps[key] = {.first = gap[4].get<int64_t>(), .last = gap[5].get<int64_t>(), .rows = gap[6].get<int64_t>()};
  return {};
}

Result<DroppedUnread> Parse(const std::string& text) {
  K2_ASSIGN(nlohmann::json document, ParseJson(text, "it"));
  JsonFields json(document, "it");
  DroppedUnread dropped;
  const int64_t version = json.Int64("version");
  dropped.rows = json.Int64("rows");
  dropped.sequence_number = json.Int64("sequence");
  dropped.at = json.String("at");
  nlohmann::json* gaps = json.OptionalArray("sources");
  K2_TRY(json.status());
  if (version != kFormatVersion) {
    return Fail(ErrorKind::kOffsetMismatch, "version {} is not supported; this K2 supports version {} only", version,
                kFormatVersion);
  }
  if (gaps != nullptr) {
    for (const nlohmann::json& gap : *gaps) K2_TRY(ReadGap(gap, dropped.gaps));
  }
  return dropped;
}

}  // namespace

void DroppedUnread::Add(const SourceKey& key, const OffsetGap& gap) {
  const auto [entry, fresh] = gaps.try_emplace(key, gap);
  if (fresh) return;
  entry->second.first = std::min(entry->second.first, gap.first);
  entry->second.last = std::max(entry->second.last, gap.last);
  entry->second.rows += gap.rows;
}

void DroppedUnread::Add(const DroppedUnread& other) {
  rows += other.rows;
  sequence_number = std::max(sequence_number, other.sequence_number);
  for (const auto& [key, gap] : other.gaps) Add(key, gap);
}

Result<std::optional<DroppedUnread>> ReadDroppedUnread(const iceberg::TableMetadata& metadata) {
  const auto found = metadata.properties.find(kDroppedUnreadKey);
  if (found == metadata.properties.end()) return std::nullopt;
  Result<DroppedUnread> dropped = Parse(found->second);
  if (!dropped) {
    return std::unexpected(
        dropped.error().With(fmt::format("the property \"{}\" of {}", kDroppedUnreadKey, metadata.location)));
  }
  if (dropped->empty()) return std::nullopt;
  return std::move(*dropped);
}

std::string DroppedUnreadToJson(const DroppedUnread& dropped) {
  JsonWriter writer;
  writer.BeginObject().Field("version", kFormatVersion).Field("rows", dropped.rows);
  writer.Field("sequence", dropped.sequence_number).Field("at", dropped.at);
  if (!dropped.gaps.empty()) {
    writer.Key("sources").BeginArray();
    for (const auto& [key, gap] : dropped.gaps) {
      writer.BeginArray().String(key.cluster).String(key.topic).String(key.topic_id).Int(key.partition);
      writer.Int(gap.first).Int(gap.last).Int(gap.rows).EndArray();
    }
    writer.EndArray();
  }
  return writer.EndObject().Take();
}

}  // namespace k2::table
