// Any bytes as a manifest and as a manifest list: they are read or refused, never worse. What is read can be written.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "iceberg/manifest.h"
#include "iceberg/manifest_list.h"
#include "iceberg/pruning.h"
#include "iceberg/table_fixture.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace k2::iceberg;
  static const TableMetadata kTable = TestTable();
  static const Pruner kPruner(kTable, {{1, CompareOp::kGe, {Literal(19000)}}, {4, CompareOp::kEq, {Literal("x")}}});
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto entries = DecodeManifest(bytes, {.sequence_number = 3, .added_snapshot_id = 7}, kTable)) {
    for (const ManifestEntry& entry : *entries) (void)kPruner.FileMayMatch(entry.file);
    (void)EncodeManifest(kTable, 0, ManifestContent::kData, 7, *entries);
  }
  if (const auto manifests = DecodeManifestList(bytes)) {
    for (const ManifestFile& manifest : *manifests) (void)kPruner.ManifestMayMatch(manifest);
    (void)EncodeManifestList(1, std::nullopt, 1, *manifests);
  }
  return 0;
}
