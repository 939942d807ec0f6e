// The keys of storage that a REST catalog hands out with its tables.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "catalog/rest_catalog_json.h"
#include "storage/storage_credentials.h"

namespace k2::catalog {

// Safe to share between threads.
class VendedKeys {
 public:
  explicit VendedKeys(std::shared_ptr<storage::StorageCredentials> credentials)
      : credentials_(std::move(credentials)) {}

  // Hands on what the reply says about the table's storage: its storage-credentials, else (where `location` is not
  // empty) what its config and the catalog's own properties hold.
  void Keep(const TableName& table, const std::string& location, const StringMap& catalog_properties,
            const TableReply& reply);

  // The table that brought the keys of a prefix; kNotFound where none did.
  Result<TableName> TableOf(const std::string& prefix);

 private:
  const std::shared_ptr<storage::StorageCredentials> credentials_;  // may be empty
  std::mutex mutex_;
  std::map<std::string, TableName> table_of_prefix_;
};

}  // namespace k2::catalog
