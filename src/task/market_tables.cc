#include "task/market_tables.h"

#include <algorithm>
#include <array>

namespace k2 {
namespace {

using iceberg::NestedField;
using iceberg::Schema;
using iceberg::Type;
using iceberg::TypeId;

const Type kString = Type::Primitive(TypeId::kString);
const Type kBinary = Type::Primitive(TypeId::kBinary);
const Type kInt = Type::Primitive(TypeId::kInt);
const Type kLong = Type::Primitive(TypeId::kLong);
const Type kDate = Type::Primitive(TypeId::kDate);
const Type kTime = Type::Primitive(TypeId::kTimestamptz);

Schema Numbered(std::vector<NestedField> fields) {
  NumberFields(fields, 0);
  return {.schema_id = 0, .fields = std::move(fields), .identifier_field_ids = {}};
}

NestedField Required(std::string name, Type type, std::string doc) {
  return {.id = 0, .name = std::move(name), .required = true, .type = std::move(type), .doc = std::move(doc)};
}
NestedField Optional(std::string name, Type type, std::string doc) {
  return {.id = 0, .name = std::move(name), .required = false, .type = std::move(type), .doc = std::move(doc)};
}

Schema BronzeSchema() {
  return Numbered({
      Optional("message_key", kBinary, "Kafka key; null where the message had none"),
      Optional("avro_payload", kBinary, "the message as it came, header included; null for a tombstone"),
      Required("topic", kString, "topic, or recording/<exchange>/<hash>"),
      Required("partition", kInt, "partition of the topic"),
      Required("offset", kLong, "offset in the partition"),
      Required("kafka_timestamp", kTime, "timestamp of the message; of a recording, when it was received"),
      Required("ingestion_timestamp", kTime, "when K2, or the recorder, received it"),
      Required("ingestion_date", kDate, "date of ingestion_timestamp, UTC"),
      Optional("headers",
               Type::List(0, true, Type::Struct({Required("key", kString, ""), Optional("value", kBinary, "")})),
               "the message's headers in their order, keys may repeat; null where it has none"),
      Optional("topic_id", kString, "Kafka's id of the topic; null for a recording, and where the broker tells none"),
  });
}

std::vector<NestedField> TradeFields() {
  const Type decimal = Type::Decimal(18, 8);
  return {
      Required("message_id", kString, "identity of the trade"),
      Required("trade_id", kString, "{EXCHANGE}-{the exchange's own id}"),
      Required("symbol", kString, "normalised: BTCUSDT"),
      Required("exchange", kString, "BINANCE, KRAKEN"),
      Required("asset_class", kString, "crypto"),
      Required("timestamp", kTime, "the exchange's trade time"),
      Required("price", decimal, "in quote currency"),
      Required("quantity", decimal, "in base currency"),
      Required("currency", kString, "quote currency"),
      Required("side", kString, "the aggressor's side: BUY or SELL"),
      Required("trade_conditions", Type::List(0, true, kString), "conditions the exchange reports"),
      Optional("source_sequence", kLong, "the exchange's own consecutive number"),
      Required("ingestion_timestamp", kTime, "when the trade was received"),
      Optional("platform_sequence", kLong, "number given by the producing platform"),
      Optional("vendor_data", Type::Map(0, kString, 0, true, kString), "what the exchange sends beyond V2"),
  };
}

Schema SilverSchema() {
  std::vector<NestedField> fields = TradeFields();
  fields.push_back(Required("exchange_date", kDate, "date of timestamp, UTC"));
  return Numbered(std::move(fields));
}

Schema GoldSchema() {
  std::vector<NestedField> fields = TradeFields();
  fields.push_back(Required("exchange_date", kDate, "date of timestamp, UTC"));
  fields.push_back(Required("exchange_hour", kInt, "hour of timestamp, UTC, 0 to 23"));
  return Numbered(std::move(fields));
}

Schema RejectedSchema() {
  return Numbered({
      Required("topic", kString, "of its Bronze row"),
      Required("partition", kInt, "of its Bronze row"),
      Required("offset", kLong, "of its Bronze row"),
      Required("kafka_timestamp", kTime, "of its Bronze row"),
      Optional("schema_id", kInt, "schema id of the message, where it could be read"),
      Optional("payload", kBinary, "the message as it came; null for a tombstone"),
      Required("reason", kString, "reason code"),
      Required("detail", kString, "what was found, for people"),
      Required("ingestion_date", kDate, "of its Bronze row"),
      Required("rejected_at", kTime, "when the verdict was written"),
      Optional("topic_id", kString, "of its Bronze row"),
  });
}

// One row a recording and table: where it ended.
Schema FinishedSchema() {
  return Numbered({
      Required("hash_prefix", kLong, "first 15 hex digits of the recording's hash, as a number: rows are sorted by it"),
      Required("table_name", kString, "of K2's tables: bronze_trades, silver_..."),
      Required("table_uuid", kString, "of that table"),
      Required("topic", kString, "recording/<exchange>/<hash>"),
      Required("next_offset", kLong, "messages of it that the table has taken"),
      Required("next_line", kLong, "lines that were read"),
      Required("next_byte", kLong, "uncompressed bytes that were read"),
      Required("line_hash", kString, "hash of the last line; empty where there is none"),
      Required("segment", kLong, "of a spool, that lines and bytes count in; 0 of any other source"),
      Required("generation", kLong, "number of the commit to this table that has added the row"),
      Required("finished_at", kTime, "when the row was written"),
  });
}

iceberg::PartitionField PartitionBy(const Schema& schema, std::string_view column, std::string transform,
                                    int32_t field_id) {
  const std::string name = transform == "identity" ? std::string(column) : std::string(column) + "_" + transform;
  return {.source_id = schema.Find(column)->id, .field_id = field_id, .name = name, .transform = std::move(transform)};
}

std::map<std::string, std::string> Properties() {
  return {
      {"write.format.default", "parquet"},
      {"write.parquet.compression-codec", "zstd"},
      {"write.metadata.delete-after-commit.enabled", "true"},
      {"write.metadata.previous-versions-max", "20"},
      {"commit.manifest.min-count-to-merge", "20"},
      {"history.expire.max-snapshot-age-ms", "3600000"},
      {"history.expire.min-snapshots-to-keep", "10"},
      {"k2.history.max-snapshots", "100"},
  };
}

std::vector<int32_t> Ids(const Schema& schema, std::initializer_list<std::string_view> names) {
  std::vector<int32_t> ids;
  for (const std::string_view name : names) {
    if (const NestedField* field = schema.Find(name)) ids.push_back(field->id);
  }
  return ids;
}

}  // namespace

int32_t NumberFields(std::span<NestedField> fields, int32_t last) {
  for (NestedField& field : fields) field.id = ++last;
  for (NestedField& field : fields) last = NumberFields(field.type.fields, last);
  return last;
}

const std::vector<ExchangeInfo>& Exchanges() {
  static const std::vector<ExchangeInfo> exchanges = {
      {"binance", "BINANCE", "silver_binance_trades"},
      {"kraken", "KRAKEN", "silver_kraken_trades"},
  };
  return exchanges;
}

const ExchangeInfo* ExchangeByTopicName(std::string_view name) {
  for (const ExchangeInfo& exchange : Exchanges()) {
    if (exchange.topic_name == name) return &exchange;
  }
  return nullptr;
}

const ExchangeInfo* ExchangeOfTopic(std::string_view topic) {
  constexpr std::string_view kRecording = "recording/";
  if (topic.starts_with(kRecording)) {
    topic.remove_prefix(kRecording.size());
    return ExchangeByTopicName(topic.substr(0, topic.find('/')));
  }
  const size_t dot = topic.rfind('.');
  return ExchangeByTopicName(dot == std::string_view::npos ? topic : topic.substr(dot + 1));
}

std::vector<std::string> AllTables() {
  std::vector<std::string> tables = {std::string(kBronzeTable), std::string(kRejectedTable)};
  for (const ExchangeInfo& exchange : Exchanges()) tables.emplace_back(exchange.silver_table);
  tables.emplace_back(kGoldTable);
  return tables;
}

bool IsSilver(std::string_view table) {
  return std::ranges::any_of(Exchanges(), [&](const ExchangeInfo& exchange) { return exchange.silver_table == table; });
}

std::string_view DateColumnOf(std::string_view table) {
  if (table == kBronzeTable || table == kRejectedTable) return "ingestion_date";
  return IsSilver(table) || table == kGoldTable ? "exchange_date" : "";
}

Result<CreateTableRequest> TableDefinition(std::string_view table) {
  CreateTableRequest request;
  request.properties = Properties();
  if (table == kBronzeTable) {
    request.schema = BronzeSchema();
    request.spec.fields = {PartitionBy(request.schema, "ingestion_date", "day", 1000)};
  } else if (table == kRejectedTable) {
    request.schema = RejectedSchema();
    request.spec.fields = {PartitionBy(request.schema, "ingestion_date", "day", 1000)};
  } else if (IsSilver(table)) {
    request.schema = SilverSchema();
    request.spec.fields = {PartitionBy(request.schema, "exchange_date", "day", 1000)};
  } else if (table == kGoldTable) {
    request.schema = GoldSchema();
    request.spec.fields = {PartitionBy(request.schema, "exchange_date", "identity", 1000),
                           PartitionBy(request.schema, "exchange_hour", "identity", 1001)};
    request.sort_order.order_id = 1;
    for (const std::string_view column : {"symbol", "timestamp"}) {
      request.sort_order.fields.push_back({.source_id = request.schema.Find(column)->id});
    }
    // K2 writes them anyway; an engine that compacts Gold keeps them by these.
    for (const std::string column : {"message_id", "trade_id"}) {
      request.properties["write.parquet.bloom-filter-enabled.column." + column] = "true";
    }
  } else if (table == kFinishedTable) {
    request.schema = FinishedSchema();
    request.sort_order.order_id = 1;
    request.sort_order.fields.push_back({.source_id = request.schema.Find("hash_prefix")->id});
  } else {
    return Fail(ErrorKind::kNotFound, "'{}' is not one of K2's tables", table);
  }
  if (table == kBronzeTable || table == kRejectedTable) {
    // Increments are cut by the bounds of topic, partition and offset; a cut-off topic name would not tell sources
    // apart.
    request.properties["write.metadata.metrics.column.topic"] = "full";
  }
  return request;
}

WriteOptions FileOptions(std::string_view table, const Schema& schema) {
  WriteOptions options;
  if (table == kFinishedTable) {
    options.row_group_rows = 8'192;  // a search for one recording reads one of them
    options.sort_order_id = 1;
    return options;
  }
  // The next layer reads these files whole: one row group a step's file, which it takes as one batch, without joining.
  if (table != kGoldTable) options.row_group_rows = 262'144;
  // Chosen by measurement (bench/RESULTS.md): dictionaries only pay where values repeat.
  if (table == kBronzeTable || table == kRejectedTable) {
    options.plain_fields = table == kBronzeTable
                               ? Ids(schema, {"avro_payload", "offset", "kafka_timestamp", "ingestion_timestamp"})
                               : Ids(schema, {"payload", "detail", "offset", "kafka_timestamp"});
    options.no_stats_fields = Ids(schema, {"message_key", "avro_payload", "payload", "detail"});
    options.full_bounds_fields = Ids(schema, {"topic"});
    return options;
  }
  options.plain_fields = Ids(
      schema, {"message_id", "trade_id", "timestamp", "source_sequence", "ingestion_timestamp", "platform_sequence"});
  if (const NestedField* vendor_data = schema.Find("vendor_data")) {
    options.plain_fields.push_back(vendor_data->type.fields.at(1).id);
  }
  if (table == kGoldTable) {
    options.bloom_fields = Ids(schema, {"message_id", "trade_id"});
    options.sort_order_id = 1;
  }
  return options;
}

}  // namespace k2
