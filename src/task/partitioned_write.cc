#include "task/partitioned_write.h"

#include <arrow/compute/api.h>

#include <algorithm>

#include "base/failpoint.h"
#include "table/arrow_adapt.h"
#include "table/row_deletes.h"
#include "task/conform.h"

namespace k2::task {

Error FromArrow(const arrow::Status& status, std::string_view what) {
  ErrorKind kind = ErrorKind::kInternal;
  if (status.IsIOError()) kind = ErrorKind::kIo;
  if (status.IsInvalid() || status.IsSerializationError()) kind = ErrorKind::kInvalidData;
  if (status.IsNotImplemented()) kind = ErrorKind::kUnsupported;
  if (status.IsCancelled()) kind = ErrorKind::kCancelled;
  return {kind, fmt::format("{}: {}", what, status.message())};
}

PartitionedWriter::PartitionedWriter(const OutputTable& output, const std::string& attempt_id,
                                     const TaskContext& context, std::string failpoint, bool hand_on)
    : output_(output),
      attempt_id_(attempt_id),
      context_(context),
      failpoint_(std::move(failpoint)),
      hand_on_(hand_on),
      rows_(output.shape.Rows()),
      options_(FileOptions(output.name, rows_)) {
  files_.table = output.name;
}

Status PartitionedWriter::Write(const Batches& batches) {
  last_paths_.clear();
  Batches ordered;
  for (const auto& rows : batches) {
    if (rows->num_rows() == 0) continue;
    K2_ASSIGN(std::shared_ptr<arrow::RecordBatch> batch, Conform(rows, rows_, output_.name));
    ordered.push_back(std::move(batch));
  }
  if (ordered.empty()) return {};
  if (!partitions_) {
    const iceberg::NestedField* day = rows_.Find(DateColumnOf(output_.name));
    auto made = RowPartitions::Create(output_.spec, rows_, day == nullptr ? 0 : day->id);
    if (!made) return std::unexpected(made.error().With(fmt::format("table {} cannot be written", output_.name)));
    partitions_ = std::move(*made);
  }
  K2_ASSIGN(std::vector<RowPartitions::Part> parts, partitions_->Split(ordered));
  for (RowPartitions::Part& part : parts) K2_TRY(WriteFile(std::move(part.rows), std::move(part.partition)));
  return {};
}

Status PartitionedWriter::WriteFile(Batches rows, std::vector<iceberg::Literal> partition) {
  options_.footer = footer_;
  K2_ASSIGN(const std::string location, DataFileLocation(output_, partition, attempt_id_, counter_++));
  K2_ASSIGN(auto writer, table::DataFileWriter::Create(context_.io, location, output_.shape.schema, output_.spec,
                                                       std::move(partition), options_));
  for (const auto& batch : rows) K2_TRY(writer->Write(*batch));
  K2_ASSIGN(iceberg::DataFile file, writer->Finish());
  Failpoint(failpoint_);
  if (hand_on_ && context_.cache != nullptr) context_.cache->Put(file.file_path, std::move(rows));
  last_paths_.push_back(file.file_path);
  files_.files.push_back(std::move(file));
  return {};
}

std::shared_ptr<arrow::RecordBatch> NamedBatch(const std::vector<const char*>& names,
                                               std::vector<std::shared_ptr<arrow::Array>> columns, int64_t rows) {
  arrow::FieldVector fields;
  for (const char* name : names) fields.push_back(arrow::field(name, columns[fields.size()]->type()));
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), rows, std::move(columns));
}

std::shared_ptr<arrow::Array> Int64Array(std::vector<int64_t> values, std::shared_ptr<arrow::DataType> type) {
  const auto size = static_cast<int64_t>(values.size());
  return arrow::MakeArray(
      arrow::ArrayData::Make(std::move(type), size, {nullptr, arrow::Buffer::FromVector(std::move(values))}, 0));
}

std::shared_ptr<arrow::Array> Int32Array(std::vector<int32_t> values, std::shared_ptr<arrow::DataType> type) {
  const auto size = static_cast<int64_t>(values.size());
  return arrow::MakeArray(
      arrow::ArrayData::Make(std::move(type), size, {nullptr, arrow::Buffer::FromVector(std::move(values))}, 0));
}

std::shared_ptr<arrow::Array> BytesArray(source::ByteColumn column, std::shared_ptr<arrow::DataType> type) {
  const auto size = static_cast<int64_t>(column.size());
  std::vector<int32_t> offsets;
  offsets.reserve(column.size() + 1);
  offsets.push_back(0);
  offsets.insert(offsets.end(), column.ends.begin(), column.ends.end());
  std::shared_ptr<arrow::Buffer> validity;
  int64_t null_count = 0;
  if (!column.nulls.empty()) {
    std::vector<uint8_t> bits((column.size() + 7) / 8, 0);
    for (size_t i = 0; i < column.size(); ++i) {
      if (column.nulls[i]) {
        ++null_count;
      } else {
        bits[i / 8] = static_cast<uint8_t>(bits[i / 8] | (1U << (i % 8)));
      }
    }
    validity = arrow::Buffer::FromVector(std::move(bits));
  }
  return arrow::MakeArray(arrow::ArrayData::Make(
      std::move(type), size,
      {validity, arrow::Buffer::FromVector(std::move(offsets)), arrow::Buffer::FromString(std::move(column.data))},
      null_count));
}

std::shared_ptr<arrow::Array> ConstantString(const std::string& value, int64_t rows) {
  source::ByteColumn one;
  one.Append(value);
  const auto type = arrow::dictionary(arrow::int32(), arrow::utf8());
  return std::make_shared<arrow::DictionaryArray>(
      type, Int32Array(std::vector<int32_t>(static_cast<size_t>(rows), 0), arrow::int32()),
      BytesArray(std::move(one), arrow::utf8()));
}

namespace {

// Rows of the cache are those of the file as it was written.
bool TakeFromCache(const TaskContext& context, const InputFile& file, Batches& batches) {
  if (context.cache == nullptr || !file.deletes.empty()) return false;
  batches = context.cache->Take(file.path);
  return !batches.empty();
}

Result<table::ReadOptions> OptionsFor(const InputFile& file, const TableShape& shape, const iceberg::Schema& schema,
                                      const std::vector<std::string>& names) {
  table::ReadOptions options;
  options.name_mapping = shape.name_mapping;
  options.constants = file.constants;
  for (const std::string& name : names) {
    const iceberg::NestedField* field = schema.Find(name);
    if (field == nullptr) return Fail(ErrorKind::kInvalidData, "the table of {} has no column {}", file.path, name);
    options.field_ids.push_back(field->id);
  }
  // The same encodings as batches in memory have: what few values it takes is compared, sorted and written by number.
  for (const char* name : {"topic", "topic_id", "symbol", "exchange", "asset_class", "currency", "side", "source"}) {
    const iceberg::NestedField* field = schema.Find(name);
    if (field != nullptr && (names.empty() || std::ranges::find(names, name) != names.end())) {
      options.dictionary_fields.push_back(field->id);
    }
  }
  if (const iceberg::NestedField* field = schema.Find("vendor_data"); field != nullptr && names.empty()) {
    options.dictionary_fields.push_back(field->type.fields.at(0).id);
  }
  return options;
}

constexpr int64_t kInputBatchRows = 262'144;

}  // namespace

Status ReadInput(const TaskContext& context, const InputFile& file, const TableShape& shape,
                 const std::vector<std::string>& names,
                 const std::function<Status(std::shared_ptr<arrow::RecordBatch>)>& batch, const TimeRange& times) {
  if (Batches cached; TakeFromCache(context, file, cached)) {
    for (const auto& one : cached) K2_TRY(batch(one));
    return {};
  }
  const iceberg::Schema schema = shape.Rows();
  K2_ASSIGN(table::ReadOptions options, OptionsFor(file, shape, schema, names));
  const bool whole = times.first_us == INT64_MIN && times.last_us == INT64_MAX;
  options.batch_rows = whole ? kInputBatchRows : 65'536;  // of a part only little is kept
  if (!whole) {
    options.range_field = schema.Find("timestamp")->id;
    options.range_min = times.first_us;
    options.range_max = times.last_us;
  }
  return table::ReadLiveRows(*context.io, file.path, file.deletes, schema, options, batch);
}

std::vector<std::string> WithOptional(std::vector<std::string> names, const std::vector<std::string>& optional,
                                      const TableShape& shape) {
  for (const std::string& name : optional) {
    const auto found = shape.columns.find(name);
    if (found != shape.columns.end() && found->second > 0) names.push_back(name);
  }
  return names;
}

Status ReadMarkedInput(
    const TaskContext& context, const InputFile& file, const TableShape& shape, const std::vector<std::string>& names,
    const std::function<Status(std::shared_ptr<arrow::RecordBatch> batch, const std::vector<bool>& deleted)>& batch) {
  if (Batches cached; TakeFromCache(context, file, cached)) {
    for (const auto& one : cached) K2_TRY(batch(one, {}));
    return {};
  }
  const iceberg::Schema schema = shape.Rows();
  K2_ASSIGN(table::ReadOptions options, OptionsFor(file, shape, schema, names));
  options.batch_rows = kInputBatchRows;
  return table::ReadMarkedRows(*context.io, file.path, file.deletes, schema, options, batch);
}

Status ReadIntoCache(const TaskContext& context, const InputFile& file, const TableShape& shape) {
  if (context.cache->Holds(file.path) || !file.deletes.empty()) return {};
  Batches batches;
  const auto keep = [&](std::shared_ptr<arrow::RecordBatch> batch) {
    batches.push_back(std::move(batch));
    return Status{};
  };
  K2_TRY(ReadInput({.io = context.io, .schemas = nullptr}, file, shape, {}, keep));
  context.cache->Put(file.path, std::move(batches));
  return {};
}

}  // namespace k2::task
