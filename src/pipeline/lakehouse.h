// K2's tables in one catalog and one place of storage.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "exchange/registry.h"
#include "storage/file_io.h"
#include "table/scan.h"
#include "table/table.h"
#include "task/market_tables.h"
#include "task/task.h"

namespace k2::pipeline {

class Lakehouse {
 public:
  // `keeps_history`: commits expire no snapshot, the catalog does that.
  Lakehouse(std::shared_ptr<catalog::Catalog> catalog, std::shared_ptr<storage::FileIo> io, bool keeps_history = false)
      : catalog_(std::move(catalog)), io_(std::move(io)), keeps_history_(keeps_history) {}

  // Makes the namespace and those of K2's tables that are missing, each with an empty first snapshot, so that every
  // later commit has a head to stand on. Says how many it made.
  Result<int> CreateTables();

  // kNotFound, with what to do, when the table is not there.
  Result<table::Table> Open(std::string_view table) const;
  // Makes it where it is not there.
  Result<table::Table> OpenOrCreate(std::string_view table) const;
  // An exchange's Silver table. Nothing where it is not there and Bronze, whose progress is `bronze`, names no source
  // of the exchange: the warehouse was made by a K2 that did not know it, and its next step of Silver makes the table.
  Result<std::optional<table::Table>> OpenSilver(const exchange::Exchange& exchange,
                                                 const table::LayerProgress& bronze) const;
  // AllTables(), without Silver tables that are not there and not needed (OpenSilver), and finished_sources where it is
  // there.
  Result<std::vector<std::string>> Tables() const;

  [[nodiscard]] const std::shared_ptr<catalog::Catalog>& catalog() const { return catalog_; }
  [[nodiscard]] const std::shared_ptr<storage::FileIo>& io() const { return io_; }

 private:
  Status CreateTable(const std::string& name) const;
  // Beside trades of the older format: that, for one of them could not take what one of the present format may hold.
  [[nodiscard]] Result<task::TableFormat> FormatOfNew(std::string_view table) const;

  std::shared_ptr<catalog::Catalog> catalog_;
  std::shared_ptr<storage::FileIo> io_;
  bool keeps_history_;
};

// ShapeOf the table as it was read last.
Result<task::TableShape> ShapeOf(const table::Table& table, task::TableUse use);
// The version of the rules that a Silver table's rows are validated by now.
int32_t RulesOf(const table::Table& table);
// What a task needs to know of a data file of the table to read it.
task::InputFile InputOf(const iceberg::TableMetadata& metadata, const table::ScanFile& file);
// What a task needs to know of a table to write to it, where its columns let K2 do so. Errors: ShapeOf's.
Result<task::OutputTable> OutputOf(const table::Table& table, task::TableUse use = task::TableUse::kWrite);

}  // namespace k2::pipeline
