// Where Kafka and the schema registry are: --kafka, --kafka-set, --kafka-group, --registry and what goes with it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "kafka/kafka_client.h"
#include "registry/registry_client.h"
#include "registry/schema_source.h"

namespace k2::cli {

void AddKafkaSettings(Program& program);
// Error kInvalidArgument: a setting that librdkafka does not know, or that K2 itself sets.
Result<kafka::KafkaOptions> KafkaOptionsOf(const Settings& settings);
// Nothing where no registry is named.
Result<std::shared_ptr<registry::RegistryClient>> RegistryOf(const Settings& settings, int64_t timeout_ms = 10'000);
// The registry's schemas, else those of --schemas and the built-in ones.
Result<std::shared_ptr<registry::SchemaSource>> SchemasOf(const Settings& settings);

}  // namespace k2::cli
