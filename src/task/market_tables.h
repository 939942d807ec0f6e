// K2's tables: schemas, partitions, properties and how their files are written (docs/tables.md lists every column).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "exchange/registry.h"
#include "table/data_file_io.h"

namespace k2::task {

inline constexpr std::string_view kNamespace = "market_data";
inline constexpr std::string_view kBronzeTable = "bronze_trades";
inline constexpr std::string_view kRejectedTable = "rejected_trades";
inline constexpr std::string_view kGoldTable = "gold_crypto_trades";
// Made when it is first needed (pipeline/bronze/finished_sources.h); not one of AllTables().
inline constexpr std::string_view kFinishedTable = "finished_sources";

// Gives the fields ids above `last` as every catalog does: those of one level first, then what is nested in each.
// Returns the last one.
int32_t NumberFields(std::span<iceberg::NestedField> fields, int32_t last);

// All tables in the order they are made: bronze, rejected, one silver an exchange, gold.
std::vector<std::string> AllTables();
bool IsSilver(std::string_view table);
// The column by whose days a table's rows are kept; empty for tables that are not K2's.
std::string_view DateColumnOf(std::string_view table);

// Of the older format: prices and quantities are decimal(18,8), and there is no `source`. Such tables are worked on as
// they are, and a lakehouse that has some gets no others, until `k2 tables migrate` (docs/tables.md).
enum class TableFormat : uint8_t { kCurrent, kOlder };

// Schema, partition spec, sort order and properties of one of AllTables(), or of finished_sources.
Result<catalog::CreateTableRequest> TableDefinition(std::string_view table, TableFormat format = TableFormat::kCurrent);

// How the files of a table are encoded, by its schema as the catalog returned it.
table::WriteOptions FileOptions(std::string_view table, const iceberg::Schema& schema);

}  // namespace k2::task
