// TradeColumns through the Arrow C Data Interface.
#include <memory>
#include <string>

#include "trade/trade_columns.h"
#include "trade/trade_table.h"

namespace k2::trade {
namespace {

struct ArrayOwner {
  std::vector<const void*> buffers;
  std::vector<ArrowArray*> children;
};

struct SchemaOwner {
  std::string format;
  std::string name;
  std::vector<ArrowSchema*> children;
};

// A child that its receiver has moved away has no release of its own any more.
template <typename T>
void DeleteChild(T* child) {
  if (child == nullptr) return;
  if (child->release != nullptr) child->release(child);
  delete child;
}

void ReleaseArray(ArrowArray* array) {
  auto* owner = static_cast<ArrayOwner*>(array->private_data);
  for (const void* buffer : owner->buffers) std::free(const_cast<void*>(buffer));
  for (ArrowArray* child : owner->children) DeleteChild(child);
  DeleteChild(array->dictionary);
  delete owner;
  array->release = nullptr;
}

void ReleaseSchema(ArrowSchema* schema) {
  auto* owner = static_cast<SchemaOwner*>(schema->private_data);
  for (ArrowSchema* child : owner->children) DeleteChild(child);
  DeleteChild(schema->dictionary);
  delete owner;
  schema->release = nullptr;
}

// An array and its schema, to become a child or the root.
struct Column {
  std::unique_ptr<ArrowArray> array = std::make_unique<ArrowArray>();
  std::unique_ptr<ArrowSchema> schema = std::make_unique<ArrowSchema>();
};

Column Make(const char* name, const char* format, size_t length, std::vector<const void*> buffers,
            std::vector<Column> children = {}) {
  Column column;
  auto array_owner = std::make_unique<ArrayOwner>();
  auto schema_owner = std::make_unique<SchemaOwner>();
  schema_owner->format = format;
  schema_owner->name = name;
  array_owner->buffers = std::move(buffers);
  for (Column& child : children) {
    array_owner->children.push_back(child.array.release());
    schema_owner->children.push_back(child.schema.release());
  }
  *column.array = {.length = static_cast<int64_t>(length),
                   .null_count = 0,
                   .offset = 0,
                   .n_buffers = static_cast<int64_t>(array_owner->buffers.size()),
                   .n_children = static_cast<int64_t>(array_owner->children.size()),
                   .buffers = array_owner->buffers.data(),
                   .children = array_owner->children.data(),
                   .dictionary = nullptr,
                   .release = ReleaseArray,
                   .private_data = array_owner.get()};
  *column.schema = {.format = schema_owner->format.c_str(),
                    .name = schema_owner->name.c_str(),
                    .metadata = nullptr,
                    .flags = 0,
                    .n_children = static_cast<int64_t>(schema_owner->children.size()),
                    .children = schema_owner->children.data(),
                    .dictionary = nullptr,
                    .release = ReleaseSchema,
                    .private_data = schema_owner.get()};
  (void)array_owner.release();
  (void)schema_owner.release();
  return column;
}

Column MakeText(const char* name, TextColumn& texts) {
  if (texts.count == 0) {
    texts.offsets.Reserve(1);
    texts.offsets[0] = 0;
  }
  texts.bytes.Reserve(1);  // some readers want a buffer where there are no bytes
  return Make(name, "u", texts.count, {nullptr, texts.offsets.Release(), texts.bytes.Release()});
}

std::string FormatOf(DecimalType type) {
  return "d:" + std::to_string(type.precision) + "," + std::to_string(type.scale);
}

TextColumn Expand(const Dictionary& dictionary, const Buffer<int32_t>& indexes, size_t length) {
  TextColumn texts;
  texts.offsets.Reserve(length + 1);
  for (size_t i = 0; i < length; ++i) texts.Append(dictionary.texts()[static_cast<size_t>(indexes[i])]);
  return texts;
}

}  // namespace

class TradeExporter {
 public:
  explicit TradeExporter(TradeColumns& columns) : columns_(columns), rows_(columns.rows_) {}

  void Export(ArrowArray* array, ArrowSchema* schema) {
    TradeColumns& c = columns_;
    if (rows_ == 0) c.ReserveRow();
    // The next batch is likely to be as large as this one: growing it step by step would copy all of it once more.
    TradeColumns next(c.options_);
    next.first_capacity_ = rows_ + rows_ / 8;
    next.message_id_.ReserveLike(c.message_id_);
    next.trade_id_.ReserveLike(c.trade_id_);
    next.vendor_values_.ReserveLike(c.vendor_values_);
    next.vendor_keys_.indexes.Reserve(c.entries_ + c.entries_ / 8);
    std::vector<Column> fields;
    fields.push_back(MakeText("message_id", c.message_id_));
    fields.push_back(MakeText("trade_id", c.trade_id_));
    fields.push_back(MakeDictionary("symbol", c.symbol_, rows_));
    fields.push_back(MakeDictionary("exchange", c.exchange_, rows_));
    fields.push_back(MakeDictionary("asset_class", c.asset_class_.column, rows_));
    fields.push_back(Plain("timestamp", "tsu:UTC", c.timestamp_));
    fields.push_back(Plain("price", FormatOf(kPriceType).c_str(), c.price_));
    fields.push_back(Plain("quantity", FormatOf(kQuantityType).c_str(), c.quantity_));
    fields.push_back(MakeDictionary("currency", c.currency_, rows_));
    fields.push_back(MakeDictionary("side", c.side_.column, rows_));
    fields.push_back(Conditions());
    fields.push_back(Nullable(Plain("source_sequence", "l", c.source_sequence_), c.source_sequence_valid_));
    fields.push_back(Plain("ingestion_timestamp", "tsu:UTC", c.ingestion_timestamp_));
    fields.push_back(Nullable(Plain("platform_sequence", "l", c.platform_sequence_), c.platform_sequence_valid_));
    fields.push_back(Nullable(VendorData(), c.vendor_valid_));
    fields.push_back(Nullable(MakeDictionary("source", c.source_.column, rows_), c.source_.valid));
    fields.push_back(Plain("exchange_date", "tdD", c.exchange_date_));
    Column root = Make("", "+s", rows_, {nullptr}, std::move(fields));
    *array = *root.array;  // moved: the struct's address is not part of it
    *schema = *root.schema;
    c = std::move(next);
  }

 private:
  template <typename T>
  Column Plain(const char* name, const char* format, Buffer<T>& values) {
    return Make(name, format, rows_, {nullptr, values.Release()});
  }

  static Column Nullable(Column column, TradeColumns::Bits& valid) {
    column.schema->flags |= ARROW_FLAG_NULLABLE;
    column.array->null_count = valid.nulls;
    auto& buffers = static_cast<ArrayOwner*>(column.array->private_data)->buffers;
    if (valid.nulls > 0) buffers[0] = valid.bits.Release();
    return column;
  }

  Column MakeDictionary(const char* name, TradeColumns::DictionaryColumn& column, size_t length) {
    if (!columns_.options_.dictionaries) {
      TextColumn texts = Expand(column.dictionary, column.indexes, length);
      return MakeText(name, texts);
    }
    column.indexes.Reserve(1);
    Column indexes = Make(name, "i", length, {nullptr, column.indexes.Release()});
    Column texts = MakeText("", column.dictionary.texts());
    indexes.array->dictionary = texts.array.release();
    indexes.schema->dictionary = texts.schema.release();
    return indexes;
  }

  Column Conditions() {
    std::vector<Column> children;
    children.push_back(MakeText("element", columns_.conditions_));
    return Make("trade_conditions", "+l", rows_, {nullptr, columns_.condition_offsets_.Release()}, std::move(children));
  }

  Column VendorData() {
    const size_t count = columns_.entries_;
    std::vector<Column> pair;
    pair.push_back(MakeDictionary("key", columns_.vendor_keys_, count));
    if (columns_.options_.dictionary_vendor_values) {
      pair.push_back(MakeDictionary("value", columns_.vendor_value_dictionary_, count));
    } else {
      pair.push_back(MakeText("value", columns_.vendor_values_));
    }
    std::vector<Column> entries;
    entries.push_back(Make("entries", "+s", count, {nullptr}, std::move(pair)));
    return Make("vendor_data", "+m", rows_, {nullptr, columns_.vendor_offsets_.Release()}, std::move(entries));
  }

  TradeColumns& columns_;
  size_t rows_;
};

void TradeColumns::Export(ArrowArray* array, ArrowSchema* schema) { TradeExporter(*this).Export(array, schema); }

}  // namespace k2::trade
