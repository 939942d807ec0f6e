#include "catalog/vended_keys.h"

namespace k2::catalog {
namespace {

void AddStorageProperties(const StringMap& config, storage::StorageProperties& properties) {
  for (const auto& [key, value] : config) {
    if (key.starts_with("s3.") || key.starts_with("client.")) properties[key] = value;
  }
}

}  // namespace

void VendedKeys::Keep(const TableName& table, const std::string& location, const StringMap& catalog_properties,
                      const TableReply& reply) {
  if (credentials_ == nullptr) return;
  storage::StorageProperties common;
  AddStorageProperties(catalog_properties, common);
  AddStorageProperties(reply.config, common);
  const auto put = [&](const std::string& prefix, storage::StorageProperties properties) {
    {
      const std::lock_guard lock(mutex_);
      table_of_prefix_[prefix] = table;
    }
    credentials_->Put(prefix, std::move(properties));
  };
  for (const StorageCredential& credential : reply.storage_credentials) {
    storage::StorageProperties properties = common;
    AddStorageProperties(credential.config, properties);
    put(credential.prefix, std::move(properties));
  }
  // The API: storage-credentials go before what stands in config.
  if (reply.storage_credentials.empty() && !location.empty() && !common.empty()) put(location, std::move(common));
}

Result<TableName> VendedKeys::TableOf(const std::string& prefix) {
  const std::lock_guard lock(mutex_);
  for (const auto& [known, table] : table_of_prefix_) {
    if (prefix.starts_with(known)) return table;  // "s3" is kept as s3://
  }
  return Fail(ErrorKind::kNotFound, "no table has provided keys for {}", prefix);
}

}  // namespace k2::catalog
