#include "pipeline/silver/revalidation_mark.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace k2::pipeline {
namespace {

constexpr int kMarkVersion = 1;

Result<RevalidationMark> ParseMark(const std::string& text) {
  const auto object = nlohmann::json::parse(text);
  if (const int version = object.at("version"); version != kMarkVersion) {
    return Fail(ErrorKind::kUnsupported, "version {} is not supported; this k2 supports version {}", version,
                kMarkVersion);
  }
  RevalidationMark mark{.id = object.at("id"), .rejected_uuid = object.value("rejected", ""), .places = {}};
  for (const auto& source : object.value("places", nlohmann::json::array())) {
    const std::string topic = source.at(0);
    const int32_t partition = source.at(1);
    const auto& bounds = source.at(2);
    const std::string topic_id = source.size() > 3 ? source.at(3).get<std::string>() : "";
    for (size_t i = 0; i < bounds.size(); i += 2) {
      mark.places.AddRange({topic, topic_id, partition}, bounds.at(i), bounds.at(i + 1));
    }
  }
  return mark;
}

}  // namespace

void MessagePlaces::Add(const RowSource& source, int64_t offset) { AddRange(source, offset, offset); }

void MessagePlaces::AddRange(const RowSource& source, int64_t first, int64_t last) {
  Ranges& ranges = by_source_[{std::string(source.topic), std::string(source.topic_id), source.partition}];
  const auto before = static_cast<int64_t>(ranges.size());
  auto after = ranges.upper_bound(first);
  if (after != ranges.begin() && std::prev(after)->second >= first - 1) {
    --after;
    first = after->first;
    last = std::max(last, after->second);
    after = ranges.erase(after);
  }
  while (after != ranges.end() && after->first <= last + 1) {
    last = std::max(last, after->second);
    after = ranges.erase(after);
  }
  ranges.emplace(first, last);
  ranges_ += static_cast<int64_t>(ranges.size()) - before;
}

bool MessagePlaces::Contains(const RowSource& source, int64_t offset) const {
  const auto found = by_source_.find({std::string(source.topic), std::string(source.topic_id), source.partition});
  if (found == by_source_.end()) return false;
  const auto after = found->second.upper_bound(offset);
  return after != found->second.begin() && std::prev(after)->second >= offset;
}

std::pair<int64_t, int64_t> MessagePlaces::Bounds() const {
  std::pair<int64_t, int64_t> bounds{INT64_MAX, INT64_MIN};
  for (const auto& [source, ranges] : by_source_) {
    if (ranges.empty()) continue;
    bounds.first = std::min(bounds.first, ranges.begin()->first);
    bounds.second = std::max(bounds.second, ranges.rbegin()->second);
  }
  return bounds;
}

std::string MarkToJson(const RevalidationMark& mark) {
  nlohmann::json object = {{"version", kMarkVersion}, {"id", mark.id}};
  if (!mark.pending()) return object.dump();
  object["rejected"] = mark.rejected_uuid;
  nlohmann::json& places = object["places"] = nlohmann::json::array();
  for (const auto& [source, ranges] : mark.places.by_source()) {
    const auto& [topic, topic_id, partition] = source;
    nlohmann::json bounds = nlohmann::json::array();
    for (const auto& [first, last] : ranges) {
      bounds.push_back(first);
      bounds.push_back(last);
    }
    places.push_back({topic, partition, std::move(bounds)});
    if (!topic_id.empty()) places.back().push_back(topic_id);
  }
  return object.dump();
}

Result<RevalidationMark> ReadRevalidationMark(const iceberg::TableMetadata& silver) {
  const auto found = silver.properties.find(std::string(kRevalidatedKey));
  if (found == silver.properties.end()) return RevalidationMark{};
  const auto where = fmt::format("the property \"{}\" of {}", kRevalidatedKey, silver.location);
  try {
    Result<RevalidationMark> mark = ParseMark(found->second);
    if (!mark) return std::unexpected(mark.error().With(where));
    return mark;
  } catch (const nlohmann::json::exception& error) {
    return Fail(ErrorKind::kInvalidData, "{} cannot be read: {}", where, error.what());
  }
}

Status CheckNoRevalidationPending(const iceberg::TableMetadata& silver) {
  K2_ASSIGN(const RevalidationMark mark, ReadRevalidationMark(silver));
  if (!mark.pending()) return {};
  return Fail(ErrorKind::kConflict,
              "{} holds rows that are still in rejected_trades: a rebuild of rejected_trades was interrupted. Run `k2 "
              "rebuild --layer rejected` again, then retry",
              silver.location);
}

}  // namespace k2::pipeline
