// Tables as others may have changed them: any metadata that parses, and K2's own after any changes of schema, spec and
// properties. Their shape is found or refused, and what is found is read by the pruner and written to manifests.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "iceberg/literal.h"
#include "iceberg/manifest.h"
#include "iceberg/name_mapping.h"
#include "iceberg/pruning.h"
#include "iceberg/transform.h"
#include "task/market_tables.h"
#include "task/table_shape.h"

namespace {

using namespace k2;

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  [[nodiscard]] bool empty() const { return at_ >= size_; }
  uint8_t Next() { return empty() ? 0 : data_[at_++]; }
  template <typename T>
  const T& Of(const std::vector<T>& all) {
    return all[Next() % all.size()];
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

const std::vector<iceberg::Type>& Types() {
  using iceberg::Type;
  using iceberg::TypeId;
  static const std::vector<Type> types = {
      Type::Primitive(TypeId::kInt),
      Type::Primitive(TypeId::kLong),
      Type::Decimal(18, 8),
      Type::Decimal(38, 8),
      Type::Decimal(24, 14),
      Type::Decimal(24, 8),
      Type::Decimal(38, 14),
      Type::Decimal(9, 2),
      Type::Primitive(TypeId::kString),
      Type::Primitive(TypeId::kTimestamptz),
      Type::Primitive(TypeId::kDate),
      Type::Primitive(TypeId::kBinary),
      Type::Primitive(TypeId::kDouble),
      Type::Primitive(TypeId::kFloat),
      Type::List(90, false, Type::Decimal(18, 8)),
      Type::Map(91, Type::Primitive(TypeId::kInt), 92, true, Type::Primitive(TypeId::kLong))};
  return types;
}

void Change(Bytes& bytes, iceberg::TableMetadata& metadata) {
  static const std::vector<std::string> transforms = {"identity", "void", "day",        "hour",
                                                      "month",    "year", "bucket[16]", "truncate[4]"};
  if (bytes.Next() % 4 == 0) {  // a version more
    metadata.schemas.push_back(metadata.CurrentSchema());
    metadata.current_schema_id = metadata.schemas.back().schema_id = static_cast<int32_t>(metadata.schemas.size());
  }
  iceberg::Schema& schema = metadata.schemas.back();
  const size_t at = schema.fields.empty() ? 0 : bytes.Next() % schema.fields.size();
  switch (schema.fields.empty() ? 5 : bytes.Next() % 10) {
    case 0: schema.fields[at].name += static_cast<char>('a' + bytes.Next() % 26); break;
    case 1: schema.fields.erase(schema.fields.begin() + static_cast<std::ptrdiff_t>(at)); break;
    case 2: std::swap(schema.fields[at], schema.fields[bytes.Next() % schema.fields.size()]); break;
    case 3: schema.fields[at].type = bytes.Of(Types()); break;
    case 4: schema.fields[at].required = !schema.fields[at].required; break;
    case 5:
      schema.fields.push_back({.id = ++metadata.last_column_id,
                               .name = bytes.Next() % 2 == 0 ? "currency" : "theirs",
                               .required = bytes.Next() % 4 == 0,
                               .type = bytes.Of(Types())});
      break;
    case 6:
      metadata.properties[std::string(task::kColumnsProperty)] = task::ColumnsToJson({{"symbol", bytes.Next()}});
      break;
    case 7: metadata.properties.erase(std::string(task::kColumnsProperty)); break;
    case 8: schema.fields[at].name = schema.fields[bytes.Next() % schema.fields.size()].name; break;
    default:
      metadata.partition_specs.push_back(
          {.spec_id = static_cast<int32_t>(metadata.partition_specs.size()),
           .fields = {{schema.fields[at].id, 1000 + bytes.Next() % 4, "part", bytes.Of(transforms)}}});
      metadata.default_spec_id = metadata.partition_specs.back().spec_id;
  }
}

iceberg::Literal LiteralOf(Bytes& bytes) {
  const int64_t number = static_cast<int8_t>(bytes.Next());
  switch (bytes.Next() % 6) {
    case 0: return static_cast<int32_t>(number);
    case 1: return number;
    case 2: return static_cast<iceberg::Int128>(number);
    case 3: return std::string(static_cast<size_t>(number & 7), 'x');
    case 4: return static_cast<double>(number);
    default: return {};
  }
}

void Use(Bytes& bytes, const iceberg::TableMetadata& metadata) {
  std::vector<iceberg::ColumnPredicate> conjuncts;
  for (const iceberg::NestedField& field : metadata.CurrentSchema().fields) {
    conjuncts.push_back({field.id, iceberg::CompareOp::kGe, {LiteralOf(bytes)}});
  }
  const iceberg::Pruner pruner(metadata, conjuncts);
  for (const iceberg::PartitionSpec& spec : metadata.partition_specs) {
    iceberg::ManifestEntry entry{.snapshot_id = 1, .file = {.file_path = "f", .spec_id = spec.spec_id}};
    for (size_t i = 0; i < spec.fields.size(); ++i) entry.file.partition.push_back(LiteralOf(bytes));
    for (const auto& predicate : conjuncts) {
      entry.file.lower_bounds[predicate.field_id] = std::string(bytes.Next() % 17, '\x01');
      entry.file.upper_bounds[predicate.field_id] = std::string(bytes.Next() % 17, '\x7f');
    }
    (void)pruner.FileMayMatch(entry.file);
    (void)pruner.AllRowsMatch(entry.file);
    (void)iceberg::IdentityValues(metadata, entry.file);
    (void)iceberg::PartitionPath(spec, metadata.CurrentSchema(), entry.file.partition);
    const auto written = iceberg::EncodeManifest(metadata, spec.spec_id, iceberg::ManifestContent::kData, 1, {entry});
    if (!written) continue;
    iceberg::ManifestFile manifest = written->file;
    manifest.sequence_number = 1;
    const auto read = iceberg::DecodeManifest(written->bytes, manifest, metadata);
    if (!read || read->size() != 1) std::abort();
    (void)pruner.ManifestMayMatch(manifest);
  }
}

void Check(std::string_view table, const iceberg::TableMetadata& metadata) {
  for (const task::TableUse use : {task::TableUse::kRead, task::TableUse::kWrite}) {
    const Result<task::TableShape> shape = task::ShapeOf(table, metadata, use);
    if (!shape) continue;
    const iceberg::Schema rows = shape->Rows();
    if (rows.fields.size() != shape->schema.fields.size()) std::abort();
    // What tasks ask for without a look is there, once.
    const catalog::CreateTableRequest definition = *task::TableDefinition(table);
    for (const iceberg::NestedField& own : definition.schema.fields) {
      const iceberg::NestedField* field = rows.Find(own.name);
      if (field == nullptr && own.required) std::abort();
      if (field != nullptr && !task::HoldsValuesOf(field->type, own.type) && !task::IsOfOlderFormat(field->type, own))
        std::abort();
    }
    (void)task::FileOptions(table, rows);
  }
  (void)task::MissingColumnsProperty(table, metadata);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)iceberg::ParseNameMapping(text);
  if (const auto parsed = iceberg::ParseTableMetadata(text)) {
    Bytes bytes(data, size);
    for (const std::string& table : task::AllTables()) Check(table, *parsed);
    Use(bytes, *parsed);
  }
  Bytes bytes(data, size);
  const std::string table = bytes.Of(task::AllTables());
  const catalog::CreateTableRequest definition = *task::TableDefinition(table);
  iceberg::TableMetadata metadata;
  metadata.schemas = {definition.schema};
  metadata.last_column_id = definition.schema.HighestFieldId();
  metadata.partition_specs = {definition.spec};
  metadata.properties = task::MissingColumnsProperty(table, metadata);
  for (int changes = 0; changes < 24 && !bytes.empty(); ++changes) Change(bytes, metadata);
  Check(table, metadata);
  Use(bytes, metadata);
  return 0;
}
