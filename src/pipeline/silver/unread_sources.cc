#include "pipeline/silver/unread_sources.h"

#include <arrow/array.h>
#include <arrow/record_batch.h>

#include <algorithm>

#include "pipeline/lakehouse.h"
#include "table/recreated_topics.h"
#include "table/scan.h"
#include "task/partitioned_write.h"
#include "task/text_view.h"

namespace k2::pipeline {

int64_t UnreadSource::distinct() const {
  int64_t size = 0;
  for (const auto& [first, last] : offsets.ranges()) size += last - first + 1;
  return size;
}

std::vector<UnreadSource> SourcesToRead(const exchange::Exchange& exchange, const table::LayerProgress& silver,
                                        const table::LayerProgress& bronze) {
  std::vector<UnreadSource> sources;
  for (const auto& [key, end] : bronze.positions) {
    if (exchange::ExchangeOfTopic(key.topic) != &exchange) continue;
    const auto found = silver.positions.find(key);
    const table::SourcePosition begin =
        found == silver.positions.end() ? table::SourcePosition{.next_offset = 0, .messages = 0} : found->second;
    if (begin.next_offset >= end.next_offset) continue;
    UnreadSource source{
        .key = key, .table = std::string(exchange.silver_table), .begin = begin.next_offset, .end = end, .offsets = {}};
    if (key.cluster == table::kRecordingCluster) {
      source.expected = end.next_offset - begin.next_offset;
    } else if (begin.messages >= 0 && end.messages >= 0) {
      source.expected = end.messages - begin.messages;
    }
    sources.push_back(std::move(source));
  }
  return sources;
}

Status CountUnread(const table::Table& bronze, std::vector<UnreadSource>& sources) {
  if (sources.empty()) return {};
  K2_ASSIGN(const task::TableShape shape, ShapeOf(bronze, task::TableUse::kRead));
  const task::TaskContext context{.io = bronze.io_ptr(), .schemas = nullptr};
  int64_t first = INT64_MAX;
  for (const UnreadSource& source : sources) first = std::min(first, source.begin);
  K2_ASSIGN(
      const std::vector<table::ScanFile> files,
      table::PlanScan(bronze.io(), bronze.metadata(), bronze.metadata().current_snapshot_id.value_or(0),
                      {{.field_id = shape.columns.at("offset"), .op = iceberg::CompareOp::kGe, .values = {first}}}));
  K2_ASSIGN(const table::RecreatedTopics recreated, table::ReadRecreatedTopics(bronze.metadata()));
  const auto count = [&](const std::shared_ptr<arrow::RecordBatch>& batch) -> Status {
    const task::TextView topic(batch->GetColumnByName("topic"));
    const task::TextView topic_id(batch->GetColumnByName("topic_id"));
    const auto& partition = static_cast<const arrow::Int32Array&>(*batch->GetColumnByName("partition"));
    const auto& offset = static_cast<const arrow::Int64Array&>(*batch->GetColumnByName("offset"));
    for (int64_t row = 0; row < batch->num_rows(); ++row) {
      for (UnreadSource& source : sources) {
        if (!table::RowIsOf(source.key, recreated, topic[row], topic_id[row], partition.Value(row))) continue;
        if (offset.Value(row) < source.begin || offset.Value(row) >= source.end.next_offset) continue;
        ++source.rows;
        source.offsets.Insert(offset.Value(row));
      }
    }
    return {};
  };
  const std::vector<std::string> columns = task::WithOptional({"topic", "partition", "offset"}, {"topic_id"}, shape);
  for (const table::ScanFile& file : files) {
    K2_TRY(task::ReadInput(context, InputOf(bronze.metadata(), file), shape, columns, count));
  }
  return {};
}

}  // namespace k2::pipeline
