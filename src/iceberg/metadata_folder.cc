#include "iceberg/metadata_folder.h"

namespace k2::iceberg {

std::string MetadataFolder(const TableMetadata& metadata) {
  const auto set = metadata.properties.find("write.metadata.path");
  std::string folder = set != metadata.properties.end() ? set->second : metadata.location + "/metadata";
  while (folder.ends_with('/')) folder.pop_back();
  return folder;
}

}  // namespace k2::iceberg
