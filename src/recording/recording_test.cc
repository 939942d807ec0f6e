#include "recording/recording.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "avro/binary.h"
#include "exchange/binance/binance.h"
#include "exchange/kraken/kraken.h"
#include "recording/recording_writer.h"
#include "trade/trade_schema.h"

namespace k2::recording {
namespace {

constexpr source::ReadLimits kAllOfFile{.max_messages = 1'000'000, .max_bytes = 1 << 28};

std::string Frame(int id) {
  return fmt::format(
      R"({{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":{},"p":"1.5","q":"2","T":1723161255342,"m":true,"M":true}})",
      id);
}
std::string TradeLine(int id) { return fmt::format("17231612540000{:02}999 {}", id, Frame(id)); }

// What a message says, told apart by its schema id: `1` and the trade id, or `2`, the reason and the frame.
std::vector<std::string> Tell(const source::RawBatch& batch) {
  std::vector<std::string> told;
  for (size_t i = 0; i < batch.size(); ++i) {
    const std::string_view payload = batch.payloads[i];
    avro::BinaryReader reader(payload.substr(5));
    std::string_view first;
    std::string_view second;
    std::string_view third;
    EXPECT_TRUE(reader.ReadBytes(first) && reader.ReadBytes(second));
    if (payload[4] == trade::kTradeV3SchemaId) {
      EXPECT_EQ(batch.keys[i], "BTCUSDT");
      told.emplace_back(second);
    } else {
      EXPECT_TRUE(batch.keys.nulls.at(i));
      EXPECT_TRUE(reader.ReadBytes(third) && reader.ReadBytes(third));
      told.push_back(fmt::format("{} {}", second, third));
    }
  }
  return told;
}

class Recording : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() / fmt::format("k2_{}_{}", info->name(), getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) { return folder_ / name; }
  std::string WriteFile(const std::string& name, const std::string& bytes) {
    auto writer = RecordingWriter::Create(Path(name));
    EXPECT_TRUE(writer && (*writer)->Append(bytes) && (*writer)->Close());
    return Path(name);
  }
  static std::string Bytes(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void WriteRaw(const std::string& path, std::string_view bytes, bool append = false) {
    std::ofstream out(path, std::ios::binary | (append ? std::ios::app : std::ios::trunc));
    out << bytes;
  }
  static std::unique_ptr<RecordingReader> Open(const std::string& path, const RecordingOptions& options = {}) {
    auto reader = RecordingReader::Open(exchange::kBinanceExchange, path, options);
    EXPECT_TRUE(reader) << reader.error().message;
    return reader ? std::move(*reader) : nullptr;
  }
  static source::RawBatch Read(RecordingReader& reader, const source::ReadLimits& limits = kAllOfFile) {
    auto batch = reader.Read(limits);
    EXPECT_TRUE(batch) << batch.error().message;
    return batch ? std::move(*batch) : source::RawBatch{};
  }

  std::filesystem::path folder_;
};

const std::vector<std::string> kNames = {"r.rec", "r.rec.gz", "r.rec.zst"};

// Trades, a skipped frame, a broken one, a line without time, an empty one.
std::string MixedLines() {
  return TradeLine(1) + "\n" + "1723161254000001999 {\"e\":\"depthUpdate\"}\n" + TradeLine(2) + "\r\n" +
         "1723161254000003999 {\"e\":\n" + "no time\n" + "\n" + TradeLine(3) + "\n";
}

TEST_F(Recording, ReadsPlainGzipAndZstdAlike) {
  std::string topic;
  for (const std::string& name : kNames) {
    const auto reader = Open(WriteFile(name, MixedLines()));
    const source::RawBatch batch = Read(*reader);
    EXPECT_EQ(Tell(batch), (std::vector<std::string>{"BINANCE-1", "BINANCE-2", "frame_not_json {\"e\":",
                                                     "frame_bad_time no time", "frame_bad_time ", "BINANCE-3"}));
    EXPECT_EQ(batch.kafka_timestamps_us[0], 1'723'161'254'000'001) << "nanoseconds are floored";
    EXPECT_EQ(batch.kafka_timestamps_us[3], 1'723'161'254'000'003) << "the last good time stands for a bad one";
    EXPECT_EQ(batch.ingestion_timestamps_us, batch.kafka_timestamps_us);
    EXPECT_EQ(batch.offsets, (std::vector<int64_t>{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(batch.end.next_line, 7);
    EXPECT_EQ(batch.end.next_byte, static_cast<int64_t>(MixedLines().size()));
    const source::SourceCounts counts = reader->counts();
    EXPECT_EQ(counts.frames, 7);
    EXPECT_EQ(counts.frames_skipped, 1);
    EXPECT_EQ(counts.frames_rejected, 3);
    EXPECT_EQ(counts.messages, 6);
    EXPECT_TRUE(reader->AtEnd());
    EXPECT_EQ(Read(*reader).size(), 0U);
    EXPECT_EQ(reader->key().cluster, "recording");
    EXPECT_EQ(reader->key().topic, "recording/binance/" + reader->key().topic_id);
    EXPECT_EQ(reader->key().topic_id.size(), 32U);
    EXPECT_TRUE(topic.empty() || reader->key().topic == topic);
    topic = reader->key().topic;
  }
}

// The hashes are those of the xxhsum program, so that a user can check them.
TEST_F(Recording, KeyAndLineHashAreXxh3) {
  const auto reader = Open(WriteFile("r", "1 abc\n"));
  EXPECT_EQ(reader->key().topic_id, "173e92bfef3c8f580e1993ab8282b6e3");
  EXPECT_EQ(Read(*reader).end.line_hash, "6915b1da66e2b537");
}

TEST_F(Recording, GoesOnAtEveryLine) {
  for (const std::string& name : kNames) {
    const std::string path = WriteFile(name, MixedLines());
    const std::vector<std::string> all = Tell(Read(*Open(path)));
    const auto reader = Open(path);
    std::vector<std::string> before;
    for (int line = 0; !reader->AtEnd(); ++line) {
      const table::SourcePosition position = [&] {
        const source::RawBatch batch = Read(*reader, {.max_messages = 1, .max_bytes = 1 << 20});
        for (const std::string& told : Tell(batch)) before.push_back(told);
        return batch.end;
      }();
      const auto resumed = Open(path);
      const Status sought = resumed->Seek(position);
      ASSERT_TRUE(sought) << name << " line " << line << ": " << sought.error().message;
      const source::RawBatch rest = Read(*resumed);
      EXPECT_EQ(rest.begin, position);
      std::vector<std::string> joined = before;
      for (const std::string& told : Tell(rest)) joined.push_back(told);
      EXPECT_EQ(joined, all) << name << " line " << line;
      for (size_t i = 0; i < rest.size(); ++i) EXPECT_GE(rest.kafka_timestamps_us[i], 1'723'161'254'000'001);
    }
  }
}

TEST_F(Recording, ALongerOrRenamedCopyIsTheSameSource) {
  for (const std::string& name : kNames) {
    const std::string path = WriteFile(name, TradeLine(1) + "\n" + TradeLine(2) + "\n");
    const source::RawBatch batch = Read(*Open(path));
    const std::string longer =
        WriteFile("longer_" + name, TradeLine(1) + "\n" + TradeLine(2) + "\n" + TradeLine(3) + "\n");
    const auto reader = Open(longer);
    EXPECT_EQ(reader->key(), batch.source);
    ASSERT_TRUE(reader->Seek(batch.end));
    EXPECT_EQ(Tell(Read(*reader)), std::vector<std::string>{"BINANCE-3"});
  }
}

TEST_F(Recording, AChangeBehindThePositionIsAnError) {
  for (const std::string& name : kNames) {
    const std::string two = TradeLine(1) + "\n" + TradeLine(2) + "\n";
    const table::SourcePosition position = Read(*Open(WriteFile(name, two))).end;
    std::vector<std::string> changed = {TradeLine(1) + "\n" + TradeLine(4) + "\n", TradeLine(1) + "\n",
                                        TradeLine(1) + "\n" + TradeLine(2), TradeLine(1) + "\n" + TradeLine(2) + "x\n",
                                        TradeLine(1) + "x\n\n" + TradeLine(2) + "\n"};
    // Compressed streams are read from the start, so that their lines are counted too.
    if (name != kNames[0]) changed.push_back(TradeLine(1) + "\n\n" + TradeLine(2) + "\n");
    for (const std::string& bytes : changed) {
      const auto reader = Open(WriteFile(name, bytes));
      const Status sought = reader->Seek(position);
      ASSERT_FALSE(sought) << name << bytes;
      EXPECT_EQ(sought.error().kind, ErrorKind::kOffsetMismatch);
      EXPECT_NE(sought.error().message.find("k2 offsets"), std::string::npos);
    }
    table::SourcePosition wrong = position;
    wrong.line_hash = "0123456789abcdef";
    EXPECT_FALSE(Open(WriteFile(name, two))->Seek(wrong));
    EXPECT_FALSE(Open(WriteFile(name, two))->Seek({.next_offset = 5}));
  }
}

TEST_F(Recording, ALastLineWithoutEndIsTakenWhenItIsWhole) {
  for (const std::string& name : kNames) {
    const std::string text = TradeLine(1) + "\n" + TradeLine(2);
    const auto reader = Open(WriteFile(name, text));
    const source::RawBatch batch = Read(*reader);
    EXPECT_EQ(batch.size(), 2U);
    EXPECT_EQ(batch.end.next_byte, static_cast<int64_t>(text.size()));
    EXPECT_EQ(reader->unread_tail_bytes(), 0);
    const auto again = Open(Path(name));
    ASSERT_TRUE(again->Seek(batch.end));
    EXPECT_EQ(Read(*again).size(), 0U);
    for (const char* end : {"\n", "\r\n"}) {
      const auto grown = Open(WriteFile(name, text + end + TradeLine(3) + "\n"));
      const Status sought = grown->Seek(batch.end);
      ASSERT_TRUE(sought) << sought.error().message;
      const source::RawBatch rest = Read(*grown);
      EXPECT_EQ(rest.begin, batch.end);
      EXPECT_EQ(Tell(rest), std::vector<std::string>{"BINANCE-3"});
    }
    EXPECT_FALSE(Open(WriteFile(name, text + " \n"))->Seek(batch.end));
  }
}

TEST_F(Recording, ALastLineThatIsCutIsLeftUnread) {
  const std::string cut = TradeLine(2).substr(0, 60);
  for (const std::string& name : kNames) {
    const auto reader = Open(WriteFile(name, TradeLine(1) + "\n" + cut));
    const source::RawBatch batch = Read(*reader);
    EXPECT_EQ(batch.size(), 1U);
    EXPECT_TRUE(reader->AtEnd());
    EXPECT_EQ(reader->unread_tail_bytes(), 60);
    const auto grown = Open(WriteFile(name, TradeLine(1) + "\n" + TradeLine(2) + "\n"));
    ASSERT_TRUE(grown->Seek(batch.end));
    EXPECT_EQ(Tell(Read(*grown)), std::vector<std::string>{"BINANCE-2"});
  }
}

TEST_F(Recording, ACutStreamGivesItsWholeLinesThenAnErrorAndGoesOnWhenWhole) {
  std::string text;
  for (int i = 1; i < 100; ++i) text += TradeLine(i) + "\n";
  for (const std::string& name : {kNames[1], kNames[2]}) {
    const std::string whole = Bytes(WriteFile(name, text));
    const source::RawBatch everything = Read(*Open(Path(name)));
    for (size_t size = 100; size < whole.size(); size += 37) {
      WriteRaw(Path("cut"), whole.substr(0, size));
      auto opened = RecordingReader::Open(exchange::kBinanceExchange, Path("cut"));
      if (!opened) continue;  // not one whole line in it
      RecordingReader& reader = **opened;
      auto batch = reader.Read(kAllOfFile);
      table::SourcePosition end;
      size_t read = 0;
      if (batch) {
        EXPECT_FALSE(reader.AtEnd());
        end = batch->end;
        read = batch->size();
        batch = reader.Read(kAllOfFile);
      }
      ASSERT_FALSE(batch) << size;
      EXPECT_EQ(batch.error().kind, ErrorKind::kInvalidData);
      const auto again = Open(Path(name));
      ASSERT_TRUE(again->Seek(end));
      EXPECT_EQ(read + Read(*again).size(), everything.size());
    }
  }
}

TEST_F(Recording, ReadsManyMembersAndSaysWhereDataIsBroken) {
  for (const std::string& name : {kNames[1], kNames[2]}) {
    std::string bytes;
    for (int i = 1; i <= 3; ++i) bytes += Bytes(WriteFile(name, TradeLine(i) + "\n"));
    WriteRaw(Path("many"), bytes);
    EXPECT_EQ(Read(*Open(Path("many"))).size(), 3U);
    WriteRaw(Path("many"), bytes + "garbage");
    const auto reader = Open(Path("many"));
    EXPECT_EQ(Read(*reader).size(), 3U);
    const auto broken = reader->Read(kAllOfFile);
    ASSERT_FALSE(broken);
    EXPECT_EQ(broken.error().kind, ErrorKind::kInvalidData);
  }
}

TEST_F(Recording, EmptyAndMissingFilesAreErrors) {
  WriteRaw(Path("empty"), "");
  const auto empty = RecordingReader::Open(exchange::kBinanceExchange, Path("empty"));
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().kind, ErrorKind::kInvalidData);
  EXPECT_EQ(empty.error().message, "recording " + Path("empty") + " is empty");
  EXPECT_EQ(RecordingReader::Open(exchange::kBinanceExchange, Path("none")).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(RecordingReader::Open(exchange::kBinanceExchange, folder_).error().kind, ErrorKind::kInvalidArgument);
  WriteRaw(Path("part"), "172316");
  EXPECT_EQ(RecordingReader::Open(exchange::kBinanceExchange, Path("part")).error().kind, ErrorKind::kInvalidData);
}

TEST_F(Recording, OversizedFramesAreKeptAsFarAsTheyFit) {
  const std::string large(kMaxLineSize + 5'000'000, 'x');
  const std::string received = "1704067200000000009 ";
  const std::string text = TradeLine(1) + "\n" + received + std::string(3'000'000, 'y') + "\n" + received + large +
                           "\r\n" + TradeLine(2) + "\n" + received + large;
  for (const std::string& name : {kNames[0], kNames[2]}) {
    const std::string path = WriteFile(name, text);
    const auto reader = Open(path);
    const source::RawBatch batch = Read(*reader);
    const auto told = Tell(batch);
    ASSERT_EQ(told.size(), 4U);
    EXPECT_EQ(told[1], "frame_oversized " + std::string(3'000'000, 'y'));
    EXPECT_EQ(told[2], "frame_oversized " + std::string(kMaxLineSize - received.size(), 'x'));
    EXPECT_EQ(told[3], "BINANCE-2");
    EXPECT_EQ(reader->unread_tail_bytes(), static_cast<int64_t>(large.size() + received.size()));
    for (int messages = 1; messages < 4; ++messages) {
      const auto stopped = Open(path);
      const table::SourcePosition position = Read(*stopped, {.max_messages = messages, .max_bytes = 1 << 30}).end;
      const auto resumed = Open(path);
      const Status sought = resumed->Seek(position);
      ASSERT_TRUE(sought) << sought.error().message;
      EXPECT_EQ(static_cast<size_t>(messages) + Read(*resumed).size(), 4U);
    }
  }
}

TEST_F(Recording, FollowsAFileFromBeforeItsFirstLine) {
  WriteRaw(Path("live"), "");
  const auto reader = Open(Path("live"), {.follow = true});
  EXPECT_TRUE(reader->key().topic_id.empty());
  EXPECT_EQ(Read(*reader).size(), 0U);
  std::thread writer([&] {
    for (int i = 1; i <= 5; ++i) {
      const std::string line = TradeLine(i);
      WriteRaw(Path("live"), line.substr(0, 30), true);
      std::this_thread::sleep_for(std::chrono::milliseconds(7));
      WriteRaw(Path("live"), line.substr(30) + "\n", true);
    }
  });
  const auto known = reader->WaitForKey(5'000'000);
  ASSERT_TRUE(known && *known);
  EXPECT_FALSE(reader->key().topic_id.empty());
  size_t read = 0;
  for (int i = 0; i < 100 && read < 5; ++i) {
    read += Read(*reader, {.max_messages = 10, .max_bytes = 1 << 20, .max_wait_us = 100'000}).size();
    EXPECT_FALSE(reader->AtEnd());
  }
  writer.join();
  EXPECT_EQ(read, 5U);
  EXPECT_EQ(Read(*reader, {.max_messages = 10, .max_bytes = 1 << 20, .max_wait_us = 10'000}).size(), 0U);
  WriteRaw(Path("live"), TradeLine(1) + "\n");
  const auto shorter = reader->Read(kAllOfFile);
  ASSERT_FALSE(shorter);
  EXPECT_EQ(shorter.error().kind, ErrorKind::kOffsetMismatch);
}

TEST_F(Recording, FollowsACompressedFileThatIsBeingWritten) {
  for (const std::string& name : {kNames[1], kNames[2]}) {
    auto writer = RecordingWriter::Create(Path(name));
    ASSERT_TRUE(writer);
    ASSERT_TRUE((*writer)->Append(TradeLine(1) + "\n") && (*writer)->Flush());
    const auto reader = Open(Path(name), {.follow = true});
    EXPECT_EQ(Read(*reader).size(), 1U);
    ASSERT_TRUE((*writer)->Append(TradeLine(2) + "\n") && (*writer)->Flush());
    EXPECT_EQ(Tell(Read(*reader)), std::vector<std::string>{"BINANCE-2"});
    ASSERT_TRUE((*writer)->Close());
    EXPECT_EQ(Read(*reader).size(), 0U);
  }
}

TEST_F(Recording, KeepsTheTradesOfAFrameInOneBatch) {
  std::string line = R"(1695628117000000000 {"channel":"trade","type":"update","data":[)";
  for (int i = 0; i < 50; ++i) {
    line += fmt::format(R"({}{{"symbol":"BTC/USD","side":"buy","price":1,"qty":1,"trade_id":{},)"
                        R"("timestamp":"2023-09-25T07:48:36Z"}})",
                        i == 0 ? "" : ",", i);
  }
  const auto path = WriteFile("kraken", line + "]}\n" + line + "]}\n");
  auto reader = RecordingReader::Open(exchange::kKrakenExchange, path);
  ASSERT_TRUE(reader);
  EXPECT_EQ(Read(**reader, {.max_messages = 10, .max_bytes = 1 << 20}).size(), 50U);
  EXPECT_EQ(Read(**reader, {.max_messages = 10, .max_bytes = 1 << 20}).size(), 50U);
  EXPECT_FALSE((*reader)->AtEnd());
}

}  // namespace
}  // namespace k2::recording
