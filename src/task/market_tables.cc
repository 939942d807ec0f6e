#include "task/market_tables.h"

#include <algorithm>
#include <array>

#include "trade/trade_table.h"

namespace k2::task {
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

NestedField HeadersField(std::string doc) {
  Type pair = Type::Struct({Required("key", kString, ""), Optional("value", kBinary, "")});
  return Optional("headers", Type::List(0, true, std::move(pair)), std::move(doc));
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
      HeadersField("the message's headers in their order, keys may repeat; null where it has none"),
      Optional("topic_id", kString, "Kafka's id of the topic; null for a recording, and where the broker tells none"),
  });
}

Type TypeOf(trade::ColumnType type, bool older_format) {
  const auto decimal = [&](trade::DecimalType wide) {
    const trade::DecimalType is = older_format ? trade::kNumberTypeOfV2 : wide;
    return Type::Decimal(is.precision, is.scale);
  };
  switch (type) {
    case trade::ColumnType::kString: return kString;
    case trade::ColumnType::kInt: return kInt;
    case trade::ColumnType::kLong: return kLong;
    case trade::ColumnType::kDate: return kDate;
    case trade::ColumnType::kTimestamp: return kTime;
    case trade::ColumnType::kPrice: return decimal(trade::kPriceType);
    case trade::ColumnType::kQuantity: return decimal(trade::kQuantityType);
    case trade::ColumnType::kStringList: return Type::List(0, true, kString);
    case trade::ColumnType::kStringMap: return Type::Map(0, kString, 0, true, kString);
  }
  return kString;
}

Schema TradeSchema(bool gold, bool older_format) {
  std::vector<NestedField> fields;
  for (const trade::TradeColumn& column : trade::kTradeColumns) {
    if ((column.gold_only && !gold) || (older_format && column.name == "source")) continue;
    fields.push_back({.id = 0,
                      .name = std::string(column.name),
                      .required = column.required,
                      .type = TypeOf(column.type, older_format),
                      .doc = std::string(column.doc)});
  }
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
      HeadersField("of its Bronze row"),
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

std::vector<std::string> AllTables() {
  std::vector<std::string> tables = {std::string(kBronzeTable), std::string(kRejectedTable)};
  for (const exchange::Exchange* exchange : exchange::Exchanges()) tables.emplace_back(exchange->silver_table);
  tables.emplace_back(kGoldTable);
  return tables;
}

bool IsSilver(std::string_view table) { return exchange::ExchangeBySilverTable(table) != nullptr; }

std::string_view DateColumnOf(std::string_view table) {
  if (table == kBronzeTable || table == kRejectedTable) return "ingestion_date";
  return IsSilver(table) || table == kGoldTable ? "exchange_date" : "";
}

Result<catalog::CreateTableRequest> TableDefinition(std::string_view table, TableFormat format) {
  const bool older = format == TableFormat::kOlder;
  catalog::CreateTableRequest request;
  request.properties = Properties();
  if (table == kBronzeTable) {
    request.schema = BronzeSchema();
    request.spec.fields = {PartitionBy(request.schema, "ingestion_date", "day", 1000)};
  } else if (table == kRejectedTable) {
    request.schema = RejectedSchema();
    request.spec.fields = {PartitionBy(request.schema, "ingestion_date", "day", 1000)};
  } else if (IsSilver(table)) {
    request.schema = TradeSchema(/*gold=*/false, older);
    request.spec.fields = {PartitionBy(request.schema, "exchange_date", "day", 1000)};
  } else if (table == kGoldTable) {
    request.schema = TradeSchema(/*gold=*/true, older);
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
    // Increments are cut by the bounds of topic, partition and offset; a cut-off name or id would not tell sources
    // apart.
    request.properties["write.metadata.metrics.column.topic"] = "full";
    request.properties["write.metadata.metrics.column.topic_id"] = "full";
  }
  return request;
}

table::WriteOptions FileOptions(std::string_view table, const Schema& schema) {
  table::WriteOptions options;
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
    options.full_bounds_fields = Ids(schema, {"topic", "topic_id"});
    return options;
  }
  for (const trade::TradeColumn& column : trade::kTradeColumns) {
    const NestedField* field = column.encoding == trade::ColumnEncoding::kPlain ? schema.Find(column.name) : nullptr;
    if (field == nullptr) continue;
    const bool map = column.type == trade::ColumnType::kStringMap;
    options.plain_fields.push_back(map ? field->type.fields.at(1).id : field->id);
  }
  if (table == kGoldTable) {
    options.bloom_fields = Ids(schema, {"message_id", "trade_id"});
    options.sort_order_id = 1;
  }
  return options;
}

}  // namespace k2::task
