// Gold's live files by the hours that their rows may be of, as deduplication asks for them.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/time.h"
#include "table/table.h"
#include "task/task.h"

namespace k2::pipeline {

// Hours since 1970, both included.
struct HourRange {
  int64_t first = HourOfMicros(INT64_MIN);
  int64_t last = HourOfMicros(INT64_MAX);
};

// The hours that the rows of a file of trades may be of: by the partition values of the file's own spec and the bounds
// of exchange_date, exchange_hour and timestamp; any hour, where none of them is known. `rows`: TableShape::Rows().
HourRange HoursOf(const iceberg::TableMetadata& metadata, const iceberg::Schema& rows, const iceberg::DataFile& file);

// True for one snapshot of Gold: kept up by this process's own commits, listed again after others'.
class GoldFiles {
 public:
  // Each file once that may have rows of some of these hours, at Gold's present snapshot.
  Result<std::vector<task::GoldFile>> Of(const table::Table& gold, const iceberg::Schema& rows,
                                         const std::vector<HourRange>& hours);
  // This process has committed: `gold` is as it stands after that.
  void Committed(const table::Table& gold, const iceberg::Schema& rows, const std::vector<iceberg::DataFile>& added);
  void Forget();

 private:
  Status List(const table::Table& gold, const iceberg::Schema& rows, int32_t first_day, int32_t last_day);

  std::map<int64_t, std::vector<task::GoldFile>> of_one_hour_;  // by it
  std::map<std::string, task::GoldFile> of_several_;            // by path
  std::set<int32_t> listed_days_;
  int64_t snapshot_ = 0;
};

}  // namespace k2::pipeline
