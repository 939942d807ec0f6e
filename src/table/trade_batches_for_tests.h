// Silver- and Bronze-shaped tables and rows of real shape, for tests and benchmarks.
#pragma once

#include <cstdint>
#include <memory>

#include "iceberg/schema.h"

namespace arrow {
class RecordBatch;
}

namespace k2::table {

iceberg::Schema SilverSchemaForTests();
iceberg::Schema BronzeSchemaForTests();

struct BatchShape {
  int64_t rows = 131'072;
  int64_t first_row = 0;            // rows are a function of their number
  bool dictionaries = false;        // symbol, exchange, asset_class, currency, side
  bool key_dictionaries = false;    // keys of vendor_data
  bool value_dictionaries = false;  // its values
  bool vendor_data = true;          // else null
};
std::shared_ptr<arrow::RecordBatch> SilverBatchForTests(const BatchShape& shape);
std::shared_ptr<arrow::RecordBatch> BronzeBatchForTests(int64_t rows, int64_t first_row = 0);

}  // namespace k2::table
