// Table metadata from anywhere: what parses is written and parses to the same, and changes leave it whole.
#include <cstdlib>

#include "iceberg/metadata_samples.h"
#include "iceberg/schema_json.h"

using namespace k2::iceberg;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)ParseSchema(text);
  (void)ParsePartitionFields(text);
  auto table = ParseTableMetadata(text);
  if (!table) return 0;
  const auto again = ParseTableMetadata(TableMetadataToJson(*table));
  if (!again || !(*again == *table)) std::abort();
  const auto expired = SnapshotsToExpire(*table, {.max_age_ms = 1000, .min_to_keep = 1, .max_to_keep = 2}, 5000);
  auto updates = SampleAppend(*table, 1);
  updates.emplace_back(RemoveSnapshots{expired});
  const auto changed = ApplyUpdates(std::move(*table), updates, 5000);
  if (changed && !ParseTableMetadata(TableMetadataToJson(*changed))) std::abort();
  return 0;
}
