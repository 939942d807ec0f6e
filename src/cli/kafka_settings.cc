#include "cli/kafka_settings.h"

#include <cstdlib>

#include "base/time.h"
#include "catalog/rest_signer.h"
#include "cli/aws_settings.h"
#include "cli/secrets.h"
#include "storage/msk_token.h"

namespace k2::cli {
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
  program.settings.BeginGroup("kafka");
  const SettingText texts[] = {
      {"kafka", "BROKERS", "", "Kafka brokers: comma-separated HOST:PORT"},
      {"kafka-set", "NAME=VALUE,…", "",
       "Settings of librdkafka, comma-separated: security.protocol=SASL_SSL,sasl.mechanism=PLAIN; a value with a comma "
       "in double quotes: sasl.password=\"a,b\""},
      {"kafka-auth", "KIND", "", "aws-msk-iam: sign in to Amazon MSK with tokens made of AWS keys"},
      {"kafka-group", "NAME", "k2", "Consumer group under which offsets are published for lag monitoring, best effort"},
      {"kafka-buffer", "SIZE", "128MB", "Limit on messages that are fetched and not yet read"},
  };
  for (const SettingText& text : texts) program.settings.Add(program.app, text);
  const SettingText registry[] = {
      {"registry", "URL", "", "Schema registry, up to before /schemas; without one the ids of schemas hold"},
      {"registry-credential", "USER:PASSWORD", "", "Credentials for the registry"},
      {"registry-token", "TOKEN", "", "Bearer token for the registry"},
      {"schema-cache", "FOLDER", "",
       "Where to keep the registry's schemas; without one k2/schemas in the user's cache folder"},
      {"schemas", "FOLDER", "", "Writer schemas, ID.avsc, beside the built-in ones"},
  };
  for (const SettingText& text : registry) program.settings.Add(program.app, text);
}

namespace {

// Of kafka-set and, behind it, of the file that kafka-set-file names.
Result<std::map<std::string, std::string>> LibrdkafkaSettings(const std::string& text, const std::string& file) {
  std::string all = text;
  if (!file.empty()) {
    K2_ASSIGN(const std::string of_file, Secret::OfFile(file).Read());
    all += "\n" + of_file;
  }
  K2_ASSIGN(const auto entries, ParseNameValues("kafka-set", all));
  std::map<std::string, std::string> found;
  std::string_view before;
  for (const auto& [name, value] : entries) {
    // What stands behind a secret and is no setting may be the rest of it, and is not shown.
    if (IsSecretKafkaName(before) && !kafka::IsKafkaSetting(name)) {
      return Fail(ErrorKind::kInvalidArgument,
                  "kafka-set: what follows '{}' is no setting of librdkafka. A value with a comma goes into double "
                  "quotes: {}=\"a,b\"",
                  before, before);
    }
    found[name] = value;
    before = name;
  }
  return found;
}

// Amazon MSK with IAM: tokens that are signed with AWS keys, over TLS.
Status SetMskIam(const Settings& settings, kafka::KafkaOptions& options) {
  for (const char* name : {"sasl.mechanism", "sasl.mechanisms"}) {
    const auto given = options.settings.find(name);
    if (given == options.settings.end() || given->second == "OAUTHBEARER") continue;
    return Fail(ErrorKind::kInvalidArgument, "kafka-auth = 'aws-msk-iam' is OAUTHBEARER, and kafka-set says {}={}",
                name, given->second);
  }
  options.settings.try_emplace("security.protocol", "SASL_SSL");
  options.settings.erase("sasl.mechanisms");
  options.settings["sasl.mechanism"] = "OAUTHBEARER";
  const auto chain = AwsCredentialsOf(settings);
  std::string region =
      catalog::AwsScopeOfHost("https://" + options.brokers.substr(0, options.brokers.find(','))).region;
  if (region.empty()) region = chain->Region();
  if (region.empty()) {
    return Fail(
        ErrorKind::kInvalidArgument,
        "kafka-auth = 'aws-msk-iam' needs the cluster's region: it is not in the brokers' names; set AWS_REGION");
  }
  options.token = [chain, region]() -> Result<kafka::KafkaToken> {
    K2_ASSIGN(const storage::AwsKeys keys, chain->Keys());
    if (keys.access_key.empty()) {
      return Fail(ErrorKind::kPermission, "there are no AWS keys to sign Kafka's token with (docs/storage.md)");
    }
    storage::MskToken token = storage::MakeMskToken(keys, region, NowMicros());
    return kafka::KafkaToken{.text = std::move(token.text), .ends_at_us = token.ends_at_us};
  };
  return {};
}

}  // namespace

Result<kafka::KafkaOptions> KafkaOptionsOf(const Settings& settings) {
  kafka::KafkaOptions options;
  options.brokers = settings.Text("kafka");
  options.group = settings.Text("kafka-group");
  K2_ASSIGN(options.queued_bytes, settings.Bytes("kafka-buffer"));
  const std::string& text = settings.Text("kafka-set");
  const std::string& file = settings.Text("kafka-set-file");
  K2_ASSIGN(options.settings, LibrdkafkaSettings(text, file));
  if (!file.empty()) options.newest_settings = [text, file] { return LibrdkafkaSettings(text, file); };
  const std::string& way = settings.Text("kafka-auth");
  if (way == "aws-msk-iam") {
    K2_TRY(SetMskIam(settings, options));
  } else if (!way.empty()) {
    return Fail(ErrorKind::kInvalidArgument, "kafka-auth = '{}': aws-msk-iam, or empty for what kafka-set says", way);
  }
  K2_TRY(kafka::CheckKafkaOptions(options));
  return options;
}

Result<std::shared_ptr<registry::RegistryClient>> RegistryOf(const Settings& settings, int64_t timeout_ms) {
  registry::RegistryOptions options;
  options.timeout_ms = timeout_ms;
  options.url = settings.Text("registry");
  if (options.url.empty()) return nullptr;
  K2_ASSIGN(options.user_info, settings.SecretOf("registry-credential"));
  K2_ASSIGN(options.token, settings.SecretOf("registry-token"));
  options.cache_folder = settings.Text("schema-cache");
  if (options.cache_folder.empty()) options.cache_folder = DefaultCacheFolder();
  return registry::RegistryClient::Create(options, net::MakeHttpClient());
}

Result<std::shared_ptr<registry::SchemaSource>> SchemasOf(const Settings& settings) {
  auto folder = std::make_shared<registry::FileSchemaSource>(settings.Text("schemas"));
  K2_TRY(folder->CheckFolder());  // recordings read it, where there is a registry, too
  K2_ASSIGN(std::shared_ptr<registry::RegistryClient> registry, RegistryOf(settings));
  if (registry) return registry;
  return folder;
}

}  // namespace k2::cli
