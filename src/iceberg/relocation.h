// A table's metadata with other names for its files: for a warehouse that was moved or copied. Pure: bytes in, bytes
// out. Manifests and manifest lists keep their writer's schema, header and all fields but those that name files, so
// that nothing is lost that another writer has put there.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "iceberg/table_metadata.h"

namespace k2::iceberg {

// The present name of a file.
using NewName = std::function<std::string(const std::string& location)>;

// A delete file that was written again under another name, since it holds names of files itself.
struct RewrittenFile {
  std::string location;
  int64_t size_bytes = 0;
  std::string lowest_path;  // of the data files that it names
  std::string highest_path;
};
// Looks one up by its old name; null where it was not written again.
using FindRewritten = std::function<const RewrittenFile*(const std::string& location)>;

// Names of data and delete files, of the data files that delete files refer to, and the bounds of position deletes'
// file_path, where they are whole; bounds that were cut cannot be told and are left out. Error kInvalidData.
Result<std::string> RelocateManifest(std::string_view bytes, const NewName& name, const FindRewritten& rewritten);

// A manifest's new name and size, by its old name.
struct MovedManifest {
  std::string location;
  int64_t size_bytes = 0;
};
Result<std::string> RelocateManifestList(std::string_view bytes,
                                         const std::function<Result<MovedManifest>(const std::string&)>& manifest);

// Location, metadata log, statistics, and properties that name places; `manifest_list` gives the new name of a
// snapshot's list. Entries of the log that `name` leaves as they are, outside the warehouse, are dropped: a later
// commit would delete those files. Error kInvalidData: a statistics file without a path.
Result<TableMetadata> RelocateMetadata(const TableMetadata& metadata,
                                       const std::function<std::optional<std::string>(std::string_view)>& apply,
                                       const std::function<std::string(const Snapshot&)>& manifest_list);

// Where a statistics file lies. kInvalidData.
Result<std::string> StatisticsPath(const StatisticsEntry& entry);

}  // namespace k2::iceberg
