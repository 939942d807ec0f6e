// Which files maintenance of a table may delete. Metadata is data that others wrote: a path in it proves nothing.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "iceberg/table_metadata.h"

namespace k2::iceberg {

// Property "gc.enabled" (Iceberg, "Table behavior properties"; default true). False: the files may be shared with other
// tables, so no commit, expiry, clean-up or retention may delete or unlink any.
inline constexpr char kGcEnabled[] = "gc.enabled";
bool GarbageCollected(const TableMetadata& metadata);

// kUnsupported where it is not: "`what` was not done: …", naming the table and the way to allow it.
Status CheckGarbageCollected(const TableMetadata& metadata, std::string_view table, std::string_view what);

// A location without its scheme, which may be spelt in several ways (file:///x, file:/x, /x; s3, s3a, s3n), and without
// slashes around it.
std::string_view WithoutScheme(std::string_view location);

// The places that belong to a table: its location, and the folders that its properties write.data.path,
// write.metadata.path, write.object-storage.path and write.folder-storage.path name.
class OwnFiles {
 public:
  explicit OwnFiles(const TableMetadata& metadata);
  // Whether a path lies below one of them. A path with dot segments does not.
  [[nodiscard]] bool Hold(std::string_view path) const;

 private:
  struct Place {
    bool local = false;
    std::string path;  // without scheme and slashes around it
  };
  std::vector<Place> places_;
};

}  // namespace k2::iceberg
