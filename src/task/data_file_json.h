// Data files as JSON, as task results carry them from where they were written to where they are committed.
#pragma once

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "iceberg/data_file.h"

namespace k2 {

nlohmann::json DataFileToJson(const iceberg::DataFile& file);
// Throws nlohmann::json::exception or std::invalid_argument on a document of another form: for task_json.cc, which
// catches both.
iceberg::DataFile DataFileFromJson(const nlohmann::json& json);

}  // namespace k2
