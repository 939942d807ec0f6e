// Data files as JSON, as task results carry them from where they were written to where they are committed.
#pragma once

#include <map>
#include <nlohmann/json.hpp>

#include "base/result.h"
#include "iceberg/data_file.h"

namespace k2::task {

// Literals by field id.
nlohmann::json LiteralMapToJson(const std::map<int32_t, iceberg::Literal>& literals);
std::map<int32_t, iceberg::Literal> LiteralMapFromJson(const nlohmann::json& json);  // throws as the one below

nlohmann::json DataFileToJson(const iceberg::DataFile& file);
// Throws nlohmann::json::exception or std::invalid_argument on a document of another form: for task_json.cc, which
// catches both.
iceberg::DataFile DataFileFromJson(const nlohmann::json& json);

}  // namespace k2::task
