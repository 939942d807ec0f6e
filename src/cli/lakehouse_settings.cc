// Which catalog and which place of storage a command works on.
#include <filesystem>

#include "base/failpoint.h"
#include "catalog/rest_catalog.h"
#include "catalog/sqlite_catalog.h"
#include "cli/commands.h"
#include "cli/storage_settings.h"
#include "io/location.h"

namespace k2 {
namespace {

std::filesystem::path WarehouseFolder(const Settings& settings) {
  return std::filesystem::absolute(settings.Text("warehouse")).lexically_normal();
}

void PassFailpoint(std::string_view step) { Failpoint(fmt::format("catalog.{}", step)); }

Result<std::shared_ptr<Catalog>> OpenEmbedded(const Settings& settings, std::shared_ptr<FileIo> io, bool create) {
  const std::string& warehouse = settings.Text("warehouse");
  K2_ASSIGN(const std::string scheme, LocationScheme(WarehouseUri(settings)));
  if (scheme != "file") {
    return Fail(
        ErrorKind::kInvalidArgument,
        "warehouse = '{}': the embedded catalog keeps its tables on this machine's disks; name the REST catalog "
        "of a warehouse on S3 with --catalog http://…",
        warehouse);
  }
  const std::filesystem::path folder = WarehouseFolder(settings);
  std::error_code error;
  if (!create && !std::filesystem::exists(folder / "catalog.db", error)) {
    return Fail(ErrorKind::kNotFound,
                "{} holds no warehouse (no catalog.db). Name another with --warehouse, or make one: `k2 run` or "
                "`k2 tables create`",
                folder.string());
  }
  SqliteCatalogOptions options;
  options.on_step = PassFailpoint;
  return OpenSqliteCatalog(folder.string(), std::move(io), options);
}

}  // namespace

std::string WarehouseUri(const Settings& settings) {
  const std::string& warehouse = settings.Text("warehouse");
  if (warehouse.find("://") != std::string::npos) return warehouse;
  return "file://" + WarehouseFolder(settings).string();
}

bool HasRestCatalog(const Settings& settings) { return !settings.Text("catalog").empty(); }

void AddLakehouseSettings(Program& program) {
  Settings& settings = program.settings;
  CLI::App& app = program.app;
  settings.Add(app, "warehouse", "warehouse", "folder of the tables and their catalog; with --catalog also s3://…");
  settings.Add(app, "catalog", "", "http(s)://… of an Iceberg REST catalog; empty: a file in the warehouse");
  settings.Add(app, "catalog-warehouse", "", "the REST catalog's name for the warehouse, where it has several");
  settings.Add(app, "catalog-credential", "", "ID:SECRET for the REST catalog (OAuth2 client credentials)");
  settings.Add(app, "catalog-token", "", "bearer token for the REST catalog");
  settings.Add(app, "catalog-scope", "catalog", "OAuth2 scope to ask for");
  settings.Add(app, "catalog-oauth2-uri", "", "where tokens are given; empty: the catalog says, else it itself");
}

Result<std::shared_ptr<Lakehouse>> OpenLakehouse(const Settings& settings, bool create, int64_t patience_ms,
                                                 std::function<bool()> stopping) {
  K2_ASSIGN(const StorageOptions storage, StorageOptionsOf(settings));
  const auto credentials = std::make_shared<StorageCredentials>();
  std::shared_ptr<FileIo> io = MakeFileIo(storage, credentials);
  std::shared_ptr<Catalog> catalog;
  if (HasRestCatalog(settings)) {
    RestCatalogOptions options{.uri = settings.Text("catalog"),
                               .warehouse = settings.Text("catalog-warehouse"),
                               .credential = settings.Text("catalog-credential"),
                               .token = settings.Text("catalog-token"),
                               .scope = settings.Text("catalog-scope"),
                               .oauth2_server_uri = settings.Text("catalog-oauth2-uri"),
                               .credentials = credentials,
                               .retry_budget_ms = patience_ms,
                               .stopping = std::move(stopping),
                               .on_step = PassFailpoint};
    // Only a warehouse that was named says where tables go; else it is the catalog's choice.
    if (settings.Get("warehouse").origin != "default") options.table_root = WarehouseUri(settings);
    K2_ASSIGN(catalog, OpenRestCatalog(std::move(options)));
  } else {
    K2_ASSIGN(catalog, OpenEmbedded(settings, io, create));
  }
  return std::make_shared<Lakehouse>(std::move(catalog), std::move(io));
}

}  // namespace k2
