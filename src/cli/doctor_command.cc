#include <sys/resource.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "base/error_text.h"
#include "base/time.h"
#include "base/uuid.h"
#include "cli/aws_settings.h"
#include "cli/commands.h"
#include "cli/kafka_settings.h"
#include "cli/rows_output.h"
#include "cli/secrets.h"
#include "kafka/kafka_client.h"
#include "net/http.h"
#include "query/engine.h"
#include "registry/registry_client.h"
#include "registry/schema_source.h"
#include "storage/local_file_io.h"
#include "storage/location.h"
#include "table/progress_json.h"
#include "task/market_tables.h"
#include "task/table_shape.h"
#include "trade/trade_schema.h"

namespace k2::cli {
namespace {

struct Check {
  std::string what;
  bool ok = true;
  std::string found;
};

using OpenedLakehouse = Result<std::shared_ptr<pipeline::Lakehouse>>;

// The nearest folder at or above this one that is there.
std::filesystem::path Existing(std::filesystem::path folder) {
  while (!std::filesystem::exists(folder) && folder.has_parent_path() && folder != folder.parent_path()) {
    folder = folder.parent_path();
  }
  return folder;
}

Check CheckWritable(storage::FileIo& io, const std::string& location) {
  Check check{.what = "warehouse is writable", .ok = true, .found = location};
  // Ends as data files do: SeaweedFS refuses other hidden names in the folders of tables.
  const std::string probe = location + "/.k2-doctor-" + RandomHex64() + ".parquet";
  if (const Status status = io.WriteNew(probe, "probe"); !status) {
    check.ok = false;
    check.found = MessageAndHint(status.error());
  } else {
    (void)io.Delete(probe);
  }
  return check;
}

Check CheckSpace(const std::filesystem::path& folder) {
  struct statvfs space{};
  if (::statvfs(Existing(folder).c_str(), &space) != 0) {
    return {.what = "disk space", .ok = false, .found = "cannot be read"};
  }
  const auto free = static_cast<int64_t>(space.f_bavail) * static_cast<int64_t>(space.f_frsize);
  return {.what = "disk space", .ok = free > (int64_t{1} << 30), .found = HumanBytes(free) + " free"};
}

// Where data files go. Behind a REST catalog that is what it says of a table: a bucket for tables may refuse all else.
Result<std::string> PlaceOfData(const Settings& settings, const OpenedLakehouse& lakehouse) {
  if (!HasRestCatalog(settings)) return WarehouseUri(settings);
  if (!lakehouse) return std::unexpected(lakehouse.error());
  K2_ASSIGN(const auto tables, (*lakehouse)->catalog()->ListTables(std::string(task::kNamespace)));
  if (tables.empty()) return Fail(ErrorKind::kNotFound, "not tried: there is no table yet");
  K2_ASSIGN(const table::Table table, (*lakehouse)->Open(tables.front().name));
  return table.metadata().location + "/data";
}

std::vector<Check> CheckStorage(const Settings& settings, const OpenedLakehouse& lakehouse) {
  const Result<std::string> place = PlaceOfData(settings, lakehouse);
  if (!place) {
    const bool none_yet = place.error().kind == ErrorKind::kNotFound;
    return {{.what = "warehouse is writable", .ok = none_yet, .found = MessageAndHint(place.error())}};
  }
  if (const auto folder = storage::LocalPath(*place)) {
    return {CheckWritable(*storage::MakeLocalFileIo(), Existing(*folder).string()), CheckSpace(*folder)};
  }
  if (lakehouse) return {CheckWritable(*(*lakehouse)->io(), *place)};
  return {{.what = "warehouse is writable", .ok = false, .found = MessageAndHint(lakehouse.error())}};
}

Check CheckCatalog(const Settings& settings, const OpenedLakehouse& lakehouse) {
  if (!lakehouse) {
    // A warehouse that is not there yet is no fault: the first run makes it.
    const bool none_yet = !HasRestCatalog(settings) && lakehouse.error().kind == ErrorKind::kNotFound;
    return {.what = "catalog", .ok = none_yet, .found = MessageAndHint(lakehouse.error())};
  }
  const int64_t started_us = MonotonicMicros();
  const auto tables = (*lakehouse)->catalog()->ListTables(std::string(task::kNamespace));
  if (!tables) return {.what = "catalog", .ok = false, .found = MessageAndHint(tables.error())};
  const int64_t answer_us = MonotonicMicros() - started_us;
  std::string lacking;
  std::vector<std::string> older;
  for (const catalog::TableName& name : *tables) {
    const auto table = (*lakehouse)->Open(name.name);
    if (!table) return {.what = "catalog", .ok = false, .found = MessageAndHint(table.error())};
    if (const auto absent = task::AbsentColumns(name.name, table->metadata()); !absent.empty()) {
      lacking += fmt::format("; {} lacks {}", name.name, fmt::join(absent, ", "));
    }
    if (task::FormatOf(name.name, table->metadata()) == task::TableFormat::kOlder) older.push_back(name.name);
  }
  if (!lacking.empty()) lacking += ", whose values are not kept: `k2 tables migrate` adds the columns";
  if (!older.empty()) {
    lacking += fmt::format("; of an older format, with prices and quantities of decimal(18,8): {}; `k2 tables migrate`",
                           fmt::join(older, ", "));
  }
  return {.what = "catalog",
          .ok = true,
          .found = fmt::format("{}, answers in {} ms, {} tables read{}", (*lakehouse)->catalog()->Describe(),
                               (answer_us + 999) / 1000, tables->size(), lacking)};
}

// The tag that names the newest committed offsets stays for ever by itself; by a property of the table every engine's
// and the catalog's expiry may take it.
Check CheckOffsetsTag(const OpenedLakehouse& lakehouse) {
  Check check{.what = "offsets are kept", .ok = true, .found = "no table lets its tag k2-offsets expire"};
  if (!lakehouse) return check;
  const auto tables = (*lakehouse)->catalog()->ListTables(std::string(task::kNamespace));
  std::vector<std::string> mortal;
  std::vector<std::string> untagged;
  for (const catalog::TableName& name : tables.value_or(std::vector<catalog::TableName>{})) {
    const auto table = (*lakehouse)->Open(name.name);
    if (!table) continue;  // the check of the catalog says so
    const iceberg::SnapshotRef* tag = table->metadata().FindRef(std::string(table::kOffsetsTag));
    const auto& properties = table->metadata().properties;
    const auto age = properties.find("history.expire.max-ref-age-ms");
    const bool forever = age == properties.end() || age->second == std::to_string(INT64_MAX);
    const iceberg::Snapshot* head = table->metadata().CurrentSnapshot();
    if (tag == nullptr && head != nullptr && head->summary.contains(std::string(table::kOffsetsKey))) {
      untagged.push_back(name.name);
    }
    if (tag == nullptr || (!tag->max_ref_age_ms && forever)) continue;
    mortal.push_back(
        fmt::format("{} ({} ms)", name.name, tag->max_ref_age_ms ? std::to_string(*tag->max_ref_age_ms) : age->second));
  }
  if (!untagged.empty()) {
    check.ok = false;
    check.found = fmt::format(
        "the catalog keeps no tags, and so not the tag k2-offsets, of {}: let K2 alone write to its tables, for after "
        "a "
        "commit of another engine a layer cannot find its committed offsets, and stops",
        fmt::join(untagged, ", "));
    return check;
  }
  if (mortal.empty()) return check;
  check.ok = false;
  check.found = fmt::format(
      "expiry by another engine or the catalog may take the tag k2-offsets, and with it the committed offsets, from "
      "{}: "
      "unset history.expire.max-ref-age-ms of the table, or max-ref-age-ms of the tag",
      fmt::join(mortal, ", "));
  return check;
}

// Whose AWS keys are used, where some are.
std::optional<Check> CheckAwsKeys(const Settings& settings) {
  const bool on_s3 = settings.Text("warehouse").starts_with("s3");
  const bool needed = settings.Text("catalog-auth") == "sigv4" || settings.Text("kafka-auth") == "aws-msk-iam";
  if (!on_s3 && !needed) return std::nullopt;
  const auto chain = AwsCredentialsOf(settings);
  const auto keys = chain->Keys();
  if (!keys) return Check{.what = "AWS keys", .ok = false, .found = MessageAndHint(keys.error())};
  if (keys->access_key.empty()) return Check{.what = "AWS keys", .ok = !needed, .found = "none are found"};
  const std::string end =
      keys->ends_at_us == INT64_MAX ? "" : fmt::format(", until {}", FormatTimestamp(keys->ends_at_us));
  return Check{.what = "AWS keys", .ok = true, .found = "of " + chain->Origin() + end};
}

Check CheckSchemas(const Settings& settings) {
  const std::string& folder = settings.Text("schemas");
  if (folder.empty()) return {.what = "schemas", .ok = true, .found = "built-in ones only"};
  const bool there = std::filesystem::is_directory(folder);
  if (!there) return {.what = "schemas", .ok = false, .found = "there is no folder " + folder};
  const Status own = registry::FileSchemaSource(folder).CheckFolder();
  return {.what = "schemas", .ok = own.has_value(), .found = own ? folder : MessageAndHint(own.error())};
}

// The brokers, with the TLS and the credentials that a run would use, and what a run would read.
Check CheckKafka(const Settings& settings) {
  constexpr int64_t kPatienceUs = 5'000'000;
  Check check{.what = "kafka", .ok = false, .found = ""};
  const auto failed = [&](const Error& error) {
    check.found = MessageAndHint(error);
    return check;
  };
  Result<kafka::KafkaOptions> options = KafkaOptionsOf(settings);
  if (!options) return failed(options.error());
  options->request_timeout_us = kPatienceUs;
  const auto admin = kafka::KafkaAdmin::Create(*options);
  if (!admin) return failed(admin.error());
  const int64_t started_us = MonotonicMicros();
  const Result<std::string> cluster = (*admin)->ClusterId();
  if (!cluster) return failed(cluster.error());
  const int64_t answer_us = MonotonicMicros() - started_us;
  const auto topics = (*admin)->Describe(settings.List("topics"));
  if (!topics) return failed(topics.error());
  check.ok = true;
  check.found = fmt::format("cluster {} at {}, answers in {} ms, {} topics to read", *cluster, options->brokers,
                            (answer_us + 999) / 1000, topics->topics.size());
  if (!topics->missing.empty())
    check.found += "; there is no topic " + fmt::to_string(fmt::join(topics->missing, ", "));
  return check;
}

// Asks whether the registry would take the schema of trades, which changes nothing there.
Check CheckRegistry(const Settings& settings) {
  constexpr int64_t kPatienceMs = 5'000;
  const auto registry = RegistryOf(settings, kPatienceMs);
  if (!registry) return {.what = "schema registry", .ok = false, .found = MessageAndHint(registry.error())};
  const int64_t started_us = MonotonicMicros();
  const auto compatible = (*registry)->Compatible(std::string(trade::kTradeV3Name), trade::kTradeV3SchemaJson);
  if (!compatible) return {.what = "schema registry", .ok = false, .found = MessageAndHint(compatible.error())};
  return {.what = "schema registry",
          .ok = true,
          .found = fmt::format("{}, answers in {} ms{}", net::WithoutSecrets(settings.Text("registry")),
                               (MonotonicMicros() - started_us + 999) / 1000,
                               *compatible ? "" : "; it does not take the schema of `k2 produce`")};
}

Check CheckEngine() {
  const auto engine = query::QueryEngine::Open({});
  if (!engine) return {.what = "query engine", .ok = false, .found = MessageAndHint(engine.error())};
  const auto version = (*engine)->Run("SELECT version()");
  if (!version) return {.what = "query engine", .ok = false, .found = MessageAndHint(version.error())};
  return {.what = "query engine", .ok = true, .found = "DuckDB " + version->rows.at(0).at(0).value_or("")};
}

Check CheckOpenFiles() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return {.what = "open files", .ok = false, .found = "cannot be read"};
  return {.what = "open files", .ok = limit.rlim_cur >= 1024, .found = fmt::format("limit {}", limit.rlim_cur)};
}

Result<int> RunDoctor(const Settings& settings) {
  query::QueryResult rows;
  rows.columns = {{"setting", "VARCHAR", query::CellKind::kText},
                  {"value", "VARCHAR", query::CellKind::kText},
                  {"from", "VARCHAR", query::CellKind::kText}};
  for (const Setting& setting : settings.all())
    rows.rows.push_back({setting.name, Shown(setting.name, setting.value), setting.origin});
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  query::QueryResult checks;
  checks.columns = {{"check", "VARCHAR", query::CellKind::kText},
                    {"ok", "BOOLEAN", query::CellKind::kBool},
                    {"found", "VARCHAR", query::CellKind::kText}};
  bool well = true;
  constexpr int64_t kPatienceMs = 3'000;
  const OpenedLakehouse lakehouse = OpenLakehouseToRead(settings, kPatienceMs);
  std::vector<Check> all = CheckStorage(settings, lakehouse);
  all.push_back(CheckCatalog(settings, lakehouse));
  all.push_back(CheckOffsetsTag(lakehouse));
  if (auto keys = CheckAwsKeys(settings)) all.push_back(*std::move(keys));
  if (!settings.Text("kafka").empty()) all.push_back(CheckKafka(settings));
  if (!settings.Text("registry").empty()) all.push_back(CheckRegistry(settings));
  for (Check& check : std::vector<Check>{CheckSchemas(settings), CheckEngine(), CheckOpenFiles()}) {
    all.push_back(std::move(check));
  }
  for (const Check& check : all) {
    checks.rows.push_back({check.what, check.ok ? "true" : "false", check.found});
    well &= check.ok;
  }
  checks.rows.push_back({"cores", "true", std::to_string(std::thread::hardware_concurrency())});
  checks.row_count = static_cast<int64_t>(checks.rows.size());
  const std::string& output = settings.Text("output");
  if (output == "table") {
    K2_TRY(PrintRows(rows, output));
    K2_TRY(PrintRows(checks, output));
  } else {
    // One document for programs: settings are checks that always hold.
    for (const query::ResultRow& row : rows.rows) {
      checks.rows.push_back(
          {"setting " + row[0].value_or(""), "true", fmt::format("{} ({})", row[1].value_or(""), row[2].value_or(""))});
    }
    K2_TRY(PrintRows(checks, output));
  }
  return well ? 0 : 3;
}

}  // namespace

void AddDoctor(Program& program) {
  CLI::App* command = AddCommand(program, kSetUpCommands, "doctor", "Check settings, storage, catalog and services");
  command->footer("Example:\n  k2 doctor --warehouse lake");
  command->callback([&program] { program.action = [&program] { return RunDoctor(program.settings); }; });
}

}  // namespace k2::cli
