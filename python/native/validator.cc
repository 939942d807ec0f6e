#include "validator.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "columns.h"
#include "trade/message_framing.h"
#include "trade/trade_columns.h"

namespace k2::python {
namespace {

constexpr size_t kResultBytesMax = size_t{1} << 30;  // offsets have 32 bits

// One of the columns that are null for most rows.
struct NullableTexts {
  std::string data;
  std::vector<int32_t> ends;
  std::vector<bool> is_null;
  void Add(std::optional<std::string_view> text) {
    if (text) data.append(*text);
    ends.push_back(static_cast<int32_t>(data.size()));
    is_null.push_back(!text);
  }
  void MoveTo(BatchBuilder& builder, const char* name, const char* format) {
    builder.AddNullable(name, format, std::exchange(data, {}), ends, is_null);
    ends.clear();
    is_null.clear();
  }
};

// What ToString(SchemaRef) gives, back; nothing: it is none of its texts.
std::optional<trade::SchemaRef> SchemaNamed(std::string_view name) {
  const size_t space = name.rfind(' ');
  if (space == std::string_view::npos) return std::nullopt;
  std::string digits(name.substr(space + 1));
  trade::SchemaRef schema;
  if (name.starts_with("GUID ")) {
    std::erase(digits, '-');
    std::string bytes;
    for (size_t i = 0; i + 1 < digits.size(); i += 2) {
      uint8_t byte = 0;
      std::from_chars(digits.data() + i, digits.data() + i + 2, byte, 16);
      bytes += static_cast<char>(byte);
    }
    if (bytes.size() != sizeof schema.guid) return std::nullopt;
    schema = trade::SchemaRef::OfGuid(bytes);
  } else {
    const std::string_view kind = name.substr(0, space);
    if (kind == "global id") schema.kind = trade::SchemaRef::Kind::kGlobalId;
    if (kind == "content id") schema.kind = trade::SchemaRef::Kind::kContentId;
    std::from_chars(digits.data(), digits.data() + digits.size(), schema.id);
  }
  return ToString(schema) == name ? std::optional(schema) : std::nullopt;
}

Column NeedColumn(const Column& root, const char* name) {
  std::optional<Column> column = root.Child(name);
  if (!column) throw BadInput(fmt::format("messages: there is no column {}", name));
  return *std::move(column);
}

// A list of pairs of key and value, or nothing at all.
class HeadersColumn {
 public:
  explicit HeadersColumn(const Column& root) {
    const std::optional<Column> column = root.Child("headers");
    if (!column || column->format() == "n") return;
    list_.emplace(*column);
    key_.emplace(NeedColumn(list_->items(), "key").Named("headers.key"));
    value_.emplace(NeedColumn(list_->items(), "value").Named("headers.value"));
  }
  // Valid until the next call.
  std::span<const trade::MessageHeader> At(int64_t row) {
    headers_.clear();
    if (!list_) return {};
    const ListColumn::Range range = list_->At(row);
    for (int64_t i = range.begin; i < range.end; ++i) {
      headers_.push_back({.key = key_->At(i).value_or(std::string_view()), .value = value_->At(i)});
    }
    return headers_;
  }

 private:
  std::optional<ListColumn> list_;
  std::optional<BytesColumn> key_;
  std::optional<BytesColumn> value_;
  std::vector<trade::MessageHeader> headers_;
};

}  // namespace

// The columns of the answer. Each message has a row in every one of them: a rejected one a trade that is not looked at.
class Validator::Results {
 public:
  trade::TradeColumns& trades() { return trades_; }
  void MakeRoomFor(size_t payload) {
    if (trades_.Full() || ids_.Full() || payloads_.data.size() + payload > kResultBytesMax) Flush();
  }
  void Accept() { Add(std::nullopt, {}, std::nullopt, std::nullopt); }
  void Reject(const trade::Verdict& verdict, std::string_view detail, std::optional<std::string_view> payload) {
    (void)trades_.Append(trade::TradeRow{});
    Add(ToString(verdict.reason), detail, verdict.schema_id, payload);
  }
  // Of the message that was added last, where it could be decoded into what this gives.
  trade::TradeColumns& ids() { return ids_; }
  void MarkId() { id_rows_.back() = true; }

  Table Finish() {
    if (trades_.rows() > 0 || batches_.empty()) Flush();
    return Table(std::move(batches_));
  }

 private:
  void Add(std::optional<std::string_view> reason, std::string_view detail, std::optional<int32_t> schema_id,
           std::optional<std::string_view> payload) {
    rejected_.push_back(reason.has_value());
    reasons_.Add(reason);
    details_.Add(reason ? std::optional(detail) : std::nullopt);
    schema_ids_.push_back(schema_id);
    payloads_.Add(payload);
    id_rows_.push_back(false);
  }
  void AddIds(BatchBuilder& builder) {
    Batch decoded;
    ids_.Export(&decoded.array, &decoded.schema);
    const BytesColumn ids(NeedColumn(Column(decoded.schema, decoded.array, "decoded"), "message_id"));
    NullableTexts texts;
    int64_t next = 0;
    for (const bool has_id : id_rows_) texts.Add(has_id ? ids.At(next++) : std::nullopt);
    texts.MoveTo(builder, "message_id", "u");
    id_rows_.clear();
  }
  void Flush() {
    const auto count = static_cast<int64_t>(trades_.rows());
    auto trades = std::make_shared<Batch>();
    trades_.Export(&trades->array, &trades->schema);
    BatchBuilder builder;
    builder.AddStruct("trade", std::move(trades), rejected_);
    rejected_.clear();
    reasons_.MoveTo(builder, "reason", "u");
    details_.MoveTo(builder, "detail", "u");
    builder.AddInts("schema_id", schema_ids_);
    schema_ids_.clear();
    payloads_.MoveTo(builder, "payload", "z");
    AddIds(builder);
    batches_.push_back(builder.Finish(count));
  }

  trade::TradeColumns trades_{trade::TradeColumnsOptions{.dictionaries = false}};
  trade::TradeColumns ids_{trade::TradeColumnsOptions{.dictionaries = false}};
  std::vector<bool> rejected_;
  std::vector<bool> id_rows_;
  NullableTexts reasons_;
  NullableTexts details_;
  std::vector<std::optional<int32_t>> schema_ids_;
  NullableTexts payloads_;
  std::vector<SharedBatch> batches_;
};

Validator::Validator(const std::map<std::string, Topic>& topics, const SchemaSets& schemas, bool with_ids)
    : with_ids_(with_ids) {
  for (const auto& [set, texts] : schemas) {
    Decoders& decoders = decoders_[set];
    for (const auto& [name, json] : texts) {
      const std::optional<trade::SchemaRef> ref = SchemaNamed(name);
      if (!ref) throw BadInput(fmt::format("schemas: '{}' is no name of a schema: 'id 7', for example", name));
      (void)decoders.validating.AddSchema(*ref, json);
      if (with_ids) (void)decoders.reading.AddSchema(*ref, json);
    }
  }
  for (const auto& [name, topic] : topics) {
    const auto set = decoders_.find(topic.schemas);
    if (set == decoders_.end()) {
      throw BadInput(fmt::format("topics: {} has the schemas '{}', which are not given", name, topic.schemas));
    }
    sources_.emplace(name, Source{topic.exchange, &set->second});
  }
}

Table Validator::Validate(const Input& messages) {
  const std::lock_guard lock(mutex_);
  Results results;
  for (const SharedBatch& batch : messages.batches) {
    const Column root(batch->schema, batch->array, messages.name);
    if (!root.IsStruct()) root.Fail("a table with the columns topic and avro_payload is wanted");
    const BytesColumn topics(NeedColumn(root, "topic"));
    const BytesColumn payloads(NeedColumn(root, "avro_payload"));
    HeadersColumn headers(root);
    auto source = sources_.end();
    for (int64_t i = 0; i < root.length(); ++i) {
      const std::string_view topic = topics.Required(i);
      if (source == sources_.end() || source->first != topic) source = sources_.find(topic);
      if (source == sources_.end()) topics.FailAt(i, fmt::format("{} is none of the topics that were given", topic));
      const auto& [exchange, decoders] = source->second;
      const std::optional<std::string_view> payload = payloads.At(i);
      results.MakeRoomFor(payload ? payload->size() : 0);
      const auto framing = payload ? trade::FramingOf(headers.At(i), *payload) : std::nullopt;
      const trade::Verdict verdict = decoders->validating.Decode(payload, framing, exchange, results.trades());
      if (verdict.accepted()) {
        results.Accept();
        continue;
      }
      results.Reject(verdict, decoders->validating.detail(), payload);
      if (with_ids_ && decoders->reading.Decode(payload, framing, exchange, results.ids()).accepted()) results.MarkId();
    }
  }
  return results.Finish();
}

}  // namespace k2::python
