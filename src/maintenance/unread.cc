#include "maintenance/unread.h"

#include <algorithm>
#include <limits>

#include "iceberg/literal.h"
#include "maintenance/retention_rules.h"
#include "pipeline/standing.h"
#include "task/market_tables.h"

namespace k2::maintenance {
namespace {

// A bound of a column in a file's metrics, or the given value where it is not known.
template <typename T>
T BoundOr(const std::map<int32_t, std::string>& bounds, const iceberg::NestedField* field, T otherwise) {
  if (field == nullptr) return otherwise;
  const auto found = bounds.find(field->id);
  if (found == bounds.end()) return otherwise;
  const auto literal = iceberg::FromBytes(found->second, field->type);
  if (!literal) return otherwise;
  if constexpr (std::is_same_v<T, int64_t>) {  // of an int, or one that was widened
    if (const auto* narrow = std::get_if<int32_t>(&*literal)) return *narrow;
  }
  if (!std::holds_alternative<T>(*literal)) return otherwise;
  return std::get<T>(*literal);
}

bool AddsRows(const iceberg::Snapshot& snapshot) {
  if (!table::MayAddRows(snapshot)) return false;
  const auto added = snapshot.summary.find("added-data-files");
  // Other engines need not say how many there are.
  return snapshot.operation != "append" || added == snapshot.summary.end() || added->second != "0";
}

// Sequence number up to which a reader that has read `hint` wholly has all rows: snapshots after it that add none do
// not count. Where the snapshot is expired, what the hint itself says.
int64_t ReadSequence(const iceberg::TableMetadata& metadata, const table::UpstreamHint& hint) {
  int64_t read = hint.sequence_number;
  std::vector<const iceberg::Snapshot*> after;  // newest first
  const iceberg::Snapshot* at = metadata.CurrentSnapshot();
  while (at != nullptr && at->snapshot_id != hint.snapshot_id && after.size() <= metadata.snapshots.size()) {
    after.push_back(at);
    if (!at->parent_snapshot_id) return read;
    if (*at->parent_snapshot_id == hint.snapshot_id) {
      read = std::max(read, at->sequence_number - 1);
      break;
    }
    at = metadata.FindSnapshot(*at->parent_snapshot_id);
  }
  if (at == nullptr || after.size() > metadata.snapshots.size()) return read;
  if (at->snapshot_id == hint.snapshot_id) read = std::max(read, at->sequence_number);
  for (auto next = after.rbegin(); next != after.rend() && !AddsRows(**next); ++next) {
    read = std::max(read, (*next)->sequence_number);
  }
  return read;
}

}  // namespace

Result<Readers> Readers::Of(const pipeline::Lakehouse& lakehouse, const table::Table& table) {
  Readers readers(table);
  const std::string& name = table.name().name;
  readers.blocked_ = std::ranges::any_of(
      table.metadata().refs, [](const auto& ref) { return ref.first.starts_with(pipeline::kStandsTagPrefix); });
  if (name == task::kBronzeTable || name == task::kRejectedTable) {
    readers.downstream_ = name == task::kBronzeTable ? Downstream::kSilver : Downstream::kSilverCatchingUp;
    K2_TRY(readers.LookAtSilver(lakehouse));
  } else if (task::IsSilver(name)) {
    readers.downstream_ = Downstream::kGold;
    K2_TRY(readers.LookAtGold(lakehouse));
  }
  return readers;
}

// Silver's own offsets tell what it has read. Those of rejected_trades need not be asked: it is committed first, so
// where it is behind Silver it has had no rows, and where it is ahead Silver takes those rows from Bronze yet.
Status Readers::LookAtSilver(const pipeline::Lakehouse& lakehouse) {
  K2_ASSIGN(own_, table::ReadProgress(table_.metadata()));
  K2_ASSIGN(recreated_, table::ReadRecreatedTopics(table_.metadata()));
  for (const exchange::Exchange* exchange : exchange::Exchanges()) {
    K2_ASSIGN(const std::optional<table::Table> silver, lakehouse.OpenSilver(*exchange, own_));
    if (!silver) continue;
    K2_ASSIGN(const table::LayerProgress progress, table::ReadProgress(silver->metadata()));
    for (const auto& [key, position] : progress.positions) {
      if (exchange::ExchangeOfTopic(key.topic) == exchange) read_to_[key] = position.next_offset;
    }
  }
  return {};
}

Status Readers::LookAtGold(const pipeline::Lakehouse& lakehouse) {
  K2_ASSIGN(const table::Table gold, lakehouse.Open(task::kGoldTable));
  K2_ASSIGN(const table::LayerProgress progress, table::ReadProgress(gold.metadata()));
  const auto hint = progress.upstream.find(table_.name().ToString());
  if (hint == progress.upstream.end() || hint->second.table_uuid != table_.metadata().table_uuid) return {};
  read_sequence_ = ReadSequence(table_.metadata(), hint->second);
  return {};
}

int64_t Readers::ReadTo(const table::SourceKey& key) const {
  const auto found = read_to_.find(key);
  return found == read_to_.end() ? 0 : found->second;
}

Result<Readers::Unread> Readers::Of(const table::ScanFile& file) const {
  K2_ASSIGN(Unread unread, Find(file));
  unread.blocked = blocked_ && unread.rows.rows > 0;
  return unread;
}

Result<Readers::Unread> Readers::Find(const table::ScanFile& file) const {
  switch (downstream_) {
    case Downstream::kNobody: return Unread{};
    case Downstream::kSilver: return OfBronze(file);
    case Downstream::kSilverCatchingUp: return OfRejected(file);
    case Downstream::kGold: break;
  }
  Unread unread;
  if (file.file_sequence_number > read_sequence_) {
    unread.rows.rows = file.file.record_count;
    unread.rows.sequence_number = file.file_sequence_number;
  }
  return unread;
}

Result<Readers::Unread> Readers::OfBronze(const table::ScanFile& file) const {
  K2_ASSIGN(const task::TableShape shape, pipeline::ShapeOf(table_, task::TableUse::kRead));
  const iceberg::Schema schema = shape.Rows();
  const iceberg::DataFile& data = file.file;
  const auto last = BoundOr<int64_t>(data.upper_bounds, schema.Find("offset"), std::numeric_limits<int64_t>::max());
  const auto topic_low = BoundOr<std::string>(data.lower_bounds, schema.Find("topic"), "");
  const auto topic_high = BoundOr<std::string>(data.upper_bounds, schema.Find("topic"), "\xff");
  const auto low = BoundOr<int64_t>(data.lower_bounds, schema.Find("partition"), std::numeric_limits<int64_t>::min());
  const auto high = BoundOr<int64_t>(data.upper_bounds, schema.Find("partition"), std::numeric_limits<int64_t>::max());
  const bool all_read = std::ranges::all_of(own_.positions, [&](const auto& source) {
    const auto& [key, bronze] = source;
    if (key.topic < topic_low || key.topic > topic_high || key.partition < low || key.partition > high) return true;
    const int64_t read_to = ReadTo(key);
    return read_to > last || read_to >= bronze.next_offset;
  });
  Unread unread;
  if (all_read) return unread;
  const task::TaskContext context{.io = table_.io_ptr(), .schemas = nullptr, .cache = nullptr};
  K2_ASSIGN(const std::vector<task::BronzePart> parts, task::ReadBronzeParts(context, data.file_path, shape));
  for (const task::BronzePart& part : parts) {
    for (const auto& [key, bronze] : own_.positions) {
      if (!table::RowIsOf(key, recreated_, part.topic, part.topic_id, part.partition)) continue;
      const OffsetRows left =
          UnreadOf({.first = part.first, .last = part.last, .rows = part.rows}, ReadTo(key), bronze.next_offset);
      if (left.rows == 0) continue;
      unread.rows.Add(key, {.first = left.first, .last = left.last, .rows = left.rows});
      unread.rows.rows += left.rows;
    }
  }
  if (unread.rows.rows > 0) unread.rows.sequence_number = file.file_sequence_number;
  return unread;
}

// Where Silver is behind rejected_trades, a crash came between the two commits, and Silver will take the rows of
// that range that rejected_trades does not hold: with its rows gone, rejected ones would be accepted.
Result<Readers::Unread> Readers::OfRejected(const table::ScanFile& file) const {
  K2_ASSIGN(const task::TableShape shape, pipeline::ShapeOf(table_, task::TableUse::kRead));
  const iceberg::Schema schema = shape.Rows();
  const auto first = BoundOr<int64_t>(file.file.lower_bounds, schema.Find("offset"), 0);
  const auto last =
      BoundOr<int64_t>(file.file.upper_bounds, schema.Find("offset"), std::numeric_limits<int64_t>::max());
  Unread unread;
  unread.needed = std::ranges::any_of(own_.positions, [&](const auto& source) {
    const int64_t read_to = ReadTo(source.first);
    return source.second.next_offset > read_to && last >= read_to && first < source.second.next_offset;
  });
  if (unread.needed) unread.rows.rows = file.file.record_count;
  return unread;
}

table::DroppedUnread Readers::StillMissing(table::DroppedUnread dropped) const {
  if (downstream_ == Downstream::kGold)
    return dropped.sequence_number > read_sequence_ ? dropped : table::DroppedUnread{};
  if (downstream_ != Downstream::kSilver) return {};
  std::erase_if(dropped.gaps, [&](const auto& gap) { return ReadTo(gap.first) > gap.second.last; });
  dropped.rows = 0;
  for (const auto& [key, gap] : dropped.gaps) dropped.rows += gap.rows;
  return dropped;
}

}  // namespace k2::maintenance
