// What layers make of what other engines do to the tables they read, and to those they write.
#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>

#include <thread>

#include "base/health.h"
#include "base/time.h"
#include "pipeline/accept.h"
#include "pipeline/cluster_fixture.h"
#include "pipeline/standing.h"
#include "table/accepted.h"
#include "table/data_file_io.h"
#include "task/market_tables.h"

namespace k2::pipeline {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kSilverBinance = "silver_binance_trades";

class UpstreamTest : public LayerTest {
 protected:
  void SetUp() override {
    LayerTest::SetUp();
    MakeTables();
    lakehouse_.emplace(OpenLakehouse());
  }
  [[nodiscard]] Result<RunReport> Run(bool bronze, bool silver, bool gold) {
    RunOptions options = Options();
    options.bronze = bronze;
    options.silver = silver;
    options.gold = gold;
    return RunAll(*lakehouse_, options);
  }
  table::Table OpenAgain(std::string_view name) { return *lakehouse_->Open(name); }
  // A live Bronze file of the exchange, and its rows.
  iceberg::DataFile BronzeFileOf(const std::string& exchange) {
    const int32_t topic = OpenAgain(task::kBronzeTable).metadata().CurrentSchema().Find("topic")->id;
    for (const iceberg::DataFile& file : LiveFiles(*lakehouse_, task::kBronzeTable)) {
      if (file.lower_bounds.at(topic).starts_with("recording/" + exchange)) return file;
    }
    ADD_FAILURE() << "no file of " << exchange;
    return {};
  }
  // The file once more, its trades an hour later.
  iceberg::DataFile AnHourLater(const iceberg::DataFile& file) {
    const task::OutputTable output = *OutputOf(OpenAgain(kSilverBinance));
    auto writer =
        table::DataFileWriter::Create(lakehouse_->io(), file.file_path + ".later.parquet", output.shape.schema,
                                      output.spec, file.partition, table::WriteOptions{});
    EXPECT_TRUE(writer);
    EXPECT_TRUE(table::ReadDataFile(
        *lakehouse_->io(), file.file_path, output.shape.schema, {},
        [&](const std::shared_ptr<arrow::RecordBatch>& batch) -> Status {
          const int at = batch->schema()->GetFieldIndex("timestamp");
          const auto& times = static_cast<const arrow::TimestampArray&>(*batch->column(at));
          arrow::TimestampBuilder later(times.type(), arrow::default_memory_pool());
          for (int64_t row = 0; row < times.length(); ++row) {
            (void)later.Append(times.Value(row) + kMicrosPerHour);
          }
          return (*writer)->Write(*batch->SetColumn(at, batch->schema()->field(at), *later.Finish()).ValueOrDie());
        }));
    auto written = (*writer)->Finish();
    EXPECT_TRUE(written);
    return *written;
  }
  std::optional<Lakehouse> lakehouse_;
};

// Copy-on-write: rows that were there before come in other files, read and unread ones alike.
TEST_F(UpstreamTest, RewrittenFilesBringEachRowOnce) {
  Simulate(300);
  ASSERT_TRUE(Run(true, false, false));
  ForeignCompaction(*lakehouse_, task::kBronzeTable, "overwrite");
  ASSERT_TRUE(Run(false, true, false));
  for (const exchange::Exchange* exchange : exchange::Exchanges()) {
    ForeignCompaction(*lakehouse_, exchange->silver_table, "overwrite");
  }
  ASSERT_TRUE(Run(false, false, true));
  for (const char* table : {"bronze_trades", "silver_binance_trades", "silver_kraken_trades"}) {
    for (int i = 0; i < 2; ++i) ForeignSnapshot(*lakehouse_, table, "append", {}, {});
    const auto files = LiveFiles(*lakehouse_, table);
    ForeignSnapshot(*lakehouse_, table, "overwrite", {}, {});
    ASSERT_FALSE(files.empty());
  }
  const auto report = Run(true, true, true);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->gold.rows_out, 0);
  CheckTables(*lakehouse_, trades_);
  for (const exchange::Exchange* exchange : exchange::Exchanges()) {
    EXPECT_EQ(OpenAgain(exchange->silver_table).metadata().FindRef(StandsTag(task::kGoldTable)), nullptr);
  }
}

// A row that somebody appends to Bronze once more is no second trade.
TEST_F(UpstreamTest, RowsThatAreInBronzeTwiceAreTakenOnce) {
  layer_.threads = 4;
  Simulate(300);
  ASSERT_TRUE(Run(true, false, false));
  const auto rows = ReadBronze(*lakehouse_);
  std::vector<BronzeRow> again;
  for (const BronzeRow& row : rows) {
    if (row.offset % 3 == 0 && again.size() < 50 && DayOfMicros(row.time_us) == DayOfMicros(rows.front().time_us)) {
      again.push_back(row);
    }
  }
  ASSERT_GT(again.size(), 10U);
  ForeignSnapshot(*lakehouse_, task::kBronzeTable, "append", {WriteBronzeFile(*lakehouse_, again)}, {});
  const auto report = Run(false, true, true);
  ASSERT_TRUE(report) << report.error().message;
  int64_t silver = 0;
  for (const exchange::Exchange* exchange : exchange::Exchanges())
    silver += LiveRows(*lakehouse_, exchange->silver_table);
  EXPECT_EQ(silver + static_cast<int64_t>(ReadRejected(*lakehouse_).size()), static_cast<int64_t>(rows.size()));
  EXPECT_EQ(LiveRows(*lakehouse_, task::kGoldTable), trades_);
}

TEST_F(UpstreamTest, OneExchangesMissingRowsDoNotStopTheOthers) {
  Simulate(400, 1, 0);
  ASSERT_TRUE(Run(true, false, false));
  const iceberg::DataFile lost = BronzeFileOf("binance");
  ForeignSnapshot(*lakehouse_, task::kBronzeTable, "overwrite", {}, {lost});
  const int64_t foreign = *OpenAgain(task::kBronzeTable).metadata().current_snapshot_id;
  const auto report = Run(false, true, true);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind, ErrorKind::kUpstreamChanged);
  for (const std::string& word : {std::string("silver_binance_trades is blocked"), std::string("\"overwrite\""),
                                  fmt::format("k2 offsets accept bronze_trades {}", foreign)}) {
    EXPECT_NE(report.error().message.find(word), std::string::npos) << report.error().message;
  }
  const int64_t kraken = LiveRows(*lakehouse_, "silver_kraken_trades");
  EXPECT_GT(kraken, 300);
  EXPECT_GE(LiveRows(*lakehouse_, task::kGoldTable), kraken);
  const auto& refs = OpenAgain(task::kBronzeTable).metadata().refs;
  ASSERT_TRUE(refs.contains("k2-stands-silver-binance"));
  EXPECT_EQ(refs.at("k2-stands-silver-binance").snapshot_id, foreign);
  EXPECT_TRUE(refs.contains("k2-stands-silver-binance-before"));
  EXPECT_FALSE(refs.contains("k2-stands-silver-kraken"));

  const auto plan = PlanAccept(*lakehouse_, task::kBronzeTable, foreign);
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_EQ(plan->lines.size(), 1U);
  EXPECT_EQ(plan->lines[0].table, kSilverBinance);
  EXPECT_EQ(plan->lines[0].missing, lost.record_count);
  EXPECT_FALSE(Run(false, true, true)) << "nothing was accepted yet";
  ASSERT_TRUE(ApplyAccept(*lakehouse_, *plan));
  const table::Table silver = OpenAgain(kSilverBinance);
  EXPECT_TRUE(silver.metadata().CurrentSnapshot()->summary.contains(table::kOffsetsAcceptedKey));
  EXPECT_FALSE(OpenAgain(task::kBronzeTable).metadata().refs.contains("k2-stands-silver-binance"));
  const auto after = Run(true, true, true);
  ASSERT_TRUE(after) << after.error().message;
  const int64_t held = static_cast<int64_t>(ReadBronze(*lakehouse_).size());
  int64_t judged = static_cast<int64_t>(ReadRejected(*lakehouse_).size());
  for (const exchange::Exchange* exchange : exchange::Exchanges())
    judged += LiveRows(*lakehouse_, exchange->silver_table);
  EXPECT_EQ(judged, held);
  EXPECT_EQ(PlanAccept(*lakehouse_, task::kBronzeTable, foreign).error().kind, ErrorKind::kInvalidArgument);
  // What is lost later is noticed as ever: an acceptance is for those rows alone.
  std::set<std::string> before;
  for (const iceberg::DataFile& file : LiveFiles(*lakehouse_, task::kBronzeTable)) before.insert(file.file_path);
  Simulate(100, 2, 0);
  ASSERT_TRUE(Run(true, false, false));
  auto fresh = LiveFiles(*lakehouse_, task::kBronzeTable);
  std::erase_if(fresh, [&](const iceberg::DataFile& file) { return before.contains(file.file_path); });
  ASSERT_FALSE(fresh.empty());
  ForeignSnapshot(*lakehouse_, task::kBronzeTable, "delete", {}, {fresh.front()});
  const auto again = Run(false, true, true);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kUpstreamChanged) << again.error().message;
}

// Gold would hold a trade twice that another engine has moved to another hour.
TEST_F(UpstreamTest, GoldStandsWhereTradesWereMovedToAnotherHour) {
  Simulate(300, 1, 0);
  ASSERT_TRUE(Run(true, true, false));
  const iceberg::DataFile moved = LiveFiles(*lakehouse_, kSilverBinance).front();
  ForeignSnapshot(*lakehouse_, kSilverBinance, "overwrite", {AnHourLater(moved)}, {moved});
  const int64_t foreign = *OpenAgain(kSilverBinance).metadata().current_snapshot_id;
  for (int i = 0; i < 2; ++i) {
    const auto report = Run(false, false, true);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().kind, ErrorKind::kUpstreamChanged);
    EXPECT_NE(report.error().message.find(fmt::format("k2 offsets accept silver_binance_trades {}", foreign)),
              std::string::npos)
        << report.error().message;
    // What came before that snapshot, and what came of the other exchange, is there.
    EXPECT_EQ(LiveRows(*lakehouse_, task::kGoldTable), trades_);
  }
  EXPECT_EQ(OpenAgain(kSilverBinance).metadata().refs.at("k2-stands-gold").snapshot_id, foreign);
  // K2's own history would have expired the snapshot long since; the tag tells still.
  for (int i = 0; i < 3; ++i) ForeignSnapshot(*lakehouse_, kSilverBinance, "append", {}, {});
  ForeignExpiry(*lakehouse_, kSilverBinance);
  EXPECT_FALSE(Run(false, false, true));
  const auto plan = PlanAccept(*lakehouse_, kSilverBinance, foreign);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->lines.at(0).rows, moved.record_count);
  EXPECT_EQ(plan->lines.at(0).read, moved.record_count);
  ASSERT_TRUE(ApplyAccept(*lakehouse_, *plan));
  const auto after = Run(true, true, true);
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(LiveRows(*lakehouse_, task::kGoldTable), trades_ + moved.record_count);
  EXPECT_EQ(PlanAccept(*lakehouse_, kSilverBinance, foreign).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(PlanAccept(*lakehouse_, kSilverBinance, 77).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(PlanAccept(*lakehouse_, task::kGoldTable, foreign).error().kind, ErrorKind::kInvalidArgument);
}

// Another engine feeds Gold too, and brings the very trades of a step between its plan and its swap.
TEST_F(UpstreamTest, TradesThatOthersAddWithinAStepAreNotDoubled) {
  Simulate(200);
  ASSERT_TRUE(Run(true, true, false));
  LayerOptions options = layer_;
  options.rows_per_step = 100'000;
  std::vector<iceberg::DataFile> theirs;
  {
    auto other = GoldLayer::Open(*lakehouse_, options, nullptr);
    ASSERT_TRUE(other);
    const auto plan = (*other)->Plan({});
    ASSERT_TRUE(plan);
    for (const task::Task& task : plan->tasks) {
      const auto result = task::RunTask(task, {.io = lakehouse_->io()});
      ASSERT_TRUE(result);
      for (const task::TableFiles& output : result->outputs) {
        theirs.insert(theirs.end(), output.files.begin(), output.files.end());
      }
    }
  }
  int passed = 0;
  options.commit.on_step = [&](std::string_view step) {
    if (step == "manifests" && ++passed == 1) ForeignSnapshot(*lakehouse_, task::kGoldTable, "append", theirs, {});
  };
  auto gold = GoldLayer::Open(*lakehouse_, options, nullptr);
  ASSERT_TRUE(gold);
  for (int steps = 0; steps < 10; ++steps) {
    const auto rows = (*gold)->Step();
    ASSERT_TRUE(rows) << rows.error().message;
    if (*rows == 0) break;
  }
  EXPECT_GT(passed, 0);
  ASSERT_TRUE(Run(true, true, true));
  CheckTables(*lakehouse_, trades_);
}

class StandingService : public ServiceTest {};

// Bronze goes on, further than it would be ahead of a layer that works; what stands is told, and goes on by itself.
TEST_F(StandingService, BronzeGoesOnWhileSilverStands) {
  MakeTables();
  std::mt19937_64 random(TestSeed());
  RunOptions bronze = OfCluster();
  bronze.silver = bronze.gold = false;
  cluster_.Produce(50, 3, random);
  ASSERT_TRUE(RunAll(OpenLakehouse(), bronze));
  const Lakehouse lakehouse = OpenLakehouse();
  ForeignSnapshot(lakehouse, task::kBronzeTable, "delete", {}, LiveFiles(lakehouse, task::kBronzeTable));
  const int64_t foreign = *lakehouse.Open(task::kBronzeTable)->metadata().current_snapshot_id;
  RunOptions options = OfCluster();
  options.endless = true;
  options.layer.rows_per_step = 20;
  Process service(OpenLakehouse(), options);
  const auto silver = [] {
    for (const HealthCheck& check : ProcessHealth().Ready().checks) {
      if (check.name == "layer silver") return check;
    }
    return HealthCheck{};
  };
  for (int i = 0; i < 400 && !silver().detail.starts_with("blocked"); ++i) std::this_thread::sleep_for(20ms);
  EXPECT_TRUE(silver().detail.starts_with("blocked: silver_binance_trades")) << silver().detail;
  cluster_.Produce(400, 3, random);  // ten times what it is ahead at most
  for (int i = 0; i < 400 && service.progress().bronze_rows < 400; ++i) std::this_thread::sleep_for(20ms);
  EXPECT_EQ(service.progress().bronze_rows, 400);
  EXPECT_EQ(LiveRows(lakehouse, kSilverBinance), 0);
  EXPECT_TRUE(ProcessHealth().Live().ok);
  const auto plan = PlanAccept(lakehouse, task::kBronzeTable, foreign);
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_TRUE(ApplyAccept(lakehouse, *plan));
  for (int i = 0; i < 1000 && LiveRows(lakehouse, task::kGoldTable) < 400; ++i) std::this_thread::sleep_for(50ms);
  EXPECT_EQ(LiveRows(lakehouse, task::kGoldTable), 400);
  for (int i = 0; i < 100 && !silver().ok; ++i) std::this_thread::sleep_for(20ms);
  EXPECT_TRUE(silver().ok) << silver().detail;
  service.Stop();
}

}  // namespace
}  // namespace k2::pipeline
