#include "table/audit.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <unordered_map>

#include "base/log.h"
#include "base/this_process.h"
#include "base/time.h"
#include "base/version.h"
#include "iceberg/snapshot_producer.h"
#include "table/accepted.h"
#include "table/dropped_unread.h"
#include "table/progress_json.h"

namespace k2::table {
namespace {

using iceberg::Snapshot;
using iceberg::TableMetadata;
using Json = nlohmann::json;

constexpr int64_t kAuditVersion = 1;
constexpr size_t kDetailBytesMax = 400;

std::string SummaryEntry(const Snapshot& snapshot, std::string_view key) {
  const auto found = snapshot.summary.find(std::string(key));
  return found == snapshot.summary.end() ? std::string{} : found->second;
}

int64_t SummaryCount(const Snapshot& snapshot, std::string_view key) {
  const std::string text = SummaryEntry(snapshot, key);
  const bool number =
      !text.empty() && text.size() <= 18 && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  return number ? std::stoll(text) : 0;
}

// What the counts of a summary tell: "2 files with 30 rows removed, 1 with 10 added".
std::string FilesInWords(const Snapshot& snapshot) {
  std::string words =
      fmt::format("{} files with {} rows removed, {} with {} added", SummaryCount(snapshot, "deleted-data-files"),
                  SummaryCount(snapshot, "deleted-records"), SummaryCount(snapshot, "added-data-files"),
                  SummaryCount(snapshot, "added-records"));
  const int64_t positions = SummaryCount(snapshot, "added-position-deletes");
  const int64_t equalities = SummaryCount(snapshot, "added-equality-deletes");
  if (positions > 0) words += fmt::format("; {} rows deleted by position", positions);
  if (equalities > 0) words += fmt::format("; {} equality deletes, of so many rows as match them", equalities);
  return words;
}

std::string Shortened(std::string text) {
  if (text.size() <= kDetailBytesMax) return text;
  size_t end = kDetailBytesMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;  // no half characters
  return text.substr(0, end) + "…";
}

bool IsOurs(const Snapshot& snapshot) {
  return snapshot.summary.contains(iceberg::kCommitIdKey) || snapshot.summary.contains(kVersionKey);
}

// By the entry that K2 writes for it, else by the operation. Empty: nothing was taken away.
std::string KindOf(const Snapshot& snapshot) {
  if (snapshot.summary.contains(kOffsetsSetKey)) return "offsets set";
  if (snapshot.summary.contains(kOffsetsAcceptedKey)) return "offsets accept";
  if (snapshot.summary.contains(kRetentionKey)) return "retention";
  if (snapshot.summary.contains(std::string(kRebuiltKey))) return "rebuild";
  if (snapshot.operation == "delete" || snapshot.operation == "overwrite") return snapshot.operation;
  return "";
}

// main's own snapshots, from the head on, until `use` has enough. A table may keep a hundred thousand.
void WalkMainWhile(const TableMetadata& metadata, const std::function<bool(const Snapshot&)>& use) {
  const Snapshot* at = metadata.CurrentSnapshot();
  if (at == nullptr || !use(*at)) return;
  std::unordered_map<int64_t, const Snapshot*> by_id;
  for (const Snapshot& snapshot : metadata.snapshots) by_id.emplace(snapshot.snapshot_id, &snapshot);
  while (at->parent_snapshot_id) {
    const auto parent = by_id.extract(*at->parent_snapshot_id);  // each once
    if (parent.empty() || !use(*parent.mapped())) return;
    at = parent.mapped();
  }
}

// Snapshots that are, or were, main's: what is on another branch has taken nothing out of the table.
std::vector<const Snapshot*> SnapshotsOfMain(const TableMetadata& metadata) {
  std::set<int64_t> ids;
  for (const iceberg::SnapshotLogEntry& entry : metadata.snapshot_log) ids.insert(entry.snapshot_id);
  WalkMainWhile(metadata, [&](const Snapshot& snapshot) {
    ids.insert(snapshot.snapshot_id);
    return true;
  });
  std::vector<const Snapshot*> found;
  for (const Snapshot& snapshot : metadata.snapshots) {
    if (ids.contains(snapshot.snapshot_id)) found.push_back(&snapshot);
  }
  std::ranges::sort(found, {}, &Snapshot::sequence_number);
  return found;
}

// Of other engines, between the head and the newest snapshot that the program k2 has committed, which has recorded what
// came before it.
std::vector<int64_t> OthersSinceLastCommit(const TableMetadata& metadata) {
  std::vector<int64_t> found;
  WalkMainWhile(metadata, [&](const Snapshot& snapshot) {
    if (SummaryEntry(snapshot, "engine-name") == "k2") return false;
    found.push_back(snapshot.snapshot_id);
    return true;
  });
  return found;
}

// The events of the property as they are written: what a newer K2 has put into one is kept.
Result<Json> RecordedEvents(const TableMetadata& metadata) {
  const auto found = metadata.properties.find(kAuditKey);
  if (found == metadata.properties.end()) return Json::array();
  Json document = Json::parse(found->second, nullptr, /*allow_exceptions=*/false);
  const bool right = document.is_object() && document.value("version", Json()) == kAuditVersion &&
                     document.contains("events") && document["events"].is_array() &&
                     std::ranges::all_of(document["events"], [](const Json& event) { return event.is_object(); });
  if (right) return std::move(document["events"]);
  return Fail(
      ErrorKind::kInvalidData,
      "the property \"{}\" of {} is no record of events of version {}: remove it with any engine to begin a new "
      "one, or use the version of k2 that has written it",
      kAuditKey, metadata.location, kAuditVersion);
}

Json EventToJson(const AuditEvent& event) {
  Json written = {{"at", FormatTimestamp(event.at_us)},
                  {"event", event.event},
                  {"detail", event.detail},
                  {"snapshot", event.snapshot_id},
                  {"engine", event.engine}};
  if (event.rows) written["rows"] = *event.rows;
  if (!event.version.empty()) written["version"] = event.version;
  if (!event.host.empty()) written["host"] = event.host;
  if (!event.process.empty()) written["process"] = event.process;
  return written;
}

std::string TextOf(const Json& event, const char* key) {
  const auto found = event.find(key);
  return found != event.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

int64_t SnapshotIdOf(const Json& event) {
  const auto found = event.find("snapshot");
  return found != event.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

AuditEvent EventFromJson(const Json& event) {
  const auto rows = event.find("rows");
  return {.at_us = ParseTimestamp(TextOf(event, "at")).value_or(0),
          .event = TextOf(event, "event"),
          .detail = TextOf(event, "detail"),
          .rows = rows != event.end() && rows->is_number_integer() ? std::optional(rows->get<int64_t>()) : std::nullopt,
          .snapshot_id = SnapshotIdOf(event),
          .engine = TextOf(event, "engine"),
          .version = TextOf(event, "version"),
          .host = TextOf(event, "host"),
          .process = TextOf(event, "process")};
}

}  // namespace

void WriteCommitter(std::map<std::string, std::string>& summary) {
  summary["engine-name"] = "k2";
  summary["engine-version"] = kVersion;
  summary[kVersionKey] = kVersion;
  summary[kHostKey] = ThisProcess().host;
  summary[kProcessKey] = ThisProcess().process;
}

std::string EngineOf(const Snapshot& snapshot) {
  std::string engine = SummaryEntry(snapshot, "engine-name");
  if (engine.empty() && snapshot.summary.contains("trino_query_id")) engine = "trino";
  if (engine.empty()) engine = IsOurs(snapshot) ? "k2" : "another engine";
  return engine;
}

std::optional<AuditEvent> EventOf(const Snapshot& snapshot) {
  AuditEvent event{.at_us = snapshot.timestamp_ms * 1000,
                   .event = KindOf(snapshot),
                   .detail = FilesInWords(snapshot),
                   .rows = {},
                   .snapshot_id = snapshot.snapshot_id,
                   .engine = EngineOf(snapshot),
                   .version = SummaryEntry(snapshot, kVersionKey),
                   .host = SummaryEntry(snapshot, kHostKey),
                   .process = SummaryEntry(snapshot, kProcessKey)};
  if (event.event.empty()) return std::nullopt;
  if (IsOurs(snapshot) && event.engine != "k2") event.engine = "k2 on " + event.engine;
  if (event.version.empty()) event.version = SummaryEntry(snapshot, "engine-version");
  if (event.process.empty()) event.process = SummaryEntry(snapshot, "spark.app.id");
  // An engine that copies on write adds the rows that stay.
  const int64_t fewer = SummaryCount(snapshot, "deleted-records") - SummaryCount(snapshot, "added-records");
  const int64_t removed = std::max<int64_t>(fewer, 0) + SummaryCount(snapshot, "added-position-deletes");
  if (removed > 0) event.rows = removed;
  for (const char* key : {kOffsetsSetKey, kOffsetsAcceptedKey}) {
    if (snapshot.summary.contains(key)) event.detail = SummaryEntry(snapshot, key);
  }
  if (event.event == "retention") {
    event.detail = SummaryEntry(snapshot, kRetentionKey);
    const std::string unread = SummaryEntry(snapshot, kDroppedUnreadKey);
    if (!unread.empty()) {
      event.detail = fmt::format("{} rows that the downstream layer had not read; {}", unread, event.detail);
    }
  }
  event.detail = Shortened(std::move(event.detail));
  return event;
}

Result<std::vector<AuditEvent>> ReadAudit(const TableMetadata& metadata) {
  K2_ASSIGN(const Json recorded, RecordedEvents(metadata));
  std::vector<AuditEvent> events;
  std::set<int64_t> known;
  for (const Json& event : recorded) {
    events.push_back(EventFromJson(event));
    known.insert(events.back().snapshot_id);
  }
  for (const Snapshot* snapshot : SnapshotsOfMain(metadata)) {
    if (known.contains(snapshot->snapshot_id)) continue;
    if (auto event = EventOf(*snapshot)) events.push_back(*std::move(event));
  }
  std::ranges::stable_sort(events, {}, &AuditEvent::at_us);
  return events;
}

std::optional<std::string> AuditAfter(const TableMetadata& head, const Snapshot* made,
                                      const std::vector<int64_t>& expired) {
  std::set<int64_t> wanted(expired.begin(), expired.end());
  for (const int64_t id : OthersSinceLastCommit(head)) wanted.insert(id);
  std::vector<AuditEvent> events;
  const bool any = std::ranges::any_of(head.snapshots, [&](const Snapshot& snapshot) {
    return wanted.contains(snapshot.snapshot_id) && !KindOf(snapshot).empty();
  });
  if (any) {  // seldom: nothing is sorted for each commit
    for (const Snapshot* snapshot : SnapshotsOfMain(head)) {
      if (!wanted.contains(snapshot->snapshot_id)) continue;
      if (auto event = EventOf(*snapshot)) events.push_back(*std::move(event));
    }
  }
  if (made != nullptr) {
    if (auto event = EventOf(*made)) events.push_back(*std::move(event));
  }
  if (events.empty()) return std::nullopt;
  Result<Json> recorded = RecordedEvents(head);
  if (!recorded) {
    log::Warn("an event is not recorded", {{"table", head.location}, {"error", recorded.error().message}});
    return std::nullopt;
  }
  // What has left a full record does not come back in the place of newer events.
  const bool full = recorded->size() >= kAuditEventsMax;
  const std::string left_until = full ? TextOf(recorded->front(), "at") : std::string{};
  const size_t before = recorded->size();
  for (const AuditEvent& event : events) {
    const auto same = [&](const Json& one) { return SnapshotIdOf(one) == event.snapshot_id; };
    if (std::ranges::any_of(*recorded, same) || FormatTimestamp(event.at_us) <= left_until) continue;
    recorded->push_back(EventToJson(event));
  }
  if (recorded->size() == before) return std::nullopt;
  std::stable_sort(recorded->begin(), recorded->end(),
                   [](const Json& one, const Json& other) { return TextOf(one, "at") < TextOf(other, "at"); });
  if (recorded->size() > kAuditEventsMax) {
    recorded->erase(recorded->begin(), recorded->end() - static_cast<int64_t>(kAuditEventsMax));
  }
  const Json document = {{"version", kAuditVersion}, {"events", std::move(*recorded)}};
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace k2::table
