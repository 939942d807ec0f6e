// Tables of a lakehouse, each opened once.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "pipeline/lakehouse.h"
#include "pipeline/step_plan.h"

namespace k2::cli {

class OpenedTables {
 public:
  explicit OpenedTables(const pipeline::Lakehouse& lakehouse) : lakehouse_(lakehouse) {}

  Result<table::Table*> Find(std::string_view name) {
    auto found = tables_.find(std::string(name));
    if (found == tables_.end()) {
      K2_ASSIGN(table::Table table, lakehouse_.Open(name));
      found = tables_.emplace(name, std::move(table)).first;
    }
    return &found->second;
  }
  pipeline::TableByName by_name() {
    return [this](std::string_view name) { return Find(name); };
  }

 private:
  const pipeline::Lakehouse& lakehouse_;
  std::map<std::string, table::Table> tables_;
};

}  // namespace k2::cli
