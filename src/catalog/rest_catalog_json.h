// The bodies of a REST catalog's messages (rest-catalog-open-api.yaml). Errors: kInvalidData.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "catalog/catalog.h"

namespace k2::catalog {

using StringMap = std::map<std::string, std::string>;

struct RestConfig {
  StringMap defaults;
  StringMap overrides;
  std::vector<std::string> endpoints;  // "GET /v1/{prefix}/namespaces/…"; empty: not said
};
Result<RestConfig> ReadConfig(std::string_view body);

struct StorageCredential {
  std::string prefix;
  StringMap config;
};

// Of loading, creating and committing. The metadata is not parsed: it may be known already, by its location.
struct TableReply {
  std::string metadata_location;  // empty where it is not said
  std::string_view metadata;      // into the body
  StringMap config;
  std::vector<StorageCredential> storage_credentials;
};
Result<TableReply> ReadTableReply(std::string_view body);

struct NamePage {
  std::vector<std::string> names;  // namespaces with their levels joined by '.', or tables without their namespace
  std::string next_page_token;
};
Result<NamePage> ReadNamespaces(std::string_view body);
Result<NamePage> ReadTables(std::string_view body);

std::vector<std::string> NamespaceLevels(std::string_view name_space);

std::string CreateNamespaceBody(const std::string& name_space);
std::string CreateTableBody(const TableName& table, const CreateTableRequest& request);
std::string CommitBody(const TableName& table, const std::vector<iceberg::TableRequirement>& requirements,
                       const std::vector<iceberg::TableUpdate>& updates);
std::string RegisterBody(const TableName& table, const std::string& metadata_location, bool overwrite);

}  // namespace k2::catalog
