// Silver: each row of Bronze becomes one row, whatever breaks between the tables it writes.
#include "pipeline/silver/silver_layer.h"

#include <cerrno>
#include <mutex>

#include "catalog/testing/forwarding_catalog.h"
#include "pipeline/gold/gold_layer.h"
#include "pipeline/layer_fixture.h"
#include "storage/testing/faulty_file_io.h"
#include "task/market_tables.h"
#include "trade/encode.h"
#include "trade/identity.h"
#include "trade/trade_schema.h"

namespace k2::pipeline {
namespace {

const std::string kBinance = "market.crypto.trades.binance";
const std::string kKraken = "market.crypto.trades.kraken";
constexpr int64_t kMessageTime = 1'704'153'600'000'000;

std::string MessageOf(int64_t number, const std::string& exchange = "BINANCE",
                      int32_t schema_id = trade::kTradeV3SchemaId, int64_t price = 100,
                      int64_t timestamp_us = kMessageTime, int64_t ingestion_us = kMessageTime) {
  const std::string trade_id = fmt::format("{}-{}", exchange, number);
  const trade::Trade trade{.message_id = trade::TradeMessageId(exchange, "BTCUSDT", trade_id),
                           .trade_id = trade_id,
                           .symbol = "BTCUSDT",
                           .exchange = exchange,
                           .timestamp_us = timestamp_us,
                           .price_e14 = price,
                           .quantity_e8 = 1,
                           .currency = "USDT",
                           .side = trade::TradeSide::kBuy,
                           .ingestion_timestamp_us = ingestion_us};
  std::string payload;
  trade::EncodeTrade(trade, schema_id, payload);
  return payload;
}

// Knows V3 under further ids, from when it is told to.
class GrowingSchemas final : public registry::SchemaSource {
 public:
  Result<std::string> SchemaJson(const trade::SchemaRef& ref) override {
    const std::lock_guard lock(mutex_);
    if (away.contains(ref)) return Fail(ErrorKind::kUnavailable, "the registry does not answer");
    if (known.contains(ref)) return std::string(trade::kTradeV3SchemaJson);
    return builtin_.SchemaJson(ref);
  }
  std::set<trade::SchemaRef> known;
  std::set<trade::SchemaRef> away;

 private:
  std::mutex mutex_;
  registry::FileSchemaSource builtin_;
};

// Refuses commits to some tables, certainly and for good: as a crash before that commit.
class RefusingCatalog final : public catalog::ForwardingCatalog {
 public:
  using ForwardingCatalog::ForwardingCatalog;
  std::string refused;

  catalog::CommitOutcome Commit(const catalog::TableName& table, const catalog::TableState& base,
                                const std::vector<iceberg::TableRequirement>& requirements,
                                const std::vector<iceberg::TableUpdate>& updates,
                                const catalog::BeforeSwap& before_swap) override {
    if (table.name == refused) return catalog::Rejected{{ErrorKind::kIo, "the machine stops here"}};
    return base_->Commit(table, base, requirements, updates, before_swap);
  }
};

class SilverLayerTest : public LayerTest {
 protected:
  void SetUp() override {
    LayerTest::SetUp();
    MakeTables();
    lakehouse_.emplace(OpenLakehouse());
  }
  std::unique_ptr<SilverLayer> OpenLayer(const Lakehouse& lakehouse) {
    auto layer = SilverLayer::Open(lakehouse, layer_, schemas_, nullptr);
    EXPECT_TRUE(layer) << layer.error().message;
    return std::move(*layer);
  }
  void StepToTheEnd() {
    const auto layer = OpenLayer(*lakehouse_);
    for (int steps = 0; steps < 100; ++steps) {
      const auto rows = layer->Step();
      ASSERT_TRUE(rows) << rows.error().message;
      if (*rows == 0) return;
    }
    FAIL() << "there is always something to do";
  }
  void CheckWithGold(int64_t trades) {
    RunOptions options = Options();
    options.bronze = false;
    options.schemas = schemas_;
    const auto report = RunAll(*lakehouse_, options);
    ASSERT_TRUE(report) << report.error().message;
    CheckTables(*lakehouse_, trades);
  }
  std::string ReasonAt(const std::string& topic, int64_t offset) {
    const auto rejected = ReadRejected(*lakehouse_);
    const auto [begin, end] = rejected.equal_range({topic, 0, offset});
    EXPECT_LE(std::distance(begin, end), 1);
    return begin == end ? "" : begin->second.reason;
  }

  std::shared_ptr<GrowingSchemas> schemas_ = std::make_shared<GrowingSchemas>();
  std::optional<Lakehouse> lakehouse_;
};

TEST_F(SilverLayerTest, EachRowIsAcceptedOrRejectedWithItsReason) {
  CommitBronze(*lakehouse_,
               {{kBinance, 0, 0, MessageOf(0)},
                {kBinance, 0, 1, std::nullopt},
                {kBinance, 0, 2, MessageOf(2, "BINANCE", 77)},
                {kBinance, 0, 3, ""},
                {kBinance, 0, 4, MessageOf(4, "KRAKEN")},
                {kBinance, 0, 5, MessageOf(5, "BINANCE", trade::kTradeV3SchemaId, 0)},
                {kBinance, 0, 6, MessageOf(6).substr(0, 30)},
                {kBinance, 0, 7, MessageOf(7, "BINANCE", trade::kTradeV3SchemaId, 100, kMessageTime - 86'400'000'000)},
                {kKraken, 0, 0, MessageOf(0, "KRAKEN")},
                {kKraken, 0, 1, MessageOf(1) + "x"}});
  StepToTheEnd();
  CheckWithGold(3);
  const char* reasons[] = {
      "", "null_value", "unknown_schema_id", "not_framed", "exchange_mismatch", "price_not_positive", "truncated", ""};
  for (int64_t offset = 0; offset < 8; ++offset) EXPECT_EQ(ReasonAt(kBinance, offset), reasons[offset]) << offset;
  EXPECT_EQ(ReasonAt(kKraken, 0), "");
  EXPECT_EQ(ReasonAt(kKraken, 1), "trailing_bytes");
}

TEST_F(SilverLayerTest, RowsOfSeveralTopicsInOneFileAndOverMidnight) {
  std::vector<BronzeRow> rows;
  for (int64_t i = 0; i < 40; ++i) {
    rows.push_back({kBinance, 0, i, MessageOf(i, "BINANCE", trade::kTradeV3SchemaId, 100, kMessageTime - 20 + i)});
    rows.push_back({kBinance, 1, i, MessageOf(1000 + i)});
    rows.push_back({kKraken, 0, i, i % 7 == 0 ? std::nullopt : std::optional(MessageOf(i, "KRAKEN"))});
    rows.push_back({"another.topic.binance", 0, i, MessageOf(2000 + i)});
  }
  CommitBronze(*lakehouse_, rows);
  layer_.rows_per_step = 7;
  StepToTheEnd();
  EXPECT_EQ(LiveRows(*lakehouse_, "silver_binance_trades"), 120);
  EXPECT_EQ(LiveRows(*lakehouse_, "silver_kraken_trades"), 34);
  EXPECT_EQ(LiveRows(*lakehouse_, task::kRejectedTable), 6);
  std::set<int32_t> days;
  for (const StoredTrade& trade : ReadTrades(*lakehouse_, "silver_binance_trades")) days.insert(trade.date);
  EXPECT_EQ(days.size(), 2U);
  // More of it, and the first file's neighbours compacted into one.
  for (BronzeRow& row : rows) row.offset += 40;
  CommitBronze(*lakehouse_, rows);
  ForeignCompaction(*lakehouse_, task::kBronzeTable);
  ForeignSnapshot(*lakehouse_, task::kBronzeTable, "append", {}, {});
  ForeignExpiry(*lakehouse_, task::kBronzeTable);
  StepToTheEnd();
  EXPECT_EQ(LiveRows(*lakehouse_, "silver_binance_trades"), 240);
  EXPECT_EQ(LiveRows(*lakehouse_, task::kRejectedTable), 12);
}

TEST_F(SilverLayerTest, ABacklogIsCutAtTheBoundsOfFiles) {
  for (int64_t file = 0; file < 12; ++file) {
    std::vector<BronzeRow> rows;
    for (int64_t i = 0; i < 10; ++i) rows.push_back({kBinance, 0, file * 10 + i, MessageOf(file * 10 + i)});
    CommitBronze(*lakehouse_, rows);
  }
  layer_.rows_per_step = 25;
  const auto layer = OpenLayer(*lakehouse_);
  int64_t total = 0;
  while (total < 120) {
    const auto rows = layer->Step();
    ASSERT_TRUE(rows) << rows.error().message;
    ASSERT_GT(*rows, 0);
    EXPECT_LE(*rows, 30);
    total += *rows;
    EXPECT_EQ(LiveRows(*lakehouse_, "silver_binance_trades"), total);
  }
  EXPECT_EQ(layer->Step().value(), 0);
}

// As `k2 plan` makes it, in a process of its own each time; a tenth of the offsets hold no row.
TEST_F(SilverLayerTest, PlansTellWhatTheyLeave) {
  for (int64_t file = 0; file < 3; ++file) {
    std::vector<BronzeRow> rows;
    for (int64_t i = 1; i < 10; ++i) rows.push_back({kBinance, 0, file * 10 + i, MessageOf(file * 10 + i)});
    rows.push_back({kKraken, 0, file, MessageOf(file, "KRAKEN")});
    CommitBronze(*lakehouse_, rows);
  }
  layer_.rows_per_step = 10;
  const auto check = [](const auto& open, auto... options) {
    int64_t left = 33;
    for (int plans = 0; plans < 10; ++plans) {
      const auto plan = (*open())->Plan(options...);
      ASSERT_TRUE(plan) << plan.error().message;
      EXPECT_EQ(plan->behind, left) << "what the plan before has left";
      if (plan->empty()) {
        EXPECT_EQ(plans, 3);
        return;
      }
      left = plan->left;
      ASSERT_GT((*open())->Step().value(), 0);
    }
    FAIL() << "there is always something to do";
  };
  check([&] { return SilverLayer::Open(*lakehouse_, layer_, schemas_, nullptr); }, 1);
  check([&] { return GoldLayer::Open(*lakehouse_, layer_, nullptr); }, GoldSpread{});
}

TEST_F(SilverLayerTest, CatchesUpWithoutRejectingTwice) {
  for (const char* table : {"silver_binance_trades", "silver_kraken_trades"}) {
    SCOPED_TRACE(table);
    const int64_t first = LiveRows(*lakehouse_, task::kBronzeTable) / 2;
    std::vector<BronzeRow> rows;
    for (int64_t i = first; i < first + 20; ++i) {
      // Unknown schema now, known later: the verdict stands.
      const int32_t schema = i % 5 == 0 ? 900 + static_cast<int32_t>(first) : trade::kTradeV3SchemaId;
      rows.push_back({kBinance, 0, i, MessageOf(i, "BINANCE", schema)});
      rows.push_back({kKraken, 0, i, MessageOf(i, "KRAKEN", schema)});
    }
    CommitBronze(*lakehouse_, rows);
    const auto refusing = std::make_shared<RefusingCatalog>(lakehouse_->catalog());
    refusing->refused = table;
    const Lakehouse failing(refusing, lakehouse_->io());
    const auto before = LiveRows(*lakehouse_, task::kRejectedTable);
    EXPECT_EQ(OpenLayer(failing)->Step().error().kind, ErrorKind::kIo);
    EXPECT_EQ(LiveRows(*lakehouse_, task::kRejectedTable), before + 8) << "rejected_trades goes first";
    schemas_->known.insert(900 + static_cast<int32_t>(first));
    // New rows come on top; those of the range before are caught up alone.
    StepToTheEnd();
    EXPECT_EQ(LiveRows(*lakehouse_, task::kRejectedTable), before + 8) << "what it holds is left out";
    CheckWithGold(32 * (first / 20 + 1));
  }
}

TEST_F(SilverLayerTest, AnUnknownSchemaHoldsUpItsPartitionOnly) {
  const auto send = [&](const std::string& topic, const std::string& exchange, int64_t first, int32_t schema_of_last) {
    std::vector<BronzeRow> rows;
    for (int64_t i = first; i < first + 10; ++i) {
      rows.push_back({topic, 0, i, MessageOf(i, exchange, i == first + 9 ? schema_of_last : trade::kTradeV3SchemaId)});
    }
    CommitBronze(*lakehouse_, rows);
  };
  schemas_->away.insert(700);
  send(kBinance, "BINANCE", 0, 700);
  send(kKraken, "KRAKEN", 0, trade::kTradeV3SchemaId);
  const auto layer = OpenLayer(*lakehouse_);
  ASSERT_TRUE(layer->Step());
  EXPECT_EQ(LiveRows(*lakehouse_, "silver_binance_trades"), 9) << "up to the message that waits";
  EXPECT_EQ(LiveRows(*lakehouse_, "silver_kraken_trades"), 10);
  EXPECT_EQ(layer->Step().error().kind, ErrorKind::kUnavailable) << "nothing else is left to do";
  EXPECT_TRUE(layer->holds());
  for (int64_t first = 10; first < 40; first += 10) {
    send(kBinance, "BINANCE", first, trade::kTradeV3SchemaId);
    send(kKraken, "KRAKEN", first, trade::kTradeV3SchemaId);
    ASSERT_TRUE(layer->Step());
    EXPECT_EQ(LiveRows(*lakehouse_, "silver_binance_trades"), 9);
    EXPECT_EQ(LiveRows(*lakehouse_, "silver_kraken_trades"), first + 10);
  }
  EXPECT_EQ(LiveRows(*lakehouse_, task::kRejectedTable), 0);
  schemas_->away.clear();
  schemas_->known.insert(700);
  ASSERT_TRUE(layer->Step());
  EXPECT_FALSE(layer->holds());
  StepToTheEnd();
  CheckWithGold(80);
}

// An offset of rejected_trades proves nothing: whoever has put it ahead of Silver, each row is validated.
TEST_F(SilverLayerTest, RowsBelowAnOffsetOfRejectedTradesAreValidated) {
  const std::string silver = "silver_binance_trades";
  std::vector<BronzeRow> rows;
  for (int64_t i = 0; i < 40; ++i) {
    rows.push_back({kBinance, 0, i, MessageOf(i, "BINANCE", trade::kTradeV3SchemaId, i % 4 == 0 ? 0 : 100)});
  }
  CommitBronze(*lakehouse_, rows);
  for (const int64_t ahead : {30, 35, 500}) {
    auto rejected = lakehouse_->Open(task::kRejectedTable);
    ASSERT_TRUE(rejected);
    table::LayerCommit commit;
    const auto stands = table::ReadProgress(rejected->metadata());
    ASSERT_TRUE(stands);
    commit.base = *stands;
    commit.next.positions[KafkaKey(kBinance)] = {.next_offset = ahead};
    ASSERT_TRUE(std::holds_alternative<table::CommitDone>(rejected->Commit(std::move(commit))));
    layer_.rows_per_step = 10;
    ASSERT_TRUE(OpenLayer(*lakehouse_)->Step());
  }
  StepToTheEnd();
  EXPECT_EQ(LiveRows(*lakehouse_, silver), 30);
  EXPECT_EQ(LiveRows(*lakehouse_, task::kRejectedTable), 10);
  EXPECT_EQ(ReasonAt(kBinance, 4), "price_not_positive");
  EXPECT_EQ(ReasonAt(kBinance, 36), "price_not_positive");
  CheckWithGold(30);
}

// A crash between rejected_trades and Silver leaves one source to be caught up alone. The files of the others, whose
// offsets may be much lower, must not be lost sight of meanwhile.
TEST_F(SilverLayerTest, CatchingUpOneSourceForgetsNoRowsOfAnother) {
  const auto kraken = [&](int64_t first, int64_t last) {
    std::vector<BronzeRow> rows;
    for (int64_t i = first; i < last; ++i) rows.push_back({kKraken, 0, i, MessageOf(i, "KRAKEN")});
    CommitBronze(*lakehouse_, rows);
  };
  kraken(0, 50);
  StepToTheEnd();
  CommitBronze(*lakehouse_, {{kBinance, 0, 100'000, MessageOf(100'000)}, {kBinance, 0, 100'001, std::nullopt}});
  const auto refusing = std::make_shared<RefusingCatalog>(lakehouse_->catalog());
  refusing->refused = "silver_binance_trades";
  ASSERT_FALSE(OpenLayer(Lakehouse(refusing, lakehouse_->io()))->Step());
  kraken(50, 60);
  layer_.rows_per_step = 10;
  const auto layer = OpenLayer(*lakehouse_);
  ASSERT_TRUE(layer->Step());
  EXPECT_EQ(LiveRows(*lakehouse_, "silver_binance_trades"), 1);
  std::vector<BronzeRow> rows;
  for (int64_t i = 100'002; i < 100'040; ++i) rows.push_back({kBinance, 0, i, MessageOf(i)});
  CommitBronze(*lakehouse_, rows);
  kraken(60, 70);
  for (int steps = 0; steps < 20; ++steps) {
    const auto moved = layer->Step();
    ASSERT_TRUE(moved) << moved.error().message;
    if (*moved == 0) break;
  }
  EXPECT_EQ(LiveRows(*lakehouse_, "silver_kraken_trades"), 70);
  EXPECT_EQ(LiveRows(*lakehouse_, "silver_binance_trades"), 39);
}

// What is read of a file to describe it is learnt once, also where Bronze's history does not reach back any more and
// where a read fails in between.
TEST_F(SilverLayerTest, ABacklogOfMixedFilesIsDescribedOnce) {
  const auto mixed = [&](int64_t file) {
    std::vector<BronzeRow> rows;
    for (int64_t i = file * 5; i < file * 5 + 5; ++i) {
      rows.push_back({kBinance, 0, i, MessageOf(i)});
      rows.push_back({kKraken, 0, i, MessageOf(i, "KRAKEN")});
    }
    CommitBronze(*lakehouse_, rows);
  };
  for (int64_t file = 0; file < 12; ++file) mixed(file);
  const auto io = storage::FaultyFileIo::Over(storage::MakeFileIo());
  std::mutex mutex;
  std::map<std::string, int> opened;
  io->OnOperation([&](std::string_view operation, const std::string& location) {
    if (operation != "open" || !location.contains("bronze_trades/data")) return;
    const std::lock_guard lock(mutex);
    ++opened[location];
  });
  io->Inject({.operation = "open", .location_contains = "bronze_trades/data", .first = 7, .errno_value = EIO});
  layer_.rows_per_step = 20;
  const auto layer = OpenLayer(OpenLakehouse(io));
  ASSERT_FALSE(layer->Step());
  layer->Recover();
  for (int64_t file = 12; file < 16; ++file) mixed(file);
  ForeignSnapshot(*lakehouse_, task::kBronzeTable, "append", {}, {});
  ForeignExpiry(*lakehouse_, task::kBronzeTable);
  for (int steps = 0; steps < 50; ++steps) {
    const auto moved = layer->Step();
    ASSERT_TRUE(moved) << moved.error().message;
    if (*moved == 0) break;
  }
  EXPECT_EQ(LiveRows(*lakehouse_, "silver_binance_trades"), 80);
  EXPECT_EQ(LiveRows(*lakehouse_, "silver_kraken_trades"), 80);
  int most = 0;
  for (const auto& [location, times] : opened) most = std::max(most, times);
  EXPECT_LE(most, 3) << "to describe it, to judge it, and the one that failed";
}

// Gold in a process of its own that was away for longer than Silver keeps its history reads what is new, not all.
TEST_F(SilverLayerTest, GoldReadsOnlyWhatIsNewThoughSilversHistoryIsGone) {
  const auto more = [&](int64_t first, int64_t files) {
    for (int64_t i = first; i < first + files; ++i) {
      CommitBronze(*lakehouse_, {{kBinance, 0, i, MessageOf(i)}});
      StepToTheEnd();
    }
  };
  more(0, 10);
  const auto gold_reads = [&](int64_t rows_per_step) {
    layer_.rows_per_step = rows_per_step;
    const auto gold = GoldLayer::Open(*lakehouse_, layer_, nullptr).value();
    for (int steps = 0; steps < 50; ++steps) {
      const auto moved = gold->Step();
      EXPECT_TRUE(moved) << moved.error().message;
      if (!moved || *moved == 0) break;
      // Silver goes on, and forgets, while Gold works off what it has planned.
      ForeignSnapshot(*lakehouse_, "silver_binance_trades", "append", {}, {});
      ForeignExpiry(*lakehouse_, "silver_binance_trades");
    }
    return gold->stats().rows_in;
  };
  EXPECT_EQ(gold_reads(100), 10);
  more(10, 6);
  ForeignSnapshot(*lakehouse_, "silver_binance_trades", "append", {}, {});
  ForeignExpiry(*lakehouse_, "silver_binance_trades");
  EXPECT_EQ(gold_reads(2), 6);
  EXPECT_EQ(LiveRows(*lakehouse_, task::kGoldTable), 16);
  ForeignCompaction(*lakehouse_, "silver_binance_trades");
  more(16, 1);
  ForeignSnapshot(*lakehouse_, "silver_binance_trades", "append", {}, {});
  ForeignExpiry(*lakehouse_, "silver_binance_trades");
  EXPECT_GE(gold_reads(100), 1);
  EXPECT_EQ(LiveRows(*lakehouse_, task::kGoldTable), 17);
}

// A row that was accepted before the crash and cannot be decoded any more does not vanish: it is rejected.
TEST_F(SilverLayerTest, RejectsAnAcceptedRowThatCannotBeReadAnyMore) {
  schemas_->known.insert(500);
  CommitBronze(*lakehouse_, {{kBinance, 0, 0, MessageOf(0, "BINANCE", 500)}, {kBinance, 0, 1, std::nullopt}});
  const auto refusing = std::make_shared<RefusingCatalog>(lakehouse_->catalog());
  refusing->refused = "silver_binance_trades";
  EXPECT_FALSE(OpenLayer(Lakehouse(refusing, lakehouse_->io()))->Step());
  schemas_->known.clear();
  StepToTheEnd();
  EXPECT_EQ(LiveRows(*lakehouse_, "silver_binance_trades"), 0);
  EXPECT_EQ(ReasonAt(kBinance, 0), "unknown_schema_id");
  EXPECT_EQ(ReasonAt(kBinance, 1), "null_value");
}

TEST_F(SilverLayerTest, RefusesTablesJudgedByLaterRules) {
  CommitBronze(*lakehouse_, {{kBinance, 0, 0, MessageOf(0)}});
  table::Table silver = *lakehouse_->Open("silver_binance_trades");
  table::LayerCommit later;
  later.next.rules_version = 1'000;
  ASSERT_TRUE(std::holds_alternative<table::CommitDone>(silver.Commit(later)));
  const auto refused = OpenLayer(*lakehouse_)->Step();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
}

// Times that no calendar has, which version 1 of the rules took where the ingestion time was as far off. An offset of
// rejected_trades, of whatever version, does not bring them past version 2.
TEST_F(SilverLayerTest, TimesFarOffAreRejectedWhateverRejectedTradesSays) {
  MakeTables();
  const Lakehouse lakehouse = OpenLakehouse();
  constexpr int64_t kYear = int64_t{365} * 24 * 3600 * 1'000'000;
  int64_t offset = 0;
  for (const int64_t years : {10'030, 250'000, 292'000, -3'000, -200'000, -292'000}) {
    const int64_t time_us = years * kYear;
    const std::string payload = MessageOf(years, "BINANCE", trade::kTradeV3SchemaId, 100, time_us, time_us);
    for (int delivery = 0; delivery < 2; ++delivery) {
      CommitBronze(lakehouse, {{.topic = kBinance, .partition = 0, .offset = offset, .payload = payload}});
      table::LayerCommit validated;  // by version 1, which then stopped before Silver's commit
      if (offset > 0) validated.base.positions[KafkaKey(kBinance)] = {.next_offset = offset};
      validated.next.positions[KafkaKey(kBinance)] = {.next_offset = ++offset};
      validated.next.rules_version = 1;
      table::Table rejected = *lakehouse.Open(task::kRejectedTable);
      ASSERT_TRUE(std::holds_alternative<table::CommitDone>(rejected.Commit(validated)));
      const auto silver = SilverLayer::Open(lakehouse, layer_, nullptr, nullptr);
      ASSERT_TRUE((*silver)->Step());
      const auto gold = GoldLayer::Open(lakehouse, layer_, nullptr);  // knows nothing of what was
      const auto moved = (*gold)->Step();
      ASSERT_TRUE(moved) << moved.error().message;
    }
  }
  EXPECT_EQ(LiveRows(lakehouse, "silver_binance_trades"), 0);
  EXPECT_EQ(LiveRows(lakehouse, task::kRejectedTable), 12);
  EXPECT_EQ(LiveRows(lakehouse, task::kGoldTable), 0);
}

constexpr std::string_view kGuidBytes("\x01\x89\x79\x1e\x5c\x4b\x6a\x4d\x21\x9f\x60\x00\xab\xcd\xef\xff\x02", 17);
constexpr std::string_view kNumber7("\0\0\0\0\0\0\0\7", 8);

// Each way to name a schema, beside messages without headers; a schema that nobody has is named in the detail.
TEST_F(SilverLayerTest, SchemasAreNamedByHeadersAndPrefixes) {
  const trade::SchemaRef guid = trade::SchemaRef::OfGuid(kGuidBytes.substr(1));
  schemas_->known = {guid, trade::SchemaRef(trade::SchemaRef::Kind::kContentId, 7),
                     trade::SchemaRef(trade::SchemaRef::Kind::kGlobalId, 7)};
  const auto body = [](int64_t number) { return MessageOf(number).substr(5); };
  const auto row = [&](int64_t offset, std::string payload, decltype(BronzeRow::headers) headers) {
    return BronzeRow{.topic = kBinance, .offset = offset, .payload = std::move(payload), .headers = std::move(headers)};
  };
  const std::string other_guid = std::string(kGuidBytes.substr(0, 16)) + "\x03";
  CommitBronze(*lakehouse_,
               {row(0, MessageOf(0), {}), row(1, body(1), {{"__value_schema_id", std::string(kGuidBytes)}}),
                row(2, std::string(kGuidBytes) + body(2), {}),
                row(3, body(3), {{"trace", std::nullopt}, {"apicurio.value.globalId", std::string(kNumber7)}}),
                row(4, body(4), {{"apicurio.value.contentId", std::string(kNumber7)}}),
                row(5, MessageOf(5), {{"trace", "x"}, {"__value_schema_id", std::nullopt}}),
                row(6, body(6), {{"__value_schema_id", other_guid}}), row(7, body(7), {{"trace", "x"}}),
                row(8, MessageOf(8), {{"apicurio.value.globalId", std::string("\0\0\0\0\0\0\0\5", 8)}})});
  StepToTheEnd();
  CheckWithGold(6);
  for (int64_t offset = 0; offset < 6; ++offset) EXPECT_EQ(ReasonAt(kBinance, offset), "") << offset;
  const auto rejected = ReadRejected(*lakehouse_);
  const auto told = [&](int64_t offset) {
    const auto found = rejected.find({kBinance, 0, offset});
    return found == rejected.end() ? "" : found->second.reason + ": " + found->second.detail;
  };
  EXPECT_EQ(told(6), "unknown_schema_id: no schema has the GUID 89791e5c-4b6a-4d21-9f60-00abcdefff03");
  EXPECT_TRUE(told(7).starts_with("not_framed: ")) << told(7);
  EXPECT_EQ(told(8), "unknown_schema_id: no schema has the global id 5");
}

// A registry that is away holds up the partition that needs it, whatever names the schema.
TEST_F(SilverLayerTest, AGuidThatNobodyCanTellHoldsUpItsPartitionAlone) {
  const trade::SchemaRef guid = trade::SchemaRef::OfGuid(kGuidBytes.substr(1));
  schemas_->away = {guid};
  const decltype(BronzeRow::headers) headers = {{"__value_schema_id", std::string(kGuidBytes)}};
  CommitBronze(*lakehouse_, {{kBinance, 0, 0, MessageOf(0)},
                             {.topic = kBinance, .offset = 1, .payload = MessageOf(1).substr(5), .headers = headers},
                             {kBinance, 0, 2, MessageOf(2)},
                             {kBinance, 1, 0, MessageOf(10)},
                             {kBinance, 1, 1, MessageOf(11)}});
  const auto layer = OpenLayer(*lakehouse_);
  for (int steps = 0; steps < 3; ++steps) (void)layer->Step();
  EXPECT_EQ(LiveRows(*lakehouse_, "silver_binance_trades"), 3);
  EXPECT_EQ(LiveRows(*lakehouse_, task::kRejectedTable), 0);
  schemas_->away.clear();
  schemas_->known = {guid};
  StepToTheEnd();
  CheckWithGold(5);
}

}  // namespace
}  // namespace k2::pipeline
