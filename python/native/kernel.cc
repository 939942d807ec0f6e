#include "kernel.h"

#include <fmt/format.h>

#include <limits>
#include <memory>
#include <string_view>

#include "exchange/frame_parser.h"
#include "trade/decoder.h"
#include "trade/encode.h"
#include "trade/identity.h"
#include "trade/text.h"
#include "trade/trade_schema.h"
#include "trades_in.h"

namespace k2::python {
namespace {

constexpr size_t kBatchBytesMax = size_t{1} << 30;  // offsets have 32 bits

// Texts that grow one by one.
struct Texts {
  std::string data;
  std::vector<int32_t> ends;
  void Add(std::string_view text) {
    data.append(text);
    ends.push_back(static_cast<int32_t>(data.size()));
  }
};

// The one column of interest: the array itself, a column of one of the names, or the only one there is.
BytesColumn BytesOf(const Batch& batch, const std::string& what, std::initializer_list<std::string_view> names) {
  const Column root(batch.schema, batch.array, what);
  if (!root.IsStruct()) return BytesColumn(root);
  for (const std::string_view name : names) {
    if (auto child = root.Child(name)) return BytesColumn(*child);
  }
  const std::vector<Column> children = root.Children();
  if (children.size() != 1) {
    throw BadInput(fmt::format("{}: a table of several columns needs one that is called {}", what, *names.begin()));
  }
  return BytesColumn(children.front());
}

// Reads a row. Columns count the rows of their batch, and list items by themselves; whoever reads of an error knows the
// table, so the row of that is put in.
template <typename Read>
decltype(auto) OfRow(int64_t row, const Read& read) {
  try {
    return read();
  } catch (const BadRow& bad) {
    throw BadRow(bad.column, row, bad.problem);
  }
}

int64_t RowsOf(const Input& input) {
  int64_t rows = 0;
  for (const SharedBatch& batch : input.batches) rows += batch->array.length;
  return rows;
}

class TradesOut {
 public:
  explicit TradesOut(bool dictionaries) : columns_(trade::TradeColumnsOptions{.dictionaries = dictionaries}) {}
  trade::TradeColumns& columns() {
    if (columns_.Full()) Flush();
    return columns_;
  }
  Table Finish() {
    if (columns_.rows() > 0 || batches_.empty()) Flush();
    return Table(std::move(batches_));
  }

 private:
  void Flush() {
    auto batch = std::make_shared<Batch>();
    columns_.Export(&batch->array, &batch->schema);
    batches_.push_back(std::move(batch));
  }
  trade::TradeColumns columns_;
  std::vector<SharedBatch> batches_;
};

class RejectsOut {
 public:
  explicit RejectsOut(bool with_schema_id) : with_schema_id_(with_schema_id) {}
  void Add(int64_t row, std::optional<int32_t> schema_id, trade::RejectReason reason, std::string_view detail) {
    if (details_.data.size() + detail.size() >= kBatchBytesMax) Flush();
    rows_.push_back(row);
    ids_.push_back(schema_id);
    reasons_.Add(ToString(reason));
    details_.Add(detail);
  }
  Table Finish() {
    if (!rows_.empty() || batches_.empty()) Flush();
    return Table(std::move(batches_));
  }

 private:
  void Flush() {
    const auto count = static_cast<int64_t>(rows_.size());
    BatchBuilder builder;
    builder.AddLongs("row", std::exchange(rows_, {}));
    if (with_schema_id_) builder.AddInts("schema_id", ids_);
    ids_.clear();
    builder.AddTexts("reason", std::exchange(reasons_.data, {}), std::exchange(reasons_.ends, {}));
    builder.AddTexts("detail", std::exchange(details_.data, {}), std::exchange(details_.ends, {}));
    batches_.push_back(builder.Finish(count));
  }
  bool with_schema_id_;
  std::vector<int64_t> rows_;
  std::vector<std::optional<int32_t>> ids_;
  Texts reasons_;
  Texts details_;
  std::vector<SharedBatch> batches_;
};

// Takes what the parser finds in one frame. Rows have the ids that K2 derives.
class Sink final : public exchange::FrameSink {
 public:
  Sink(TradesOut& trades, RejectsOut& rejects) : trades_(trades), rejects_(rejects) {}
  void Begin(int64_t row) { row_ = row; }
  void OnTrade(const trade::Trade& trade) override {
    char id[Uuid::kTextSize];
    trade.message_id.Format(id);
    const trade::TradeRow row{.message_id = {id, sizeof id},
                              .trade_id = trade.trade_id,
                              .symbol = trade.symbol,
                              .exchange = trade.exchange,
                              .asset_class = trade.asset_class,
                              .timestamp_us = trade.timestamp_us,
                              .price_e14 = trade.price_e14,
                              .quantity_e8 = trade.quantity_e8,
                              .currency = trade.currency,
                              .side = trade.side,
                              .trade_conditions = trade.trade_conditions,
                              .source_sequence = trade.source_sequence,
                              .ingestion_timestamp_us = trade.ingestion_timestamp_us,
                              .platform_sequence = trade.platform_sequence,
                              .vendor_data = trade.vendor_data,
                              .source = trade.source};
    if (!trades_.columns().Append(row))
      rejects_.Add(row_, std::nullopt, trade::RejectReason::kFrameInvalidUtf8, "not UTF-8");
  }
  void OnReject(trade::RejectReason reason, std::string_view detail) override {
    rejects_.Add(row_, std::nullopt, reason, detail);
  }

 private:
  TradesOut& trades_;
  RejectsOut& rejects_;
  int64_t row_ = 0;
};

// Receive times, batch by batch as the frames are, however the column is cut.
class ReceiveTimes {
 public:
  ReceiveTimes(const Received& received, int64_t frames) : us_(received.us), given_(us_ || received.column) {
    if (!received.column) return;
    if (const int64_t times = RowsOf(*received.column); times != frames) {
      throw BadInput(fmt::format("received: there are {} times than frames: {} for {}",
                                 times < frames ? "fewer" : "more", times, frames));
    }
    for (const SharedBatch& batch : received.column->batches) {
      const Column root(batch->schema, batch->array, "received");
      const std::vector<Column> children = root.IsStruct() ? root.Children() : std::vector<Column>{root};
      if (children.size() != 1) throw BadInput("received: one column of times is wanted");
      columns_.emplace_back(children.front());
    }
  }
  void UseColumnOf(const Batch& batch) {
    if (given_) return;
    own_.reset();
    const Column root(batch.schema, batch.array, "frames");
    if (!root.IsStruct()) return;
    for (const char* name : {"received", "receive_timestamp", "ingestion_timestamp"}) {
      if (auto child = root.Child(name)) {
        own_.emplace(*child);
        return;
      }
    }
  }
  int64_t At(int64_t row_of_batch) {
    if (us_) return *us_;
    if (own_) return own_->Required(row_of_batch);
    if (!given_) {
      throw BadInput(
          "received: when the frames were received is not said: give a time, a column of times, or frames with a "
          "column "
          "received");
    }
    while (next_ == columns_.at(at_).length()) {
      ++at_;
      next_ = 0;
    }
    return columns_[at_].Required(next_++);
  }

 private:
  std::optional<int64_t> us_;
  bool given_;  // apart from the frames
  std::vector<LongColumn> columns_;
  std::optional<LongColumn> own_;
  size_t at_ = 0;
  int64_t next_ = 0;
};

}  // namespace

Normalised Normalise(const exchange::Exchange& exchange, const Input& frames, const Received& received,
                     bool dictionaries) {
  const auto parser = exchange::FrameParser::Create(exchange);
  TradesOut trades(dictionaries);
  RejectsOut rejects(false);
  Sink sink(trades, rejects);
  ReceiveTimes times(received, RowsOf(frames));
  int64_t row = 0;
  int64_t skipped = 0;
  for (const SharedBatch& batch : frames.batches) {
    const BytesColumn column = BytesOf(*batch, frames.name, {"frame", "frames"});
    times.UseColumnOf(*batch);
    for (int64_t i = 0; i < column.length(); ++i, ++row) {
      const int64_t receive_us = OfRow(row, [&] { return times.At(i); });
      sink.Begin(row);
      const std::optional<std::string_view> frame = OfRow(row, [&] { return column.At(i); });
      if (!frame) {
        sink.OnReject(trade::RejectReason::kFrameNotJson, "the frame is null");
        continue;
      }
      if (parser->Parse(*frame, receive_us, sink) == exchange::FrameOutcome::kSkipped) ++skipped;
    }
  }
  return {.trades = trades.Finish(), .rejects = rejects.Finish(), .skipped = skipped};
}

Table Encode(const Input& trades, int32_t schema_id) {
  std::vector<SharedBatch> out;
  Texts keys;
  Texts payloads;
  const auto flush = [&] {
    const auto count = static_cast<int64_t>(keys.ends.size());
    BatchBuilder builder;
    builder.AddBytes("message_key", std::exchange(keys.data, {}), std::exchange(keys.ends, {}));
    builder.AddBytes("avro_payload", std::exchange(payloads.data, {}), std::exchange(payloads.ends, {}));
    out.push_back(builder.Finish(count));
  };
  int64_t row_of_table = 0;
  for (const SharedBatch& batch : trades.batches) {
    TradesIn rows(*batch);
    for (int64_t i = 0; i < rows.length(); ++i, ++row_of_table) {
      const trade::TradeRow& row = OfRow(row_of_table, [&]() -> const trade::TradeRow& { return rows.At(i); });
      if (payloads.data.size() >= kBatchBytesMax) flush();
      trade::EncodeTrade(row, schema_id, payloads.data);
      if (payloads.data.size() > size_t{std::numeric_limits<int32_t>::max()}) {
        throw BadInput(fmt::format("trades, row {}: a message of more than 1 GiB", row_of_table));
      }
      payloads.ends.push_back(static_cast<int32_t>(payloads.data.size()));
      keys.Add(row.symbol);
    }
  }
  if (!keys.ends.empty() || out.empty()) flush();
  return Table(std::move(out));
}

Decoded Decode(const Input& messages, const std::map<int32_t, std::string>& schemas,
               const std::optional<std::string>& exchange, bool dictionaries) {
  trade::MessageDecoder decoder(exchange ? trade::MessageDecoder::Mode::kValidate
                                         : trade::MessageDecoder::Mode::kDecodeOnly);
  // A schema that cannot be read is known all the same, and its messages are rejected with the reason.
  for (const auto& [id, schema] : schemas) (void)decoder.AddSchema(id, schema);
  TradesOut trades(dictionaries);
  RejectsOut rejects(true);
  int64_t row = 0;
  for (const SharedBatch& batch : messages.batches) {
    const BytesColumn column = BytesOf(*batch, messages.name, {"avro_payload", "value", "payload"});
    for (int64_t i = 0; i < column.length(); ++i, ++row) {
      const auto message = OfRow(row, [&] { return column.At(i); });
      const trade::Verdict verdict = decoder.Decode(message, exchange.value_or(""), trades.columns());
      if (!verdict.accepted()) rejects.Add(row, verdict.schema_id, verdict.reason, decoder.detail());
    }
  }
  return {.trades = trades.Finish(), .rejects = rejects.Finish()};
}

}  // namespace k2::python
