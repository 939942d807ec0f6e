#include <arrow/type.h>

#include <algorithm>
#include <utility>

#include "base/time.h"
#include "exchange/registry.h"
#include "kafka/kafka_client.h"
#include "kafka/kafka_ranges.h"
#include "recording/recording.h"
#include "task/header_view.h"
#include "task/partitioned_write.h"
#include "task/task.h"

namespace k2::task {
namespace {

// The date that Bronze is partitioned by. Rows whose time is none to believe stand under 1970-01-01: every engine can
// list that day, and retention drops it as any other.
int32_t IngestionDate(int64_t micros) { return IsRealTime(micros) ? DayOfMicros(micros) : 0; }

std::shared_ptr<arrow::RecordBatch> ToBronzeRows(source::RawBatch raw) {
  const auto rows = static_cast<int64_t>(raw.size());
  const auto time = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
  std::vector<int32_t> dates;
  dates.reserve(raw.size());
  for (const int64_t micros : raw.ingestion_timestamps_us) dates.push_back(IngestionDate(micros));
  std::vector<std::shared_ptr<arrow::Array>> columns = {
      BytesArray(std::move(raw.keys), arrow::binary()),
      BytesArray(std::move(raw.payloads), arrow::binary()),
      ConstantString(raw.source.topic, rows),
      Int32Array(std::vector<int32_t>(static_cast<size_t>(rows), raw.source.partition), arrow::int32()),
      Int64Array(std::move(raw.offsets), arrow::int64()),
      Int64Array(std::move(raw.kafka_timestamps_us), time),
      Int64Array(std::move(raw.ingestion_timestamps_us), time),
      Int32Array(std::move(dates), arrow::date32()),
  };
  std::vector<const char*> names = {"message_key",     "avro_payload",        "topic",         "partition", "offset",
                                    "kafka_timestamp", "ingestion_timestamp", "ingestion_date"};
  // Columns that are left out are null.
  if (!raw.headers.empty()) {
    columns.push_back(HeadersArray(std::move(raw.headers)));
    names.push_back("headers");
  }
  if (raw.source.cluster != table::kRecordingCluster && raw.source.topic_id != kafka::kNoTopicId) {
    columns.push_back(ConstantString(raw.source.topic_id, rows));
    names.push_back("topic_id");
  }
  return NamedBatch(names, std::move(columns), rows);
}

// Opens what a task names, where no open reader was handed to it.
Result<std::unique_ptr<source::SourceReader>> OpenInput(const BronzeInput& input) {
  K2_ASSIGN(const exchange::Exchange* const exchange, exchange::KnownExchange(input.exchange));
  K2_ASSIGN(std::unique_ptr<source::SourceReader> reader, recording::RecordingReader::Open(*exchange, input.recording));
  if (reader->key() != input.source) {
    return Fail(ErrorKind::kOffsetMismatch, "{} is no longer the recording {}: its first line has changed",
                input.recording, input.source.topic);
  }
  K2_TRY(reader->Seek(input.begin));
  return reader;
}

void CutAt(size_t size, source::ByteColumn& column) {
  column.ends.resize(size);
  column.data.resize(size == 0 ? 0 : static_cast<size_t>(column.ends.back()));
  if (!column.nulls.empty()) column.nulls.resize(size);
}

// Leaves out what stands at `end` or behind it.
void CutAt(int64_t end, source::RawBatch& raw) {
  if (raw.end.next_offset <= end) return;
  const auto size = static_cast<size_t>(std::ranges::lower_bound(raw.offsets, end) - raw.offsets.begin());
  for (source::ByteColumn* column : {&raw.keys, &raw.payloads}) CutAt(size, *column);
  if (!raw.headers.empty()) {
    raw.headers.ends.resize(size);
    const auto count = size == 0 ? 0 : static_cast<size_t>(raw.headers.ends.back());
    for (source::ByteColumn* column : {&raw.headers.keys, &raw.headers.values}) CutAt(count, *column);
  }
  raw.offsets.resize(size);
  raw.kafka_timestamps_us.resize(size);
  raw.ingestion_timestamps_us.resize(size);
  raw.end.next_offset = end;
}

// Rows on their way to data files.
class BronzeRows {
 public:
  BronzeRows(const BronzeTask& task, const TaskContext& context)
      : flush_bytes_(context.flush_bytes), writer_(task.output, task.attempt_id, context, "bronze.data-file") {}

  Status Add(source::RawBatch raw) {
    if (raw.size() == 0) return {};
    bytes_ += static_cast<int64_t>(raw.bytes());
    batches_.push_back(ToBronzeRows(std::move(raw)));
    return bytes_ < flush_bytes_ ? Status{} : Flush();
  }
  Result<TableFiles> Finish() {
    K2_TRY(Flush());
    return writer_.Finish();
  }

 private:
  Status Flush() {
    bytes_ = 0;
    return writer_.Write(std::exchange(batches_, {}));
  }

  int64_t flush_bytes_;
  PartitionedWriter writer_;
  Batches batches_;
  int64_t bytes_ = 0;
};

// All messages of an input up to its end.
Status ReadRange(const BronzeInput& input, source::SourceReader& reader, kafka::KafkaRanges& kafka, BronzeRows& into,
                 TaskResult& result) {
  constexpr int64_t kSilenceUsMax = 60'000'000;
  constexpr source::ReadLimits kLimits{.max_messages = 1 << 17, .max_bytes = 32 << 20, .max_wait_us = 500'000};
  table::SourcePosition at = input.begin;
  int64_t rows = 0;
  int64_t heard_us = MonotonicMicros();
  while (at.next_offset < input.end_offset) {
    const std::string trouble = kafka.Poll();
    K2_ASSIGN(source::RawBatch raw, reader.Read(kLimits));
    CutAt(input.end_offset, raw);
    if (raw.end.next_offset == at.next_offset) {
      if (MonotonicMicros() - heard_us < kSilenceUsMax) continue;
      return Fail(ErrorKind::kUnavailable,
                  "Kafka has sent no messages of topic {}, partition {} from offset {} for {} s{}{}",
                  input.source.topic, input.source.partition, at.next_offset, kSilenceUsMax / kMicrosPerSecond,
                  trouble.empty() ? "" : ": ", trouble);
    }
    heard_us = MonotonicMicros();
    at = raw.end;
    rows += static_cast<int64_t>(raw.size());
    K2_TRY(into.Add(std::move(raw)));
  }
  at.messages = input.begin.messages < 0 ? -1 : input.begin.messages + rows;
  result.ends.push_back(at);
  result.rows_in += rows;
  result.counts += reader.counts();
  return {};
}

Status ReadRanges(const BronzeTask& task, const TaskContext& context, BronzeRows& into, TaskResult& result) {
  if (context.kafka == nullptr) {
    return Fail(ErrorKind::kInvalidArgument,
                "the task reads Kafka, but no brokers are configured: set --kafka or K2_KAFKA");
  }
  std::vector<kafka::KafkaRanges::Place> places;
  for (const BronzeInput& input : task.inputs) places.emplace_back(input.source, input.begin);
  K2_ASSIGN(const auto readers, context.kafka->Open(places));
  for (size_t i = 0; i < task.inputs.size(); ++i) {
    K2_TRY(ReadRange(task.inputs[i], *readers[i], *context.kafka, into, result));
  }
  return {};
}

Status ReadWhatIsThere(const BronzeTask& task, const TaskContext& context, BronzeRows& into, TaskResult& result) {
  int64_t messages_left = task.max_messages;
  int64_t bytes_left = task.max_bytes;
  for (size_t i = 0; i < task.inputs.size(); ++i) {
    std::unique_ptr<source::SourceReader> opened;
    source::SourceReader* reader = i < context.readers.size() ? context.readers[i] : nullptr;
    if (reader == nullptr) {
      K2_ASSIGN(opened, OpenInput(task.inputs[i]));
      reader = opened.get();
    }
    // What one input leaves of its share goes to those behind it.
    const auto inputs_left = static_cast<int64_t>(task.inputs.size() - i);
    const source::SourceCounts before = reader->counts();
    K2_ASSIGN(source::RawBatch raw, reader->Read({.max_messages = std::max<int64_t>(messages_left / inputs_left, 1),
                                                  .max_bytes = std::max<int64_t>(bytes_left / inputs_left, 1),
                                                  .max_wait_us = context.wait_us}));
    result.counts += reader->counts().Since(before);
    result.ends.push_back(raw.end);
    const int64_t before_it = task.inputs[i].begin.messages;
    if (before_it >= 0) result.ends.back().messages = before_it + static_cast<int64_t>(raw.size());
    result.rows_in += static_cast<int64_t>(raw.size());
    messages_left -= static_cast<int64_t>(raw.size());
    bytes_left -= static_cast<int64_t>(raw.bytes());
    K2_TRY(into.Add(std::move(raw)));
  }
  return {};
}

}  // namespace

Result<TaskResult> RunBronzeTask(const BronzeTask& task, const TaskContext& context) {
  TaskResult result;
  BronzeRows rows(task, context);
  const auto bounded = [](const BronzeInput& input) { return input.end_offset >= 0; };
  if (std::ranges::any_of(task.inputs, bounded)) {
    K2_TRY(ReadRanges(task, context, rows, result));
  } else {
    K2_TRY(ReadWhatIsThere(task, context, rows, result));
  }
  result.rows_out = result.rows_in;
  K2_ASSIGN(TableFiles files, rows.Finish());
  result.outputs.push_back(std::move(files));
  return result;
}

}  // namespace k2::task
