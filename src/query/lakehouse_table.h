// A table of the catalog as the query engine sees it: planned by its manifests, at one snapshot.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "query/query_table.h"
#include "table/table.h"

namespace k2::query {

// Which snapshot a query reads: the current one, or one of the past.
struct AsOf {
  std::optional<int64_t> snapshot_id;
  std::optional<int64_t> timestamp_ms;
};

// "2024-08-08T23:55:00Z", "2024-08-08", or a snapshot id. Error: kInvalidArgument.
Result<AsOf> ParseAsOf(const std::string& text);

// `load` is called when a query names the table, once; the snapshot is fixed then.
std::shared_ptr<QueryTable> MakeQueryTable(std::string name, std::function<Result<table::Table>()> load,
                                           const AsOf& as_of);

// Opens data files for QueryOptions::open_file: local ones as they are, others through `io`.
std::function<Result<std::unique_ptr<QueryFile>>(const std::string& path)> QueryFilesOf(
    std::shared_ptr<storage::FileIo> io);

}  // namespace k2::query
