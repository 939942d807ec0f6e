// Which layer something belongs to: a step and its commits, metrics, log lines.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace k2::pipeline {

// In the order in which rows move. Compaction moves none, but is planned, run and committed as a layer's step is.
enum class LayerId : uint8_t { kBronze, kSilver, kGold, kCompaction };

inline constexpr size_t kLayers = 3;  // that rows move through
inline constexpr std::array<std::string_view, 4> kLayerNames = {"bronze", "silver", "gold", "compaction"};

constexpr std::string_view ToString(LayerId layer) { return kLayerNames[static_cast<size_t>(layer)]; }

// By its name. Error kInvalidArgument.
inline Result<LayerId> LayerNamed(std::string_view name) {
  for (size_t i = 0; i < kLayerNames.size(); ++i) {
    if (kLayerNames[i] == name) return static_cast<LayerId>(i);
  }
  return Fail(ErrorKind::kInvalidArgument, "unknown layer '{}'", name);
}

}  // namespace k2::pipeline
