#include "table/source_offsets.h"

#include <fmt/format.h>

namespace k2 {

std::string SourceKey::ToString() const { return fmt::format("{}/{}/{}/{}", cluster, topic, topic_id, partition); }

}  // namespace k2
