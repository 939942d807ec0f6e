// The metadata files that lie in a table's folder, and how they follow each other: what there is to say of a catalog
// that has forgotten them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "storage/file_io.h"

namespace k2::catalog {

struct MetadataFile {
  std::string location;
  std::shared_ptr<const iceberg::TableMetadata> metadata;
};

// How metadata files follow each other, by the log that each keeps of those before it. Files are told apart by their
// last names, which are random.
class MetadataHistory {
 public:
  explicit MetadataHistory(const std::vector<MetadataFile>& files);

  // The length of the chain of commits that ends in this file; where its beginning is not known any more, counted from
  // the number in the name of the first file that is.
  [[nodiscard]] int64_t Depth(std::string_view location) const;
  // Another file was written on top of it: so it was the table's current one at that time. Of any other file nobody can
  // tell by the files alone whether a catalog ever took it.
  [[nodiscard]] bool WasCurrent(std::string_view location) const;
  // Whether `location` came from `ancestor`, in one commit or many.
  [[nodiscard]] bool Descends(std::string_view location, std::string_view ancestor) const;

 private:
  std::map<std::string, std::string, std::less<>> parent_;  // by last name
};

std::string_view LastNameOf(std::string_view location);

// Whether any snapshot of it names data files. A table without is no loss: what an interrupted creation has left.
bool HoldsDataFiles(const iceberg::TableMetadata& metadata);

// Fails where the folder holds metadata of a table with data files, other than the one of `own_uuid`: one that the
// catalog does not know, and whose files a new table beside it would make orphans. kInvalidArgument names `k2 tables
// recover`.
Status CheckNoTableAt(storage::FileIo& io, const TableName& table, const std::string& metadata_folder,
                      std::string_view own_uuid = {});

// What to say where the catalog names a metadata file that is gone: how far it is behind the files that are there.
// kInvalidData.
Error MissingMetadata(storage::FileIo& io, const TableName& table, const std::string& location,
                      const std::string& catalog);

// Reads one; kUnsupported where it is compressed, kInvalidData where it is none.
Result<MetadataFile> ReadMetadataFile(storage::FileIo& io, const std::string& location);

}  // namespace k2::catalog
