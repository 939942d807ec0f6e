#include "pipeline/layer_fixture.h"

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "avro/binary.h"
#include "base/time.h"
#include "base/uuid.h"
#include "iceberg/delete_index.h"
#include "iceberg/manifest.h"
#include "iceberg/manifest_list.h"
#include "iceberg/reachable_files.h"
#include "iceberg/snapshot_producer.h"
#include "iceberg/snapshot_summary.h"
#include "recording/simulator.h"
#include "table/data_file_io.h"
#include "table/metadata_store.h"
#include "table/row_deletes.h"
#include "table/scan.h"
#include "task/market_tables.h"

namespace k2::pipeline {
namespace {

namespace fs = std::filesystem;
using Batch = std::shared_ptr<arrow::RecordBatch>;

table::Table OpenTable(const Lakehouse& lakehouse, std::string_view name) {
  Result<table::Table> table = lakehouse.Open(name);
  if (!table) throw std::runtime_error(table.error().message);
  return *table;
}

void ForEachBatch(const Lakehouse& lakehouse, std::string_view name,
                  const std::function<void(const std::string& file, const Batch&)>& use) {
  const table::Table table = OpenTable(lakehouse, name);
  const auto files = table::PlanScan(*lakehouse.io(), table.metadata(), *table.metadata().current_snapshot_id, {});
  ASSERT_TRUE(files) << files.error().message;
  for (const table::ScanFile& file : *files) {
    const Status read = table::ReadLiveRows(*lakehouse.io(), file.file.file_path, file.deletes,
                                            table.metadata().CurrentSchema(), {}, [&](const Batch& batch) {
                                              use(file.file.file_path, batch);
                                              return Status{};
                                            });
    EXPECT_TRUE(read) << read.error().message;
  }
}

template <typename ArrayType>
const ArrayType& Column(const Batch& batch, const char* name) {
  return static_cast<const ArrayType&>(*batch->GetColumnByName(name));
}

// The first text of a message: of a trade its message_id. Bodies whose schema a header names begin with a text's
// length.
std::string FirstText(std::string_view payload) {
  const char first = payload.empty() ? '\0' : payload.front();
  avro::BinaryReader reader(payload.substr(first == '\0' ? 5 : first == '\1' ? 17 : 0));
  std::string_view text;
  EXPECT_TRUE(reader.ReadBytes(text));
  return std::string(text);
}

bool ByPosition(const BronzeRow& a, const BronzeRow& b) {
  return std::tie(a.topic, a.partition, a.offset) < std::tie(b.topic, b.partition, b.offset);
}

}  // namespace

uint64_t TestSeed() {
  const char* set = std::getenv("K2_SEED");
  return set != nullptr ? std::strtoull(set, nullptr, 10) : std::random_device{}();
}

std::vector<BronzeRow> ReadBronze(const Lakehouse& lakehouse) {
  std::vector<BronzeRow> rows;
  ForEachBatch(lakehouse, task::kBronzeTable, [&](const std::string&, const Batch& batch) {
    const auto& payload = Column<arrow::BinaryArray>(batch, "avro_payload");
    for (int64_t i = 0; i < batch->num_rows(); ++i) {
      BronzeRow row{.topic = batch->GetColumnByName("topic")->GetScalar(i).ValueOrDie()->ToString(),
                    .partition = Column<arrow::Int32Array>(batch, "partition").Value(i),
                    .offset = Column<arrow::Int64Array>(batch, "offset").Value(i)};
      if (payload.IsValid(i)) row.payload = payload.GetString(i);
      rows.push_back(std::move(row));
    }
  });
  std::ranges::sort(rows, ByPosition);
  return rows;
}

std::multimap<OffsetKey, RejectedRow> ReadRejected(const Lakehouse& lakehouse) {
  std::multimap<OffsetKey, RejectedRow> rows;
  ForEachBatch(lakehouse, task::kRejectedTable, [&](const std::string&, const Batch& batch) {
    for (int64_t i = 0; i < batch->num_rows(); ++i) {
      const auto text = [&](const char* name) {
        return batch->GetColumnByName(name)->GetScalar(i).ValueOrDie()->ToString();
      };
      rows.insert({{text("topic"), Column<arrow::Int32Array>(batch, "partition").Value(i),
                    Column<arrow::Int64Array>(batch, "offset").Value(i)},
                   {text("reason"), text("detail")}});
    }
  });
  return rows;
}

std::vector<StoredTrade> ReadTrades(const Lakehouse& lakehouse, std::string_view table) {
  std::vector<StoredTrade> trades;
  ForEachBatch(lakehouse, table, [&](const std::string& file, const Batch& batch) {
    for (int64_t i = 0; i < batch->num_rows(); ++i) {
      StoredTrade trade{.message_id = batch->GetColumnByName("message_id")->GetScalar(i).ValueOrDie()->ToString(),
                        .timestamp_us = Column<arrow::TimestampArray>(batch, "timestamp").Value(i),
                        .date = Column<arrow::Date32Array>(batch, "exchange_date").Value(i),
                        .file = file};
      if (batch->GetColumnByName("exchange_hour") != nullptr) {
        trade.hour = Column<arrow::Int32Array>(batch, "exchange_hour").Value(i);
      }
      for (int column = 0; column < 15; ++column) {
        trade.columns += batch->column(column)->GetScalar(i).ValueOrDie()->ToString() + "|";
      }
      trades.push_back(std::move(trade));
    }
  });
  std::ranges::sort(trades);
  return trades;
}

std::vector<std::string> GoldContents(const Lakehouse& lakehouse) {
  std::vector<std::string> rows;
  for (const StoredTrade& trade : ReadTrades(lakehouse, task::kGoldTable)) {
    rows.push_back(fmt::format("{} {} {}", trade.columns, trade.date, trade.hour));
  }
  return rows;
}

std::vector<iceberg::DataFile> LiveFiles(const Lakehouse& lakehouse, std::string_view name) {
  const table::Table table = OpenTable(lakehouse, name);
  const auto files = table::PlanScan(*lakehouse.io(), table.metadata(), *table.metadata().current_snapshot_id, {});
  EXPECT_TRUE(files) << files.error().message;
  std::vector<iceberg::DataFile> live;
  for (const table::ScanFile& file : *files) live.push_back(file.file);
  return live;
}

int64_t LiveRows(const Lakehouse& lakehouse, std::string_view table) {
  int64_t rows = 0;
  for (const iceberg::DataFile& file : LiveFiles(lakehouse, table)) rows += file.record_count;
  return rows;
}

namespace {

std::shared_ptr<arrow::Array> HeadersOf(const std::vector<BronzeRow>& rows,
                                        const std::shared_ptr<arrow::DataType>& of) {
  const auto builder = arrow::MakeBuilder(of).ValueOrDie();
  auto& lists = static_cast<arrow::ListBuilder&>(*builder);
  auto& pairs = static_cast<arrow::StructBuilder&>(*lists.value_builder());
  auto& keys = static_cast<arrow::StringBuilder&>(*pairs.field_builder(0));
  auto& values = static_cast<arrow::BinaryBuilder&>(*pairs.field_builder(1));
  for (const BronzeRow& row : rows) {
    (void)(row.headers.empty() ? lists.AppendNull() : lists.Append());
    for (const auto& [key, value] : row.headers) {
      (void)pairs.Append();
      (void)keys.Append(key);
      (void)(value ? values.Append(*value) : values.AppendNull());
    }
  }
  return builder->Finish().ValueOrDie();
}

}  // namespace

iceberg::DataFile WriteBronzeFile(const Lakehouse& lakehouse, const std::vector<BronzeRow>& rows) {
  const task::OutputTable output = *OutputOf(OpenTable(lakehouse, task::kBronzeTable));
  arrow::BinaryBuilder keys;
  arrow::BinaryBuilder payloads;
  arrow::StringBuilder topics;
  arrow::Int32Builder partitions;
  arrow::Int64Builder offsets;
  const auto utc = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
  arrow::TimestampBuilder times(utc, arrow::default_memory_pool());
  arrow::Date32Builder dates;
  for (const BronzeRow& row : rows) {
    (void)keys.AppendNull();
    (void)(row.payload ? payloads.Append(*row.payload) : payloads.AppendNull());
    (void)topics.Append(row.topic);
    (void)partitions.Append(row.partition);
    (void)offsets.Append(row.offset);
    (void)times.Append(row.time_us);
    (void)dates.Append(DayOfMicros(rows.front().time_us));
  }
  const auto time = times.Finish().ValueOrDie();
  const std::shared_ptr<arrow::Schema> schema = table::ToArrowSchema(output.shape.schema);
  std::vector<std::shared_ptr<arrow::Array>> columns = {keys.Finish().ValueOrDie(),
                                                        payloads.Finish().ValueOrDie(),
                                                        topics.Finish().ValueOrDie(),
                                                        partitions.Finish().ValueOrDie(),
                                                        offsets.Finish().ValueOrDie(),
                                                        time,
                                                        time,
                                                        dates.Finish().ValueOrDie()};
  const auto count = static_cast<int64_t>(rows.size());
  while (columns.size() < static_cast<size_t>(schema->num_fields())) {  // the optional ones
    const auto& field = schema->field(static_cast<int>(columns.size()));
    columns.push_back(field->name() == "headers" ? HeadersOf(rows, field->type())
                                                 : arrow::MakeArrayOfNull(field->type(), count).ValueOrDie());
  }
  const Batch batch = arrow::RecordBatch::Make(schema, count, std::move(columns));
  const std::vector<iceberg::Literal> partition = {DayOfMicros(rows.front().time_us)};
  auto writer = table::DataFileWriter::Create(
      lakehouse.io(), *task::DataFileLocation(output, partition, RandomHex64(), 0), output.shape.schema, output.spec,
      partition, task::FileOptions(output.name, output.shape.schema));
  EXPECT_TRUE(writer && (*writer)->Write(*batch));
  const auto file = (*writer)->Finish();
  EXPECT_TRUE(file) << file.error().message;
  return *file;
}

table::SourceKey KafkaKey(const std::string& topic, int32_t partition) { return {"c", topic, "id", partition}; }

void CommitBronze(const Lakehouse& lakehouse, const std::vector<BronzeRow>& rows) {
  table::Table table = OpenTable(lakehouse, task::kBronzeTable);
  table::LayerCommit commit;
  commit.added = {WriteBronzeFile(lakehouse, rows)};
  const auto progress = table::ReadProgress(table.metadata());
  ASSERT_TRUE(progress);
  for (const BronzeRow& row : rows) {
    const table::SourceKey key = KafkaKey(row.topic, row.partition);
    if (progress->positions.contains(key)) commit.base.positions[key] = progress->positions.at(key);
    table::SourcePosition& next = commit.next.positions[key];
    next.next_offset = std::max(next.next_offset, row.offset + 1);
  }
  ASSERT_TRUE(std::holds_alternative<table::CommitDone>(table.Commit(commit)));
}

void ForeignSnapshot(const Lakehouse& lakehouse, std::string_view name, const std::string& operation,
                     const std::vector<iceberg::DataFile>& added, const std::vector<iceberg::DataFile>& removed) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    const table::Table table = OpenTable(lakehouse, name);
    table::MetadataStore store(*lakehouse.io(), table.metadata().location);
    iceberg::SnapshotRequest request;
    request.operation = operation;
    request.added = added;
    request.removed = removed;
    request.snapshot_id = RandomPositiveInt64();
    request.now_ms = NowMicros() / 1000;
    request.planned_sequence = table.metadata().last_sequence_number;
    const auto produced = iceberg::ProduceSnapshot(store, table.metadata(), request);
    ASSERT_TRUE(produced) << produced.error().message;
    const auto outcome = lakehouse.catalog()->Commit(
        table.name(), table.state(), {},
        {iceberg::AddSnapshot{produced->snapshot},
         iceberg::SetSnapshotRef{"main", {.snapshot_id = request.snapshot_id, .is_branch = true}}});
    if (std::holds_alternative<catalog::Committed>(outcome)) return;
  }
  FAIL() << "the foreign commit never won";
}

namespace {

// A snapshot that adds a delete file, beside the data file whose partition it is of.
void ForeignDeletes(const Lakehouse& lakehouse, std::string_view name, const iceberg::DataFile& data,
                    iceberg::FileContent content, const iceberg::Schema& schema, const Batch& rows) {
  const std::string path = data.file_path.substr(0, data.file_path.rfind('/')) + "/" + RandomHex64() + ".parquet";
  auto writer = table::DataFileWriter::Create(lakehouse.io(), path, schema, {}, {}, table::WriteOptions{});
  ASSERT_TRUE(writer && (*writer)->Write(*rows));
  auto file = (*writer)->Finish();
  ASSERT_TRUE(file) << file.error().message;
  file->content = content;
  file->spec_id = data.spec_id;
  file->partition = data.partition;
  file->sort_order_id.reset();
  if (content == iceberg::FileContent::kEqualityDeletes) file->equality_ids = {schema.fields.front().id};
  for (int attempt = 0; attempt < 100; ++attempt) {
    const table::Table table = OpenTable(lakehouse, name);
    const iceberg::TableMetadata& metadata = table.metadata();
    table::MetadataStore store(*lakehouse.io(), metadata.location);
    const iceberg::Snapshot& head = *metadata.CurrentSnapshot();
    iceberg::Snapshot snapshot{.snapshot_id = RandomPositiveInt64(),
                               .parent_snapshot_id = head.snapshot_id,
                               .sequence_number = metadata.last_sequence_number + 1,
                               .timestamp_ms = std::max(NowMicros() / 1000, metadata.last_updated_ms),
                               .operation = "delete",
                               .schema_id = metadata.current_schema_id};
    auto manifests = iceberg::ReadManifests(store, head);
    ASSERT_TRUE(manifests);
    const iceberg::ManifestEntry entry{.snapshot_id = snapshot.snapshot_id, .file = *file};
    const auto manifest = iceberg::WriteManifest(store, metadata, file->spec_id, iceberg::ManifestContent::kDeletes,
                                                 snapshot.snapshot_id, {entry});
    ASSERT_TRUE(manifest) << manifest.error().message;
    manifests->push_back(*manifest);
    iceberg::SnapshotTotals totals;
    ASSERT_TRUE(iceberg::SnapshotTotals::Parse(head.summary, totals));
    iceberg::SnapshotChanges changes;
    changes.Added(*file);
    changes.WriteTo(totals, snapshot.summary);
    const auto list =
        iceberg::EncodeManifestList(snapshot.snapshot_id, head.snapshot_id, snapshot.sequence_number, *manifests);
    snapshot.manifest_list = store.NewPath(iceberg::MetadataFileKind::kManifestList);
    ASSERT_TRUE(list && store.WriteNew(snapshot.manifest_list, *list));
    const auto outcome = lakehouse.catalog()->Commit(
        table.name(), table.state(), {},
        {iceberg::AddSnapshot{snapshot},
         iceberg::SetSnapshotRef{"main", {.snapshot_id = snapshot.snapshot_id, .is_branch = true}}});
    if (std::holds_alternative<catalog::Committed>(outcome)) return;
  }
  FAIL() << "the foreign commit never won";
}

}  // namespace

void ForeignPositionDeletes(const Lakehouse& lakehouse, std::string_view table, const iceberg::DataFile& file,
                            const std::vector<int64_t>& positions) {
  iceberg::Schema schema;
  schema.fields = {{.id = iceberg::kDeletePathFieldId,
                    .name = "file_path",
                    .required = true,
                    .type = iceberg::Type::Primitive(iceberg::TypeId::kString)},
                   {.id = iceberg::kDeletePositionFieldId,
                    .name = "pos",
                    .required = true,
                    .type = iceberg::Type::Primitive(iceberg::TypeId::kLong)}};
  arrow::StringBuilder paths;
  arrow::Int64Builder rows;
  for (const int64_t position : positions) {
    (void)paths.Append(file.file_path);
    (void)rows.Append(position);
  }
  ForeignDeletes(lakehouse, table, file, iceberg::FileContent::kPositionDeletes, schema,
                 arrow::RecordBatch::Make(table::ToArrowSchema(schema), static_cast<int64_t>(positions.size()),
                                          {paths.Finish().ValueOrDie(), rows.Finish().ValueOrDie()}));
}

void ForeignEqualityDeletes(const Lakehouse& lakehouse, std::string_view table, const iceberg::DataFile& file,
                            const std::string& column, const std::vector<std::string>& values) {
  iceberg::Schema schema;
  schema.fields = {*OpenTable(lakehouse, table).metadata().CurrentSchema().Find(column)};
  arrow::StringBuilder texts;
  for (const std::string& value : values) (void)texts.Append(value);
  ForeignDeletes(lakehouse, table, file, iceberg::FileContent::kEqualityDeletes, schema,
                 arrow::RecordBatch::Make(table::ToArrowSchema(schema), static_cast<int64_t>(values.size()),
                                          {texts.Finish().ValueOrDie()}));
}

void ForeignCompaction(const Lakehouse& lakehouse, std::string_view name, const std::string& operation) {
  const table::Table table = OpenTable(lakehouse, name);
  const task::OutputTable output = *OutputOf(table);
  std::map<std::vector<iceberg::Literal>, std::vector<iceberg::DataFile>> by_partition;
  for (iceberg::DataFile& file : LiveFiles(lakehouse, name)) by_partition[file.partition].push_back(file);
  std::vector<iceberg::DataFile> added;
  std::vector<iceberg::DataFile> removed;
  for (const auto& [partition, files] : by_partition) {
    if (files.size() < 2) continue;
    // Other engines know nothing of our encodings.
    auto writer =
        table::DataFileWriter::Create(lakehouse.io(), *task::DataFileLocation(output, partition, RandomHex64(), 0),
                                      output.shape.schema, output.spec, partition, table::WriteOptions{});
    ASSERT_TRUE(writer);
    for (const iceberg::DataFile& file : files) {
      ASSERT_TRUE(table::ReadDataFile(*lakehouse.io(), file.file_path, output.shape.schema, {},
                                      [&](const Batch& batch) { return (*writer)->Write(*batch); }));
      removed.push_back(file);
    }
    auto file = (*writer)->Finish();
    ASSERT_TRUE(file) << file.error().message;
    added.push_back(*file);
  }
  if (!added.empty()) ForeignSnapshot(lakehouse, name, operation, added, removed);
}

void ForeignExpiry(const Lakehouse& lakehouse, std::string_view name) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    const table::Table table = OpenTable(lakehouse, name);
    const iceberg::TableMetadata& metadata = table.metadata();
    std::set<int64_t> named;
    for (const auto& [ref, at] : metadata.refs) named.insert(at.snapshot_id);
    std::vector<int64_t> expired;
    for (const auto& snapshot : metadata.snapshots) {
      if (!named.contains(snapshot.snapshot_id)) expired.push_back(snapshot.snapshot_id);
    }
    if (expired.empty()) return;
    table::MetadataStore store(*lakehouse.io(), metadata.location);
    const auto files = iceberg::FilesOnlyIn(store, metadata, expired);
    ASSERT_TRUE(files);
    const auto outcome =
        lakehouse.catalog()->Commit(table.name(), table.state(), {}, {iceberg::RemoveSnapshots{expired}});
    if (!std::holds_alternative<catalog::Committed>(outcome)) continue;
    for (const auto* list : {&files->data_files, &files->manifests, &files->manifest_lists}) {
      for (const std::string& path : *list) ASSERT_TRUE(lakehouse.io()->Delete(path));
    }
    return;
  }
  FAIL() << "the expiry never won";
}

namespace {

void CheckFiles(const Lakehouse& lakehouse) {
  for (const std::string& name : task::AllTables()) {
    const table::Table table = OpenTable(lakehouse, name);
    std::set<std::string> on_disk;
    const auto list = lakehouse.io()->List(table.metadata().location);
    ASSERT_TRUE(list);
    for (const storage::FileInfo& file : *list) on_disk.insert(file.location);
    table::MetadataStore store(*lakehouse.io(), table.metadata().location);
    const Status walked = iceberg::ForEachReachable(store, table.metadata(), [&](auto, const std::string& path) {
      EXPECT_TRUE(on_disk.contains(path)) << name << " lacks " << path;
      return Status{};
    });
    EXPECT_TRUE(walked) << walked.error().message;
  }
}

// message_ids of the rows of Bronze that rejected_trades does not hold.
std::vector<std::string> AcceptedIds(const Lakehouse& lakehouse) {
  const auto rejected = ReadRejected(lakehouse);
  std::set<OffsetKey> keys;
  for (const auto& [key, row] : rejected) EXPECT_TRUE(keys.insert(key).second) << "rejected twice: " << row.reason;
  std::vector<std::string> ids;
  const std::vector<BronzeRow> rows = ReadBronze(lakehouse);
  for (size_t i = 0; i < rows.size(); ++i) {
    const BronzeRow& row = rows[i];
    const bool follows = i > 0 && rows[i - 1].topic == row.topic && rows[i - 1].partition == row.partition;
    EXPECT_EQ(row.offset, follows ? rows[i - 1].offset + 1 : 0) << "Bronze has a gap or a row twice in " << row.topic;
    if (keys.erase({row.topic, row.partition, row.offset}) == 0) ids.push_back(FirstText(row.payload.value()));
  }
  EXPECT_TRUE(keys.empty()) << "rejected rows that Bronze does not hold";
  return ids;
}

}  // namespace

void CheckTables(const Lakehouse& lakehouse, int64_t gold_trades) {
  CheckFiles(lakehouse);
  std::vector<std::string> expected = AcceptedIds(lakehouse);
  std::vector<std::string> silver;
  for (const exchange::Exchange* exchange : exchange::Exchanges()) {
    for (const StoredTrade& trade : ReadTrades(lakehouse, exchange->silver_table)) {
      silver.push_back(trade.message_id);
      EXPECT_EQ(trade.date, DayOfMicros(trade.timestamp_us));
    }
  }
  std::ranges::sort(expected);
  std::ranges::sort(silver);
  EXPECT_EQ(silver.size(), expected.size());
  EXPECT_TRUE(silver == expected) << "Silver and rejected_trades do not make up Bronze";
  std::vector<std::string> gold;
  for (const StoredTrade& trade : ReadTrades(lakehouse, task::kGoldTable)) {
    gold.push_back(trade.message_id);
    EXPECT_EQ(trade.date * 24 + trade.hour, HourOfMicros(trade.timestamp_us));
  }
  EXPECT_EQ(static_cast<int64_t>(gold.size()), gold_trades);
  silver.erase(std::ranges::unique(silver).begin(), silver.end());
  std::ranges::sort(gold);
  EXPECT_TRUE(gold == silver) << "Gold does not hold each id of Silver once";
}

void LayerTest::SetUp() {
  root_ = (fs::temp_directory_path() / ("k2-layers-" + RandomHex64())).string();
  fs::create_directories(root_);
}
void LayerTest::TearDown() { fs::remove_all(root_); }

Lakehouse LayerTest::OpenLakehouse(std::shared_ptr<storage::FileIo> io, catalog::SqliteCatalogOptions options) const {
  auto catalog = catalog::OpenSqliteCatalog(root_ + "/warehouse", io, std::move(options));
  EXPECT_TRUE(catalog) << catalog.error().message;
  return {*catalog, std::move(io)};
}

void LayerTest::MakeTables() const {
  Lakehouse lakehouse = OpenLakehouse();
  const auto made = lakehouse.CreateTables();
  ASSERT_TRUE(made) << made.error().message;
}

void LayerTest::Simulate(int64_t trades_each, uint64_t seed, int64_t duplicates_ppm) {
  // Tables of the others stay empty, as they do for most users.
  for (const exchange::Exchange* exchange : exchange::Exchanges().first(2)) {
    recording::SimulatorOptions options;
    options.exchange = exchange;
    options.trades = trades_each;
    options.seed = seed;
    options.first_id = static_cast<int64_t>(seed) * 1'000'000;
    options.start_us = 1'704'240'000'000'000 - trades_each * 500;  // half of it before midnight
    options.duplicates_ppm = duplicates_ppm;
    options.malformed_ppm = 30'000;
    const std::string name(exchange->name);
    const std::string path = fmt::format("{}/{}-{}.txt", root_, name, seed);
    const auto counts = recording::SimulateToFile(options, {.path = path});
    ASSERT_TRUE(counts) << counts.error().message;
    recordings_.push_back({name, path});
    trades_ += counts->trades;
    malformed_ += counts->malformed;
  }
}

RunOptions LayerTest::Options() const {
  RunOptions options;
  options.layer = layer_;
  options.sources = [recordings = recordings_] { return OpenRecordings(recordings, false); };
  options.schemas = std::make_shared<registry::FileSchemaSource>();
  return options;
}

Result<RunReport> LayerTest::RunAll(const Lakehouse& lakehouse, const RunOptions& options) {
  const std::atomic<bool> stop{false};
  RunProgress progress;
  return k2::pipeline::Run(lakehouse, options, stop, progress);
}

}  // namespace k2::pipeline
