// Two writers on the same tables: the other one acts, wholly, at every boundary inside a step of ours.
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "pipeline/layer_fixture.h"
#include "task/market_tables.h"

namespace k2::pipeline {
namespace {

enum LayerNumber { kBronzeLayer, kSilverLayer, kGoldLayer };
enum class Other { kK2, kAppend, kCompaction, kExpiry };

constexpr const char* kLayerNames[] = {"Bronze", "Silver", "Gold"};
constexpr const char* kOtherNames[] = {"K2", "Append", "Compaction", "Expiry"};

// One process: its own catalog, its own state of the layers.
struct Engineer {
  Lakehouse lakehouse;
  std::unique_ptr<BronzeLayer> bronze;
  std::unique_ptr<SilverLayer> silver;
  std::unique_ptr<GoldLayer> gold;

  Result<int64_t> Step(int layer) const {
    if (layer == kBronzeLayer) return bronze->Step(0);
    return layer == kSilverLayer ? silver->Step() : gold->Step();
  }
  Status Recover(int layer) const {
    if (layer == kBronzeLayer) return bronze->Recover();
    layer == kSilverLayer ? silver->Recover() : gold->Recover();
    return {};
  }
  // A step as the runner takes it: planned again where another writer was in the way.
  int64_t StepThrough(int layer) const {
    for (int attempt = 0; attempt < 30; ++attempt) {
      const Result<int64_t> rows = Step(layer);
      if (rows) return *rows;
      const ErrorKind kind = rows.error().kind;
      EXPECT_TRUE(kind == ErrorKind::kOffsetMismatch || kind == ErrorKind::kConflict || kind == ErrorKind::kNotFound)
          << rows.error().message;
      EXPECT_TRUE(Recover(layer));
    }
    ADD_FAILURE() << "a step of " << kLayerNames[layer] << " never went through";
    return 0;
  }
};

class TwoWriters : public LayerTest {
 protected:
  void Start(int64_t trades_each) {
    MakeTables();
    Simulate(trades_each);
    layer_ = {.rows_per_step = 20, .threads = 1};
    layer_.commit.backoff_us_min = 1;
    layer_.commit.backoff_us_max = 100;
    b_ = MakeEngineer(OpenLakehouse(), layer_);
    // Boundaries of ours: every step of a commit, and operations on files (reads only where files may go away).
    const auto io = storage::FaultyFileIo::Over(storage::MakeFileIo());
    io->OnOperation([this](std::string_view operation, const std::string&) {
      const bool reads = operation == "read" || operation == "open" || operation == "size";
      if (!reads || reads_count_) Boundary();
    });
    LayerOptions options = layer_;
    options.commit.on_step = [this](std::string_view) { Boundary(); };
    a_ = MakeEngineer(OpenLakehouse(io, {.on_step = [this](std::string_view) { Boundary(); }}), options);
  }
  Engineer MakeEngineer(Lakehouse lakehouse, const LayerOptions& options) {
    auto bronze = BronzeLayer::Open(lakehouse, options, *OpenRecordings(recordings_, false), nullptr);
    auto silver = SilverLayer::Open(lakehouse, options, std::make_shared<registry::FileSchemaSource>(), nullptr);
    auto gold = GoldLayer::Open(lakehouse, options, nullptr);
    EXPECT_TRUE(bronze && silver && gold);
    return Engineer{std::move(lakehouse), std::move(*bronze), std::move(*silver), std::move(*gold)};
  }
  void Boundary() {
    if (acting_ || !at_boundary_) return;
    acting_ = true;
    at_boundary_();
    acting_ = false;
  }

  // The tables that a layer reads and writes.
  static std::vector<std::string> TablesOf(int layer) {
    std::vector<std::string> silver;
    for (const exchange::Exchange* exchange : exchange::Exchanges()) silver.emplace_back(exchange->silver_table);
    if (layer == kBronzeLayer) return {std::string(task::kBronzeTable)};
    if (layer == kGoldLayer) silver.emplace_back(task::kGoldTable);
    if (layer == kSilverLayer) {
      silver.emplace_back(task::kBronzeTable);
      silver.emplace_back(task::kRejectedTable);
    }
    return silver;
  }
  void Act(Other other, int layer) {
    if (other == Other::kK2) {
      b_->StepThrough(layer);
      return;
    }
    // The tables take turns.
    const std::vector<std::string> tables = TablesOf(layer);
    for (const std::string& table : {tables[turn_++ % tables.size()]}) {
      if (other == Other::kAppend) ForeignSnapshot(b_->lakehouse, table, "append", {}, {});
      if (other != Other::kAppend) ForeignCompaction(b_->lakehouse, table);
      if (other == Other::kExpiry) {  // what was compacted away goes with the snapshots that had it
        ForeignSnapshot(b_->lakehouse, table, "append", {}, {});
        ForeignExpiry(b_->lakehouse, table);
      }
    }
  }
  void FinishAndCheck() {
    at_boundary_ = nullptr;
    layer_ = {};
    const auto report = RunAll(OpenLakehouse(), Options());
    ASSERT_TRUE(report) << report.error().message;
    CheckTables(OpenLakehouse(), trades_);
    EXPECT_EQ(static_cast<int64_t>(ReadRejected(OpenLakehouse()).size()), malformed_);
  }

  std::optional<Engineer> a_;
  std::optional<Engineer> b_;
  std::function<void()> at_boundary_;
  bool acting_ = false;
  size_t turn_ = 0;
  bool reads_count_ = true;
};

class AtEachBoundary : public TwoWriters, public testing::WithParamInterface<std::tuple<int, Other>> {};

TEST_P(AtEachBoundary, NothingIsLostOrDoubled) {
  const auto [layer, other] = GetParam();
  Start(700);
  reads_count_ = other == Other::kExpiry;
  int target = 0;
  // Steps differ a little in their number of boundaries: the end is where two in a row have not so many.
  for (int missed = 0; missed < 2 && !HasFailure(); ++target) {
    // Something new for our layer.
    for (int above = 0; above < layer; ++above) ASSERT_GT(b_->StepThrough(above), 0) << "the recordings are too short";
    ASSERT_TRUE(layer != kBronzeLayer || !a_->bronze->AtEnd()) << "the recordings are too short";
    int passed = 0;
    at_boundary_ = [&] {
      if (passed++ == target) Act(other, layer);
    };
    a_->StepThrough(layer);
    at_boundary_ = nullptr;
    missed = passed > target ? 0 : missed + 1;
  }
  EXPECT_GT(target, 10);
  RecordProperty("boundaries", target);
  FinishAndCheck();
}

INSTANTIATE_TEST_SUITE_P(All, AtEachBoundary,
                         testing::Combine(testing::Values(kBronzeLayer, kSilverLayer, kGoldLayer),
                                          testing::Values(Other::kK2, Other::kAppend, Other::kCompaction,
                                                          Other::kExpiry)),
                         [](const auto& test) {
                           return fmt::format("{}And{}", kLayerNames[std::get<0>(test.param)],
                                              kOtherNames[static_cast<int>(std::get<1>(test.param))]);
                         });

TEST_F(TwoWriters, AtRandom) {
  const uint64_t seed = TestSeed();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  Start(250);
  at_boundary_ = [&] {
    if (random() % 100 >= 6) return;
    Act(static_cast<Other>(random() % 4), static_cast<int>(random() % 3));
  };
  for (int idle = 0; idle < 3 && !HasFailure();) {
    const int64_t moved = a_->StepThrough(static_cast<int>(random() % 3));
    idle = moved > 0 || !a_->bronze->AtEnd() ? 0 : idle + 1;
  }
  FinishAndCheck();
}

// Parts of one Silver snapshot move no hint: only the fence on Gold's own commits keeps two writers apart.
TEST_F(TwoWriters, InGoldWithinOneSilverSnapshot) {
  Start(300);
  while (!b_->bronze->AtEnd()) b_->StepThrough(kBronzeLayer);
  LayerOptions whole = layer_;
  whole.rows_per_step = 100'000;
  whole.threads = 2;
  auto silver = SilverLayer::Open(b_->lakehouse, whole, std::make_shared<registry::FileSchemaSource>(), nullptr);
  ASSERT_TRUE(silver);
  ASSERT_TRUE((*silver)->Step());
  for (const exchange::Exchange* exchange : exchange::Exchanges()) {
    // Silver's history is gone: both read it wholly, file by file.
    ForeignSnapshot(b_->lakehouse, exchange->silver_table, "append", {}, {});
    ForeignExpiry(b_->lakehouse, exchange->silver_table);
  }
  int boundary = 0;
  at_boundary_ = [&] {
    if (++boundary % 5 == 0) b_->StepThrough(kGoldLayer);
  };
  while (a_->StepThrough(kGoldLayer) > 0 && !HasFailure()) {
  }
  FinishAndCheck();
}

// Both come to their end at the same time.
TEST_F(TwoWriters, WholeRunsSideBySide) {
  MakeTables();
  Simulate(500);
  std::vector<std::jthread> runs;
  for (int i = 0; i < 3; ++i) {
    runs.emplace_back([this] {
      const auto report = RunAll(OpenLakehouse(), Options());
      EXPECT_TRUE(report) << report.error().message;
    });
  }
  runs.clear();
  FinishAndCheck();
}

// Another process has made the table, and writes the metadata of its first commit: half of the file is there.
TEST_F(LayerTest, AFileThatAnotherProcessIsAboutToWriteIsNoLostTable) {
  const catalog::TableName name{std::string(task::kNamespace), std::string(task::kBronzeTable)};
  const auto catalog = catalog::OpenSqliteCatalog(root_ + "/warehouse", storage::MakeFileIo(), {});
  ASSERT_TRUE(catalog);
  ASSERT_TRUE((*catalog)->CreateNamespaceIfMissing(name.name_space));
  const auto made = (*catalog)->Create(name, *task::TableDefinition(task::kBronzeTable));
  ASSERT_TRUE(made) << made.error().message;
  const std::string half = root_ + "/warehouse/market_data/bronze_trades/metadata/00001-0123.metadata.json";
  std::ofstream(half) << R"({"format-version": 2, "table-uu)";
  std::jthread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    std::filesystem::remove(half);
  });
  const Result<int> created = OpenLakehouse().CreateTables();
  EXPECT_TRUE(created) << created.error().message;
}

}  // namespace
}  // namespace k2::pipeline
