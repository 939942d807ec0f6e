// Rows as keys that are equal where equality deletes call rows equal. Includes Arrow: for row_deletes.cc and its
// loader.
#pragma once

#include <arrow/record_batch.h>

#include <boost/unordered/unordered_flat_set.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "iceberg/delete_index.h"
#include "iceberg/schema.h"
#include "storage/file_io.h"

namespace k2::table {

struct KeyHash {
  using is_transparent = void;
  size_t operator()(std::string_view key) const { return std::hash<std::string_view>{}(key); }
};
using KeySet = boost::unordered_flat_set<std::string, KeyHash, std::equal_to<>>;

// Appends what the row holds in these columns: null is equal to null, NaN to NaN, dictionaries stand for their values.
void AppendKey(const std::vector<const arrow::Array*>& columns, int64_t row, std::string& key);

// What a delete file removes, read once and kept while it is among those used last.
// Positions of the rows of one data file, in order.
Result<std::shared_ptr<const std::vector<int64_t>>> LoadPositions(storage::FileIo& io,
                                                                  const iceberg::DeleteFile& deletes,
                                                                  const std::string& data_file);
// The rows of an equality delete file as keys of its equality ids, read as columns of `fields` (one an id).
Result<std::shared_ptr<const KeySet>> LoadKeys(storage::FileIo& io, const iceberg::DeleteFile& deletes,
                                               const std::vector<iceberg::NestedField>& fields);
// A column of a delete file as that file itself types it: for one that the table has dropped since. kInvalidData: the
// file has no column of the id.
Result<iceberg::NestedField> FieldOfDeleteFile(storage::FileIo& io, const iceberg::DeleteFile& deletes,
                                               int32_t field_id);

}  // namespace k2::table
