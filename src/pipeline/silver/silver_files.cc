// Which files of Bronze hold rows that Silver has not judged, and which of them a step takes.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/guard.h"
#include "base/health.h"
#include "iceberg/literal.h"
#include "pipeline/silver/silver_layer.h"
#include "table/progress_json.h"
#include "task/market_tables.h"
#include "task/text_view.h"

namespace k2::pipeline {
namespace {

constexpr std::string_view kOfRecordings = "recording/";

bool IsOf(const task::BronzePart& part, const table::SourceKey& key) {
  return part.partition == key.partition && part.topic == key.topic && part.topic_id == key.topic_id;
}

}  // namespace

Status SilverLayer::PlanFiles() {
  const int64_t current = bronze_.metadata().current_snapshot_id.value_or(0);
  if (current == planned_snapshot_) return {};
  std::vector<table::ScanFile> files;
  std::vector<BronzeFile> described;
  bool known = false;
  if (planned_snapshot_ != 0) {
    K2_ASSIGN(table::Increment increment,
              table::PlanIncrement(bronze_.io(), bronze_.metadata(), planned_snapshot_, current));
    // Of rows that others have moved to other files, those count that are there now.
    known = increment.complete && increment.rewrites.empty();
    files = std::move(increment.files);
  } else if (pending_.empty()) {
    // First step of this process: what Bronze held when Silver had all of it need not be looked at.
    K2_ASSIGN(const int64_t level, LevelSnapshot());
    if (level != 0) {
      Result<table::Increment> increment = table::PlanIncrement(bronze_.io(), bronze_.metadata(), level, current);
      known = increment && increment->complete && increment->rewrites.empty();
      if (known) files = std::move(increment->files);
    }
  }
  if (!known) {
    // That is far back, or Bronze's history has moved on: find the files by the bounds of their offsets.
    planned_snapshot_ = 0;
    described.swap(pending_);
    const int32_t offset_id = bronze_rows_.Find("offset")->id;
    K2_ASSIGN(files,
              table::PlanScan(bronze_.io(), bronze_.metadata(), current,
                              {{.field_id = offset_id, .op = iceberg::CompareOp::kGe, .values = {unjudged_from_}}}));
  }
  std::ranges::stable_sort(files, {}, &table::ScanFile::sequence_number);  // as they were committed
  const Status added = AddPending(files, std::move(described));
  if (!added) {
    planned_snapshot_ = 0;
    return added;
  }
  ForgetJudged({});
  planned_snapshot_ = current;
  return {};
}

// The newest of Bronze's last snapshots of which Silver has all rows; 0: none is known to be.
Result<int64_t> SilverLayer::LevelSnapshot() const {
  constexpr int kSnapshotsMax = 16;
  const auto level = [&](const auto& source) {
    const auto& [key, position] = source;
    if (!options_.Owns(key.topic, key.partition)) return true;
    if (!bronze_progress_.positions.contains(key)) return key.cluster == table::kRecordingCluster;  // it was finished
    return InSilver(key).value_or(table::SourcePosition{}).next_offset >= position.next_offset;
  };
  for (const table::LayerProgress& silver : silver_progress_) {
    if (silver.finished.generation != bronze_progress_.finished.generation) return 0;
  }
  const iceberg::TableMetadata& metadata = bronze_.metadata();
  const iceberg::Snapshot* snapshot = metadata.CurrentSnapshot();
  for (int i = 0; i < kSnapshotsMax && snapshot != nullptr; ++i) {
    K2_ASSIGN(const std::optional<table::LayerProgress> progress, table::ProgressOf(*snapshot, metadata.table_uuid));
    if (progress && std::ranges::all_of(progress->positions, level)) return snapshot->snapshot_id;
    // What was added since may have been removed again, which only the current snapshot tells.
    const auto removed = snapshot->summary.find("deleted-data-files");
    if (snapshot->operation != "append" &&
        (snapshot->operation != "replace" || (removed != snapshot->summary.end() && removed->second != "0"))) {
      return 0;
    }
    snapshot = snapshot->parent_snapshot_id ? metadata.FindSnapshot(*snapshot->parent_snapshot_id) : nullptr;
  }
  return 0;
}

// Appends files to pending_. What a file holds may have to be read from it: several are asked at once, and none again
// that is among `known`, or a backlog that takes longer than Bronze keeps its history would be described for ever.
// After an error pending_ holds what was learnt.
Status SilverLayer::AddPending(const std::vector<table::ScanFile>& files, std::vector<BronzeFile> known) {
  std::map<std::string_view, BronzeFile*> by_path;
  for (BronzeFile& file : known) {
    if (file.whole) by_path[file.path] = &file;
  }
  std::vector<std::optional<BronzeFile>> described(files.size());
  std::mutex mutex;
  std::optional<Error> failure;
  std::atomic<bool> failed{false};
  std::atomic<size_t> next{0};
  const auto describe = [&] {
    for (size_t i = next++; i < files.size(); i = next++) {
      if (const auto found = by_path.find(files[i].file.file_path); found != by_path.end()) {
        described[i] = std::move(*found->second);
        described[i]->deletes = files[i].deletes;
        continue;
      }
      if (failed) continue;
      ProcessHealth().Beat(ToString(LayerId::kSilver));
      if (auto file = Guarded("reading Bronze's files", [&] { return Describe(files[i]); })) {
        described[i] = *std::move(file);
      } else {
        const std::lock_guard lock(mutex);
        failure = file.error();
        failed = true;
      }
    }
  };
  {
    std::vector<std::jthread> others;
    const auto threads = std::min(static_cast<size_t>(std::max(options_.threads, 1)), files.size());
    try {
      for (size_t i = 1; i < threads; ++i) others.emplace_back(describe);
    } catch (const std::system_error&) {  // no more threads to be had: fewer do it
    }
    describe();
  }
  for (auto& file : described) {
    if (file) pending_.push_back(std::move(*file));
  }
  if (failure) return std::unexpected(std::move(*failure));
  return {};
}

// Bounds that agree on one source are exact when they name one we know; cut-off ones name none.
std::optional<task::BronzePart> SilverLayer::PartOfBounds(const iceberg::DataFile& file) const {
  const auto bound = [&](const std::map<int32_t, std::string>& bounds, const char* column) -> iceberg::Literal {
    const iceberg::NestedField* field = bronze_rows_.Find(column);
    const auto found = bounds.find(field->id);
    if (found == bounds.end()) return std::monostate{};
    const iceberg::Literal value = iceberg::FromBytes(found->second, field->type).value_or(iceberg::Literal{});
    // The partition's column may have been widened.
    const auto* wide = std::get_if<int64_t>(&value);
    if (std::string_view(column) == "partition" && wide != nullptr) return task::PartitionOf(*wide);
    return value;
  };
  const iceberg::Literal topic = bound(file.lower_bounds, "topic");
  const iceberg::Literal partition = bound(file.lower_bounds, "partition");
  const iceberg::Literal first = bound(file.lower_bounds, "offset");
  const iceberg::Literal last = bound(file.upper_bounds, "offset");
  if (topic != bound(file.upper_bounds, "topic") || partition != bound(file.upper_bounds, "partition") ||
      !std::holds_alternative<std::string>(topic) || !std::holds_alternative<int32_t>(partition) ||
      !std::holds_alternative<int64_t>(first) || !std::holds_alternative<int64_t>(last)) {
    return std::nullopt;
  }
  task::BronzePart part{.topic = std::get<std::string>(topic),
                        .partition = std::get<int32_t>(partition),
                        .first = std::get<int64_t>(first),
                        .last = std::get<int64_t>(last),
                        .rows = file.record_count};
  if (part.topic.starts_with(kOfRecordings)) {
    part.topic_id = TopicIdOf(part);
    const bool whole = task::HashPrefixOf({.cluster = table::kRecordingCluster,
                                           .topic = part.topic,
                                           .topic_id = part.topic_id,
                                           .partition = part.partition})
                           .has_value() &&
                       part.topic_id.size() == task::kRecordingHashDigits;
    if (!whole && !InBronze(part)) return std::nullopt;
    return part;
  }
  const auto of_name = [&](const auto& known) {
    return known.first.topic == part.topic && known.first.partition == part.partition;
  };
  const auto first_of_name = std::ranges::find_if(bronze_progress_.positions, of_name);
  if (first_of_name == bronze_progress_.positions.end()) return std::nullopt;
  // Of a topic that was recreated the rows' own ids tell which of them the file is of.
  const bool alone = std::ranges::count_if(bronze_progress_.positions, of_name) == 1;
  if (!alone && bronze_rows_.Find("topic_id") != nullptr) {
    const iceberg::Literal id = bound(file.lower_bounds, "topic_id");
    const auto nulls = file.null_value_counts.find(bronze_rows_.Find("topic_id")->id);
    const bool same = id == bound(file.upper_bounds, "topic_id") && std::holds_alternative<std::string>(id) &&
                      nulls != file.null_value_counts.end() && nulls->second == 0;
    if (!same) return std::nullopt;
    part.topic_id = std::get<std::string>(id);
    return InBronze(part) ? std::optional(part) : std::nullopt;
  }
  part.topic_id = alone ? first_of_name->first.topic_id : TopicIdOf(part);
  return part;
}

// Whether Bronze's document names the source. One that it does not name any more is finished: Silver has its rows.
bool SilverLayer::InBronze(const task::BronzePart& part) const {
  return std::ranges::any_of(bronze_progress_.positions, [&](const auto& known) {
    return known.first.topic == part.topic && known.first.topic_id == part.topic_id &&
           known.first.partition == part.partition;
  });
}

// Of the part's source; of rows without one, that of the topic that was there first.
std::string SilverLayer::TopicIdOf(const task::BronzePart& part) const {
  if (part.topic.starts_with(kOfRecordings)) return part.topic.substr(part.topic.rfind('/') + 1);
  const table::SourceKey* source =
      table::SourceOfRow(bronze_progress_.positions, recreated_, part.topic, part.topic_id, part.partition);
  return source == nullptr ? part.topic_id : source->topic_id;
}

// Deleted rows count among those of its parts: Silver passes over them, and has their offsets behind it then.
Result<SilverLayer::BronzeFile> SilverLayer::Describe(const table::ScanFile& scanned) const {
  const iceberg::DataFile& file = scanned.file;
  BronzeFile described{.path = file.file_path,
                       .rows = file.record_count,
                       .parts = {},
                       .times = TimesOf(file, bronze_rows_),
                       .deletes = scanned.deletes};
  if (auto part = PartOfBounds(file)) {
    described.parts.push_back(std::move(*part));
    return described;
  }
  const task::TaskContext context{.io = bronze_.io_ptr(), .schemas = nullptr, .cache = cache_};
  K2_ASSIGN(described.parts, task::ReadBronzeParts(context, file.file_path, bronze_shape_));
  for (task::BronzePart& part : described.parts) part.topic_id = TopicIdOf(part);
  return described;
}

// The offset up to which all rows of a part's source are judged.
int64_t SilverLayer::JudgedTo(const task::BronzePart& part) const {
  const exchange::Exchange* exchange = exchange::ExchangeOfTopic(part.topic);
  if (exchange == nullptr) return 0;
  const auto table = exchange::IndexOf(*exchange);
  int64_t to = 0;
  for (const table::SourcePositions* positions : {&silver_progress_[table].positions, &silver_finished_[table]}) {
    for (const auto& [key, position] : *positions) {
      if (IsOf(part, key)) to = std::max(to, position.next_offset);
    }
  }
  return to;
}

// Drops from pending_ what is judged: by Silver's offsets as read last, and by `ranges` on top of them.
void SilverLayer::ForgetJudged(const std::vector<PlannedRange>& ranges) {
  for (BronzeFile& file : pending_) {
    const size_t parts = file.parts.size();
    std::erase_if(file.parts, [&](const task::BronzePart& part) {
      int64_t to = JudgedTo(part);
      for (const PlannedRange& range : ranges) {
        if (IsOf(part, range.key)) to = std::max(to, range.end.next_offset);
      }
      return part.last < to || !options_.Owns(part.topic, part.partition) ||
             (part.topic.starts_with(kOfRecordings) && !InBronze(part));
    });
    if (file.parts.size() != parts) file.whole = false;
  }
  std::erase_if(pending_, [](const BronzeFile& file) { return file.parts.empty(); });
}

namespace {

// Whether a part has rows of a range.
template <typename Range>
bool Overlaps(const task::BronzePart& part, const Range& range) {
  return IsOf(part, range.key) && part.first < range.end.next_offset && part.last >= range.begin.next_offset;
}

}  // namespace

// Offsets before a gap that no row has (transaction markers, compacted ones) do not keep a table from it: then it
// stands, and true is returned.
bool SilverLayer::CheckGaps(std::vector<Range>& ranges) {
  for (const Range& range : ranges) {
    if (!range.gap) continue;
    const bool rows = std::ranges::any_of(pending_, [&](const BronzeFile& file) {
      return std::ranges::any_of(file.parts, [&](const task::BronzePart& part) { return Overlaps(part, range); });
    });
    if (rows) continue;
    const size_t table = range.table;
    Stand(table, GapError(range, *range.gap));
    std::erase_if(ranges, [&](const Range& one) { return one.table == table; });
    return true;
  }
  return false;
}

// Shortens the ranges to about rows_per_step rows, and gives the files to read for them. Files are taken as they were
// committed; no range goes beyond the first row of its source in a file that was not taken.
std::vector<SilverLayer::BronzeFile> SilverLayer::Cut(std::vector<Range>& ranges) const {
  std::vector<const BronzeFile*> needed;
  for (const BronzeFile& file : pending_) {
    const bool any = std::ranges::any_of(file.parts, [&](const task::BronzePart& part) {
      return std::ranges::any_of(ranges, [&](const Range& range) { return Overlaps(part, range); });
    });
    if (any) needed.push_back(&file);
  }
  size_t taken = 0;
  for (int64_t rows = 0; taken < needed.size() && rows < options_.rows_per_step; ++taken) rows += needed[taken]->rows;
  std::vector<Range> cut;
  while (true) {
    cut = ranges;
    for (size_t i = taken; i < needed.size(); ++i) {
      for (const task::BronzePart& part : needed[i]->parts) {
        for (Range& range : cut) {
          if (!Overlaps(part, range)) continue;
          range.end = {.next_offset = std::max(part.first, range.begin.next_offset),
                       .leader_epoch = range.end.leader_epoch};
          range.whole = false;
        }
      }
    }
    // A range that was cut moves only over rows that are read: what lies before the cut may be a gap or a loss, which
    // the count of a whole range tells apart.
    std::erase_if(cut, [&](const Range& range) {
      if (range.begin.next_offset >= range.end.next_offset) return true;
      const auto has_rows = [&](const BronzeFile* file) {
        return std::ranges::any_of(file->parts, [&](const task::BronzePart& part) { return Overlaps(part, range); });
      };
      return !range.whole && std::none_of(needed.begin(), needed.begin() + static_cast<int64_t>(taken), has_rows);
    });
    // Files that another engine has rewritten may lie so that no range moves: then more of them are taken.
    if (!cut.empty() || taken >= needed.size()) break;
    taken = std::min(needed.size(), taken * 2 + 1);
  }
  ranges = std::move(cut);
  std::vector<BronzeFile> files;
  for (size_t i = 0; i < taken; ++i) files.push_back(*needed[i]);
  return files;
}

}  // namespace k2::pipeline
