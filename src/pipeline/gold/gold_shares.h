// How the rows of one Gold step are shared out among tasks: by hours, and the trades of a large hour by their ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "task/task.h"

namespace k2::pipeline {

// A file of a Gold task's inputs, and the hours since 1970 that its rows may be of.
struct GoldSlice {
  int64_t first_hour = 0;
  int64_t last_hour = 0;
  int64_t rows = 0;
  size_t input = 0;  // index in GoldTask::inputs
  size_t file = 0;   // index in its files
};

// How many tasks a step is cut into, and the cores that they run on. More tasks than cores let one that is done early
// take another; but the shares of an hour are alike, and each reads all of it, so an hour has no more of them than it
// takes for all cores, or for a share's memory.
struct GoldSpread {
  int32_t tasks = 1;
  int32_t cores = 1;
};

// About `spread.tasks` tasks that together do what `whole` does, each trade in one of them; fewer where the rows are
// few. Each has those files and existing files that its hours need. Without knowledge of the hours it is one task. The
// attempt ids are the caller's.
std::vector<task::GoldTask> ShareOut(task::GoldTask whole, const std::vector<GoldSlice>& slices,
                                     const GoldSpread& spread);

}  // namespace k2::pipeline
