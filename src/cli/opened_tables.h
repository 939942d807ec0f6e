// Tables of a lakehouse, each opened once.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "medallion/lakehouse.h"
#include "medallion/step_plan.h"

namespace k2 {

class OpenedTables {
 public:
  explicit OpenedTables(const Lakehouse& lakehouse) : lakehouse_(lakehouse) {}

  Result<Table*> Find(std::string_view name) {
    auto found = tables_.find(std::string(name));
    if (found == tables_.end()) {
      K2_ASSIGN(Table table, lakehouse_.Open(name));
      found = tables_.emplace(name, std::move(table)).first;
    }
    return &found->second;
  }
  TableByName by_name() {
    return [this](std::string_view name) { return Find(name); };
  }

 private:
  const Lakehouse& lakehouse_;
  std::map<std::string, Table> tables_;
};

}  // namespace k2
