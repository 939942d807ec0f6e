#include <arrow/type.h>

#include "base/time.h"
#include "source/recording.h"
#include "task/partitioned_write.h"
#include "task/task.h"

namespace k2 {
namespace {

std::shared_ptr<arrow::RecordBatch> ToBronzeRows(RawBatch raw) {
  const auto rows = static_cast<int64_t>(raw.size());
  const auto time = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
  std::vector<int32_t> dates;
  dates.reserve(raw.size());
  for (const int64_t micros : raw.ingestion_timestamps_us) dates.push_back(DayOfMicros(micros));
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
  return NamedBatch({"message_key", "avro_payload", "topic", "partition", "offset", "kafka_timestamp",
                     "ingestion_timestamp", "ingestion_date"},
                    std::move(columns), rows);
}

SourceCounts Difference(const SourceCounts& after, const SourceCounts& before) {
  return {.frames = after.frames - before.frames,
          .frames_skipped = after.frames_skipped - before.frames_skipped,
          .frames_rejected = after.frames_rejected - before.frames_rejected,
          .messages = after.messages - before.messages,
          .bytes = after.bytes - before.bytes};
}

}  // namespace

Result<TaskResult> RunBronzeTask(const BronzeTask& task, const TaskContext& context) {
  std::unique_ptr<SourceReader> opened;
  SourceReader* reader = context.reader;
  if (reader == nullptr) {
    const auto exchange = ParseExchange(task.exchange);
    if (!exchange) return Fail(ErrorKind::kInvalidArgument, "unknown exchange '{}': binance or kraken", task.exchange);
    K2_ASSIGN(opened, RecordingReader::Open(*exchange, task.recording));
    if (opened->key() != task.source) {
      return Fail(ErrorKind::kOffsetMismatch, "{} is not the recording {} any more: its first line has changed",
                  task.recording, task.source.topic);
    }
    K2_TRY(opened->Seek(task.begin));
    reader = opened.get();
  }
  const SourceCounts before = reader->counts();
  K2_ASSIGN(
      RawBatch raw,
      reader->Read({.max_messages = task.max_messages, .max_bytes = task.max_bytes, .max_wait_us = context.wait_us}));
  TaskResult result;
  result.end = raw.end;
  result.counts = Difference(reader->counts(), before);
  result.rows_in = result.rows_out = static_cast<int64_t>(raw.size());
  PartitionedWriter writer(task.output, task.attempt_id, context, "bronze.data-file");
  if (raw.size() > 0) K2_TRY(writer.WriteByDay(ToBronzeRows(std::move(raw)), "ingestion_date"));
  result.outputs.push_back(writer.Finish());
  return result;
}

}  // namespace k2
