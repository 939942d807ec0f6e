#include "pipeline/gold/rewrites.h"

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>
#include <map>

#include "base/time.h"
#include "iceberg/literal.h"
#include "pipeline/lakehouse.h"
#include "table/scan.h"
#include "task/gold_rows.h"
#include "task/market_tables.h"
#include "task/partitioned_write.h"

namespace k2::pipeline {
namespace {

constexpr int64_t kBytesAMovedId = 64;  // of a map at its emptiest

}  // namespace

Status EachTradeInHour(const table::Table& table, const iceberg::DataFile& file, const TradeInHour& use) {
  K2_ASSIGN(const task::TableShape shape, ShapeOf(table, task::TableUse::kRead));
  const task::TaskContext context{.io = table.io_ptr(), .schemas = nullptr};
  return task::ReadInput(context, {.path = file.file_path}, shape, {"message_id", "timestamp"},
                         [&](const std::shared_ptr<arrow::RecordBatch>& batch) -> Status {
                           const task::GoldRows rows(*batch);
                           for (int64_t row = 0; row < rows.size(); ++row) {
                             const std::string_view text = rows.message_id(row);
                             use(task::IdOfText(text), HourOfMicros(rows.timestamp_us(row)), text);
                           }
                           return {};
                         });
}

namespace {

struct HourSpan {
  int64_t first = INT64_MIN;
  int64_t last = INT64_MAX;
};

// By the bounds of the rows' times; all hours, where they are not known.
HourSpan HoursSpannedBy(const iceberg::DataFile& file, const iceberg::Schema& schema) {
  const iceberg::NestedField& time = *schema.Find("timestamp");
  const auto bound = [&](const std::map<int32_t, std::string>& bounds, int64_t otherwise) {
    const auto found = bounds.find(time.id);
    if (found == bounds.end()) return otherwise;
    const auto literal = iceberg::FromBytes(found->second, time.type);
    if (!literal || !std::holds_alternative<int64_t>(*literal)) return otherwise;
    return FloorDiv(std::get<int64_t>(*literal), kMicrosPerHour);
  };
  return {.first = bound(file.lower_bounds, INT64_MIN), .last = bound(file.upper_bounds, INT64_MAX)};
}

}  // namespace

std::function<Status(const iceberg::TableMetadata& head, const std::vector<iceberg::DataFile>& added)>
RefuseDoubledTrades(const table::Table& gold, std::vector<iceberg::DataFile> own) {
  return [gold, own = std::move(own)](const iceberg::TableMetadata& head,
                                      const std::vector<iceberg::DataFile>& added) -> Status {
    K2_ASSIGN(const task::TableShape shape, ShapeOf(task::kGoldTable, head, task::TableUse::kRead));
    const iceberg::Schema schema = shape.Rows();
    for (const iceberg::DataFile& foreign : added) {
      const HourSpan theirs = HoursSpannedBy(foreign, schema);
      std::map<int64_t, boost::unordered_flat_set<Uuid, task::UuidHash>> by_hour;
      for (const iceberg::DataFile& file : own) {
        const HourSpan ours = HoursSpannedBy(file, schema);
        if (ours.last < theirs.first || ours.first > theirs.last) continue;
        if (by_hour.empty()) {
          K2_TRY(EachTradeInHour(gold, foreign,
                                 [&](const Uuid& id, int64_t hour, std::string_view) { by_hour[hour].insert(id); }));
        }
        std::string doubled;
        K2_TRY(EachTradeInHour(gold, file, [&](const Uuid& id, int64_t hour, std::string_view text) {
          const auto found = by_hour.find(hour);
          if (found != by_hour.end() && found->second.contains(id)) doubled = text;
        }));
        if (doubled.empty()) continue;
        return Fail(ErrorKind::kOffsetMismatch,
                    "{}: another engine has added trades of this batch since it was planned (for example message_id "
                    "{}); nothing was committed",
                    gold.name().ToString(), doubled);
      }
    }
    return {};
  };
}

Result<MovedTrades> FindMovedTrades(const table::Table& silver, const iceberg::Snapshot& rewrite,
                                    int64_t memory_bytes) {
  K2_ASSIGN(const table::SnapshotFiles files, table::FilesOfSnapshot(silver.io(), silver.metadata(), rewrite));
  MovedTrades moved;
  if (files.added.empty()) return moved;
  int64_t rows = 0;
  for (const table::ScanFile& file : files.removed) rows += file.file.record_count;
  const auto shares = static_cast<uint64_t>(rows * kBytesAMovedId / std::max<int64_t>(memory_bytes, 1) + 1);
  for (uint64_t share = 0; share < shares; ++share) {
    const auto in_share = [&](const Uuid& id) { return (task::UuidHash{}(id) >> 32) % shares == share; };
    boost::unordered_flat_map<Uuid, int64_t, task::UuidHash> before;
    for (const table::ScanFile& file : files.removed) {
      const Status read = EachTradeInHour(silver, file.file, [&](const Uuid& id, int64_t hour, std::string_view) {
        if (in_share(id)) before.try_emplace(id, hour);
      });
      if (!read && read.error().kind != ErrorKind::kNotFound) return std::unexpected(read.error());
    }
    for (const table::ScanFile& file : files.added) {
      K2_TRY(EachTradeInHour(silver, file.file, [&](const Uuid& id, int64_t hour, std::string_view text) {
        const auto found = before.find(id);
        if (found == before.end() || found->second == hour) return;
        if (moved.count++ == 0) moved.example = text;
      }));
    }
  }
  return moved;
}

}  // namespace k2::pipeline
