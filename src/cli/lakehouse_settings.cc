// Which catalog and which place of storage a command works on.
#include <algorithm>
#include <filesystem>

#include "base/failpoint.h"
#include "base/log.h"
#include "catalog/metadata_files.h"
#include "catalog/rest_catalog.h"
#include "catalog/sqlite_catalog.h"
#include "cli/aws_settings.h"
#include "cli/commands.h"
#include "cli/secrets.h"
#include "cli/storage_settings.h"
#include "maintenance/recover.h"
#include "storage/location.h"
#include "storage/moved_file_io.h"
#include "task/market_tables.h"

namespace k2::cli {
namespace {

std::filesystem::path WarehouseFolder(const Settings& settings) {
  return std::filesystem::absolute(settings.Text("warehouse")).lexically_normal();
}

void PassFailpoint(std::string_view step) { Failpoint(fmt::format("catalog.{}", step)); }

// Whether files of K2's tables lie in a folder that has no catalog.
bool HoldsTables(const std::filesystem::path& folder) {
  std::error_code error;
  return std::ranges::any_of(task::AllTables(), [&](const std::string& table) {
    const std::filesystem::path metadata = folder / std::string(task::kNamespace) / table / "metadata";
    std::filesystem::directory_iterator file(metadata, error);
    for (; !error && file != std::filesystem::directory_iterator(); file.increment(error)) {
      if (catalog::IsMetadataFileName(file->path().string())) return true;
    }
    return false;
  });
}

// What a command does with the warehouse.
enum class WarehouseUse { kRead, kWrite, kCreate, kRecover };

Result<std::shared_ptr<catalog::Catalog>> OpenEmbedded(const Settings& settings, std::shared_ptr<storage::FileIo> io,
                                                       WarehouseUse use) {
  const std::string& warehouse = settings.Text("warehouse");
  K2_ASSIGN(const std::string scheme, storage::LocationScheme(WarehouseUri(settings)));
  if (scheme != "file") {
    return Fail(
        ErrorKind::kInvalidArgument,
        "warehouse = '{}': the embedded catalog keeps its tables on this machine's disks; name the REST catalog "
        "of a warehouse on S3 with --catalog http://…",
        warehouse);
  }
  const std::filesystem::path folder = WarehouseFolder(settings);
  std::error_code error;
  if (use != WarehouseUse::kRecover && !std::filesystem::exists(folder / "catalog.db", error)) {
    if (HoldsTables(folder)) {
      return WithHint(
          Fail(ErrorKind::kInvalidData,
               "the catalog of {} is gone (no catalog.db), and the files of its tables are there", folder.string()),
          fmt::format("'k2 tables recover --warehouse {}' makes a new catalog from them (docs/recovery.md)",
                      folder.string()));
    }
    if (use != WarehouseUse::kCreate) {
      return WithHint(Fail(ErrorKind::kNotFound, "no warehouse in {}", folder.string()),
                      "choose one with --warehouse DIR, or create it with 'k2 tables create' or by running 'k2 run'");
    }
  }
  catalog::SqliteCatalogOptions options;
  options.on_step = PassFailpoint;
  return catalog::OpenSqliteCatalog(folder.string(), std::move(io), options);
}

// What requests to the catalog are signed with; no credentials where they are not.
Result<catalog::RestSigning> SigningOf(const Settings& settings) {
  const std::string& way = settings.Text("catalog-auth");
  if (way.empty()) return catalog::RestSigning{};
  if (way != "sigv4") {
    return Fail(ErrorKind::kInvalidArgument, "catalog-auth = '{}': sigv4, or empty for a token or none", way);
  }
  for (const char* other : {"catalog-token", "catalog-credential", "catalog-token-file", "catalog-credential-file"}) {
    if (settings.Text(other).empty()) continue;
    return Fail(ErrorKind::kInvalidArgument,
                "catalog-auth = 'sigv4' and {}: a request has one signature; leave one out", other);
  }
  const storage::AwsScope of_host = catalog::AwsScopeOfHost(settings.Text("catalog"));
  catalog::RestSigning signing{
      .credentials = AwsCredentialsOf(settings),
      .scope = {settings.Text("catalog-signing-region"), settings.Text("catalog-signing-name")}};
  if (signing.scope.region.empty()) signing.scope.region = of_host.region;
  if (signing.scope.region.empty()) signing.scope.region = signing.credentials->Region();
  if (signing.scope.region.empty()) {
    return Fail(ErrorKind::kInvalidArgument,
                "catalog-auth = 'sigv4' needs a region: catalog-signing-region, AWS_REGION, or the profile's");
  }
  if (signing.scope.service.empty()) signing.scope.service = of_host.service.empty() ? "execute-api" : of_host.service;
  return signing;
}

Result<std::shared_ptr<catalog::Catalog>> OpenRest(const Settings& settings,
                                                   std::shared_ptr<storage::StorageCredentials> credentials,
                                                   int64_t patience_ms, std::function<bool()> stopping) {
  K2_ASSIGN(Secret credential, settings.SecretOf("catalog-credential"));
  K2_ASSIGN(Secret token, settings.SecretOf("catalog-token"));
  K2_ASSIGN(Secret headers, settings.SecretOf("catalog-header"));
  K2_ASSIGN(catalog::RestSigning signing, SigningOf(settings));
  catalog::RestCatalogOptions options{.uri = settings.Text("catalog"),
                                      .warehouse = settings.Text("catalog-warehouse"),
                                      .credential = std::move(credential),
                                      .token = std::move(token),
                                      .scope = settings.Text("catalog-scope"),
                                      .oauth2_server_uri = settings.Text("catalog-oauth2-uri"),
                                      .signing = std::move(signing),
                                      .header_lines = std::move(headers),
                                      .credentials = std::move(credentials),
                                      .retry_budget_ms = patience_ms,
                                      .stopping = std::move(stopping),
                                      .on_step = PassFailpoint};
  // Only a warehouse that was named says where tables go; else it is the catalog's choice.
  if (settings.Get("warehouse").origin != "default") options.table_root = WarehouseUri(settings);
  return catalog::OpenRestCatalog(std::move(options));
}

// As some tools have them, s3://KEY:SECRET@bucket: every error and file list would show them.
Status CheckWarehouse(const Settings& settings) {
  const std::string& warehouse = settings.Text("warehouse");
  const size_t scheme = warehouse.find("://");
  if (scheme == std::string::npos ||
      warehouse.substr(0, warehouse.find('/', scheme + 3)).find('@') == std::string::npos) {
    return {};
  }
  return Fail(ErrorKind::kInvalidArgument,
              "warehouse = '{}': keys do not go into its address; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
              Shown("warehouse", warehouse));
}

Result<std::shared_ptr<pipeline::Lakehouse>> OpenFor(const Settings& settings, WarehouseUse use, int64_t patience_ms,
                                                     std::function<bool()> stopping) {
  K2_TRY(CheckWarehouse(settings));
  K2_ASSIGN(const storage::StorageOptions storage, StorageOptionsOf(settings));
  const auto credentials = std::make_shared<storage::StorageCredentials>();
  std::shared_ptr<storage::FileIo> io = storage::MakeFileIo(storage, credentials);
  std::shared_ptr<catalog::Catalog> catalog;
  if (HasRestCatalog(settings)) {
    K2_ASSIGN(catalog, OpenRest(settings, credentials, patience_ms, std::move(stopping)));
  } else {
    K2_ASSIGN(catalog, OpenEmbedded(settings, io, use));
  }
  if (const auto displacement = catalog->displacement(); displacement && use != WarehouseUse::kRecover) {
    if (use != WarehouseUse::kRead) return Fail(ErrorKind::kInvalidArgument, "{}", displacement->Describe());
    log::Warn(displacement->Describe());
    io = storage::MakeMovedFileIo(std::move(io), displacement->map, displacement->Describe());
  }
  K2_ASSIGN(const bool keeps_history, MaintainedByCatalog(settings));
  return std::make_shared<pipeline::Lakehouse>(std::move(catalog), std::move(io), keeps_history);
}

}  // namespace

std::string WarehouseUri(const Settings& settings) {
  const std::string& warehouse = settings.Text("warehouse");
  if (warehouse.find("://") != std::string::npos) return warehouse;
  return "file://" + WarehouseFolder(settings).string();
}

Result<bool> MaintainedByCatalog(const Settings& settings) {
  const std::string& who = settings.Text("table-maintenance");
  if (who == "k2") return false;
  if (who != "catalog") return Fail(ErrorKind::kInvalidArgument, "table-maintenance = '{}': k2 or catalog", who);
  if (HasRestCatalog(settings)) return true;
  return Fail(ErrorKind::kInvalidArgument,
              "table-maintenance = 'catalog' ({}): the embedded catalog maintains no tables; name a REST catalog that "
              "does (--catalog), or leave table-maintenance at k2",
              settings.Get("table-maintenance").origin);
}

Status CheckOwnMaintenance(const Settings& settings, std::string_view command) {
  K2_ASSIGN(const bool by_catalog, MaintainedByCatalog(settings));
  if (!by_catalog) return {};
  return Fail(ErrorKind::kUnsupported,
              "{}: the catalog maintains these tables (table-maintenance = 'catalog', {}); two that do it delete each "
              "other's files",
              command, settings.Get("table-maintenance").origin);
}

bool HasRestCatalog(const Settings& settings) { return !settings.Text("catalog").empty(); }

void AddLakehouseSettings(Program& program) {
  Settings& settings = program.settings;
  CLI::App& app = program.app;
  settings.BeginGroup("storage");
  const SettingText texts[] = {
      {"warehouse", "PLACE", "warehouse", "Folder of the tables and their catalog; with catalog also s3://BUCKET/PATH"},
      {"catalog", "URL", "", "Iceberg REST catalog; without one the catalog is a SQLite file in the warehouse"},
      {"catalog-warehouse", "NAME", "", "Warehouse to use of a REST catalog that has several"},
      {"catalog-credential", "ID:SECRET", "", "OAuth2 client credentials for the REST catalog"},
      {"catalog-token", "TOKEN", "", "Bearer token for the REST catalog, used before the credential"},
      {"catalog-scope", "SCOPE", "catalog", "OAuth2 scope to ask for"},
      {"catalog-oauth2-uri", "URL", "", "Token endpoint; without one the catalog says, else its own"},
      {"catalog-header", "HEADER", "",
       "Send this header (NAME: VALUE) with each request to the REST catalog; repeatable, a line each in the variable, "
       "a list in k2.toml",
       true},
      {"catalog-auth", "KIND", "", "sigv4: sign requests to the REST catalog with AWS keys"},
      {"catalog-signing-region", "REGION", "",
       "Region to sign for; without one that of the address, else AWS_REGION, AWS_DEFAULT_REGION, the profile's"},
      {"catalog-signing-name", "SERVICE", "",
       "Service to sign for: glue, s3tables, …; without one that of the address, else execute-api"},
      {"table-maintenance", "WHO", "k2",
       "Who expires snapshots, removes orphan files and compacts: k2, or catalog where it does so by itself"},
  };
  for (const SettingText& text : texts) settings.Add(app, text);
}

Status CheckCatalogIsNewest(const pipeline::Lakehouse& lakehouse) {
  for (const std::string& name : task::AllTables()) {
    const catalog::TableName table{std::string(task::kNamespace), name};
    const Status newest = maintenance::CheckCatalogIsNewest(*lakehouse.catalog(), lakehouse.io(), table);
    // A table that cannot be looked at says so when it is opened.
    if (!newest && newest.error().kind == ErrorKind::kInvalidData) return newest;
  }
  return {};
}

Result<std::shared_ptr<pipeline::Lakehouse>> OpenLakehouse(const Settings& settings, bool create, int64_t patience_ms,
                                                           std::function<bool()> stopping) {
  K2_ASSIGN(auto lakehouse,
            OpenFor(settings, create ? WarehouseUse::kCreate : WarehouseUse::kWrite, patience_ms, std::move(stopping)));
  // On a store it costs a request a table, so that a run alone asks it.
  if (!HasRestCatalog(settings)) K2_TRY(CheckCatalogIsNewest(*lakehouse));
  return lakehouse;
}

Result<std::shared_ptr<pipeline::Lakehouse>> OpenLakehouseToRead(const Settings& settings, int64_t patience_ms) {
  return OpenFor(settings, WarehouseUse::kRead, patience_ms, nullptr);
}

Result<std::shared_ptr<pipeline::Lakehouse>> OpenLakehouseToRecover(const Settings& settings) {
  return OpenFor(settings, WarehouseUse::kRecover, kCatalogPatienceMs, nullptr);
}

}  // namespace k2::cli
