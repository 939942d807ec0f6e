#include <arrow/type.h>

#include <algorithm>

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

void Add(const SourceCounts& more, SourceCounts& counts) {
  counts.frames += more.frames;
  counts.frames_skipped += more.frames_skipped;
  counts.frames_rejected += more.frames_rejected;
  counts.messages += more.messages;
  counts.bytes += more.bytes;
}

SourceCounts Difference(const SourceCounts& after, const SourceCounts& before) {
  return {.frames = after.frames - before.frames,
          .frames_skipped = after.frames_skipped - before.frames_skipped,
          .frames_rejected = after.frames_rejected - before.frames_rejected,
          .messages = after.messages - before.messages,
          .bytes = after.bytes - before.bytes};
}

// Opens what a task names, where no open reader was handed to it.
Result<std::unique_ptr<SourceReader>> OpenInput(const BronzeInput& input) {
  const auto exchange = ParseExchange(input.exchange);
  if (!exchange) return Fail(ErrorKind::kInvalidArgument, "unknown exchange '{}': binance or kraken", input.exchange);
  K2_ASSIGN(std::unique_ptr<SourceReader> reader, RecordingReader::Open(*exchange, input.recording));
  if (reader->key() != input.source) {
    return Fail(ErrorKind::kOffsetMismatch, "{} is not the recording {} any more: its first line has changed",
                input.recording, input.source.topic);
  }
  K2_TRY(reader->Seek(input.begin));
  return reader;
}

}  // namespace

Result<TaskResult> RunBronzeTask(const BronzeTask& task, const TaskContext& context) {
  TaskResult result;
  Batches batches;
  int64_t messages_left = task.max_messages;
  int64_t bytes_left = task.max_bytes;
  for (size_t i = 0; i < task.inputs.size(); ++i) {
    std::unique_ptr<SourceReader> opened;
    SourceReader* reader = i < context.readers.size() ? context.readers[i] : nullptr;
    if (reader == nullptr) {
      K2_ASSIGN(opened, OpenInput(task.inputs[i]));
      reader = opened.get();
    }
    // What one input leaves of its share goes to those behind it.
    const auto inputs_left = static_cast<int64_t>(task.inputs.size() - i);
    const SourceCounts before = reader->counts();
    K2_ASSIGN(RawBatch raw, reader->Read({.max_messages = std::max<int64_t>(messages_left / inputs_left, 1),
                                          .max_bytes = std::max<int64_t>(bytes_left / inputs_left, 1),
                                          .max_wait_us = context.wait_us}));
    Add(Difference(reader->counts(), before), result.counts);
    result.ends.push_back(raw.end);
    const int64_t before_it = task.inputs[i].begin.messages;
    if (before_it >= 0) result.ends.back().messages = before_it + static_cast<int64_t>(raw.size());
    result.rows_in += static_cast<int64_t>(raw.size());
    messages_left -= static_cast<int64_t>(raw.size());
    bytes_left -= static_cast<int64_t>(raw.bytes());
    if (raw.size() > 0) batches.push_back(ToBronzeRows(std::move(raw)));
  }
  result.rows_out = result.rows_in;
  PartitionedWriter writer(task.output, task.attempt_id, context, "bronze.data-file");
  K2_TRY(writer.WriteByDay(batches, "ingestion_date"));
  result.outputs.push_back(writer.Finish());
  return result;
}

}  // namespace k2
