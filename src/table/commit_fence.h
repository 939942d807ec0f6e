// What makes a commit exactly once: the head must stand where the batch starts from (docs/source-offsets.md,
// "Committing: the fence").
#pragma once

#include "table/table.h"

namespace k2::table {

// Every own key of the commit must stand at the head as the batch found it. kOffsetMismatch: it does not, or rows that
// the batch was compared with have changed; nothing of the batch may be committed.
Status CheckFence(const LayerCommit& commit, const FoundProgress& at_head, const iceberg::TableMetadata& metadata,
                  const catalog::TableName& table);

// The head's document with what the commit changes in it.
LayerProgress ProgressAfter(LayerProgress head, const LayerCommit& commit);

}  // namespace k2::table
