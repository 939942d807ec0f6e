#include <arrow/array/array_dict.h>
#include <arrow/chunked_array.h>
#include <arrow/io/interfaces.h>
#include <arrow/record_batch.h>
#include <arrow/util/compression.h>
#include <arrow/util/key_value_metadata.h>
#include <parquet/arrow/writer.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <parquet/properties.h>

#include <algorithm>

#include "base/version.h"
#include "storage/arrow_error.h"
#include "table/arrow_adapt.h"
#include "table/arrow_schema.h"
#include "table/data_file_io.h"
#include "table/data_file_metrics.h"

namespace k2::table {
namespace {

using iceberg::TypeId;

Result<parquet::Compression::type> CodecOf(const std::string& name) {
  if (name == "zstd") return parquet::Compression::ZSTD;
  if (name == "lz4") return parquet::Compression::LZ4;  // Parquet's LZ4_RAW
  if (name == "snappy") return parquet::Compression::SNAPPY;
  if (name == "none") return parquet::Compression::UNCOMPRESSED;
  return Fail(ErrorKind::kInvalidArgument, "unknown Parquet codec '{}': zstd, lz4, snappy or none", name);
}

Result<std::shared_ptr<parquet::WriterProperties>> MakeProperties(const std::vector<ParquetLeaf>& leaves,
                                                                  const WriteOptions& options) {
  parquet::WriterProperties::Builder builder;
  K2_ASSIGN(const auto codec, CodecOf(options.codec));
  builder.compression(codec);
  if (codec == parquet::Compression::ZSTD) builder.compression_level(options.level);
  builder.version(parquet::ParquetVersion::PARQUET_2_6);
  builder.data_page_version(parquet::ParquetDataPageVersion::V1);
  builder.enable_store_decimal_as_integer();
  builder.data_pagesize(options.page_bytes);
  builder.max_rows_per_page(options.page_rows);
  builder.write_batch_size(options.write_batch_rows);
  builder.dictionary_pagesize_limit(options.dictionary_bytes);
  builder.max_row_group_length(options.row_group_rows * 2);
  // In the form that Parquet's Java readers parse: of a writer they cannot tell they do not use the bounds of strings.
  builder.created_by(fmt::format("k2 version {}", k2::kVersion));
  builder.set_size_statistics_level(parquet::SizeStatisticsLevel::None);
  builder.enable_page_checksum();  // readers find flipped bits by them; 3 % of the time
  builder.disable_write_page_index();
  for (const ParquetLeaf& leaf : leaves) {
    if (HoldsField(options.plain_fields, leaf.field_id)) builder.disable_dictionary(leaf.path);
    // Nothing reads bounds below lists and maps; keeping them costs a comparison a value.
    if (leaf.repeated || HoldsField(options.no_stats_fields, leaf.field_id)) {
      builder.disable_statistics(leaf.path);
    }
    if (HoldsField(options.bloom_fields, leaf.field_id)) {
      builder.enable_bloom_filter(leaf.path, {.ndv = options.row_group_rows, .fpp = options.bloom_fpp});
    }
  }
  return builder.build();
}

class ParquetDataFileWriter : public DataFileWriter {
 public:
  ParquetDataFileWriter(std::shared_ptr<storage::FileIo> io, std::string location, const iceberg::Schema& schema,
                        const WriteOptions& options, iceberg::DataFile file)
      : io_(std::move(io)),
        location_(std::move(location)),
        schema_(schema),
        options_(options),
        leaves_(ParquetLeaves(schema)),
        present_(leaves_.size(), 0),
        file_(std::move(file)) {
    for (const ParquetLeaf& leaf : leaves_) leaf_ids_.push_back(leaf.field_id);
  }

  ~ParquetDataFileWriter() override {
    if (!finished_) Abandon();
  }

  Status Open() {
    K2_ASSIGN(const auto properties, MakeProperties(leaves_, options_));
    K2_ASSIGN(sink_, io_->Create(location_));
    created_ = true;
    return Guard("start", [&]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(
          writer_, parquet::arrow::FileWriter::Open(*ToArrowSchema(schema_), arrow::default_memory_pool(), sink_,
                                                    properties, parquet::ArrowWriterProperties::Builder().build()));
      if (options_.footer.empty()) return arrow::Status::OK();
      auto footer = std::make_shared<arrow::KeyValueMetadata>();
      for (const auto& [key, value] : options_.footer) footer->Append(key, value);
      return writer_->AddKeyValueMetadata(footer);
    });
  }

  Status Write(const arrow::RecordBatch& batch) override {
    if (failed_ || finished_) return Fail(ErrorKind::kInternal, "write to data file {} after its end", location_);
    K2_TRY(Check(batch));
    for (int64_t begin = 0; begin < batch.num_rows();) {
      const int64_t room = options_.row_group_rows - pending_rows_;
      int64_t rows = batch.num_rows() - begin;
      if (rows > room) {
        // Whole batches make better row groups than cut ones: their dictionaries stay as they are.
        if (pending_rows_ * 2 >= options_.row_group_rows) {
          K2_TRY(Flush());
          continue;
        }
        rows = room;
      }
      pending_.push_back(batch.Slice(begin, rows));
      pending_rows_ += rows;
      begin += rows;
      if (pending_rows_ >= options_.row_group_rows) K2_TRY(Flush());
    }
    return {};
  }

  [[nodiscard]] int64_t bytes_written() const override {
    const auto position = sink_->Tell();
    return position.ok() ? *position : 0;
  }

  Result<iceberg::DataFile> Finish() override {
    if (failed_ || finished_) return Fail(ErrorKind::kInternal, "second end of data file {}", location_);
    Result<iceberg::DataFile> file = Close();
    if (!file) {
      Abandon();
      return file;
    }
    finished_ = true;
    return file;
  }

 private:
  // Arrow reports errors both ways.
  template <typename Function>
  Status Guard(std::string_view action, const Function& function) {
    const std::string context = fmt::format("{} data file {}", action, location_);
    try {
      const arrow::Status status = function();
      if (status.ok()) return {};
      Abandon();
      return std::unexpected(storage::ArrowError(status, context));
    } catch (const parquet::ParquetStatusException& error) {
      Abandon();
      return std::unexpected(storage::ArrowError(error.status(), context));
    } catch (const std::exception& error) {
      Abandon();
      return Fail(ErrorKind::kIo, "{}: {}", context, error.what());
    }
  }

  Status Check(const arrow::RecordBatch& batch) {
    if (batch.num_columns() != static_cast<int>(schema_.fields.size())) {
      return Fail(ErrorKind::kInvalidData, "data file {}: a batch has {} columns, but the table has {}", location_,
                  batch.num_columns(), schema_.fields.size());
    }
    for (int i = 0; i < batch.num_columns(); ++i) {
      K2_TRY(CheckArray(*batch.column(i), schema_.fields[static_cast<size_t>(i)]));
    }
    return {};
  }

  // One row group of what is pending, column by column: only one column's encoder is in memory at a time.
  Status Flush() {
    if (pending_rows_ == 0) return {};
    K2_TRY(Guard("write", [&]() -> arrow::Status {
      ARROW_RETURN_NOT_OK(writer_->NewRowGroup());
      for (int i = 0; i < pending_[0]->num_columns(); ++i) {
        arrow::ArrayVector chunks;
        for (const auto& batch : pending_) chunks.push_back(batch->column(i));
        ARROW_ASSIGN_OR_RAISE(auto column, OneKind(std::move(chunks), schema_.fields[static_cast<size_t>(i)]));
        ARROW_RETURN_NOT_OK(writer_->WriteColumnChunk(column));
      }
      return arrow::Status::OK();
    }));
    for (const auto& batch : pending_) {
      std::vector<int64_t> counts;
      for (int i = 0; i < batch->num_columns(); ++i) {
        CountLeafValues(*batch->column(i), schema_.fields[static_cast<size_t>(i)].type, counts);
      }
      for (size_t leaf = 0; leaf < counts.size(); ++leaf) present_[leaf] += counts[leaf];
    }
    rows_ += pending_rows_;
    pending_.clear();
    pending_rows_ = 0;
    return {};
  }

  // Batches may differ in which columns are dictionaries and in what these hold. Parquet's writer takes one dictionary
  // a column chunk as it is, and gives up on dictionary encoding at the second one. It also takes what may be null
  // below lists and maps from the array, not from the file's schema, so those get the schema's types first.
  arrow::Result<std::shared_ptr<arrow::ChunkedArray>> OneKind(arrow::ArrayVector chunks,
                                                              const iceberg::NestedField& field) const {
    const auto adapt = [&](const std::vector<int32_t>& keep_dictionary) -> arrow::Status {
      for (auto& chunk : chunks) {
        auto adapted = AdaptArray(chunk, field, keep_dictionary);
        if (!adapted) return arrow::Status::Invalid(adapted.error().message);
        chunk = *std::move(adapted);
      }
      return arrow::Status::OK();
    };
    if (!field.type.IsPrimitive()) ARROW_RETURN_NOT_OK(adapt(leaf_ids_));
    const auto same_type = [&](const auto& chunk) { return chunk->type()->Equals(*chunks[0]->type()); };
    if (!std::all_of(chunks.begin(), chunks.end(), same_type)) ARROW_RETURN_NOT_OK(adapt({}));
    auto column = std::make_shared<arrow::ChunkedArray>(std::move(chunks));
    if (column->num_chunks() == 1) return column;
    return arrow::DictionaryUnifier::UnifyChunkedArray(column, arrow::default_memory_pool());
  }

  Result<iceberg::DataFile> Close() {
    K2_TRY(Flush());
    K2_TRY(Guard("close", [&]() -> arrow::Status {
      ARROW_RETURN_NOT_OK(writer_->Close());
      ARROW_ASSIGN_OR_RAISE(file_.file_size_in_bytes, sink_->Tell());
      return sink_->Close();
    }));
    const auto footer = writer_->metadata();
    K2_TRY(AddMetrics(*footer, leaves_, present_, options_.bounds, options_.full_bounds_fields, file_));
    K2_TRY(io_->Sync(location_));
    K2_TRY(Verify());
    writer_.reset();
    return file_;
  }

  // What is stored is read again before anything names it (ICEBERG 18).
  Status Verify() {
    K2_ASSIGN(auto stored, io_->Open(location_));
    return Guard("verify", [&]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const int64_t size, stored->GetSize());
      if (size != file_.file_size_in_bytes) {
        return arrow::Status::IOError(size, " bytes in storage where ", file_.file_size_in_bytes, " were written");
      }
      const auto footer = parquet::ReadMetaData(stored);
      if (footer->num_rows() != rows_ || file_.record_count != rows_) {
        return arrow::Status::Invalid(footer->num_rows(), " rows in storage where ", rows_, " were written");
      }
      return arrow::Status::OK();
    });
  }

  // Deletes the file: nothing names it yet.
  void Abandon() {
    if (failed_) return;
    failed_ = true;
    pending_.clear();
    if (!created_) return;
    // An unclosed writer would write its footer when it is destroyed.
    if (sink_ && !sink_->closed()) (void)sink_->Abort();
    try {
      writer_.reset();
    } catch (const std::exception&) {  // it could not write to the closed stream, and shall not
    }
    (void)io_->Delete(location_);
  }

  std::shared_ptr<storage::FileIo> io_;
  std::string location_;
  iceberg::Schema schema_;
  WriteOptions options_;
  std::vector<ParquetLeaf> leaves_;
  std::vector<int32_t> leaf_ids_;
  std::vector<int64_t> present_;  // values that are there, by leaf
  iceberg::DataFile file_;
  std::shared_ptr<arrow::io::OutputStream> sink_;
  std::unique_ptr<parquet::arrow::FileWriter> writer_;
  std::vector<std::shared_ptr<arrow::RecordBatch>> pending_;
  int64_t pending_rows_ = 0;
  int64_t rows_ = 0;
  bool created_ = false;
  bool finished_ = false;
  bool failed_ = false;
};

}  // namespace

Result<std::unique_ptr<DataFileWriter>> DataFileWriter::Create(std::shared_ptr<storage::FileIo> io,
                                                               std::string location, const iceberg::Schema& schema,
                                                               const iceberg::PartitionSpec& spec,
                                                               std::vector<iceberg::Literal> partition,
                                                               const WriteOptions& options) {
  if (partition.size() != spec.fields.size()) {
    return Fail(ErrorKind::kInvalidArgument, "data file {}: {} partition values for the {} fields of spec {}", location,
                partition.size(), spec.fields.size(), spec.spec_id);
  }
  if (options.row_group_rows <= 0) {
    return Fail(ErrorKind::kInvalidArgument, "row groups of {} rows are too small; at least 1", options.row_group_rows);
  }
  K2_TRY(EnsureArrowKernels());
  iceberg::DataFile file{.file_path = location, .spec_id = spec.spec_id, .partition = std::move(partition)};
  file.sort_order_id = options.sort_order_id;
  auto writer =
      std::make_unique<ParquetDataFileWriter>(std::move(io), std::move(location), schema, options, std::move(file));
  K2_TRY(writer->Open());
  return writer;
}

}  // namespace k2::table
