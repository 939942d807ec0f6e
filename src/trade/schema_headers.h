// The Kafka headers in which a message may name its schema (docs/messages.md), in the order in which they count.
#pragma once

#include <array>
#include <string_view>

namespace k2::trade {

inline constexpr std::string_view kConfluentHeader = "__value_schema_id";
// io.apicurio.registry.serde.headers: a long, big-endian.
inline constexpr std::string_view kContentIdHeader = "apicurio.value.contentId";
inline constexpr std::string_view kGlobalIdHeader = "apicurio.value.globalId";
inline constexpr std::array kSchemaHeaders = {kConfluentHeader, kContentIdHeader, kGlobalIdHeader};

}  // namespace k2::trade
