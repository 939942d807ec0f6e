// A warehouse that lies elsewhere than its catalog says: it was copied, or moved.
#pragma once

#include <string>

#include "io/location_map.h"

namespace k2 {

struct Displacement {
  LocationMap map;      // from the place that the catalog remembers to where it lies
  bool copied = false;  // the original is still there; else it was moved
  // What happened and what to do, for messages.
  [[nodiscard]] std::string Describe() const;
};

}  // namespace k2
