#include "pipeline/gold/gold_shares.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

namespace k2::pipeline {
namespace {

constexpr int64_t kRowsWorthATask = 65'536;
constexpr double kRowsOfAShareMax = 1 << 20;      // where there are tasks enough: it holds them in memory
constexpr double kShareTooLargeBy = 0.2;          // is still not worth another share
constexpr int64_t kFilesOfSharesMax = 1'000'000;  // of all shares of an hour together
constexpr int32_t kFileHoursMax = 24 * 366;       // of a file; beyond, its bounds tell nothing

// Rows by hour, those of a file spread evenly over its hours; empty where a file's hours are not known.
std::map<int64_t, double> RowsByHour(const std::vector<GoldSlice>& slices) {
  std::map<int64_t, double> rows;
  for (const GoldSlice& slice : slices) {
    const int64_t hours = slice.last_hour - slice.first_hour + 1;
    if (hours < 1 || hours > kFileHoursMax) return {};
    for (int64_t hour = slice.first_hour; hour <= slice.last_hour; ++hour) {
      rows[hour] += static_cast<double>(slice.rows) / static_cast<double>(hours);
    }
  }
  return rows;
}

// Hours, in order, that one task or several take the rows of.
struct Part {
  std::vector<int64_t> hours;
  int32_t shares = 1;
};

// Neighbouring hours go together, for they are in the same files.
std::vector<Part> Divide(const std::map<int64_t, double>& rows, double rows_per_task, double rows_per_share) {
  std::vector<Part> parts;
  double load = 0;
  for (const auto& [hour, count] : rows) {
    if (count > 1.5 * rows_per_task) {
      const double shares = std::max(1.0, std::ceil(count / rows_per_share - kShareTooLargeBy));
      parts.push_back({.hours = {hour}, .shares = static_cast<int32_t>(shares)});
      load = rows_per_task;  // the next hour begins a part
      continue;
    }
    if (parts.empty() || load + count / 2 >= rows_per_task) {
      parts.emplace_back();
      load = 0;
    }
    parts.back().hours.push_back(hour);
    load += count;
  }
  return parts;
}

// What of the whole task the hours of a part need.
task::GoldTask Narrow(const task::GoldTask& whole, const std::vector<GoldSlice>& slices, const Part& part) {
  task::GoldTask task{.inputs = {},
                      .existing = {},
                      .output = whole.output,
                      .attempt_id = {},
                      .memory_bytes = whole.memory_bytes,
                      .hours = part.hours,
                      .share = 0,
                      .shares = part.shares};
  std::map<size_t, std::vector<task::InputFile>> files;
  for (const GoldSlice& slice : slices) {
    const auto hour = std::ranges::lower_bound(part.hours, slice.first_hour);
    if (hour == part.hours.end() || *hour > slice.last_hour) continue;
    files[slice.input].push_back(whole.inputs[slice.input].files[slice.file]);
  }
  for (auto& [input, list] : files) {
    task.inputs.push_back({.shape = whole.inputs[input].shape, .files = std::move(list)});
  }
  for (const task::GoldFile& file : whole.existing) {
    const auto hour = std::ranges::lower_bound(part.hours, file.first_hour);
    if (hour != part.hours.end() && *hour <= file.last_hour) task.existing.push_back(file);
  }
  return task;
}

}  // namespace

std::vector<task::GoldTask> ShareOut(task::GoldTask whole, const std::vector<GoldSlice>& slices,
                                     const GoldSpread& spread) {
  const int64_t total = std::accumulate(slices.begin(), slices.end(), int64_t{0},
                                        [](int64_t sum, const GoldSlice& slice) { return sum + slice.rows; });
  const int64_t wanted = std::clamp<int64_t>(total / kRowsWorthATask, 1, std::max(spread.tasks, 1));
  const std::map<int64_t, double> rows = wanted > 1 ? RowsByHour(slices) : std::map<int64_t, double>{};
  std::vector<task::GoldTask> made;
  if (rows.empty()) {
    made.push_back(std::move(whole));
    return made;
  }
  const double rows_per_task = static_cast<double>(total) / static_cast<double>(wanted);
  const double rows_per_core = static_cast<double>(total) / std::max(spread.cores, 1);
  const double rows_per_share = std::max(rows_per_task, std::min(rows_per_core, kRowsOfAShareMax));
  for (const Part& part : Divide(rows, rows_per_task, rows_per_share)) {
    task::GoldTask task = Narrow(whole, slices, part);
    // Each share names, and opens, all files of its hour: of very many files only a few shares are made.
    int64_t files = static_cast<int64_t>(task.existing.size());
    for (const task::GoldInput& input : task.inputs) files += static_cast<int64_t>(input.files.size());
    task.shares = static_cast<int32_t>(
        std::clamp<int64_t>(kFilesOfSharesMax / std::max<int64_t>(files, 1), 1, std::max(part.shares, 1)));
    for (int32_t share = 0; share < task.shares; ++share) {
      task.share = share;
      made.push_back(task);
    }
  }
  return made;
}

}  // namespace k2::pipeline
