#include <arrow/c/bridge.h>
#include <arrow/type.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/time.h"
#include "exchange/registry.h"
#include "task/header_view.h"
#include "task/held_partitions.h"
#include "task/interval_set.h"
#include "task/known_schemas.h"
#include "task/partitioned_write.h"
#include "task/task.h"
#include "task/text_view.h"
#include "trade/decoder.h"

namespace k2::task {
namespace {

constexpr std::string_view kRecordingPrefix = "recording/";

// Views of the columns of a Bronze batch that judging needs.
struct BronzeArrays {
  explicit BronzeArrays(const arrow::RecordBatch& batch)
      : rows(batch.num_rows()),
        payloads(static_cast<const arrow::BinaryArray*>(batch.GetColumnByName("avro_payload").get())),
        headers(batch.GetColumnByName("headers")),
        topic(batch.GetColumnByName("topic")),
        topic_id(batch.GetColumnByName("topic_id")),
        partition(*batch.GetColumnByName("partition")),
        offset(static_cast<const arrow::Int64Array&>(*batch.GetColumnByName("offset")).raw_values()),
        kafka_timestamp(
            static_cast<const arrow::TimestampArray&>(*batch.GetColumnByName("kafka_timestamp")).raw_values()),
        ingestion_date(static_cast<const arrow::Date32Array&>(*batch.GetColumnByName("ingestion_date")).raw_values()) {}

  [[nodiscard]] std::optional<std::string_view> Payload(int64_t row) const {
    return payloads->IsValid(row) ? std::optional(payloads->GetView(row)) : std::nullopt;
  }
  // How the message says which schema it was written with.
  [[nodiscard]] std::optional<trade::MessageFraming> Framing(int64_t row) {
    return payloads->IsValid(row) ? trade::FramingOf(headers[row], payloads->GetView(row)) : std::nullopt;
  }

  int64_t rows;
  const arrow::BinaryArray* payloads;
  HeaderView headers;
  TextView topic;
  TextView topic_id;
  IntegerView partition;
  const int64_t* offset;
  const int64_t* kafka_timestamp;
  const int32_t* ingestion_date;
};

// Rows of rejected_trades, column by column.
struct RejectedRows {
  source::ByteColumn topic;
  std::vector<int32_t> partition;
  std::vector<int64_t> offset;
  std::vector<int64_t> kafka_timestamp;
  std::vector<int32_t> schema_id;
  std::vector<bool> schema_known;
  source::ByteColumn payload;
  source::ByteColumn reason;
  source::ByteColumn detail;
  std::vector<int32_t> ingestion_date;
  source::ByteColumn topic_id;
  source::HeaderColumn headers;

  [[nodiscard]] size_t bytes() const {
    return payload.data.size() + detail.data.size() + headers.bytes() + offset.size() * 64;
  }
  std::shared_ptr<arrow::RecordBatch> Finish();
};

std::shared_ptr<arrow::RecordBatch> RejectedRows::Finish() {
  const size_t rows = offset.size();
  const auto time = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
  std::vector<uint8_t> known((rows + 7) / 8, 0);
  int64_t unknown = 0;
  for (size_t i = 0; i < rows; ++i) {
    if (schema_known[i]) {
      known[i / 8] = static_cast<uint8_t>(known[i / 8] | (1U << (i % 8)));
    } else {
      ++unknown;
    }
  }
  const auto ids = arrow::ArrayData::Make(
      arrow::int32(), static_cast<int64_t>(rows),
      {arrow::Buffer::FromVector(std::move(known)), arrow::Buffer::FromVector(std::move(schema_id))}, unknown);
  std::vector<std::shared_ptr<arrow::Array>> columns = {
      BytesArray(std::move(topic), arrow::utf8()),
      Int32Array(std::move(partition), arrow::int32()),
      Int64Array(std::move(offset), arrow::int64()),
      Int64Array(std::move(kafka_timestamp), time),
      arrow::MakeArray(ids),
      BytesArray(std::move(payload), arrow::binary()),
      BytesArray(std::move(reason), arrow::utf8()),
      BytesArray(std::move(detail), arrow::utf8()),
      Int32Array(std::move(ingestion_date), arrow::date32()),
      Int64Array(std::vector<int64_t>(rows, NowMicros()), time),
      BytesArray(std::move(topic_id), arrow::utf8()),
  };
  std::vector<const char*> names = {"topic",  "partition", "offset",         "kafka_timestamp", "schema_id", "payload",
                                    "reason", "detail",    "ingestion_date", "rejected_at",     "topic_id"};
  if (!headers.empty()) {
    columns.push_back(HeadersArray(std::move(headers)));
    names.push_back("headers");
  }
  return NamedBatch(names, std::move(columns), static_cast<int64_t>(rows));
}

// One run of a Silver task.
class SilverRun {
 public:
  SilverRun(const SilverTask& task, const TaskContext& context)
      : task_(task),
        context_(context),
        of_topics_(context.schemas),
        of_recordings_(std::make_shared<registry::FileSchemaSource>(task.schema_folder)),
        rejected_writer_(task.rejected, task.attempt_id, context, "silver.rejected-data-file", /*hand_on=*/false) {
    for (const OutputTable& table : task.silver) {
      columns_.emplace_back(trade::TradeColumnsOptions{.numbers_of_v2 = table.shape.OfOlderFormat()});
      writers_.push_back(std::make_unique<PartitionedWriter>(table, task.attempt_id, context, "silver.data-file"));
    }
  }

  Result<TaskResult> Run() {
    K2_TRY(FindTables());
    result_.range_rows.resize(task_.ranges.size());
    taken_.resize(task_.ranges.size());
    deleted_.resize(task_.ranges.size());
    held_from_.assign(task_.ranges.size(), INT64_MAX);
    K2_TRY(ReadRejected());
    const std::vector<std::string> columns =
        WithOptional({"avro_payload", "topic", "partition", "offset", "kafka_timestamp", "ingestion_date"},
                     {"headers", "topic_id"}, task_.input_shape);
    for (const InputFile& input : task_.inputs) {
      K2_TRY(ReadMarkedInput(context_, input, task_.input_shape, columns,
                             [&](const std::shared_ptr<arrow::RecordBatch>& batch, const std::vector<bool>& deleted) {
                               return Judge(*batch, deleted);
                             }));
    }
    // Rows that somebody has deleted from Bronze, and not written again, are accounted for: neither lost nor Silver's.
    for (size_t i = 0; i < deleted_.size(); ++i) {
      for (const int64_t offset : deleted_[i]) result_.range_rows[i] += taken_[i].Contains(offset) ? 0 : 1;
    }
    for (size_t i = 0; i < columns_.size(); ++i) K2_TRY(Flush(i));
    K2_TRY(FlushRejected());
    result_.outputs.push_back(rejected_writer_.Finish());
    for (const auto& writer : writers_) result_.outputs.push_back(writer->Finish());
    return std::move(result_);
  }

 private:
  // What names a schema means what its source says: K2's own ids in recordings, the registry's in topics.
  struct Judges {
    explicit Judges(std::shared_ptr<registry::SchemaSource> source) : schemas(std::move(source)) {}
    KnownSchemas schemas;
    trade::MessageDecoder decoder{trade::MessageDecoder::Mode::kValidate};
  };

  struct RangeOutput {
    const exchange::Exchange* exchange;
    size_t table;  // index in the task's `silver`
  };

  // The exchange of each range, and its table among the task's.
  Status FindTables() {
    for (const OffsetRange& range : task_.ranges) {
      const exchange::Exchange* exchange = exchange::ExchangeOfTopic(range.topic);
      if (exchange == nullptr) {
        return Fail(ErrorKind::kUnsupported,
                    "cannot run the Silver task: this k2 does not support the exchange of topic {} (it supports {}). "
                    "The k2 that planned the task is newer: update the one that runs it",
                    range.topic, exchange::ExchangeNames());
      }
      const auto table = std::ranges::find(task_.silver, exchange->silver_table, &OutputTable::name);
      if (table == task_.silver.end()) {
        return Fail(ErrorKind::kInvalidArgument, "cannot run the Silver task: it contains no table {} for topic {}",
                    exchange->silver_table, range.topic);
      }
      of_ranges_.push_back({exchange, static_cast<size_t>(table - task_.silver.begin())});
    }
    return {};
  }

  // Offsets that rejected_trades holds, of ranges in which it stands ahead of Silver.
  Status ReadRejected() {
    const std::vector<std::string> columns =
        WithOptional({"topic", "partition", "offset"}, {"topic_id"}, task_.rejected.shape);
    for (const std::string& path : task_.rejected_files) {
      K2_TRY(ReadInput(context_, {.path = path}, task_.rejected.shape, columns,
                       [&](const std::shared_ptr<arrow::RecordBatch>& batch) {
                         const TextView topic(batch->GetColumnByName("topic"));
                         const TextView topic_id(batch->GetColumnByName("topic_id"));
                         const IntegerView partition(*batch->GetColumnByName("partition"));
                         const auto& offset = static_cast<const arrow::Int64Array&>(*batch->GetColumnByName("offset"));
                         for (int64_t row = 0; row < batch->num_rows(); ++row) {
                           const OffsetRange* range = Find(topic[row], topic_id[row], PartitionOf(partition[row]));
                           if (range != nullptr && range->leave_out_rejected)
                             rejected_before_[range].insert(offset.Value(row));
                         }
                         return Status{};
                       }));
    }
    return {};
  }

  [[nodiscard]] const OffsetRange* Find(std::string_view topic, std::string_view topic_id, int32_t partition) const {
    for (const OffsetRange& range : task_.ranges) {
      if (range.partition == partition && range.topic == topic && range.Takes(topic_id)) return &range;
    }
    return nullptr;
  }

  // Schemas of the whole batch at once: one after another they could be thousands of waits.
  void AskForSchemas(BronzeArrays& rows) {
    std::vector<trade::SchemaRef> refs;
    std::optional<trade::SchemaRef> last;
    for (int64_t row = 0; row < rows.rows; ++row) {
      const std::optional<trade::MessageFraming> framing = rows.Framing(row);
      if (!framing || framing->schema == last) continue;
      last = framing->schema;
      if (of_topics_.decoder.HasSchema(*last)) continue;
      const OffsetRange* range = Find(rows.topic[row], rows.topic_id[row], PartitionOf(rows.partition[row]));
      if (range == nullptr || rows.offset[row] < range->begin || rows.offset[row] >= range->end) continue;
      if (!range->topic.starts_with(kRecordingPrefix)) refs.push_back(*last);
    }
    of_topics_.schemas.AskFor(refs, of_topics_.decoder, context_.held != nullptr);
  }

  Status Judge(const arrow::RecordBatch& batch, const std::vector<bool>& deleted) {
    BronzeArrays rows(batch);
    AskForSchemas(rows);
    const OffsetRange* range = nullptr;
    std::string_view topic;
    std::string_view topic_id;
    int32_t partition = -1;
    for (int64_t row = 0; row < rows.rows; ++row) {
      // Rows of a file are mostly of one source.
      if (rows.partition[row] != partition || rows.topic[row] != topic || rows.topic_id[row] != topic_id) {
        topic = rows.topic[row];
        topic_id = rows.topic_id[row];
        partition = PartitionOf(rows.partition[row]);
        range = Find(topic, topic_id, partition);
      }
      if (range == nullptr || rows.offset[row] < range->begin || rows.offset[row] >= range->end) continue;
      const auto of = static_cast<size_t>(range - task_.ranges.data());
      if (rows.offset[row] >= held_from_[of]) continue;
      if (!deleted.empty() && deleted[static_cast<size_t>(row)]) {
        deleted_[of].insert(rows.offset[row]);
        continue;
      }
      // Others may have added a row again, or copied it to another file.
      if (!taken_[of].Insert(rows.offset[row])) continue;
      ++result_.range_rows[of];
      const size_t table = of_ranges_[of].table;
      K2_TRY(JudgeRow(rows, row, *range, of_ranges_[of]));
      // A step's rows are bounded by its plan; where that could not cut, by this.
      const auto flush_bytes = static_cast<size_t>(context_.flush_bytes);
      if (columns_[table].Full() || (row % 256 == 0 && columns_[table].bytes() > flush_bytes)) K2_TRY(Flush(table));
      if (rejected_.bytes() > flush_bytes) K2_TRY(FlushRejected());
    }
    return {};
  }

  Status JudgeRow(BronzeArrays& rows, int64_t row, const OffsetRange& range, const RangeOutput& output) {
    ++result_.rows_in;
    if (range.leave_out_rejected) {
      const auto before = rejected_before_.find(&range);
      if (before != rejected_before_.end() && before->second.contains(rows.offset[row])) return {};
    }
    Judges& judges = range.topic.starts_with(kRecordingPrefix) ? of_recordings_ : of_topics_;
    const std::optional<std::string_view> payload = rows.Payload(row);
    const std::optional<trade::MessageFraming> framing = rows.Framing(row);
    if (framing) {
      Status learnt = judges.schemas.Learn(framing->schema, judges.decoder);
      if (!learnt && learnt.error().kind == ErrorKind::kUnavailable && context_.held != nullptr) {
        held_from_[static_cast<size_t>(&range - task_.ranges.data())] = rows.offset[row];
        context_.held->Add({.topic = range.topic, .topic_id = range.topic_id, .partition = range.partition},
                           {.offset = rows.offset[row], .schema = framing->schema, .error = std::move(learnt).error()});
        return {};
      }
      K2_TRY(learnt);
    }
    const trade::Verdict verdict =
        judges.decoder.Decode(payload, framing, output.exchange->message_name, columns_[output.table]);
    if (verdict.accepted()) {
      ++result_.rows_out;
      return {};
    }
    Reject(rows, row, range, payload, verdict, judges.decoder.detail());
    return {};
  }

  void Reject(BronzeArrays& rows, int64_t row, const OffsetRange& range, std::optional<std::string_view> payload,
              const trade::Verdict& verdict, const std::string& detail) {
    AppendHeaders(rows.headers[row], rejected_.offset.size(), rejected_.headers);
    rejected_.topic.Append(range.topic);
    rejected_.partition.push_back(range.partition);
    rejected_.offset.push_back(rows.offset[row]);
    rejected_.kafka_timestamp.push_back(rows.kafka_timestamp[row]);
    rejected_.schema_id.push_back(verdict.schema_id.value_or(0));
    rejected_.schema_known.push_back(verdict.schema_id.has_value());
    if (payload) {
      rejected_.payload.Append(*payload);
    } else {
      rejected_.payload.AppendNull();
    }
    const std::string_view reason = ToString(verdict.reason);
    rejected_.reason.Append(reason);
    rejected_.detail.Append(detail);
    rejected_.ingestion_date.push_back(rows.ingestion_date[row]);
    if (rows.topic_id[row].empty()) {
      rejected_.topic_id.AppendNull();
    } else {
      rejected_.topic_id.Append(rows.topic_id[row]);
    }
    ++result_.rejected[std::string(reason)];
  }

  Status Flush(size_t table) {
    if (columns_[table].rows() == 0) return {};
    ArrowArray array;
    ArrowSchema schema;
    columns_[table].Export(&array, &schema);
    K2_ARROW_ASSIGN(const auto batch, arrow::ImportRecordBatch(&array, &schema), "taking over decoded rows");
    return writers_[table]->Write(batch);
  }

  Status FlushRejected() {
    if (rejected_.offset.empty()) return {};
    return rejected_writer_.Write(std::exchange(rejected_, {}).Finish());
  }

  const SilverTask& task_;
  const TaskContext& context_;
  Judges of_topics_;
  Judges of_recordings_;
  std::vector<RangeOutput> of_ranges_;
  std::vector<IntervalSet> taken_;          // offsets, by range
  std::vector<std::set<int64_t>> deleted_;  // likewise
  std::vector<int64_t> held_from_;          // likewise: rows from this offset on wait for a schema
  std::map<const OffsetRange*, std::set<int64_t>> rejected_before_;
  std::vector<trade::TradeColumns> columns_;  // in the order of the task's `silver`
  RejectedRows rejected_;
  std::vector<std::unique_ptr<PartitionedWriter>> writers_;
  PartitionedWriter rejected_writer_;
  TaskResult result_;
};

}  // namespace

Result<TaskResult> RunSilverTask(const SilverTask& task, const TaskContext& context) {
  TaskContext own = context;
  if (own.schemas == nullptr) own.schemas = std::make_shared<registry::FileSchemaSource>(task.schema_folder);
  return SilverRun(task, own).Run();
}

}  // namespace k2::task
