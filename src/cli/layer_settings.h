// What a layer works on, for the commands that plan: --topics, --partitions, --start, --dedup-memory.
#pragma once

#include <string>
#include <string_view>

#include "cli/commands.h"
#include "pipeline/bronze/source_set.h"
#include "pipeline/gold/gold_layer.h"
#include "pipeline/layer.h"
#include "pipeline/layer_id.h"

namespace k2::cli {

void AddLayerSettings(Program& program);

// The partitions of Kafka that --kafka, --topics and --partitions name, and where to begin in them.
Result<pipeline::KafkaFeed> KafkaFeedOf(const Settings& settings);
// Whether a partition is among those of a feed.
std::function<bool(std::string_view topic, int32_t partition)> OwnedBy(const pipeline::KafkaFeed& feed);

// Of --layer. Error kInvalidArgument, with the names that the command takes.
Result<pipeline::LayerId> LayerOfFlag(std::string_view text, std::string_view names = "bronze, silver or gold");

// exchange_date from and to, YYYY-MM-DD, both included; empty: without end.
Result<pipeline::DayRange> DaysOf(const std::string& from, const std::string& to);

}  // namespace k2::cli
