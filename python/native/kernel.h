// The kernel's four functions over batches of Arrow data. Pure C++: no Python here, so that it runs without the GIL.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "batches.h"
#include "columns.h"
#include "exchange/exchange.h"

namespace k2::python {

// Batches that were handed in, released at the end.
struct Input {
  std::vector<SharedBatch> batches;
  std::string name;  // for messages: frames, messages, trades
};

// Frames and when they were received: one time for all, or a column.
struct Received {
  std::optional<int64_t> us;
  std::optional<Input> column;
};

struct Normalised {
  Table trades;
  Table rejects;  // row, reason, detail
  int64_t skipped = 0;
};
Normalised Normalise(const exchange::Exchange& exchange, const Input& frames, const Received& received,
                     bool dictionaries);

// message_key, avro_payload: as they stand in Bronze.
Table Encode(const Input& trades, int32_t schema_id);

struct Decoded {
  Table trades;
  Table rejects;  // row, schema_id, reason, detail
};
// Without an exchange every trade that decodes is taken; with one, those that its Silver table takes.
Decoded Decode(const Input& messages, const std::map<int32_t, std::string>& schemas,
               const std::optional<std::string>& exchange, bool dictionaries);

}  // namespace k2::python
