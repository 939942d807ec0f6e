// Data files without the rows that delete files remove (Iceberg spec, "Row-level Deletes"). Whoever reads a data file
// of a table reads it here, with the delete files that its planning (scan.h) names.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "iceberg/delete_index.h"
#include "table/data_file_io.h"

namespace k2::table {

// As ReadDataFile, without the deleted rows. The rows of delete files that were read last stay in memory, 64 MiB of
// them for the whole process. Errors: as of ReadDataFile; kUnsupported: equality deletes by a column within a struct,
// or by one of a type that can have no equality (list, map, struct).
Status ReadLiveRows(storage::FileIo& io, const std::string& location, const iceberg::DeleteFiles& deletes,
                    const iceberg::Schema& schema, const ReadOptions& options,
                    const std::function<Status(std::shared_ptr<arrow::RecordBatch>)>& batch);

// As ReadDataFile, deleted rows too; `deleted` says which they are, by row of the batch, and is empty where none is.
Status ReadMarkedRows(
    storage::FileIo& io, const std::string& location, const iceberg::DeleteFiles& deletes,
    const iceberg::Schema& schema, const ReadOptions& options,
    const std::function<Status(std::shared_ptr<arrow::RecordBatch> batch, const std::vector<bool>& deleted)>& batch);

// Which rows of the file are deleted: their positions, in order, each once. `options`: how columns are found.
Result<std::vector<int64_t>> ReadDeletedPositions(storage::FileIo& io, const std::string& location,
                                                  const iceberg::DeleteFiles& deletes, const iceberg::Schema& schema,
                                                  ReadOptions options = {});

}  // namespace k2::table
