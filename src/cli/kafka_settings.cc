#include "cli/kafka_settings.h"

namespace k2 {

void AddKafkaSettings(Program& program) {
  Settings& settings = program.settings;
  settings.Add(program.app, "kafka", "", "brokers, host:port with commas");
  settings.Add(program.app, "kafka-set", "",
               "settings of librdkafka, name=value with commas: security.protocol=SASL_SSL,sasl.mechanism=PLAIN");
  settings.Add(program.app, "kafka-group", "k2", "group under which committed offsets are shown to lag tools");
}

Result<KafkaOptions> KafkaOptionsOf(const Settings& settings) {
  KafkaOptions options;
  options.brokers = settings.Text("kafka");
  options.group = settings.Text("kafka-group");
  const std::string& text = settings.Text("kafka-set");
  for (size_t begin = 0; begin < text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    const std::string one = text.substr(begin, comma - begin);
    const size_t equals = one.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Fail(ErrorKind::kInvalidArgument, "kafka-set: '{}' is not name=value", one);
    }
    options.settings[one.substr(0, equals)] = one.substr(equals + 1);
    begin = comma + 1;
  }
  K2_TRY(CheckKafkaOptions(options));
  return options;
}

Result<std::shared_ptr<SchemaSource>> SchemasOf(const Settings& settings) {
  return std::make_shared<FileSchemaSource>(settings.Text("schemas"));
}

}  // namespace k2
