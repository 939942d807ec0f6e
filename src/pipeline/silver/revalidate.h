// rejected_trades again by the rules and frame parsers of now, without Bronze: its rows hold the messages. Rows that
// are accepted now go to Silver first, then leave rejected_trades (docs/rebuild.md).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "pipeline/layer.h"
#include "registry/schema_source.h"

namespace k2::pipeline {

struct RevalidatedRows {
  int64_t accepted = 0;  // rows that have left rejected_trades, or would
  int64_t trades = 0;    // rows of Silver that they have become: of a RejectedFrame perhaps several
  int64_t left = 0;      // rows that stay
};

// By the reason of the rows. A dry run changes nothing. A run that was interrupted is finished first; its rows are not
// counted again. Several processes may do it at once, beside running layers. Errors: kConflict: others have changed the
// tables again and again.
Result<std::map<std::string, RevalidatedRows>> RevalidateRejected(
    const Lakehouse& lakehouse, const LayerOptions& options, const std::shared_ptr<registry::SchemaSource>& schemas,
    bool dry_run, LayerStats& stats);

}  // namespace k2::pipeline
