// Gold's deduplication by tasks, against a map.
#include <arrow/array.h>
#include <arrow/c/bridge.h>
#include <arrow/record_batch.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <optional>
#include <random>

#include "base/seed_for_tests.h"
#include "base/time.h"
#include "iceberg/literal.h"
#include "task/gold_index.h"
#include "task/market_tables.h"
#include "task/partitioned_write.h"
#include "task/text_view.h"
#include "trade/identity.h"
#include "trade/trade_columns.h"

namespace k2::task {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kStart = 1'704'153'600'000'000;

struct TestTrade {
  std::string message_id;
  std::string trade_id;
  std::string symbol = "BTCUSDT";
  int64_t timestamp_us = kStart;
  int64_t price = 1;
};

TestTrade Own(int64_t number, int64_t price = 1, std::string symbol = "BTCUSDT") {
  const std::string trade_id = fmt::format("BINANCE-{}", number);
  return {trade::TradeMessageId("BINANCE", symbol, trade_id).ToString(), trade_id, symbol, kStart + number % 1000,
          price};
}
TestTrade Foreign(std::string id, int64_t price = 1, int64_t timestamp_us = kStart) {
  return {std::move(id), "BINANCE-5", "BTCUSDT", timestamp_us, price};
}

class GoldTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(root_); }
  void TearDown() override { fs::remove_all(root_); }
  [[nodiscard]] OutputTable Output(std::string_view name) const {
    const catalog::CreateTableRequest request = *TableDefinition(name);
    const iceberg::PartitionSpec& spec = name == kGoldTable && gold_spec_ ? *gold_spec_ : request.spec;
    return {std::string(name), fmt::format("file://{}/{}", root_, name), ShapeByNames(request.schema), spec};
  }
  // What another engine has made of Gold's partition spec: fields as "transform column".
  void EvolveGold(const std::vector<std::pair<std::string, std::string>>& fields) {
    gold_spec_.emplace();
    const iceberg::Schema schema = TableDefinition(kGoldTable)->schema;
    for (const auto& [transform, column] : fields) {
      gold_spec_->fields.push_back({.source_id = schema.Find(column)->id,
                                    .field_id = static_cast<int32_t>(1000 + gold_spec_->fields.size()),
                                    .name = column + "_" + transform,
                                    .transform = transform});
    }
  }

  GoldInput Silver(const std::vector<TestTrade>& trades) {
    trade::TradeColumns columns;
    for (const TestTrade& trade : trades) {
      EXPECT_TRUE(columns.Append({.message_id = trade.message_id,
                                  .trade_id = trade.trade_id,
                                  .symbol = trade.symbol,
                                  .exchange = "BINANCE",
                                  .asset_class = trade::AssetClass::kCrypto,
                                  .timestamp_us = trade.timestamp_us,
                                  .price_e14 = trade.price,
                                  .quantity_e8 = 1,
                                  .currency = "USDT",
                                  .side = trade::TradeSide::kBuy,
                                  .ingestion_timestamp_us = trade.timestamp_us}));
    }
    ArrowArray array;
    ArrowSchema schema;
    columns.Export(&array, &schema);
    const OutputTable output = Output("silver_binance_trades");
    const std::string attempt = RandomHex64();
    const TaskContext context{.io = io_};
    PartitionedWriter writer(output, attempt, context, "test");
    EXPECT_TRUE(writer.Write(arrow::ImportRecordBatch(&array, &schema).ValueOrDie()));
    GoldInput input{.shape = output.shape, .files = {}};
    for (const iceberg::DataFile& file : writer.Finish().files)
      input.files.push_back({file.file_path, file.record_count});
    return input;
  }

  // One task over some Silver files; its files are Gold's then.
  TaskResult Run(const std::vector<std::vector<TestTrade>>& files, int64_t memory = 1 << 20,
                 GoldIndex* index = nullptr) {
    GoldTask task;
    for (const auto& file : files) task.inputs.push_back(Silver(file));
    task.existing = existing_;
    task.output = Output(kGoldTable);
    task.attempt_id = RandomHex64();
    task.memory_bytes = memory;
    TaskContext context{.io = io_};
    context.index = index;
    const auto result = RunGoldTask(task, context);
    EXPECT_TRUE(result) << result.error().message;
    for (const iceberg::DataFile& file : result->Find(kGoldTable)->files) {
      existing_.push_back(Described(file));
    }
    return *result;
  }

  static GoldFile Described(const iceberg::DataFile& file) {
    const iceberg::Schema schema = TableDefinition(kGoldTable)->schema;
    const iceberg::NestedField& time = *schema.Find("timestamp");
    const auto hour = [&](const std::map<int32_t, std::string>& bounds) {
      return HourOfMicros(std::get<int64_t>(iceberg::FromBytes(bounds.at(time.id), time.type).value()));
    };
    return {.path = file.file_path,
            .first_hour = hour(file.lower_bounds),
            .last_hour = hour(file.upper_bounds),
            .record_count = file.record_count};
  }

  // Another engine rewrites an hour's files into one; those of all hours, without one.
  void Compact(std::optional<int64_t> hour) {
    const OutputTable output = Output(kGoldTable);
    const auto joined = [&](const GoldFile& file) {
      return !hour || (file.first_hour == *hour && file.last_hour == *hour);
    };
    if (std::ranges::none_of(existing_, joined)) return;
    auto writer =
        table::DataFileWriter::Create(io_, *DataFileLocation({.location = output.location}, {}, RandomHex64(), 0),
                                      output.shape.schema, {}, {}, table::WriteOptions{});
    ASSERT_TRUE(writer);
    for (const GoldFile& file : existing_) {
      if (!joined(file)) continue;
      ASSERT_TRUE(table::ReadDataFile(*io_, file.path, output.shape.schema, {},
                                      [&](const auto& batch) { return (*writer)->Write(*batch); }));
    }
    const auto whole = (*writer)->Finish();
    ASSERT_TRUE(whole);
    std::erase_if(existing_, joined);
    existing_.push_back(Described(*whole));
  }

  // hour and message_id, price
  using Contents = std::map<std::pair<int64_t, std::string>, int64_t>;
  Contents Gold() {
    Contents gold;
    const OutputTable output = Output(kGoldTable);
    for (const GoldFile& file : existing_) {
      EXPECT_TRUE(table::ReadDataFile(
          *io_, file.path, output.shape.schema, {}, [&](const std::shared_ptr<arrow::RecordBatch>& rows) {
            const TextView ids(rows->GetColumnByName("message_id"));
            const auto& prices = static_cast<const arrow::FixedSizeBinaryArray&>(*rows->GetColumnByName("price"));
            const auto& times = static_cast<const arrow::TimestampArray&>(*rows->GetColumnByName("timestamp"));
            for (int64_t i = 0; i < rows->num_rows(); ++i) {
              int64_t price = 0;
              std::memcpy(&price, prices.GetValue(i), sizeof price);
              EXPECT_TRUE(gold.insert({{HourOfMicros(times.Value(i)), std::string(ids[i])}, price}).second)
                  << "twice: " << ids[i];
            }
            return Status{};
          }));
    }
    return gold;
  }

  std::string root_ = (fs::temp_directory_path() / ("k2-gold-" + RandomHex64())).string();
  std::shared_ptr<storage::FileIo> io_ = storage::MakeFileIo();
  std::vector<GoldFile> existing_;
  std::optional<iceberg::PartitionSpec> gold_spec_;
};

const int64_t kHour = HourOfMicros(kStart);

// Rules of version 1 took any time that lay near its ingestion time, so Silver may hold rows of any.
TEST_F(GoldTest, TimesAtTheEndsOfTimeHaveHoursOfTheirOwn) {
  constexpr int64_t kHalf = (int64_t{1} << 31) * kMicrosPerHour;  // hours apart that 32 bits do not tell from another
  std::vector<TestTrade> trades;
  Contents expected;
  for (const int64_t us : {INT64_MAX, INT64_MAX - kMicrosPerHour, kStart, kStart - kHalf, kStart + kHalf, INT64_MIN,
                           INT64_MIN + kMicrosPerHour}) {
    trades.push_back(Foreign("one id", static_cast<int64_t>(trades.size()) + 1, us));
    expected[{HourOfMicros(us), "one id"}] = trades.back().price;
  }
  ASSERT_EQ(expected.size(), trades.size());
  EXPECT_EQ(Run({trades}).rows_out, static_cast<int64_t>(trades.size()));
  EXPECT_EQ(Gold(), expected);
  EXPECT_EQ(Run({trades}).duplicates, static_cast<int64_t>(trades.size()));
  Compact(std::nullopt);  // by another engine, to a file of all these hours
  EXPECT_EQ(Run({trades}).duplicates, static_cast<int64_t>(trades.size()));
  GoldTask task{.inputs = {Silver(trades)}, .existing = {}, .output = Output(kGoldTable), .attempt_id = RandomHex64()};
  task.hours = {HourOfMicros(INT64_MIN), HourOfMicros(INT64_MAX)};
  const auto result = RunGoldTask(task, {.io = io_});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->rows_out, 2);
}

// Tasks that share the rows out, by hours and by ids, do together what one does.
TEST_F(GoldTest, SharesMakeTheWhole) {
  std::vector<TestTrade> trades;
  for (int64_t i = 0; i < 300; ++i) {
    TestTrade trade = i % 3 == 0 ? Foreign(fmt::format("text {}", i % 90)) : Own(i % 120);
    trade.timestamp_us = kStart + (i % 4) * kMicrosPerHour;
    trade.price = i + 1;
    trades.push_back(std::move(trade));
  }
  const GoldInput input = Silver(trades);
  struct Part {
    std::vector<int64_t> hours;
    int32_t share = 0;
    int32_t shares = 1;
  };
  const auto add = [&](const std::vector<Part>& parts) {
    TaskResult sum;
    const std::vector<GoldFile> existing = existing_;
    for (const Part& part : parts) {
      GoldTask task{.inputs = {input}, .existing = existing, .output = Output(kGoldTable), .attempt_id = RandomHex64()};
      task.memory_bytes = 1 << 20;
      task.hours = part.hours;
      task.share = part.share;
      task.shares = part.shares;
      const auto result = RunGoldTask(task, {.io = io_});
      EXPECT_TRUE(result) << result.error().message;
      sum.rows_in += result->rows_in;
      sum.rows_out += result->rows_out;
      sum.duplicates += result->duplicates;
      for (const iceberg::DataFile& file : result->Find(kGoldTable)->files) {
        existing_.push_back(Described(file));
      }
    }
    EXPECT_EQ(sum.rows_in, 300);
    EXPECT_EQ(sum.rows_in, sum.rows_out + sum.duplicates);
    return sum.rows_out;
  };
  const auto run = [&](const std::vector<Part>& parts) {
    existing_.clear();
    add(parts);
    return Gold();
  };
  const Contents whole = run({{}});
  const int64_t hour = HourOfMicros(kStart);
  EXPECT_EQ(run({{{hour}}, {{hour + 1, hour + 2}}, {{hour + 3}}}), whole);
  EXPECT_EQ(run({{{}, 0, 3}, {{}, 1, 3}, {{}, 2, 3}}), whole);
  EXPECT_EQ(run({{{hour, hour + 3}}, {{hour + 1, hour + 2}, 0, 2}, {{hour + 1, hour + 2}, 1, 2}}), whole);
  // Other shares, later: whichever wrote a trade, the one that it falls to now finds it.
  EXPECT_EQ(add({{{}, 0, 5}, {{}, 1, 5}, {{}, 2, 5}, {{}, 3, 5}, {{}, 4, 5}}), 0);
  EXPECT_EQ(Gold(), whole);
}

TEST_F(GoldTest, KeepsTheFirstOfEachIdAndCountsOtherContent) {
  const TestTrade text = Foreign("no uuid at all");
  TaskResult first = Run({{Own(1), Own(2), Own(1), text}, {Own(2, 9), Own(3), text}});
  EXPECT_EQ(first.rows_in, 7);
  EXPECT_EQ(first.rows_out, 4);
  EXPECT_EQ(first.duplicates, 3);
  EXPECT_EQ(first.identity_conflicts, 1);
  // The same again, in another process: from files alone.
  TaskResult again = Run({{Own(1), Own(2), Own(3, 7), text, Foreign("no uuid at all", 8), Own(4)}});
  EXPECT_EQ(again.rows_out, 1);
  EXPECT_EQ(again.duplicates, 5);
  EXPECT_EQ(again.identity_conflicts, 2);
  for (const auto& [id, price] : Gold()) EXPECT_EQ(price, 1) << id.second;
  EXPECT_EQ(Gold().size(), 5U);
}

TEST_F(GoldTest, CountsTheSameIdInTwoHours) {
  GoldIndex index(1 << 20);
  const std::string id = "8f7a2c1e-9b0d-4a3c-8e5f-0123456789ab";
  EXPECT_EQ(Run({{Foreign(id)}}, 0, &index).identity_conflicts, 0);
  const TaskResult result = Run({{Foreign(id, 1, kStart + kMicrosPerHour)}}, 0, &index);
  EXPECT_EQ(result.rows_out, 1) << "each hour is a place of its own";
  EXPECT_EQ(result.identity_conflicts, 1);
}

// A message that carries the id K2 derives for another trade: that trade is held as a number, and found all the same.
TEST_F(GoldTest, MeetsOurOwnIdsUnderForeignFields) {
  for (const int64_t memory : {0, 1 << 20}) {
    for (const bool own_first : {true, false}) {
      for (const bool one_batch : {true, false}) {
        SCOPED_TRACE(fmt::format("{} {} {}", memory, own_first, one_batch));
        existing_.clear();
        TestTrade own = Own(7);
        TestTrade thief = own;
        thief.trade_id = "BINANCE-8";
        if (!own_first) std::swap(own, thief);
        int64_t kept = 0;
        if (one_batch) {
          kept = Run({{Own(6), own, thief}}, memory).rows_out;
        } else {
          kept = Run({{Own(6), own}}, memory).rows_out + Run({{thief}}, memory).rows_out;
        }
        EXPECT_EQ(kept, 2);
        EXPECT_EQ(Gold().size(), 2U);
      }
    }
  }
}

TEST_F(GoldTest, IsExactForAnHourOfFourTimesTheIdsThatFit) {
  std::mt19937_64 random(1);
  constexpr int64_t kBound = 40'000;  // holds about 1,000 ids
  GoldIndex index(kBound);
  std::vector<TestTrade> all;
  for (int batch = 0; batch < 8; ++batch) {
    std::vector<TestTrade> trades;
    for (int i = 0; i < 500; ++i) {
      trades.push_back(Foreign(RandomUuid().ToString(), 1, kStart + i));
      if (!all.empty() && i % 5 == 0) trades.push_back(all[random() % all.size()]);
    }
    Run({trades}, kBound, &index);
    EXPECT_LE(index.bytes(), kBound);
    for (size_t i = 0; i < trades.size(); ++i) all.push_back(trades[i]);
  }
  EXPECT_EQ(Gold().size(), 8U * 500U);
  EXPECT_EQ(Run({all}, kBound, &index).rows_out, 0);
}

TEST_F(GoldTest, AgreesWithAMap) {
  const uint64_t seed = SeedForTests();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  // Each id has its hour; its content may differ.
  std::vector<TestTrade> universe;
  for (int i = 0; i < 150; ++i) {
    universe.push_back(Own(i));
    universe.push_back(Own(i * 3, 1, "ETHUSDT"));
    universe.push_back(Foreign(RandomUuid().ToString()));
    universe.push_back(Foreign(fmt::format("text {}", i)));
    TestTrade stolen = Own(i);
    stolen.trade_id = fmt::format("BINANCE-{}", i + 1);
    if (i % 5 == 0) universe.push_back(stolen);
  }
  for (TestTrade& trade : universe) {
    trade.timestamp_us += static_cast<int64_t>(UuidHash{}(IdOfText(trade.message_id)) % 3) * 5 * kMicrosPerHour;
  }
  // As others may evolve the table: between two steps, files of all specs beside each other.
  const std::vector<std::vector<std::pair<std::string, std::string>>> specs = {
      {{"identity", "exchange_date"}, {"identity", "exchange_hour"}},
      {{"identity", "exchange_date"}, {"identity", "exchange_hour"}, {"identity", "symbol"}},
      {{"bucket[3]", "symbol"}},
      {{"void", "exchange_date"}, {"void", "exchange_hour"}, {"truncate[2]", "symbol"}},
      {{"hour", "timestamp"}, {"bucket[2]", "message_id"}},
      {}};
  for (int round = 0; round < 5; ++round) {
    existing_.clear();
    gold_spec_.reset();
    Contents model;
    const auto bound = static_cast<int64_t>(random() % 4 == 0 ? 0 : random() % 30'000);
    auto index = std::make_unique<GoldIndex>(bound);
    for (int step = 0; step < 15; ++step) {
      if (random() % 4 == 0) index = std::make_unique<GoldIndex>(bound);  // a restart
      if (random() % 5 == 0 && !existing_.empty()) Compact(existing_[random() % existing_.size()].first_hour);
      if (round > 1 && random() % 3 == 0) EvolveGold(specs[random() % specs.size()]);
      if (round > 1 && random() % 6 == 0) Compact(std::nullopt);
      std::vector<std::vector<TestTrade>> files(random() % 3 + 1);
      int64_t expected = 0;
      int64_t duplicates = 0;
      for (auto& file : files) {
        for (uint64_t n = random() % 60 + 1; n > 0; --n) {
          TestTrade trade = universe[random() % universe.size()];
          if (random() % 10 == 0) trade.price = 2;
          if (random() % 20 == 0) trade.timestamp_us += kMicrosPerHour;  // the same id in two hours is two rows
          const bool is_new = model.insert({{HourOfMicros(trade.timestamp_us), trade.message_id}, trade.price}).second;
          ++(is_new ? expected : duplicates);
          file.push_back(trade);
        }
      }
      const TaskResult result = Run(files, bound, random() % 4 == 0 ? nullptr : index.get());
      ASSERT_LE(index->bytes(), bound);
      ASSERT_EQ(result.rows_out, expected) << "step " << step;
      ASSERT_EQ(result.duplicates, duplicates) << "step " << step;
    }
    ASSERT_TRUE(Gold() == model) << "the first of each id is kept";
  }
}

}  // namespace
}  // namespace k2::task
