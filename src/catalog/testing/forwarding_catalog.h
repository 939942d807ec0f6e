// A catalog that hands every call on to another one: for tests that change what one call does.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "catalog/catalog.h"

namespace k2::catalog {

class ForwardingCatalog : public Catalog {
 public:
  explicit ForwardingCatalog(std::shared_ptr<Catalog> base) : base_(std::move(base)) {}

  Status CreateNamespaceIfMissing(const std::string& name) override { return base_->CreateNamespaceIfMissing(name); }
  Result<std::vector<std::string>> ListNamespaces() override { return base_->ListNamespaces(); }
  Result<std::vector<TableName>> ListTables(const std::string& name) override { return base_->ListTables(name); }
  Result<TableState> Load(const TableName& table) override { return base_->Load(table); }
  Result<bool> TableExists(const TableName& table) override { return base_->TableExists(table); }
  Result<TableState> Create(const TableName& table, const CreateTableRequest& request) override {
    return base_->Create(table, request);
  }
  CommitOutcome Commit(const TableName& table, const TableState& base,
                       const std::vector<iceberg::TableRequirement>& requirements,
                       const std::vector<iceberg::TableUpdate>& updates, const BeforeSwap& before_swap) override {
    return base_->Commit(table, base, requirements, updates, before_swap);
  }
  [[nodiscard]] std::optional<std::string> LocationOfNew(const TableName& table) const override {
    return base_->LocationOfNew(table);
  }
  Result<std::optional<std::string>> MetadataLocation(const TableName& table) override {
    return base_->MetadataLocation(table);
  }
  Status Register(const TableName& table, const std::string& location,
                  const std::optional<std::string>& instead_of) override {
    return base_->Register(table, location, instead_of);
  }
  [[nodiscard]] std::optional<Displacement> displacement() const override { return base_->displacement(); }
  Status SettlePlace() override { return base_->SettlePlace(); }
  [[nodiscard]] bool RemembersPlace() const override { return base_->RemembersPlace(); }
  Status RememberPlace(const std::string& location) override { return base_->RememberPlace(location); }
  [[nodiscard]] std::string Describe() const override { return base_->Describe(); }

 protected:
  std::shared_ptr<Catalog> base_;
};

}  // namespace k2::catalog
