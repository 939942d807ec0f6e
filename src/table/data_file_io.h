// Parquet data files: written with field ids and metrics, read by field id.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "iceberg/data_file.h"
#include "iceberg/metrics.h"
#include "iceberg/schema.h"
#include "storage/file_io.h"

namespace arrow {
class RecordBatch;
class Schema;
}  // namespace arrow

namespace k2::table {

struct WriteOptions {
  std::string codec = "zstd";  // zstd | lz4 | snappy | none
  int32_t level = 1;
  int64_t row_group_rows = 131'072;
  // Field ids without dictionary encoding, for values that rarely repeat. There is no choice beyond dictionary and
  // plain: readers of Iceberg before 1.11 refuse the delta encodings (docs/tables.md, "Files").
  std::vector<int32_t> plain_fields;
  std::vector<int32_t> bloom_fields;          // field ids with a bloom filter, sized for row_group_rows values
  double bloom_fpp = 0.01;                    // share of absent values it lets pass
  std::vector<int32_t> no_stats_fields;       // field ids without column bounds (still counted)
  std::vector<int32_t> full_bounds_fields;    // strings whose bounds are not truncated
  std::map<std::string, std::string> footer;  // key-value metadata
  int32_t sort_order_id = 0;
  iceberg::MetricsMode bounds;         // of the column bounds in the manifest
  int64_t page_bytes = 1 << 20;        // before compression
  int64_t page_rows = 20'000;          // and rows, whichever comes first
  int64_t write_batch_rows = 8'192;    // values between two looks at the page's size
  int64_t dictionary_bytes = 1 << 20;  // a larger dictionary goes over to plain encoding
};

// Arrow schema of an Iceberg schema; each field, nested ones too, carries its id as "PARQUET:field_id".
std::shared_ptr<arrow::Schema> ToArrowSchema(const iceberg::Schema& schema);

// Writes one data file. Batches must have the columns of the Iceberg schema in order; dictionary-encoded columns
// are accepted where the schema has their value type. Not for use by several threads.
class DataFileWriter {
 public:
  virtual ~DataFileWriter() = default;
  static Result<std::unique_ptr<DataFileWriter>> Create(std::shared_ptr<storage::FileIo> io, std::string location,
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

// Reads a data file's columns (top-level field ids; all of `schema` when empty) as batches in file order, converted to
// the schema's types. Columns are found by field id; those of the file that carry none, by the name mapping. A column
// that the file lacks has the value of `constants`, else the field's initial default, else null (Iceberg spec, "Column
// Projection"). `batch` returning an error stops the read with it. Errors: kInvalidData, a file that is not whole,
// whose types cannot become the schema's, or without values of a required column; kInvalidArgument, a field the schema
// does not have.
struct ReadOptions {
  std::vector<int32_t> field_ids;
  std::string name_mapping;                         // table property schema.name-mapping.default; empty: none
  std::map<int32_t, iceberg::Literal> constants{};  // by field id: partition values under an identity transform
  int64_t batch_rows = 65'536;
  // Row groups whose statistics exclude [min, max] of this int64/timestamp field are skipped; 0: none.
  int32_t range_field = 0;
  int64_t range_min = 0;
  int64_t range_max = 0;
  // Where set: says of each batch, before it is handed on, which row of the file its first one is.
  int64_t* first_row = nullptr;
  // Strings read as dictionary<int32, utf8>; below lists and maps too, by the id of the element, key or value.
  std::vector<int32_t> dictionary_fields;
};
Status ReadDataFile(storage::FileIo& io, const std::string& location, const iceberg::Schema& schema,
                    const ReadOptions& options,
                    const std::function<Status(std::shared_ptr<arrow::RecordBatch>)>& batch);

// Footer key-value metadata of a data file.
Result<std::map<std::string, std::string>> ReadFooter(storage::FileIo& io, const std::string& location);

}  // namespace k2::table
