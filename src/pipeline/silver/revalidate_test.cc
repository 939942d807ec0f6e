// Rows of rejected_trades that the rules of now accept: they go to Silver and leave rejected_trades, whatever happens
// in between.
#include "pipeline/silver/revalidate.h"

#include <random>

#include "pipeline/layer_fixture.h"
#include "pipeline/silver/revalidation_mark.h"
#include "table/progress_json.h"
#include "task/header_view.h"
#include "task/market_tables.h"
#include "task/partitioned_write.h"
#include "task/revalidation.h"
#include "trade/decoder.h"
#include "trade/encode.h"
#include "trade/identity.h"
#include "trade/trade_schema.h"

namespace k2::pipeline {
namespace {

constexpr const char* kKrakenTopicName = "market.crypto.trades.kraken";
constexpr int64_t kReceivedUs = 1'704'153'600'000'000;
constexpr int64_t kTwoYearsUs = 2 * 366 * kMicrosPerDay;

std::string KrakenMessage(int64_t number, int64_t age_us = 0, trade::TradeSide side = trade::TradeSide::kBuy) {
  const std::string trade_id = fmt::format("KRAKEN-{}", number);
  const trade::Trade trade{.message_id = trade::TradeMessageId("KRAKEN", "NANOETH", trade_id),
                           .trade_id = trade_id,
                           .symbol = "NANOETH",
                           .exchange = "KRAKEN",
                           .timestamp_us = kReceivedUs - age_us,
                           .price_e14 = 100,
                           .quantity_e8 = 1,
                           .currency = "ETH",
                           .side = side,
                           .ingestion_timestamp_us = kReceivedUs};
  std::string payload;
  trade::EncodeTrade(trade, trade::kTradeV3SchemaId, payload);
  return payload;
}

std::string TradeJson(int64_t number, std::string_view side = "buy") {
  return fmt::format(
      R"({{"symbol":"NANO/ETH","side":"{}","price":0.5,"qty":1,"ord_type":"limit","trade_id":{},"timestamp":"2024-01-01T00:00:00Z"}})",
      side, number);
}
std::string KrakenFrame(const std::vector<std::string>& trades) {
  return fmt::format(R"({{"channel":"trade","type":"update","data":[{}]}})", fmt::join(trades, ","));
}
std::string RejectedFrameMessage(const std::string& frame, std::string_view detail) {
  std::string payload;
  trade::EncodeRejectedFrame({"KRAKEN", trade::RejectReason::kFrameOther, detail, frame, kReceivedUs},
                             trade::kRejectedFrameSchemaId, payload);
  return payload;
}

class Revalidate : public LayerTest {
 protected:
  void SetUp() override {
    LayerTest::SetUp();
    MakeTables();
    lakehouse_.emplace(OpenLakehouse());
  }

  // Messages in Bronze of which a K2 of rules version 1 has rejected some, and has stopped before Silver's commit.
  void SendWithRejects(const std::vector<std::string>& payloads, const std::map<int64_t, std::string>& rejected) {
    std::vector<BronzeRow> rows;
    for (size_t i = 0; i < payloads.size(); ++i) {
      rows.push_back({.topic = kKrakenTopicName, .offset = static_cast<int64_t>(i), .payload = payloads[i]});
      if (!header_.empty()) rows.back().headers = {{std::string(kSchemaHeader), header_}};
    }
    CommitBronze(*lakehouse_, rows);
    table::LayerCommit commit;
    commit.added = {WriteRejectedFile(payloads, rejected)};
    commit.next.positions[KafkaKey(kKrakenTopicName)] = {.next_offset = static_cast<int64_t>(payloads.size())};
    commit.next.rules_version = 1;
    table::Table table = *lakehouse_->Open(task::kRejectedTable);
    ASSERT_TRUE(std::holds_alternative<table::CommitDone>(table.Commit(commit)));
  }
  iceberg::DataFile WriteRejectedFile(const std::vector<std::string>& payloads,
                                      const std::map<int64_t, std::string>& rejected) {
    source::ByteColumn payload;
    source::ByteColumn reason;
    source::ByteColumn detail;
    std::vector<int64_t> offsets;
    source::HeaderColumn headers;
    const std::vector<trade::MessageHeader> header = {{.key = kSchemaHeader, .value = header_}};
    for (const auto& [offset, why] : rejected) {
      task::AppendHeaders(header_.empty() ? std::span<const trade::MessageHeader>() : header, offsets.size(), headers);
      offsets.push_back(offset);
      payload.Append(payloads[static_cast<size_t>(offset)]);
      reason.Append(why);
      detail.Append("as version 1 found");
    }
    const size_t count = offsets.size();
    const auto rows = static_cast<int64_t>(count);
    const auto time = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
    std::vector<const char*> names = {"topic",   "partition", "offset", "kafka_timestamp", "schema_id",
                                      "payload", "reason",    "detail", "ingestion_date",  "rejected_at"};
    std::vector<std::shared_ptr<arrow::Array>> columns = {
        task::ConstantString(kKrakenTopicName, rows),
        task::Int32Array(std::vector<int32_t>(count, 0), arrow::int32()),
        task::Int64Array(std::move(offsets), arrow::int64()),
        task::Int64Array(std::vector<int64_t>(count, kReceivedUs), time),
        task::Int32Array(std::vector<int32_t>(count, 1), arrow::int32()),
        task::BytesArray(std::move(payload), arrow::binary()),
        task::BytesArray(std::move(reason), arrow::utf8()),
        task::BytesArray(std::move(detail), arrow::utf8()),
        task::Int32Array(std::vector<int32_t>(count, DayOfMicros(kReceivedUs)), arrow::date32()),
        task::Int64Array(std::vector<int64_t>(count, kReceivedUs), time)};
    if (!headers.empty()) {
      names.push_back("headers");
      columns.push_back(task::HeadersArray(std::move(headers)));
    }
    const auto batch = task::NamedBatch(names, std::move(columns), rows);
    const table::Table table = *lakehouse_->Open(task::kRejectedTable);
    const task::OutputTable output = *OutputOf(table);
    const std::string attempt = RandomHex64();
    const task::TaskContext context{.io = table.io_ptr()};
    task::PartitionedWriter writer(output, attempt, context, "test");
    EXPECT_TRUE(writer.Write(batch));
    return writer.Finish().files.at(0);
  }

  void RunSilverAndGold() {
    auto silver = *SilverLayer::Open(*lakehouse_, layer_, schemas_, nullptr);
    auto gold = *GoldLayer::Open(*lakehouse_, layer_, nullptr);
    for (bool more = true; more;) {
      const auto rows = silver->Step();
      ASSERT_TRUE(rows) << rows.error().message;
      more = *rows > 0;
    }
    ASSERT_TRUE(silver->CommitOffsets());
    for (bool more = true; more;) {
      const auto rows = gold->Step();
      ASSERT_TRUE(rows) << rows.error().message;
      more = *rows > 0;
    }
    ASSERT_TRUE(gold->CommitOffsets());
  }
  std::map<std::string, RevalidatedRows> MustRevalidate(bool dry_run = false) {
    LayerStats stats;
    const auto done = RevalidateRejected(*lakehouse_, layer_, schemas_, dry_run, stats);
    EXPECT_TRUE(done) << done.error().message;
    return done.value_or(std::map<std::string, RevalidatedRows>{});
  }
  std::vector<int64_t> RejectedOffsets() {
    std::vector<int64_t> offsets;
    for (const auto& [key, row] : ReadRejected(*lakehouse_)) offsets.push_back(std::get<2>(key));
    std::ranges::sort(offsets);
    return offsets;
  }
  std::multiset<std::string> Ids(std::string_view table) {
    std::multiset<std::string> ids;
    for (const StoredTrade& row : ReadTrades(*lakehouse_, table)) ids.insert(row.message_id);
    return ids;
  }
  static std::multiset<std::string> IdsOf(const std::vector<int64_t>& numbers) {
    std::multiset<std::string> ids;
    for (const int64_t number : numbers) {
      ids.insert(trade::TradeMessageId("KRAKEN", "NANOETH", fmt::format("KRAKEN-{}", number)).ToString());
    }
    return ids;
  }
  int32_t RulesOf(std::string_view table) {
    return table::ReadProgress(lakehouse_->Open(table)->metadata())->rules_version;
  }
  bool IsPending() { return !CheckNoRevalidationPending(lakehouse_->Open(kSilver)->metadata()).has_value(); }

  static constexpr const char* kSilver = "silver_kraken_trades";
  static constexpr std::string_view kSchemaHeader = "__value_schema_id";
  std::string header_;  // of all messages, if not empty
  std::optional<Lakehouse> lakehouse_;
  std::shared_ptr<registry::SchemaSource> schemas_ = std::make_shared<registry::FileSchemaSource>("");
};

TEST_F(Revalidate, ALakeOfRulesVersion1GoesOnAndIsValidatedAgain) {
  // 1 and 4 are old, 2 is bad by any rules.
  SendWithRejects({KrakenMessage(0), KrakenMessage(1, kTwoYearsUs), KrakenMessage(2, 0, trade::TradeSide::kUnknown),
                   KrakenMessage(3), KrakenMessage(4, kTwoYearsUs)},
                  {{1, "timestamp_too_old"}, {2, "invalid_side"}, {4, "timestamp_too_old"}});
  auto silver = *SilverLayer::Open(*lakehouse_, layer_, schemas_, nullptr);
  ASSERT_TRUE(silver->Step());
  EXPECT_EQ(RulesOf(kSilver), trade::kRulesVersion) << "what Silver lacks is validated by the rules of today";
  EXPECT_EQ(Ids(kSilver), IdsOf({0, 3})) << "rejected_trades holds the others";

  CommitBronze(*lakehouse_, {{.topic = kKrakenTopicName, .offset = 5, .payload = KrakenMessage(5, kTwoYearsUs)}});
  RunSilverAndGold();
  EXPECT_EQ(RulesOf(kSilver), trade::kRulesVersion);
  EXPECT_EQ(Ids(task::kGoldTable), IdsOf({0, 3, 5}));
  EXPECT_EQ(RejectedOffsets(), (std::vector<int64_t>{1, 2, 4}));

  const auto positions = table::ReadProgress(lakehouse_->Open(kSilver)->metadata())->positions;
  const auto dry = MustRevalidate(/*dry_run=*/true);
  EXPECT_EQ(dry.at("timestamp_too_old").accepted, 2);
  EXPECT_EQ(dry.at("timestamp_too_old").left, 0);
  EXPECT_EQ(dry.at("invalid_side").accepted, 0);
  EXPECT_EQ(dry.at("invalid_side").left, 1);
  EXPECT_EQ(RejectedOffsets(), (std::vector<int64_t>{1, 2, 4})) << "a dry run changes nothing";
  EXPECT_EQ(Ids(kSilver), IdsOf({0, 3, 5}));

  auto running = *GoldLayer::Open(*lakehouse_, layer_, nullptr);
  ASSERT_EQ(*running->Step(), 0);
  const auto done = MustRevalidate();
  EXPECT_EQ(done.at("timestamp_too_old").trades, 2);
  EXPECT_EQ(RejectedOffsets(), std::vector<int64_t>{2});
  EXPECT_EQ(Ids(kSilver), IdsOf({0, 1, 3, 4, 5}));
  EXPECT_EQ(table::ReadProgress(lakehouse_->Open(kSilver)->metadata())->positions, positions);
  EXPECT_FALSE(IsPending());
  EXPECT_GT(*running->Step(), 0) << "they are new rows to a layer that runs on";
  EXPECT_EQ(Ids(task::kGoldTable), IdsOf({0, 1, 3, 4, 5}));
  CheckTables(*lakehouse_, 5);

  EXPECT_EQ(MustRevalidate().at("invalid_side").accepted, 0);
  EXPECT_EQ(Ids(kSilver), IdsOf({0, 1, 3, 4, 5})) << "nothing is doubled the second time";
  ASSERT_EQ(*running->Step(), 0);
}

TEST_F(Revalidate, ACrashBetweenTheTablesIsFinished) {
  SendWithRejects({KrakenMessage(0), KrakenMessage(1, kTwoYearsUs), KrakenMessage(2, 0, trade::TradeSide::kUnknown)},
                  {{1, "timestamp_too_old"}, {2, "invalid_side"}});
  RunSilverAndGold();
  {
    // Silver's commit is the first, with its mark; the machine stops before rejected_trades'.
    int swaps = 0;
    const Lakehouse dying = OpenLakehouse(
        storage::MakeFileIo(),
        {.swap_fault = [&] { return ++swaps == 1 ? catalog::SwapFault::kNone : catalog::SwapFault::kRequestLost; }});
    LayerOptions few = layer_;
    few.commit.max_attempts = 1;
    LayerStats stats;
    EXPECT_FALSE(RevalidateRejected(dying, few, schemas_, false, stats));
  }
  EXPECT_EQ(Ids(kSilver), IdsOf({0, 1}));
  EXPECT_EQ(RejectedOffsets(), (std::vector<int64_t>{1, 2})) << "one row stands in both";
  EXPECT_TRUE(IsPending());
  auto rebuilt = *SilverLayer::Open(*lakehouse_, layer_, schemas_, nullptr);
  EXPECT_EQ(rebuilt->PlanRebuild(1).error().kind, ErrorKind::kConflict) << "first finish the one";
  // Snapshots expire, files are joined, layers go on meanwhile.
  CommitBronze(*lakehouse_,
               {{.topic = kKrakenTopicName, .offset = 3, .payload = KrakenMessage(3, 0, trade::TradeSide::kUnknown)}});
  RunSilverAndGold();
  ForeignCompaction(*lakehouse_, task::kRejectedTable);
  ForeignExpiry(*lakehouse_, task::kRejectedTable);
  ForeignExpiry(*lakehouse_, kSilver);

  const auto done = MustRevalidate();
  EXPECT_FALSE(done.contains("timestamp_too_old")) << "it was counted by the run that took it";
  EXPECT_EQ(done.at("invalid_side").left, 2);
  EXPECT_EQ(Ids(kSilver), IdsOf({0, 1}));
  EXPECT_EQ(RejectedOffsets(), (std::vector<int64_t>{2, 3}));
  EXPECT_FALSE(IsPending());
  RunSilverAndGold();
  CheckTables(*lakehouse_, 2);
}

TEST_F(Revalidate, AFrameMayBecomeSeveralTrades) {
  const std::string good = KrakenFrame({TradeJson(10), TradeJson(11)});
  const std::string half = KrakenFrame({TradeJson(20), TradeJson(21, "?"), TradeJson(22)});
  SendWithRejects(
      {
          RejectedFrameMessage(good, "an older K2 could not read it"),
          RejectedFrameMessage(half, "an older K2 could not read it"),
          RejectedFrameMessage(half, "data[2]: an older K2 could not read it"),
          RejectedFrameMessage(half, "data[1]: field \"side\""),
          RejectedFrameMessage("{\"no\":\"trades\"}", "?"),
          RejectedFrameMessage("{", "the JSON ends too early"),
      },
      {{0, "frame_other"},
       {1, "frame_other"},
       {2, "frame_other"},
       {3, "frame_bad_side"},
       {4, "frame_other"},
       {5, "frame_not_json"}});
  RunSilverAndGold();
  const auto done = MustRevalidate();
  EXPECT_EQ(done.at("frame_other").accepted, 2);
  EXPECT_EQ(done.at("frame_other").trades, 3);
  EXPECT_EQ(Ids(kSilver), IdsOf({10, 11, 22})) << "of a frame with a bad trade the whole is not taken, the good one is";
  EXPECT_EQ(RejectedOffsets(), (std::vector<int64_t>{1, 3, 4, 5}));
}

TEST_F(Revalidate, TakesManyRowsInRounds) {
  constexpr int64_t kRows = 250;
  std::vector<std::string> payloads;
  std::map<int64_t, std::string> rejected;
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < kRows; ++i) {
    payloads.push_back(KrakenMessage(i, kTwoYearsUs));
    if (i % 2 == 0) rejected[i] = "timestamp_too_old";
    numbers.push_back(i);
  }
  SendWithRejects(payloads, rejected);
  layer_.rows_per_step = 40;
  RunSilverAndGold();
  EXPECT_EQ(MustRevalidate().at("timestamp_too_old").accepted, kRows / 2);
  EXPECT_TRUE(RejectedOffsets().empty());
  EXPECT_EQ(Ids(kSilver), IdsOf(numbers));
}

TEST_F(Revalidate, AHeaderThatNamedTheSchemaIsKept) {
  header_ = std::string("\0\0\0\0\3", 5);
  std::vector<std::string> bodies;
  for (const int64_t number : {0, 1, 2})
    bodies.push_back(KrakenMessage(number, number == 1 ? kTwoYearsUs : 0).substr(5));
  bodies.push_back(KrakenMessage(3, 0, trade::TradeSide::kUnknown).substr(5));
  SendWithRejects(bodies, {{1, "timestamp_too_old"}});
  RunSilverAndGold();
  EXPECT_EQ(RejectedOffsets(), (std::vector<int64_t>{1, 3}));
  const auto done = MustRevalidate();
  EXPECT_EQ(done.at("timestamp_too_old").accepted, 1);
  EXPECT_EQ(done.at("invalid_side").left, 1) << "what this version rejects is read by its header as well";
  EXPECT_EQ(Ids(kSilver), IdsOf({0, 1, 2}));
}

TEST_F(Revalidate, RowsThatSilverHasNotPassedAreLeftToIt) {
  SendWithRejects({KrakenMessage(0), KrakenMessage(1, kTwoYearsUs)}, {{1, "timestamp_too_old"}});
  EXPECT_EQ(MustRevalidate().at("timestamp_too_old").accepted, 0);
  RunSilverAndGold();
  EXPECT_EQ(MustRevalidate().at("timestamp_too_old").accepted, 1);
  EXPECT_EQ(Ids(kSilver), IdsOf({0, 1}));
}

TEST_F(Revalidate, TwoAtOnceTakeARowOnce) {
  SendWithRejects({KrakenMessage(0), KrakenMessage(1, kTwoYearsUs)}, {{1, "timestamp_too_old"}});
  RunSilverAndGold();
  // The other one does all of it while this one is about to commit.
  bool first = true;
  const Lakehouse slow = OpenLakehouse(storage::MakeFileIo(), {.on_step = [&](std::string_view step) {
                                         if (step == "before-swap" && std::exchange(first, false)) MustRevalidate();
                                       }});
  LayerStats stats;
  const auto done = RevalidateRejected(slow, layer_, schemas_, false, stats);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_FALSE(first);
  EXPECT_EQ(Ids(kSilver), IdsOf({0, 1}));
  EXPECT_TRUE(RejectedOffsets().empty());
}

TEST(RejectedPlace, IsWhatTheDetailNames) {
  EXPECT_EQ(task::PlaceOfDetail("data[3]: field \"price\": is missing"), (task::RejectedPlace{3, false}));
  EXPECT_EQ(task::PlaceOfDetail("trades[12]: x; and 7 more trades of this frame are rejected"),
            (task::RejectedPlace{12, true}));
  for (const char* whole :
       {"", "not JSON at byte 3: \"[1]: \"", "[1]: x", "data[]: x", "data[1x]: x", "field \"s\": x"}) {
    EXPECT_EQ(task::PlaceOfDetail(whole), task::RejectedPlace{}) << whole;
  }
}

TEST(MessagePlaces, AreRangesOfConsecutiveOffsets) {
  MessagePlaces places;
  std::set<int64_t> offsets;
  std::mt19937_64 random(TestSeed());
  for (int i = 0; i < 2000; ++i) {
    const auto offset = static_cast<int64_t>(random() % 700);
    places.Add({"t", "", 1}, offset);
    offsets.insert(offset);
  }
  const RevalidationMark mark{.id = "a", .rejected_uuid = "b", .places = places};
  iceberg::TableMetadata metadata;
  metadata.properties[std::string(kRevalidatedKey)] = MarkToJson(mark);
  const auto read = ReadRevalidationMark(metadata);
  ASSERT_TRUE(read) << read.error().message;
  int64_t ranges = 0;
  for (int64_t offset = -2; offset < 702; ++offset) {
    ASSERT_EQ(places.Contains({"t", "", 1}, offset), offsets.contains(offset)) << offset;
    ASSERT_EQ(read->places.Contains({"t", "", 1}, offset), offsets.contains(offset)) << offset;
    ranges += offsets.contains(offset) && !offsets.contains(offset - 1) ? 1 : 0;
  }
  EXPECT_EQ(places.ranges(), ranges);
  EXPECT_EQ(places.Bounds(), std::pair(*offsets.begin(), *offsets.rbegin()));
  EXPECT_FALSE(places.Contains({"t", "", 0}, *offsets.begin()));
  EXPECT_FALSE(places.Contains({"u", "", 1}, *offsets.begin()));
  EXPECT_FALSE(places.Contains({"t", "recreated", 1}, *offsets.begin()));
}

}  // namespace
}  // namespace k2::pipeline
