#include "cli/kafka_settings.h"

#include <cstdlib>

#include "cli/secrets.h"

namespace k2 {
namespace {

// As the XDG Base Directory Specification says; none where there is no home.
std::string DefaultCacheFolder() {
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/') return std::string(cache) + "/k2/schemas";
  const char* const home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return std::string(home) + "/.cache/k2/schemas";
  return "";
}

}  // namespace

void AddKafkaSettings(Program& program) {
  Settings& settings = program.settings;
  settings.Add(program.app, "kafka", "", "brokers, host:port with commas");
  settings.Add(
      program.app, "kafka-set", "",
      "settings of librdkafka, name=value, comma-separated: security.protocol=SASL_SSL,sasl.mechanism=PLAIN; a "
      "value with a comma in double quotes: sasl.password=\"a,b\"");
  settings.Add(program.app, "kafka-group", "k2", "group under which committed offsets are shown to lag tools");
  settings.Add(program.app, "kafka-buffer", "128MB", "bound of what is fetched and not yet read");
  settings.Add(program.app, "registry", "",
               "URL of the schema registry, up to before /schemas; without one the schema ids of --schemas hold");
  settings.Add(program.app, "registry-credential", "", "user:password for the registry");
  settings.Add(program.app, "registry-token", "", "bearer token for the registry");
  settings.Add(program.app, "schema-cache", "",
               "folder where schemas of the registry are kept (default: k2/schemas in the user's cache folder)");
}

Result<KafkaOptions> KafkaOptionsOf(const Settings& settings) {
  KafkaOptions options;
  options.brokers = settings.Text("kafka");
  options.group = settings.Text("kafka-group");
  K2_ASSIGN(options.queued_bytes, settings.Bytes("kafka-buffer"));
  K2_ASSIGN(const auto entries, ParseNameValues("kafka-set", settings.Text("kafka-set")));
  std::string_view before;
  for (const auto& [name, value] : entries) {
    // What stands behind a secret and is no setting may be the rest of it, and is not shown.
    if (IsSecretKafkaName(before) && !IsKafkaSetting(name)) {
      return Fail(ErrorKind::kInvalidArgument,
                  "kafka-set: what follows '{}' is no setting of librdkafka. A value with a comma goes into double "
                  "quotes: {}=\"a,b\"",
                  before, before);
    }
    options.settings[name] = value;
    before = name;
  }
  K2_TRY(CheckKafkaOptions(options));
  return options;
}

Result<std::shared_ptr<RegistryClient>> RegistryOf(const Settings& settings, int64_t timeout_ms) {
  RegistryOptions options;
  options.timeout_ms = timeout_ms;
  options.url = settings.Text("registry");
  if (options.url.empty()) return nullptr;
  options.user_info = settings.Text("registry-credential");
  options.token = settings.Text("registry-token");
  options.cache_folder = settings.Text("schema-cache");
  if (options.cache_folder.empty()) options.cache_folder = DefaultCacheFolder();
  return RegistryClient::Create(options, MakeHttpClient());
}

Result<std::shared_ptr<SchemaSource>> SchemasOf(const Settings& settings) {
  K2_ASSIGN(std::shared_ptr<RegistryClient> registry, RegistryOf(settings));
  if (registry) return registry;
  return std::make_shared<FileSchemaSource>(settings.Text("schemas"));
}

}  // namespace k2
