#include "pipeline/gold/gold_files.h"

#include <algorithm>
#include <utility>

#include "base/time.h"
#include "iceberg/value_range.h"
#include "table/scan.h"

namespace k2::pipeline {
namespace {

using iceberg::ValueRange;

ValueRange RangeOfColumn(const iceberg::TableMetadata& metadata, const iceberg::Schema& rows,
                         const iceberg::DataFile& file, std::string_view column) {
  const iceberg::NestedField* field = rows.Find(column);
  return field == nullptr ? ValueRange{} : RangeOf(metadata, file, *field);
}

ValueRange HoursOfTimes(const ValueRange& times) {
  ValueRange hours;
  if (times.HasFirst()) hours.first = HourOfMicros(times.first);
  if (times.HasLast()) hours.last = HourOfMicros(times.last);
  return hours;
}

task::GoldFile Described(const iceberg::TableMetadata& metadata, const iceberg::Schema& rows,
                         const iceberg::DataFile& file, iceberg::DeleteFiles deletes) {
  const HourRange hours = HoursOf(metadata, rows, file);
  const ValueRange times = RangeOfColumn(metadata, rows, file, "timestamp");
  return {.path = file.file_path,
          .first_hour = hours.first,
          .last_hour = hours.last,
          .record_count = file.record_count,
          .min_timestamp_us = times.first,
          .max_timestamp_us = times.last,
          .deletes = std::move(deletes)};
}

int32_t DayOfHour(int64_t hour) { return static_cast<int32_t>(FloorDiv(hour, 24)); }

}  // namespace

HourRange HoursOf(const iceberg::TableMetadata& metadata, const iceberg::Schema& rows, const iceberg::DataFile& file) {
  const ValueRange dates = RangeOfColumn(metadata, rows, file, "exchange_date");
  ValueRange of_day = RangeOfColumn(metadata, rows, file, "exchange_hour");
  of_day = ValueRange{0, 23}.And(of_day);
  const int64_t first_of_day = dates.IsOneValue() ? of_day.first : 0;
  const int64_t last_of_day = dates.IsOneValue() ? of_day.last : 23;
  ValueRange hours;
  if (dates.HasFirst()) hours.first = dates.first * 24 + first_of_day;
  if (dates.HasLast()) hours.last = dates.last * 24 + last_of_day;
  hours = hours.And(HoursOfTimes(RangeOfColumn(metadata, rows, file, "timestamp")));
  const HourRange any;  // that a time of 64 bits can be of
  return {std::clamp(hours.first, any.first, any.last), std::clamp(hours.last, any.first, any.last)};
}

void GoldFiles::Forget() {
  of_one_hour_.clear();
  of_several_.clear();
  listed_days_.clear();
  snapshot_ = 0;
}

// Brings the list up to date for some days, those included.
Status GoldFiles::List(const table::Table& gold, const iceberg::Schema& rows, int32_t first_day, int32_t last_day) {
  constexpr int32_t kDaysMax = 4096;  // beyond, bounds that are not known: the days are listed, not remembered
  const bool remember = int64_t{last_day} - first_day < kDaysMax;
  bool listed = remember;
  for (int32_t day = first_day; listed && day <= last_day; ++day) listed = listed_days_.contains(day);
  if (listed) return {};
  const iceberg::TableMetadata& metadata = gold.metadata();
  const int32_t date_id = rows.Find("exchange_date")->id;
  K2_ASSIGN(const std::vector<table::ScanFile> files,
            table::PlanScan(gold.io(), metadata, snapshot_,
                            {{.field_id = date_id, .op = iceberg::CompareOp::kGe, .values = {first_day}},
                             {.field_id = date_id, .op = iceberg::CompareOp::kLe, .values = {last_day}}}));
  std::map<int64_t, std::vector<task::GoldFile>> fresh;
  for (const table::ScanFile& file : files) {
    task::GoldFile described = Described(metadata, rows, file.file, file.deletes);
    if (!described.OfOneHour()) {
      of_several_.insert_or_assign(described.path, std::move(described));
      continue;
    }
    // A file may be here only because nothing tells that it has no rows of these days: its hour is listed with its own.
    const int32_t day = DayOfHour(described.first_hour);
    if (day >= first_day && day <= last_day) fresh[described.first_hour].push_back(std::move(described));
  }
  for (auto& [hour, list] : fresh) of_one_hour_[hour] = std::move(list);
  for (int32_t day = first_day; remember && day <= last_day; ++day) listed_days_.insert(day);
  return {};
}

Result<std::vector<task::GoldFile>> GoldFiles::Of(const table::Table& gold, const iceberg::Schema& rows,
                                                  const std::vector<HourRange>& hours) {
  const int64_t current = gold.metadata().current_snapshot_id.value_or(0);
  if (current != snapshot_) {
    Forget();
    snapshot_ = current;
  }
  for (const auto& [first, last] : hours) K2_TRY(List(gold, rows, DayOfHour(first), DayOfHour(last)));
  std::vector<task::GoldFile> found;
  std::set<int64_t> taken;
  for (const auto& [first, last] : hours) {
    for (auto at = of_one_hour_.lower_bound(first); at != of_one_hour_.end() && at->first <= last; ++at) {
      if (taken.insert(at->first).second) found.insert(found.end(), at->second.begin(), at->second.end());
    }
  }
  for (const auto& [path, file] : of_several_) {
    const bool may = std::ranges::any_of(
        hours, [&](const HourRange& range) { return file.first_hour <= range.last && file.last_hour >= range.first; });
    if (may) found.push_back(file);
  }
  return found;
}

void GoldFiles::Committed(const table::Table& gold, const iceberg::Schema& rows,
                          const std::vector<iceberg::DataFile>& added) {
  // No one else's commit came in between when our snapshot stands directly on the one the list is true for.
  const iceberg::Snapshot* head = gold.metadata().CurrentSnapshot();
  if (head == nullptr || head->parent_snapshot_id != snapshot_) return;
  for (const iceberg::DataFile& file : added) {
    task::GoldFile described = Described(gold.metadata(), rows, file, {});
    if (described.OfOneHour()) {
      of_one_hour_[described.first_hour].push_back(std::move(described));
    } else {
      of_several_.insert_or_assign(described.path, std::move(described));
    }
  }
  snapshot_ = head->snapshot_id;
}

}  // namespace k2::pipeline
