// Parquet data files: written with field ids and metrics, read by field id.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "iceberg/data_file.h"
#include "iceberg/schema.h"
#include "io/file_io.h"

namespace arrow {
class RecordBatch;
class Schema;
}  // namespace arrow

namespace k2 {

struct WriteOptions {
  std::string codec = "zstd";  // zstd | lz4 | snappy | none
  int32_t level = 1;
  int64_t row_group_rows = 131'072;
  std::vector<int32_t> plain_fields;  // field ids without dictionary encoding (unique values: ids, payloads)
  std::vector<int32_t>
      delta_fields;  // field ids of integers and times that step: DELTA_BINARY_PACKED; strings: DELTA_BYTE_ARRAY
  std::vector<int32_t> bloom_fields;          // field ids with a bloom filter
  std::vector<int32_t> no_stats_fields;       // field ids without column bounds (still counted)
  std::map<std::string, std::string> footer;  // key-value metadata
  int32_t sort_order_id = 0;
};

// Arrow schema of an Iceberg schema; each field, nested ones too, carries its id as "PARQUET:field_id".
std::shared_ptr<arrow::Schema> ToArrowSchema(const iceberg::Schema& schema);

// Writes one data file. Batches must have the columns of the Iceberg schema in order; dictionary-encoded columns
// are accepted where the schema has their value type. Not for use by several threads.
class DataFileWriter {
 public:
  virtual ~DataFileWriter() = default;
  static Result<std::unique_ptr<DataFileWriter>> Create(std::shared_ptr<FileIo> io, std::string location,
                                                        const iceberg::Schema& schema,
                                                        const iceberg::PartitionSpec& spec,
                                                        std::vector<iceberg::Literal> partition,
                                                        const WriteOptions& options);
  virtual Status Write(const arrow::RecordBatch& batch) = 0;
  [[nodiscard]] virtual int64_t bytes_written() const = 0;
  // Closes, syncs, verifies the stored size and row count, and says what a manifest needs. After an error, or when it
  // is destroyed without Finish(), the file is deleted.
  virtual Result<iceberg::DataFile> Finish() = 0;
};

// Reads a data file's columns (field ids; all of `schema` when empty) as batches in file order, converted to the
// schema's types; columns the file lacks are null. `batch` returning an error stops the read with it.
struct ReadOptions {
  std::vector<int32_t> field_ids;
  int64_t batch_rows = 65'536;
  // Row groups whose statistics exclude [min, max] of this int64/timestamp field are skipped; 0: none.
  int32_t range_field = 0;
  int64_t range_min = 0;
  int64_t range_max = 0;
  std::vector<int32_t> dictionary_fields;  // read as dictionary<int32, utf8>
};
Status ReadDataFile(FileIo& io, const std::string& location, const iceberg::Schema& schema, const ReadOptions& options,
                    const std::function<Status(std::shared_ptr<arrow::RecordBatch>)>& batch);

// Footer key-value metadata of a data file.
Result<std::map<std::string, std::string>> ReadFooter(FileIo& io, const std::string& location);

}  // namespace k2
