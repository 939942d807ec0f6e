// A run, or a service for a while, that reads and takes nothing: which is most often a mistake in what it was given.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pipeline/layer.h"

namespace k2::pipeline {

// What was read, why none of it was taken, the likely cause and the way on; nothing where something was taken, or where
// nothing was there to take: no frames, or heartbeats and replies alone. Of a layer that did not run: null.
std::optional<std::string> NothingTaken(const LayerStats* bronze, const LayerStats* silver);

// Warns, once each time, when what a layer of a service reads has been refused for a while without exception.
class RefusalWatch {
 public:
  explicit RefusalWatch(LayerId layer, int64_t patience_us = 5'000'000) : layer_(layer), patience_us_(patience_us) {}

  // `stats`: the layer's sums up to now. True when it has warned.
  bool Look(const LayerStats& stats, int64_t now_us);

 private:
  LayerId layer_;
  int64_t patience_us_;
  LayerStats since_;      // the sums when something was taken last
  int64_t since_us_ = 0;  // when the first of what was refused after that was seen; 0: nothing was
  bool told_ = false;
};

}  // namespace k2::pipeline
