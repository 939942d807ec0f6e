#include "task/gold_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/seed_for_tests.h"
#include "trade/identity.h"

namespace k2::task {
namespace {

Uuid RandomId(std::mt19937_64& random) {
  Uuid id;
  for (uint8_t& byte : id.bytes) byte = static_cast<uint8_t>(random());
  return id;
}

// The files of Gold, by path, as the index reads them.
class Files {
 public:
  std::string Add(std::vector<TradeKey> keys) {
    const std::string path = fmt::format("file{}", next_++);
    keys_[path] = std::move(keys);
    return path;
  }
  void Remove(const std::string& path) { keys_.erase(path); }
  [[nodiscard]] const std::vector<TradeKey>& Keys(const std::string& path) const { return keys_.at(path); }
  [[nodiscard]] std::vector<GoldIndex::File> List() const {
    std::vector<GoldIndex::File> files;
    for (const auto& [path, keys] : keys_) files.push_back({path, static_cast<int64_t>(keys.size())});
    return files;
  }
  // Parts of 100 keys; the bound must hold at each.
  GoldIndex::Loader Loader(const GoldIndex& index) {
    return [this, &index](const GoldIndex::File& file, const GoldIndex::Take& take) -> Status {
      ++loads;
      const std::vector<TradeKey>& keys = keys_.at(file.path);
      for (size_t at = 0; at < keys.size(); at += 100) {
        const auto begin = keys.begin() + static_cast<std::ptrdiff_t>(at);
        const bool more = take({begin, begin + static_cast<std::ptrdiff_t>(std::min<size_t>(100, keys.size() - at))});
        EXPECT_LE(index.bytes(), index.max_bytes());
        if (!more) return {};
      }
      return {};
    };
  }
  int loads = 0;

 private:
  std::map<std::string, std::vector<TradeKey>> keys_;
  int next_ = 0;
};

TradeKey IdKey(const Uuid& id) { return {.id = id}; }
TradeKey SequenceKey(int32_t name, int64_t number) {
  const std::string symbol = fmt::format("S{}", name);
  return {.id = trade::TradeMessageId("BINANCE", symbol, fmt::format("BINANCE-{}", number)),
          .sequence_of = name,
          .sequence = number};
}

TEST(KeyOfTrade, IsANumberOnlyForIdsOfOurOwnMaking) {
  SequenceNames names;
  const auto key = [&](std::string_view exchange, std::string_view symbol, std::string_view trade_id) {
    return KeyOfTrade(trade::TradeMessageId(exchange, symbol, trade_id).ToString(), exchange, symbol, trade_id, names);
  };
  EXPECT_EQ(key("BINANCE", "BTCUSDT", "BINANCE-17").sequence, 17);
  EXPECT_EQ(key("BINANCE", "BTCUSDT", "BINANCE-17").sequence_of, key("BINANCE", "BTCUSDT", "BINANCE-18").sequence_of);
  EXPECT_NE(key("BINANCE", "BTCUSDT", "BINANCE-17").sequence_of, key("BINANCE", "ETHUSDT", "BINANCE-17").sequence_of);
  EXPECT_EQ(key("BINANCE", "BTCUSDT", "BINANCE-0").sequence, 0);
  for (const char* other : {"BINANCE-", "BINANCE-017", "BINANCE-+1", "BINANCE--1", "BINANCE-1 ", "BINANCE-1x",
                            "KRAKEN-1", "17", "BINANCE17", "BINANCE-1234567890123456789", "BINANCE-00", "binance-1"}) {
    EXPECT_LT(key("BINANCE", "BTCUSDT", other).sequence_of, 0) << other;
    EXPECT_FALSE(key("BINANCE", "BTCUSDT", other).suspect) << other;
  }
  // Two names that are hashed as the same text must not be told apart by their parts.
  const TradeKey a = key("BINANCE", "A|B", "BINANCE-1");
  EXPECT_LT(a.sequence_of, 0);
  EXPECT_TRUE(a.suspect);
}

TEST(KeyOfTrade, SuspectsIdsOfOtherTrades) {
  SequenceNames names;
  const std::string id = trade::TradeMessageId("BINANCE", "BTCUSDT", "BINANCE-17").ToString();
  const TradeKey stolen = KeyOfTrade(id, "BINANCE", "BTCUSDT", "BINANCE-18", names);
  EXPECT_TRUE(stolen.suspect);
  EXPECT_LT(stolen.sequence_of, 0);
  const TradeKey random = KeyOfTrade("8f7a2c1e-9b0d-4a3c-8e5f-0123456789ab", "BINANCE", "BTCUSDT", "BINANCE-17", names);
  EXPECT_FALSE(random.suspect) << "version 4 is never ours";
  EXPECT_LT(random.sequence_of, 0);
}

TEST(IdOfText, KeepsDifferentTextsApart) {
  std::set<std::array<uint8_t, 16>> ids;
  for (const char* text : {"8f7a2c1e-9b0d-4a3c-8e5f-0123456789ab", "8F7A2C1E-9B0D-4A3C-8E5F-0123456789AB",
                           "8f7a2c1e-9b0d-4a3c-8e5f-0123456789aB", "8f7a2c1e9b0d4a3c8e5f0123456789ab", "", " ", "a",
                           "A", "{8f7a2c1e-9b0d-4a3c-8e5f-0123456789ab}", "1", "01"}) {
    EXPECT_TRUE(ids.insert(IdOfText(text).bytes).second) << text;
    EXPECT_EQ(IdOfText(text), IdOfText(text));
  }
  EXPECT_EQ(IdOfText("8f7a2c1e-9b0d-4a3c-8e5f-0123456789ab").ToString(), "8f7a2c1e-9b0d-4a3c-8e5f-0123456789ab");
}

TEST(TradeSet, HoldsSequencesInAFewBytes) {
  TradeSet set;
  for (int64_t i = 0; i < 100'000; ++i) EXPECT_TRUE(set.Insert(SequenceKey(0, i)));
  EXPECT_FALSE(set.Insert(SequenceKey(0, 500)));
  EXPECT_TRUE(set.Insert(SequenceKey(1, 500)));
  EXPECT_LT(set.bytes(), 1'000);
  EXPECT_TRUE(set.Contains(SequenceKey(0, 99'999)));
  EXPECT_FALSE(set.Contains(SequenceKey(0, 100'000)));
}

TEST(TradeSet, KnowsBeforehandWhatItWillTake) {
  const uint64_t seed = SeedForTests();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 40; ++round) {
    TradeSet set;
    for (int i = 0; i < 40; ++i) {
      TradeSet more;
      for (uint64_t n = random() % 150; n > 0; --n) {
        more.Insert(random() % 2 == 0
                        ? IdKey(RandomId(random))
                        : SequenceKey(static_cast<int32_t>(random() % 3), static_cast<int64_t>(random() % 500)));
      }
      const int64_t foretold = set.BytesWith(more);
      const int64_t before = set.bytes();
      set.InsertAll(more);
      ASSERT_LE(set.bytes(), foretold) << "from " << before;
    }
  }
}

TEST(GoldIndex, ReadsAFileOnceWhileItFits) {
  std::mt19937_64 random(1);
  GoldIndex index(1 << 20);
  Files files;
  const Uuid id = RandomId(random);
  const std::string first = files.Add({IdKey(id), SequenceKey(0, 7)});
  EXPECT_TRUE(index.Prepare(5, files.List(), files.Loader(index))->empty());
  EXPECT_TRUE(index.Prepare(5, files.List(), files.Loader(index))->empty());
  EXPECT_EQ(files.loads, 1);
  EXPECT_TRUE(index.Contains(5, IdKey(id)) && index.Contains(5, SequenceKey(0, 7)));
  EXPECT_FALSE(index.Contains(6, IdKey(id)));
  EXPECT_TRUE(index.ContainsElsewhere(6, IdKey(id)));
  EXPECT_FALSE(index.ContainsElsewhere(5, IdKey(id)));
  // What is written is known without a read.
  TradeSet more;
  more.Insert(SequenceKey(0, 8));
  index.Add(5, more, {files.Add({SequenceKey(0, 8)})});
  EXPECT_TRUE(index.Prepare(5, files.List(), files.Loader(index))->empty());
  EXPECT_EQ(files.loads, 1);
  // A file that is gone takes what it held with it.
  files.Remove(first);
  EXPECT_TRUE(index.Prepare(5, files.List(), files.Loader(index))->empty());
  EXPECT_FALSE(index.Contains(5, IdKey(id)));
  EXPECT_TRUE(index.Contains(5, SequenceKey(0, 8)));
  index.Clear();
  EXPECT_EQ(index.bytes(), 0);
  EXPECT_FALSE(index.Contains(5, SequenceKey(0, 8)));
}

TEST(GoldIndex, StaysWithinItsBoundWhateverTheKeys) {
  const uint64_t seed = SeedForTests();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  for (const int64_t bound : {0, 500, 20'000, 100'000}) {
    GoldIndex index(bound);
    std::map<int32_t, Files> gold;
    for (int i = 0; i < 60; ++i) {
      const auto hour = static_cast<int32_t>(random() % 4);
      TradeSet added;
      std::vector<TradeKey> keys;
      const bool sparse = random() % 2 == 0;
      for (uint64_t n = random() % 400; n > 0; --n) {
        keys.push_back(sparse ? SequenceKey(0, static_cast<int64_t>(random() % 1'000'000)) : IdKey(RandomId(random)));
        added.Insert(keys.back());
      }
      ASSERT_TRUE(index.Prepare(hour, gold[hour].List(), gold[hour].Loader(index)));
      ASSERT_LE(index.bytes(), bound);
      index.Add(hour, added, {gold[hour].Add(std::move(keys))});
      ASSERT_LE(index.bytes(), bound);
    }
  }
}

TEST(GoldIndex, HoldsWhatFitsAndNamesWhatDoesNot) {
  std::mt19937_64 random(3);
  GoldIndex index(60'000);
  Files files;
  for (int i = 0; i < 8; ++i) {
    std::vector<TradeKey> keys;
    for (int n = 0; n < 1'000; ++n) keys.push_back(IdKey(RandomId(random)));
    files.Add(std::move(keys));
  }
  const auto unread = index.Prepare(1, files.List(), files.Loader(index));
  ASSERT_TRUE(unread);
  EXPECT_GT(unread->size(), 5U);
  EXPECT_LT(unread->size(), 8U) << "one file, of 35 kB in memory, fits";
}

// Whatever it forgets, what it says is true: a key it has is in Gold, and one it lacks is in an unread file or nowhere.
TEST(GoldIndex, AgreesWithAModel) {
  const uint64_t seed = SeedForTests();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  std::vector<TradeKey> universe;
  for (int i = 0; i < 1'500; ++i) universe.push_back(IdKey(RandomId(random)));
  for (int i = 0; i < 1'500; ++i) universe.push_back(SequenceKey(i % 3, i / 3 + (i % 7) * 100));
  for (int round = 0; round < 6; ++round) {
    GoldIndex index(static_cast<int64_t>(random() % 60'000));
    std::map<int32_t, Files> gold;
    std::map<int32_t, std::set<std::array<uint8_t, 16>>> model;
    for (int step = 0; step < 60; ++step) {
      const auto hour = static_cast<int32_t>(random() % 3);
      Files& files = gold[hour];
      if (random() % 10 == 0) index.Clear();               // a restart
      if (random() % 6 == 0 && files.List().size() > 1) {  // a compaction
        std::vector<TradeKey> all;
        for (const auto& file : files.List()) {
          all.insert(all.end(), files.Keys(file.path).begin(), files.Keys(file.path).end());
          files.Remove(file.path);
        }
        files.Add(std::move(all));
      }
      const auto unread = index.Prepare(hour, files.List(), files.Loader(index));
      ASSERT_TRUE(unread);
      std::set<std::array<uint8_t, 16>> in_unread;
      for (const auto& file : *unread) {
        for (const TradeKey& key : files.Keys(file.path)) in_unread.insert(key.id.bytes);
      }
      TradeSet added;
      std::vector<TradeKey> kept;
      for (uint64_t n = random() % 200; n > 0; --n) {
        const TradeKey& key = universe[random() % universe.size()];
        const bool known = model[hour].contains(key.id.bytes);
        if (index.Contains(hour, key)) {
          ASSERT_TRUE(known);
          continue;
        }
        ASSERT_TRUE(!known || in_unread.contains(key.id.bytes) || added.Contains(key));
        if (known || !added.Insert(key)) continue;
        kept.push_back(key);
        model[hour].insert(key.id.bytes);
      }
      if (kept.empty()) continue;
      index.Add(hour, added, {files.Add(kept)});
      ASSERT_LE(index.bytes(), index.max_bytes());
    }
  }
}

}  // namespace
}  // namespace k2::task
