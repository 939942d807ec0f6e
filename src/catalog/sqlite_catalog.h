// The embedded catalog: one SQLite file with the tables of Iceberg's JDBC catalog, so that PyIceberg's SqlCatalog and
// Java's JdbcCatalog open the same one. A commit is one UPDATE that names the metadata file it replaces.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "catalog/catalog.h"
#include "storage/file_io.h"

namespace k2::catalog {

// What befalls the reply of a swap, in tests.
enum class SwapFault {
  kNone,
  kReplyLost,    // applied, reported as Unknown
  kRequestLost,  // not applied, reported as Unknown
};

struct SqliteCatalogOptions {
  std::string catalog_name = "iceberg";
  int busy_timeout_ms = 10'000;     // how long a call waits for other processes
  std::function<int64_t()> now_ms;  // wall clock; empty: the machine's
  // For tests. Steps of Create and Commit: "metadata-written", "before-swap", "after-swap".
  std::function<void(std::string_view step)> on_step;
  std::function<SwapFault()> swap_fault;
};

// `warehouse`: folder of catalog.db and, unless a table says otherwise, of the tables; a path or file URI; it is made
// when it is missing. Safe to share between threads; several processes may have the same catalog open.
Result<std::shared_ptr<Catalog>> OpenSqliteCatalog(const std::string& warehouse, std::shared_ptr<storage::FileIo> io,
                                                   SqliteCatalogOptions options = {});

}  // namespace k2::catalog
