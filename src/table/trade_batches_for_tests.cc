#include "table/trade_batches_for_tests.h"

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>

#include <string>

#include "base/time.h"
#include "base/uuid.h"
#include "table/data_file_io.h"

namespace k2::table {
namespace {

using iceberg::NestedField;
using iceberg::Type;
using iceberg::TypeId;
using ArrayPtr = std::shared_ptr<arrow::Array>;

constexpr int64_t kStart = 1'723'161'255'342'000;  // 2024-08-08T23:54:15.342Z
constexpr const char* kBases[] = {"BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "BNB", "LINK"};

NestedField Required(int32_t id, std::string name, Type type) { return {id, std::move(name), true, std::move(type)}; }
NestedField Optional(int32_t id, std::string name, Type type) { return {id, std::move(name), false, std::move(type)}; }
Type String() { return Type::Primitive(TypeId::kString); }

uint64_t Mix(uint64_t value) {  // splitmix64
  value += 0x9e3779b97f4a7c15U;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}
size_t BaseOf(int64_t row) { return Mix(static_cast<uint64_t>(row)) % 8; }
int64_t TimeOf(int64_t row) { return kStart + row * 2'000 + static_cast<int64_t>(Mix(row + 7) % 3) * 1'000; }

ArrayPtr Finish(arrow::ArrayBuilder& builder) { return builder.Finish().ValueOrDie(); }

template <typename Function>
ArrayPtr Strings(const BatchShape& shape, bool dictionary, const Function& value) {
  if (dictionary) {
    arrow::StringDictionary32Builder builder;
    for (int64_t i = 0; i < shape.rows; ++i) (void)builder.Append(value(shape.first_row + i));
    return Finish(builder);
  }
  arrow::StringBuilder builder;
  for (int64_t i = 0; i < shape.rows; ++i) (void)builder.Append(value(shape.first_row + i));
  return Finish(builder);
}

template <typename Builder, typename Function>
ArrayPtr Numbers(const BatchShape& shape, Builder builder, const Function& value) {
  for (int64_t i = 0; i < shape.rows; ++i) (void)builder.Append(value(shape.first_row + i));
  return Finish(builder);
}

arrow::TimestampBuilder Timestamps() {
  return {arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"), arrow::default_memory_pool()};
}
arrow::Decimal128Builder Decimals(int scale) { return arrow::Decimal128Builder(arrow::decimal128(24, scale)); }

ArrayPtr Conditions(const BatchShape& shape) {
  arrow::ListBuilder list(arrow::default_memory_pool(), std::make_shared<arrow::StringBuilder>());
  for (int64_t i = 0; i < shape.rows; ++i) (void)list.Append();
  return Finish(list);
}

template <typename KeyBuilder, typename ValueBuilder>
ArrayPtr VendorData(const BatchShape& shape) {
  auto keys = std::make_shared<KeyBuilder>();
  auto values = std::make_shared<ValueBuilder>();
  arrow::MapBuilder map(arrow::default_memory_pool(), keys, values);
  for (int64_t i = 0; i < shape.rows; ++i) {
    const int64_t row = shape.first_row + i;
    if (!shape.vendor_data) {
      (void)map.AppendNull();
      continue;
    }
    (void)map.Append();
    const auto add = [&](std::string_view key, std::string_view value) {
      (void)keys->Append(key);
      (void)values->Append(value);
    };
    add("is_buyer_maker", Mix(row + 3) % 2 == 0 ? "true" : "false");
    add("event_type", "trade");
    add("event_time", std::to_string((TimeOf(row) + static_cast<int64_t>(row % 2) * 1'000) / 1'000));
    add("trade_time", std::to_string(TimeOf(row) / 1'000));
    add("base_asset", kBases[BaseOf(row)]);
    add("quote_asset", "USDT");
    add("is_best_match", "true");
  }
  return Finish(map);
}

ArrayPtr VendorDataOf(const BatchShape& shape) {
  using Dense = arrow::StringBuilder;
  using Dictionary = arrow::StringDictionary32Builder;
  if (shape.value_dictionaries) return VendorData<Dictionary, Dictionary>(shape);
  return shape.key_dictionaries ? VendorData<Dictionary, Dense>(shape) : VendorData<Dense, Dense>(shape);
}

}  // namespace

iceberg::Schema SilverSchemaForTests() {
  const Type string = String();
  const Type time = Type::Primitive(TypeId::kTimestamptz);
  const Type number = Type::Primitive(TypeId::kLong);
  return {.fields = {Required(1, "message_id", string), Required(2, "trade_id", string), Required(3, "symbol", string),
                     Required(4, "exchange", string), Required(5, "asset_class", string),
                     Required(6, "timestamp", time), Required(7, "price", Type::Decimal(24, 14)),
                     Required(8, "quantity", Type::Decimal(24, 8)), Required(9, "currency", string),
                     Required(10, "side", string), Required(11, "trade_conditions", Type::List(17, true, string)),
                     Optional(12, "source_sequence", number), Required(13, "ingestion_timestamp", time),
                     Optional(14, "platform_sequence", number),
                     Optional(15, "vendor_data", Type::Map(18, string, 19, true, string)),
                     Required(16, "exchange_date", Type::Primitive(TypeId::kDate))}};
}

iceberg::Schema BronzeSchemaForTests() {
  const Type binary = Type::Primitive(TypeId::kBinary);
  const Type time = Type::Primitive(TypeId::kTimestamptz);
  return {.fields = {Optional(1, "message_key", binary), Optional(2, "avro_payload", binary),
                     Required(3, "topic", String()), Required(4, "partition", Type::Primitive(TypeId::kInt)),
                     Required(5, "offset", Type::Primitive(TypeId::kLong)), Required(6, "kafka_timestamp", time),
                     Required(7, "ingestion_timestamp", time),
                     Required(8, "ingestion_date", Type::Primitive(TypeId::kDate))}};
}

std::shared_ptr<arrow::RecordBatch> SilverBatchForTests(const BatchShape& shape) {
  const bool dictionaries = shape.dictionaries;
  const auto message_id = [](int64_t row) {
    Uuid id;
    for (size_t i = 0; i < 16; ++i) id.bytes[i] = static_cast<uint8_t>(Mix(row * 2 + (i >= 8)) >> (8 * (i % 8)));
    return id.ToString();
  };
  arrow::Int64Builder no_sequence;
  (void)no_sequence.AppendNulls(shape.rows);
  const arrow::ArrayVector columns = {
      Strings(shape, false, message_id),
      Strings(shape, false, [](int64_t row) { return "BINANCE-" + std::to_string(3'741'000'000 + row); }),
      Strings(shape, dictionaries, [](int64_t row) { return std::string(kBases[BaseOf(row)]) + "USDT"; }),
      Strings(shape, dictionaries, [](int64_t) { return "BINANCE"; }),
      Strings(shape, dictionaries, [](int64_t) { return "crypto"; }),
      Numbers(shape, Timestamps(), TimeOf),
      Numbers(shape, Decimals(14),
              [](int64_t row) {
                const auto base = static_cast<int64_t>(BaseOf(row));
                return arrow::Decimal128(
                    ((base + 1) * 6'100'000'000'000 / 8 + static_cast<int64_t>(Mix(row + 1) % 4'000) * 1'000'000) *
                    1'000'000);
              }),
      Numbers(shape, Decimals(8),
              [](int64_t row) { return arrow::Decimal128(static_cast<int64_t>(1 + Mix(row + 2) % 100'000) * 1'000); }),
      Strings(shape, dictionaries, [](int64_t) { return "USDT"; }),
      Strings(shape, dictionaries, [](int64_t row) { return Mix(row + 3) % 2 == 0 ? "SELL" : "BUY"; }),
      Conditions(shape),
      Numbers(shape, arrow::Int64Builder(), [](int64_t row) { return 3'741'000'000 + row; }),
      Numbers(shape, Timestamps(),
              [](int64_t row) { return TimeOf(row) + 80'000 + static_cast<int64_t>(Mix(row + 4) % 20'000); }),
      Finish(no_sequence),
      VendorDataOf(shape),
      Numbers(shape, arrow::Date32Builder(), [](int64_t row) { return DayOfMicros(TimeOf(row)); })};
  arrow::FieldVector fields;
  const auto schema = ToArrowSchema(SilverSchemaForTests());
  for (size_t i = 0; i < columns.size(); ++i) {
    fields.push_back(schema->field(static_cast<int>(i))->WithType(columns[i]->type()));
  }
  return arrow::RecordBatch::Make(arrow::schema(fields), shape.rows, columns);
}

std::shared_ptr<arrow::RecordBatch> BronzeBatchForTests(int64_t rows, int64_t first_row) {
  const BatchShape shape{.rows = rows, .first_row = first_row};
  const auto payload = [](int64_t row) {
    std::string bytes("\0\0\0\0\x2a", 5);
    bytes += std::string(1, 72) + "k2:" + std::to_string(Mix(row)) + std::to_string(Mix(row + 9));
    bytes.resize(44, 'a');
    bytes += "BINANCE-" + std::to_string(3'741'000'000 + row) + kBases[BaseOf(row)] +
             "USDT\x0e"
             "BINANCE";
    for (int i = 0; i < 4; ++i) bytes += std::to_string(Mix(row + i)).substr(0, 6);
    bytes +=
        "\x1cis_buyer_maker\x08true\x14"
        "event_type\x0atrade\x14"
        "event_time\x1a" +
        std::to_string(TimeOf(row) / 1'000);
    bytes += "\x14trade_time\x1a" + std::to_string(TimeOf(row) / 1'000) +
             "\x14"
             "base_asset\x06";
    bytes += std::string(kBases[BaseOf(row)]) + "\x16quote_asset\x08USDT\x1ais_best_match\x08true";
    bytes.resize(270, '\0');
    return bytes;
  };
  arrow::BinaryBuilder keys;
  arrow::BinaryBuilder payloads;
  for (int64_t i = 0; i < rows; ++i) {
    (void)keys.Append(std::string(kBases[BaseOf(first_row + i)]) + "USDT");
    (void)payloads.Append(payload(first_row + i));
  }
  const auto arrival = [](int64_t row) { return TimeOf(row) + 85'000; };
  const arrow::ArrayVector columns = {
      Finish(keys),
      Finish(payloads),
      Strings(shape, false, [](int64_t) { return "market.crypto.trades.binance"; }),
      Numbers(shape, arrow::Int32Builder(), [](int64_t row) { return static_cast<int32_t>(BaseOf(row)); }),
      Numbers(shape, arrow::Int64Builder(), [](int64_t row) { return row; }),
      Numbers(shape, Timestamps(), arrival),
      Numbers(shape, Timestamps(), arrival),
      Numbers(shape, arrow::Date32Builder(), [](int64_t row) { return DayOfMicros(TimeOf(row)); })};
  return arrow::RecordBatch::Make(ToArrowSchema(BronzeSchemaForTests()), rows, columns);
}

}  // namespace k2::table
