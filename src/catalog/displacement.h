// A warehouse that lies elsewhere than its catalog says: it was copied, or moved.
#pragma once

#include <string>

#include "storage/location_map.h"

namespace k2::catalog {

struct Displacement {
  storage::LocationMap map;  // from the place that the catalog remembers to where it lies
  bool copied = false;       // the original is still there; else it was moved
  // What happened and what to do, for messages.
  [[nodiscard]] std::string Describe() const;
};

}  // namespace k2::catalog
