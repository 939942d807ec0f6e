// Which metadata file is a table's current one: the only place where a commit is decided.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "catalog/displacement.h"
#include "iceberg/table_metadata.h"
#include "iceberg/table_update.h"

namespace k2::catalog {

struct TableName {
  std::string name_space;  // levels joined by '.'
  std::string name;
  auto operator<=>(const TableName&) const = default;
  [[nodiscard]] std::string ToString() const { return name_space + "." + name; }
};

// A table as the catalog held it at one moment.
struct TableState {
  std::string metadata_location;
  std::shared_ptr<const iceberg::TableMetadata> metadata;
};

// The outcome of a commit is its own type. Conflict, Rejected and NotSent let a caller delete what it wrote for the
// attempt; after Unknown the request may still land (failure is not "not committed").
struct Committed {
  TableState state;
};
struct Conflict {
  std::string reason;
};
struct Unknown {
  Error error;
};
struct Rejected {
  Error error;
};  // certainly not applied, and would not be if tried again (invalid, no permission, disk full before the swap)
// Certainly not applied, and may go through later: the service could not be reached, or was too busy to begin.
struct NotSent {
  Error error;
};
using CommitOutcome = std::variant<Committed, Conflict, Unknown, Rejected, NotSent>;

// Asked at the last moment, when all is ready for the request or the swap, and perhaps more than once. An error means
// that nothing is sent: the commit is Rejected with it.
using BeforeSwap = std::function<Status()>;

struct CreateTableRequest {
  iceberg::Schema schema;  // its field ids are a wish: use those of the table that comes back
  iceberg::PartitionSpec spec;
  iceberg::SortOrder sort_order;
  std::map<std::string, std::string> properties;
  std::string location;  // empty: the catalog's choice; the embedded one's is <warehouse>/<namespace>/<table>
};

class Catalog {
 public:
  virtual ~Catalog() = default;
  virtual Status CreateNamespaceIfMissing(const std::string& name_space) = 0;
  virtual Result<std::vector<std::string>> ListNamespaces() = 0;
  virtual Result<std::vector<TableName>> ListTables(const std::string& name_space) = 0;
  // kNotFound when there is no such table. May hand out a cached state when the catalog's pointer has not moved.
  virtual Result<TableState> Load(const TableName& table) = 0;
  virtual Result<bool> TableExists(const TableName& table) {
    const Result<TableState> state = Load(table);
    if (!state && state.error().kind != ErrorKind::kNotFound) return std::unexpected(state.error());
    return state.has_value();
  }
  // kAlreadyExists when there is one.
  virtual Result<TableState> Create(const TableName& table, const CreateTableRequest& request) = 0;
  // Applies updates to `base` if all requirements hold and no one committed since `base` was loaded (embedded) or the
  // requirements hold at the server (REST). One try: retrying is the caller's matter.
  virtual CommitOutcome Commit(const TableName& table, const TableState& base,
                               const std::vector<iceberg::TableRequirement>& requirements,
                               const std::vector<iceberg::TableUpdate>& updates,
                               const BeforeSwap& before_swap = nullptr) = 0;

  // Where a table would be made for which nothing else is asked; nullopt: the catalog says so only when it is.
  [[nodiscard]] virtual std::optional<std::string> LocationOfNew(const TableName& /*table*/) const {
    return std::nullopt;
  }
  // The current metadata file's name; it need not be there. nullopt: there is no such table.
  virtual Result<std::optional<std::string>> MetadataLocation(const TableName& table) {
    const Result<TableState> state = Load(table);
    if (state) return state->metadata_location;
    if (state.error().kind == ErrorKind::kNotFound) return std::nullopt;
    return std::unexpected(state.error());
  }
  // Makes a metadata file that is there a table's current one. `instead_of`: of a table that the catalog has, with this
  // current one (kConflict when it is another one by now); else of one that it has not (kAlreadyExists). Its namespace
  // must be there.
  virtual Status Register(const TableName& table, const std::string& /*metadata_location*/,
                          const std::optional<std::string>& /*instead_of*/) {
    return Fail(ErrorKind::kUnsupported, "{} cannot register table {}", Describe(), table.ToString());
  }

  // Set where the catalog lies with its tables and remembers another place: it can be read, and writes nothing but
  // by the next two and by Register (docs/recovery.md).
  [[nodiscard]] virtual std::optional<Displacement> displacement() const { return std::nullopt; }
  // The tables have been told where they are: the catalog's place is where it lies. Opened again, it takes writes.
  virtual Status SettlePlace() { return {}; }
  // Whether it remembers where its warehouse lies, and so finds out that it was moved.
  [[nodiscard]] virtual bool RemembersPlace() const { return false; }
  // The place that the tables' locations name is this one, wherever they lie.
  virtual Status RememberPlace(const std::string& /*location*/) { return {}; }

  [[nodiscard]] virtual std::string Describe() const = 0;  // for messages: kind and address
};

}  // namespace k2::catalog
