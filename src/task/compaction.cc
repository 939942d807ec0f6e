#include <arrow/compute/api_vector.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include <numeric>

#include "table/arrow_adapt.h"
#include "task/gold_rows.h"
#include "task/partitioned_write.h"
#include "task/task.h"

namespace k2::task {
namespace {

Result<std::shared_ptr<arrow::RecordBatch>> InGoldsOrder(Batches batches) {
  K2_ASSIGN(const std::shared_ptr<arrow::RecordBatch> all, CombineBatches(std::move(batches)));
  std::vector<int64_t> rows(static_cast<size_t>(all->num_rows()));
  std::iota(rows.begin(), rows.end(), 0);
  GoldRows(*all).SortBySymbolAndTime(rows);
  K2_TRY(table::EnsureArrowKernels());
  K2_ARROW_ASSIGN(const arrow::Datum sorted,
                  arrow::compute::Take(all, Int64Array(std::move(rows), arrow::int64()),
                                       arrow::compute::TakeOptions::NoBoundsCheck()),
                  "sorting rows");
  return sorted.record_batch();
}

}  // namespace

Result<TaskResult> RunCompactionTask(const CompactionTask& task, const TaskContext& context) {
  TaskResult result;
  Batches batches;
  const auto take = [&](std::shared_ptr<arrow::RecordBatch> batch) {
    result.rows_in += batch->num_rows();
    batches.push_back(std::move(batch));
    return Status{};
  };
  const TableShape& shape = task.input_shape ? *task.input_shape : task.output.shape;
  for (const InputFile& file : task.inputs) {
    K2_TRY(ReadInput(context, file, shape, {}, take));
  }
  PartitionedWriter writer(task.output, task.attempt_id, context, "compaction.data-file", /*hand_on=*/false);
  if (task.output.name == kGoldTable && result.rows_in > 0) {
    K2_ASSIGN(const auto sorted, InGoldsOrder(std::move(batches)));
    batches = {sorted};
  }
  K2_TRY(writer.Write(batches));
  result.outputs.push_back(writer.Finish());
  result.rows_out = result.outputs.front().rows();
  return result;
}

}  // namespace k2::task
