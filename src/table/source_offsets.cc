#include "table/source_offsets.h"

#include <fmt/format.h>

namespace k2::table {

std::string SourceKey::ToString() const { return fmt::format("{}/{}/{}/{}", cluster, topic, topic_id, partition); }

}  // namespace k2::table
