#include "maintenance/newest_state.h"

#include <algorithm>
#include <map>

namespace k2::maintenance {
namespace {

constexpr size_t kNotesMax = 3;

std::string LeftOut(const catalog::MetadataFile& file, const std::vector<std::string>& faults) {
  return fmt::format("ignored {}: {}", catalog::LastNameOf(file.location), fmt::to_string(fmt::join(faults, "; ")));
}

// From the end of the chain back: the first place in it that a whole state has.
Result<NewestState> LongestChain(const std::vector<catalog::MetadataFile>& files,
                                 const catalog::MetadataHistory& history, const FindFaults& faults) {
  std::map<int64_t, std::vector<const catalog::MetadataFile*>, std::greater<>> by_depth;
  for (const catalog::MetadataFile& file : files) by_depth[history.Depth(file.location)].push_back(&file);
  NewestState state;
  for (const auto& [depth, group] : by_depth) {
    std::vector<const catalog::MetadataFile*> whole;
    std::vector<const catalog::MetadataFile*> were_current;
    for (const catalog::MetadataFile* file : group) {
      K2_ASSIGN(const std::vector<std::string> found, faults(*file));
      if (!found.empty()) {
        if (state.notes.size() < kNotesMax) state.notes.push_back(LeftOut(*file, found));
        continue;
      }
      whole.push_back(file);
      if (history.WasCurrent(file->location)) were_current.push_back(file);
    }
    const auto& fit = were_current.empty() ? whole : were_current;
    if (fit.size() == 1) state.chosen = *fit[0];
    if (fit.size() > 1)
      std::ranges::transform(fit, std::back_inserter(state.tied), [](const auto* file) { return *file; });
    if (!fit.empty()) break;
  }
  return state;
}

}  // namespace

Result<NewestState> FindNewestState(const std::vector<catalog::MetadataFile>& files, const std::string& current,
                                    const FindFaults& faults, bool catalog_is_old) {
  const catalog::MetadataHistory history(files);
  const auto now = std::ranges::find_if(files, [&](const catalog::MetadataFile& file) {
    return catalog::LastNameOf(file.location) == catalog::LastNameOf(current);
  });
  if (now == files.end()) return LongestChain(files, history, faults);
  K2_ASSIGN(const std::vector<std::string> wrong, faults(*now));
  if (!wrong.empty()) return LongestChain(files, history, faults);
  std::vector<catalog::MetadataFile> later;
  bool went_on = catalog_is_old;  // two commits: the first of them was taken, for somebody has written on top of it
  for (const catalog::MetadataFile& file : files) {
    if (!history.Descends(file.location, now->location)) continue;
    later.push_back(file);
    went_on |= history.Depth(file.location) >= history.Depth(now->location) + 2;
  }
  NewestState stays{.chosen = *now};
  if (!went_on || later.empty()) {
    for (const catalog::MetadataFile& file : later) {
      stays.notes.push_back(
          fmt::format("ignored {}: it was written later and may be an attempt that was never committed",
                      catalog::LastNameOf(file.location)));
    }
    return stays;
  }
  K2_ASSIGN(NewestState moved_on, LongestChain(later, history, faults));
  if (moved_on.chosen || !moved_on.tied.empty()) return moved_on;
  stays.notes = std::move(moved_on.notes);
  return stays;
}

}  // namespace k2::maintenance
