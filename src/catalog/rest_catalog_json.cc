#include "catalog/rest_catalog_json.h"

#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "iceberg/schema_json.h"

namespace k2::catalog {
namespace {

using Json = nlohmann::json;

// The texts of the values of an object's own keys, unparsed: most of a reply is metadata that is known already. What is
// used of them is parsed, and so checked, afterwards.
class RawObject {
 public:
  explicit RawObject(std::string_view text) : text_(text) { valid_ = Scan(); }
  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] std::string_view Find(std::string_view key) const {
    for (const auto& [name, value] : fields_) {
      if (name == key) return value == "null" ? std::string_view() : value;
    }
    return {};
  }

 private:
  void SkipSpace() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  bool Take(char c) {
    SkipSpace();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool SkipString() {  // at the opening quote
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\\') {
        ++at_;
      } else if (text_[at_] == '"') {
        ++at_;
        return true;
      }
    }
    return false;
  }
  bool SkipValue() {
    int depth = 0;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') {
        if (!SkipString()) return false;
        if (depth == 0) return true;
        continue;
      }
      if (depth == 0 && (c == ',' || c == '}')) return true;  // after a number or a word
      ++at_;
      if (c == '{' || c == '[') ++depth;
      if ((c == '}' || c == ']') && --depth == 0) return true;
    }
    return false;
  }
  bool Scan() {
    if (!Take('{')) return false;
    if (Take('}')) return true;
    do {
      SkipSpace();
      const size_t key = at_;
      if (at_ >= text_.size() || text_[at_] != '"' || !SkipString()) return false;
      const std::string_view name = text_.substr(key + 1, at_ - key - 2);
      if (!Take(':')) return false;
      SkipSpace();
      const size_t value = at_;
      if (!SkipValue()) return false;
      std::string_view raw = text_.substr(value, at_ - value);
      while (!raw.empty() && raw.back() <= ' ') raw.remove_suffix(1);
      fields_.emplace_back(name, raw);
    } while (Take(','));
    return Take('}');
  }

  std::string_view text_;
  size_t at_ = 0;
  std::vector<std::pair<std::string_view, std::string_view>> fields_;
  bool valid_ = false;
};

// Servers put numbers and flags where the API has strings.
StringMap Texts(const Json* object) {
  StringMap texts;
  if (object == nullptr || !object->is_object()) return texts;
  for (const auto& [key, value] : object->items()) {
    if (value.is_null()) continue;
    texts[key] = value.is_string() ? value.get<std::string>() : JsonDump(value);
  }
  return texts;
}

Result<std::string> JoinLevels(const Json& levels, std::string_view what) {
  if (!levels.is_array() || levels.empty()) {
    return Fail(ErrorKind::kInvalidData, "{}: a namespace is not a list of names", what);
  }
  std::string joined;
  for (const Json& level : levels) {
    if (!level.is_string()) return Fail(ErrorKind::kInvalidData, "{}: a namespace is not a list of names", what);
    if (!joined.empty()) joined += '.';
    joined += level.get<std::string>();
  }
  return joined;
}

Result<std::vector<StorageCredential>> ReadStorageCredentials(std::string_view text) {
  K2_ASSIGN(Json list, ParseJson(text, "storage-credentials"));
  std::vector<StorageCredential> credentials;
  if (!list.is_array()) return Fail(ErrorKind::kInvalidData, "storage-credentials is not an array");
  for (Json& entry : list) {
    JsonFields fields(entry, "storage-credentials");
    StorageCredential credential{.prefix = fields.String("prefix"), .config = Texts(fields.OptionalObject("config"))};
    K2_TRY(fields.status());
    credentials.push_back(std::move(credential));
  }
  return credentials;
}

void WriteNamespace(JsonWriter& writer, std::string_view name_space) {
  writer.BeginArray();
  for (const std::string& level : NamespaceLevels(name_space)) writer.String(level);
  writer.EndArray();
}

void WriteIdentifier(JsonWriter& writer, const TableName& table) {
  writer.BeginObject().Key("namespace");
  WriteNamespace(writer, table.name_space);
  writer.Field("name", table.name).EndObject();
}

}  // namespace

std::vector<std::string> NamespaceLevels(std::string_view name_space) {
  std::vector<std::string> levels;
  while (true) {
    const size_t dot = name_space.find('.');
    levels.emplace_back(name_space.substr(0, dot));
    if (dot == std::string_view::npos) return levels;
    name_space.remove_prefix(dot + 1);
  }
}

Result<RestConfig> ReadConfig(std::string_view body) {
  K2_ASSIGN(Json document, ParseJson(body, "the catalog's configuration"));
  JsonFields fields(document, "the catalog's configuration");
  RestConfig config{.defaults = Texts(fields.OptionalObject("defaults")),
                    .overrides = Texts(fields.OptionalObject("overrides"))};
  if (const Json* endpoints = fields.OptionalArray("endpoints")) {
    for (const Json& endpoint : *endpoints) {
      if (endpoint.is_string()) config.endpoints.push_back(endpoint.get<std::string>());
    }
  }
  K2_TRY(fields.status());
  return config;
}

Result<TableReply> ReadTableReply(std::string_view body) {
  const RawObject object(body);
  if (!object.valid()) return Fail(ErrorKind::kInvalidData, "the catalog's reply is not a complete JSON object");
  TableReply reply;
  if (const std::string_view location = object.Find("metadata-location"); !location.empty()) {
    K2_ASSIGN(const Json text, ParseJson(location, "metadata-location"));
    if (!text.is_string()) return Fail(ErrorKind::kInvalidData, "metadata-location is not a string");
    reply.metadata_location = text.get<std::string>();
  }
  reply.metadata = object.Find("metadata");
  if (const std::string_view config = object.Find("config"); !config.empty()) {
    K2_ASSIGN(const Json values, ParseJson(config, "config"));
    reply.config = Texts(&values);
  }
  if (const std::string_view list = object.Find("storage-credentials"); !list.empty()) {
    K2_ASSIGN(reply.storage_credentials, ReadStorageCredentials(list));
  }
  return reply;
}

Result<NamePage> ReadNamespaces(std::string_view body) {
  K2_ASSIGN(Json document, ParseJson(body, "list of namespaces"));
  JsonFields fields(document, "list of namespaces");
  NamePage page{.next_page_token = fields.OptionalString("next-page-token").value_or("")};
  const Json* list = fields.Array("namespaces");
  K2_TRY(fields.status());
  for (const Json& levels : *list) {
    K2_ASSIGN(std::string name, JoinLevels(levels, "list of namespaces"));
    page.names.push_back(std::move(name));
  }
  return page;
}

Result<NamePage> ReadTables(std::string_view body) {
  K2_ASSIGN(Json document, ParseJson(body, "list of tables"));
  JsonFields fields(document, "list of tables");
  NamePage page{.next_page_token = fields.OptionalString("next-page-token").value_or("")};
  Json* list = fields.Array("identifiers");
  K2_TRY(fields.status());
  for (Json& identifier : *list) {
    JsonFields table(identifier, "list of tables");
    page.names.push_back(table.String("name"));
    K2_TRY(table.status());
  }
  return page;
}

std::string CreateNamespaceBody(const std::string& name_space) {
  JsonWriter writer;
  writer.BeginObject().Key("namespace");
  WriteNamespace(writer, name_space);
  return writer.Key("properties").BeginObject().EndObject().EndObject().Take();
}

std::string CreateTableBody(const TableName& table, const CreateTableRequest& request) {
  JsonWriter writer;
  writer.BeginObject().Field("name", table.name);
  if (!request.location.empty()) writer.Field("location", request.location);
  writer.Key("schema");
  iceberg::WriteSchema(writer, request.schema);
  writer.Key("partition-spec");
  iceberg::WritePartitionSpec(writer, request.spec);
  writer.Key("write-order");
  iceberg::SortOrder order = request.sort_order;
  if (!order.fields.empty() && order.order_id == 0) order.order_id = 1;  // 0 is the unsorted one
  iceberg::WriteSortOrder(writer, order);
  writer.Key("stage-create").Bool(false).Key("properties").StringMap(request.properties);
  return writer.EndObject().Take();
}

std::string CommitBody(const TableName& table, const std::vector<iceberg::TableRequirement>& requirements,
                       const std::vector<iceberg::TableUpdate>& updates) {
  JsonWriter writer;
  writer.BeginObject().Key("identifier");
  WriteIdentifier(writer, table);
  writer.Key("requirements").Raw(iceberg::RequirementsToJson(requirements));
  writer.Key("updates").Raw(iceberg::UpdatesToJson(updates));
  return writer.EndObject().Take();
}

std::string RegisterBody(const TableName& table, const std::string& metadata_location, bool overwrite) {
  JsonWriter writer;
  writer.BeginObject().Field("name", table.name).Field("metadata-location", metadata_location);
  if (overwrite) writer.Key("overwrite").Bool(true);
  writer.EndObject();
  return writer.Take();
}

}  // namespace k2::catalog
