#include "task/bronze_parts.h"

#include <arrow/array.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "table/data_file_io.h"
#include "task/batch_cache.h"
#include "task/partitioned_write.h"
#include "task/text_view.h"

namespace k2::task {
namespace {

using Parts = std::map<std::tuple<std::string, std::string, int32_t>, BronzePart>;

void Add(const arrow::RecordBatch& batch, Parts& parts) {
  const TextView topics(batch.GetColumnByName("topic"));
  const TextView topic_ids(batch.GetColumnByName("topic_id"));
  const IntegerView partitions(*batch.GetColumnByName("partition"));
  const int64_t* offsets = static_cast<const arrow::Int64Array&>(*batch.GetColumnByName("offset")).raw_values();
  BronzePart* part = nullptr;
  for (int64_t row = 0; row < batch.num_rows(); ++row) {
    const std::string_view topic = topics[row];
    const std::string_view topic_id = topic_ids[row];
    // Rows of a partition lie together.
    if (part == nullptr || part->partition != partitions[row] || part->topic != topic || part->topic_id != topic_id) {
      const int32_t partition = PartitionOf(partitions[row]);
      part = &parts[{std::string(topic), std::string(topic_id), partition}];
      if (part->rows == 0) {
        *part = {.topic = std::string(topic),
                 .topic_id = std::string(topic_id),
                 .partition = partition,
                 .first = offsets[row],
                 .last = offsets[row]};
      }
    }
    part->first = std::min(part->first, offsets[row]);
    part->last = std::max(part->last, offsets[row]);
    ++part->rows;
  }
}

}  // namespace

Result<std::vector<BronzePart>> ReadBronzeParts(const TaskContext& context, const std::string& path,
                                                const TableShape& shape) {
  Parts parts;
  Batches batches;
  if (context.cache != nullptr) batches = context.cache->Peek(path);
  for (const auto& batch : batches) Add(*batch, parts);
  if (batches.empty()) {
    const iceberg::Schema schema = shape.Rows();
    table::ReadOptions options;
    options.name_mapping = shape.name_mapping;
    for (const char* name : {"topic", "partition", "offset"}) options.field_ids.push_back(schema.Find(name)->id);
    options.dictionary_fields = {schema.Find("topic")->id};
    // Tables of earlier versions have none.
    if (const iceberg::NestedField* topic_id = schema.Find("topic_id")) {
      options.field_ids.push_back(topic_id->id);
      options.dictionary_fields.push_back(topic_id->id);
    }
    K2_TRY(
        table::ReadDataFile(*context.io, path, schema, options, [&](const std::shared_ptr<arrow::RecordBatch>& batch) {
          Add(*batch, parts);
          return Status{};
        }));
  }
  std::vector<BronzePart> found;
  for (auto& [key, part] : parts) found.push_back(std::move(part));
  return found;
}

}  // namespace k2::task
