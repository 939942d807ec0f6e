// A layer's progress as the JSON document "k2.offsets" of a snapshot's summary (docs/source-offsets.md):
//
//   {"version":2,"table":"<uuid>","rules":1,
//    "sources":[{"cluster":"c","topic":"t","id":"x","at":[[partition,next offset,leader epoch,messages], …]}, …],
//    "recordings":{"binance":[["<hash>",next offset,next line,next byte,"line hash",segment], …]},
//    "finished":["<uuid of finished_sources>",generation,[[first,last], …]],
//    "upstream":{"market_data.bronze_trades":["<uuid>",snapshot id,sequence number], …}}
//
// What an entry ends with is left out where it is not known or 0, and parts that are empty are. Version 1 has no
// "finished", and recordings are sources with entries [partition, next offset, leader epoch, next line, next byte,
// "line hash"]; it is read for ever. Every version keeps "version" and "table" as they are.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "table/table.h"

namespace k2::table {

inline constexpr std::string_view kOffsetsKey = "k2.offsets";  // of a snapshot's summary
inline constexpr std::string_view kOffsetsTag = "k2-offsets";  // names the snapshot that holds the latest one
// In the summary of a snapshot that holds rows of before anew (pipeline/rebuild.h): it adds none for the layer below.
inline constexpr std::string_view kRebuiltKey = "k2.rebuilt";
inline constexpr int64_t kProgressVersion = 2;

std::string ProgressToJson(const LayerProgress& progress, std::string_view table_uuid);

// nullopt: the document speaks of another table (a table's metadata that was copied or registered anew). Errors:
// kOffsetMismatch for a version that this K2 does not know, kInvalidData for a document that is broken.
Result<std::optional<LayerProgress>> ParseProgress(std::string_view json, std::string_view table_uuid);

// The progress that one snapshot carries for its table, nullopt when it carries none.
Result<std::optional<LayerProgress>> ProgressOf(const iceberg::Snapshot& snapshot, std::string_view table_uuid);

}  // namespace k2::table
