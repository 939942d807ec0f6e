#include "catalog/rest_catalog.h"

#include <algorithm>
#include <mutex>
#include <optional>

#include "base/log.h"
#include "catalog/rest_auth.h"
#include "catalog/rest_catalog_json.h"
#include "catalog/rest_errors.h"
#include "catalog/rest_session.h"
#include "catalog/vended_keys.h"
#include "storage/confined_file_io.h"

namespace k2::catalog {
namespace {

constexpr size_t kCachedTablesMax = 64;
constexpr int kPagesMax = 10'000;
constexpr std::string_view kCredentialsEndpoint = "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials";

std::string WithoutSlash(std::string text) {
  while (text.ends_with('/')) text.pop_back();
  return text;
}

// The prefix is part of a path and may hold slashes and what is encoded already; a bare '|' of Nessie's is neither.
std::string EncodePrefix(const std::string& prefix) {
  std::string encoded;
  for (const char c : prefix)
    encoded += c == '/' || c == '%' ? std::string(1, c) : net::UrlEncode(std::string_view(&c, 1));
  return encoded;
}

class RestCatalog : public Catalog {
 public:
  RestCatalog(RestCatalogOptions options, std::shared_ptr<RestAuth> auth)
      : options_(std::move(options)),
        auth_(std::move(auth)),
        keys_(options_.credentials),
        session_(options_.uri, options_.headers, options_.http, auth_, options_.retry_budget_ms, options_.stopping,
                 options_.signing.credentials ? std::make_shared<RestSigner>(options_.signing) : nullptr,
                 options_.header_lines) {}

  Status Open();
  // Gets new keys for the place of a table; they go to options.credentials.
  Status RenewCredentials(const std::string& prefix);

  Status CreateNamespaceIfMissing(const std::string& name_space) override;
  Result<std::vector<std::string>> ListNamespaces() override;
  Result<std::vector<TableName>> ListTables(const std::string& name_space) override;
  Result<TableState> Load(const TableName& table) override { return LoadFrom(table, true); }
  Result<bool> TableExists(const TableName& table) override;
  Result<TableState> Create(const TableName& table, const CreateTableRequest& request) override;
  CommitOutcome Commit(const TableName& table, const TableState& base,
                       const std::vector<iceberg::TableRequirement>& requirements,
                       const std::vector<iceberg::TableUpdate>& updates, const BeforeSwap& before_swap) override;
  [[nodiscard]] std::optional<std::string> LocationOfNew(const TableName& table) const override;
  Status Register(const TableName& table, const std::string& metadata_location,
                  const std::optional<std::string>& instead_of) override;
  [[nodiscard]] std::string Describe() const override {
    const std::string warehouse = options_.warehouse.empty() ? "" : ", warehouse " + options_.warehouse;
    return "REST catalog " + net::WithoutSecrets(options_.uri) + warehouse;
  }

 private:
  struct Cached {
    TableState state;
    std::string etag;
  };

  [[nodiscard]] std::string NamespacePath(std::string_view name_space) const;
  [[nodiscard]] std::string TablePath(const TableName& table) const;
  [[nodiscard]] RestCall Call(std::string method, std::string path, std::string body = {}) const;
  Result<TableState> LoadFrom(const TableName& table, bool cache);
  Result<TableState> Accept(const TableName& table, const net::HttpResponse& reply);
  Result<std::vector<std::string>> ListAll(const std::string& path, Result<NamePage> (*read)(std::string_view));
  Status ListBelow(const std::string& parent, int depth, std::vector<std::string>& names);
  void Forget(const TableName& table);
  void Step(std::string_view step) const {
    if (options_.on_step) options_.on_step(step);
  }

  const RestCatalogOptions options_;
  const std::shared_ptr<RestAuth> auth_;
  VendedKeys keys_;
  RestSession session_;
  // Of the catalog's configuration; constant after Open.
  std::string root_ = "/v1";
  std::string separator_ = "%1F";  // between the levels of a namespace, as it stands in a path
  StringMap properties_;
  bool has_credentials_endpoint_ = true;

  std::mutex mutex_;
  std::map<TableName, Cached> cache_;
};

Status RestCatalog::Open() {
  std::string path = "/v1/config";
  if (!options_.warehouse.empty()) path += "?warehouse=" + net::UrlEncode(options_.warehouse);
  K2_ASSIGN(const net::HttpResponse reply, session_.Repeating(Call("GET", path)));
  if (reply.status != 200) {
    Error error = ErrorOf(ReadFailure(reply), Describe());
    if (error.kind == ErrorKind::kNotFound) {
      return Fail(ErrorKind::kInvalidArgument,
                  "{}; either the warehouse does not exist or the address is not the root of an Iceberg REST catalog",
                  error.message);
    }
    return std::unexpected(std::move(error));
  }
  K2_ASSIGN(const RestConfig config, ReadConfig(reply.body));
  properties_ = config.defaults;
  for (const auto& [key, value] : config.overrides) properties_[key] = value;
  if (const auto uri = config.overrides.find("uri"); uri != config.overrides.end() && !uri->second.empty()) {
    session_.set_base_uri(WithoutSlash(uri->second));
  }
  if (const auto prefix = properties_.find("prefix"); prefix != properties_.end() && !prefix->second.empty()) {
    std::string_view text = prefix->second;
    while (text.starts_with('/')) text.remove_prefix(1);
    root_ += "/" + EncodePrefix(WithoutSlash(std::string(text)));
  }
  if (const auto found = properties_.find("namespace-separator");
      found != properties_.end() && !found->second.empty()) {
    separator_ = found->second;  // it comes encoded
  }
  const auto token_uri = properties_.find("oauth2-server-uri");
  if (options_.oauth2_server_uri.empty() && token_uri != properties_.end() && !token_uri->second.empty()) {
    const bool absolute = token_uri->second.find("://") != std::string::npos;
    auth_->SetTokenUri(absolute ? token_uri->second : session_.base_uri() + "/" + token_uri->second);
  }
  has_credentials_endpoint_ =
      config.endpoints.empty() || std::ranges::count(config.endpoints, kCredentialsEndpoint) > 0;
  return {};
}

std::string RestCatalog::NamespacePath(std::string_view name_space) const {
  std::string path;
  for (const std::string& level : NamespaceLevels(name_space)) {
    path += path.empty() ? root_ + "/namespaces/" : separator_;
    path += net::UrlEncode(level);
  }
  return path;
}

std::string RestCatalog::TablePath(const TableName& table) const {
  return NamespacePath(table.name_space) + "/tables/" + net::UrlEncode(table.name);
}

RestCall RestCatalog::Call(std::string method, std::string path, std::string body) const {
  return {.method = std::move(method),
          .path = std::move(path),
          .body = std::move(body),
          .timeout_ms = options_.request_timeout_ms};
}

void RestCatalog::Forget(const TableName& table) {
  const std::lock_guard lock(mutex_);
  cache_.erase(table);
}

Status RestCatalog::CreateNamespaceIfMissing(const std::string& name_space) {
  std::string name;
  for (const std::string& level : NamespaceLevels(name_space)) {
    if (level.empty()) return Fail(ErrorKind::kInvalidArgument, "'{}' is not a valid name of a namespace", name_space);
    name += name.empty() ? level : "." + level;
    K2_ASSIGN(const net::HttpResponse found, session_.Repeating(Call("GET", NamespacePath(name))));
    if (found.status == 200) continue;
    K2_ASSIGN(const net::HttpResponse made,
              session_.Repeating(Call("POST", root_ + "/namespaces", CreateNamespaceBody(name))));
    // 409: it is there by now, made by another process or by a try whose reply was lost.
    if (made.status >= 300 && made.status != 409) {
      return std::unexpected(ErrorOf(ReadFailure(made), "create namespace " + name));
    }
  }
  return {};
}

Result<std::vector<std::string>> RestCatalog::ListAll(const std::string& path,
                                                      Result<NamePage> (*read)(std::string_view)) {
  std::vector<std::string> names;
  std::string token;
  for (int pages = 0; pages < kPagesMax; ++pages) {
    std::string page_path = path;
    if (!token.empty()) {
      page_path += path.find('?') == std::string::npos ? "?" : "&";
      page_path += "pageToken=" + net::UrlEncode(token);
    }
    K2_ASSIGN(const net::HttpResponse reply, session_.Repeating(Call("GET", page_path)));
    if (reply.status != 200) return std::unexpected(ErrorOf(ReadFailure(reply), "list " + path));
    K2_ASSIGN(NamePage page, read(reply.body));
    for (std::string& name : page.names) names.push_back(std::move(name));
    if (page.next_page_token.empty()) return names;
    if (page.next_page_token == token) break;
    token = std::move(page.next_page_token);
  }
  return Fail(ErrorKind::kInvalidData, "list {}: the catalog's pages do not end", path);
}

Status RestCatalog::ListBelow(const std::string& parent, int depth, std::vector<std::string>& names) {
  constexpr int kDepthMax = 16;
  std::string path = root_ + "/namespaces";
  if (!parent.empty()) {
    path += "?parent=";
    bool first = true;
    for (const std::string& level : NamespaceLevels(parent)) {
      path += (first ? "" : separator_) + net::UrlEncode(level);
      first = false;
    }
  }
  K2_ASSIGN(const std::vector<std::string> found, ListAll(path, ReadNamespaces));
  for (const std::string& name : found) {
    // A catalog without levels may ignore `parent` and give the same list again.
    if (!parent.empty() && !name.starts_with(parent + ".")) continue;
    names.push_back(name);
    if (depth < kDepthMax) K2_TRY(ListBelow(name, depth + 1, names));
  }
  return {};
}

Result<std::vector<std::string>> RestCatalog::ListNamespaces() {
  std::vector<std::string> names;
  K2_TRY(ListBelow("", 1, names));
  std::ranges::sort(names);
  return names;
}

Result<std::vector<TableName>> RestCatalog::ListTables(const std::string& name_space) {
  auto names = ListAll(NamespacePath(name_space) + "/tables", ReadTables);
  if (!names && names.error().kind == ErrorKind::kNotFound) return std::vector<TableName>{};  // as the embedded one
  if (!names) return std::unexpected(names.error());
  std::vector<TableName> tables;
  for (std::string& name : *names) tables.push_back({name_space, std::move(name)});
  std::ranges::sort(tables);
  return tables;
}

Result<bool> RestCatalog::TableExists(const TableName& table) {
  K2_ASSIGN(const net::HttpResponse reply, session_.Repeating(Call("HEAD", TablePath(table))));
  if (reply.status == 200 || reply.status == 204) return true;
  if (reply.status == 404) return false;
  if (reply.status == 405 || reply.status == 501) return Catalog::TableExists(table);
  return std::unexpected(ErrorOf(ReadFailure(reply), "table " + table.ToString()));
}

Result<TableState> RestCatalog::LoadFrom(const TableName& table, bool cache) {
  RestCall call = Call("GET", TablePath(table));
  call.headers = {{"X-Iceberg-Access-Delegation", "vended-credentials"}};
  Cached known;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = cache_.find(table); cache && found != cache_.end()) known = found->second;
  }
  if (!known.etag.empty()) call.headers.emplace_back("If-None-Match", known.etag);
  K2_ASSIGN(const net::HttpResponse reply, session_.Repeating(call));
  if (reply.status == 304 && known.state.metadata != nullptr) return known.state;
  if (reply.status == 200) return Accept(table, reply);
  Forget(table);
  const RestFailure failure = ReadFailure(reply);
  if (reply.status == 404 && failure.type == "NotFoundException") {  // of a file, not of a table
    return Fail(ErrorKind::kInvalidData,
                "table {}: the {} has it but cannot find its metadata file: {}. `k2 tables recover` finds the newest "
                "state of the table in its files and registers it (docs/recovery.md)",
                table.ToString(), Describe(), failure.message);
  }
  if (reply.status == 404) {
    return Fail(ErrorKind::kNotFound, "table {} does not exist in {}{}{}", table.ToString(), Describe(),
                failure.message.empty() ? "" : ": ", failure.message);
  }
  return std::unexpected(ErrorOf(failure, "table " + table.ToString()));
}

// A reply that carries a table's metadata. That of a known location is not parsed again: metadata files never change.
Result<TableState> RestCatalog::Accept(const TableName& table, const net::HttpResponse& reply) {
  const auto refused = [&](const Error& error) { return std::unexpected(error.With("table " + table.ToString())); };
  const auto read = ReadTableReply(reply.body);
  if (!read) return refused(read.error());
  TableState state{.metadata_location = read->metadata_location};
  {
    const std::lock_guard lock(mutex_);
    const auto found = cache_.find(table);
    if (found != cache_.end() && !state.metadata_location.empty() &&
        found->second.state.metadata_location == state.metadata_location) {
      state.metadata = found->second.state.metadata;
    }
  }
  if (state.metadata == nullptr) {
    auto parsed = iceberg::ParseTableMetadata(read->metadata);
    if (!parsed) return refused(parsed.error());
    state.metadata = std::make_shared<const iceberg::TableMetadata>(*std::move(parsed));
  }
  if (!options_.table_root.empty() && !storage::IsLocalLocation(options_.table_root) &&
      storage::IsLocalLocation(state.metadata->location)) {
    return refused(
        {ErrorKind::kPermission,
         fmt::format(
             "refused: the catalog reports its location as {}, on this machine's disks, but the warehouse is {}",
             state.metadata->location, options_.table_root)});
  }
  keys_.Keep(table, state.metadata->location, properties_, *read);
  const auto etag = reply.headers.find("etag");
  const std::lock_guard lock(mutex_);
  if (cache_.size() >= kCachedTablesMax && !cache_.contains(table)) cache_.erase(cache_.begin());
  cache_[table] = {state, etag == reply.headers.end() ? "" : etag->second};
  return state;
}

Status RestCatalog::RenewCredentials(const std::string& prefix) {
  K2_ASSIGN(const TableName table, keys_.TableOf(prefix));
  if (has_credentials_endpoint_) {
    K2_ASSIGN(const net::HttpResponse reply, session_.Repeating(Call("GET", TablePath(table) + "/credentials")));
    if (reply.status == 200) {
      K2_ASSIGN(const TableReply read, ReadTableReply(reply.body));
      if (!read.storage_credentials.empty()) {
        keys_.Keep(table, "", properties_, read);
        return {};
      }
    }
  }
  K2_ASSIGN(const TableState state, LoadFrom(table, false));
  return {};
}

Result<TableState> RestCatalog::Create(const TableName& table, const CreateTableRequest& request) {
  CreateTableRequest full = request;
  if (full.location.empty()) full.location = LocationOfNew(table).value_or("");
  full.properties.emplace("format-version", "2");
  full.properties.emplace("write.metadata.previous-versions-max", "20");
  full.properties.emplace("write.metadata.delete-after-commit.enabled", "true");
  RestCall call = Call("POST", NamespacePath(table.name_space) + "/tables", CreateTableBody(table, full));
  call.headers = {{"X-Iceberg-Access-Delegation", "vended-credentials"}};
  // Twice is safe: of two tries only one can make the table, the other is told that it is there.
  K2_ASSIGN(const net::HttpResponse reply, session_.Repeating(call));
  if (reply.status == 200 || reply.status == 201) return Accept(table, reply);
  const RestFailure failure = ReadFailure(reply);
  if (reply.status == 409) return Fail(ErrorKind::kAlreadyExists, "table {} already exists", table.ToString());
  return std::unexpected(ErrorOf(failure, "create table " + table.ToString()));
}

std::optional<std::string> RestCatalog::LocationOfNew(const TableName& table) const {
  if (options_.table_root.empty()) return std::nullopt;
  std::string folders = table.name_space;
  std::ranges::replace(folders, '.', '/');
  return fmt::format("{}/{}/{}", WithoutSlash(options_.table_root), folders, table.name);
}

// Sent once: a second try of one that was applied would be told that the table is there.
Status RestCatalog::Register(const TableName& table, const std::string& metadata_location,
                             const std::optional<std::string>& instead_of) {
  Forget(table);
  const std::string what = fmt::format("register table {} as {}", table.ToString(), metadata_location);
  K2_ASSIGN(const net::HttpResponse reply,
            session_.Once(Call("POST", NamespacePath(table.name_space) + "/register",
                               RegisterBody(table, metadata_location, instead_of.has_value()))));
  if (reply.status == 200 || reply.status == 201) return {};
  Error error = ErrorOf(ReadFailure(reply), what);
  if (instead_of) {
    error.message +=
        " (the catalog has a table of this name and does not allow it to be registered again: drop its entry there, "
        "without purging its files, then run `k2 tables recover` again)";
  }
  return std::unexpected(std::move(error));
}

CommitOutcome RestCatalog::Commit(const TableName& table, const TableState& /*base*/,
                                  const std::vector<iceberg::TableRequirement>& requirements,
                                  const std::vector<iceberg::TableUpdate>& updates, const BeforeSwap& before_swap) {
  const std::string what = "commit to " + table.ToString();
  RestCall call = Call("POST", TablePath(table), CommitBody(table, requirements, updates));
  call.timeout_ms = options_.commit_timeout_ms;
  call.fresh_connection = true;
  std::optional<Error> stopped;
  if (before_swap) {
    call.before_send = [&]() -> Status {
      Status ready = before_swap();
      if (!ready) stopped = ready.error();
      return ready;
    };
  }
  Step("before-swap");
  // What takes its time goes before the connection is made.
  if (call.before_send && !call.before_send()) return Rejected{*std::move(stopped)};
  const Result<net::HttpResponse> reply = session_.Once(call);
  Step("after-swap");
  if (stopped) return Rejected{*std::move(stopped)};
  if (!reply) {
    Error error = reply.error().With(what);
    switch (error.kind) {
      case ErrorKind::kUnavailable: return NotSent{std::move(error)};
      case ErrorKind::kPermission:
      case ErrorKind::kInvalidArgument: return Rejected{std::move(error)};
      default: return Unknown{{ErrorKind::kCommitUnknown, std::move(error.message)}};
    }
  }
  if (reply->status != 200) return OutcomeOf(ReadFailure(*reply), what);
  Result<TableState> state = Accept(table, *reply);
  if (!state) return Unknown{{ErrorKind::kCommitUnknown, state.error().With(what).message}};
  for (const iceberg::TableUpdate& update : updates) {
    const auto* added = std::get_if<iceberg::AddSnapshot>(&update);
    if (added != nullptr && state->metadata->FindSnapshot(added->snapshot.snapshot_id) == nullptr) {
      Forget(table);
      return Unknown{
          {ErrorKind::kCommitUnknown, what + ": the catalog's reply does not contain the snapshot that was sent"}};
    }
  }
  return Committed{*std::move(state)};
}

}  // namespace

Result<std::shared_ptr<Catalog>> OpenRestCatalog(RestCatalogOptions options) {
  options.uri = WithoutSlash(options.uri);
  if (!options.uri.starts_with("http://") && !options.uri.starts_with("https://")) {
    return Fail(ErrorKind::kInvalidArgument, "'{}' is not an address of a REST catalog: expected http:// or https://",
                net::WithoutSecrets(options.uri));
  }
  if (options.http == nullptr) options.http = net::MakeHttpClient();
  auto auth = std::make_shared<RestAuth>(RestAuthOptions{
      .token = options.token,
      .credential = options.credential,
      .scope = options.scope,
      .token_uri = options.oauth2_server_uri.empty() ? options.uri + "/v1/oauth/tokens" : options.oauth2_server_uri,
      .http = options.http,
      .timeout_ms = options.request_timeout_ms});
  const std::shared_ptr<storage::StorageCredentials> credentials = options.credentials;
  auto catalog = std::make_shared<RestCatalog>(std::move(options), std::move(auth));
  K2_TRY(catalog->Open());
  if (credentials != nullptr) {
    credentials->SetRefresher([weak = std::weak_ptr<RestCatalog>(catalog)](const std::string& prefix) -> Status {
      const auto open = weak.lock();
      if (!open) return Fail(ErrorKind::kUnavailable, "the catalog is closed");
      return open->RenewCredentials(prefix);
    });
  }
  return catalog;
}

}  // namespace k2::catalog
