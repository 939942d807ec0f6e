// Which of a table's metadata files is its newest state.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "catalog/metadata_history.h"

namespace k2::maintenance {

struct NewestState {
  std::optional<catalog::MetadataFile> chosen;
  std::vector<catalog::MetadataFile> tied;  // more than one that could be it; nothing is chosen then
  std::vector<std::string> notes;           // newer ones that are left out, and why
};

// What is wrong with a metadata file's table; empty: nothing.
using FindFaults = std::function<Result<std::vector<std::string>>(const catalog::MetadataFile&)>;

// The file at the end of the longest chain of commits whose files are all there. Of several at the same place in the
// chain the one on which another was written goes first, since it was current once. `current`: the one that the catalog
// names, if it is among `files`: while it is whole, only what came from it in two commits or more can be newer (a
// single later file may be an attempt that was never taken; where `catalog_is_old` is known of other tables, it was
// taken).
Result<NewestState> FindNewestState(const std::vector<catalog::MetadataFile>& files, const std::string& current,
                                    const FindFaults& faults, bool catalog_is_old = false);

}  // namespace k2::maintenance
