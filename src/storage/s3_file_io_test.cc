// Against a real store: K2_TEST_S3_ENDPOINT (http://host:port), K2_TEST_S3_BUCKET, keys in AWS_ACCESS_KEY_ID and
// AWS_SECRET_ACCESS_KEY. tests/test_s3.py starts one and runs this program, also through a proxy that breaks things
// (K2_TEST_S3_FAULTS set): then every operation must still come out right.
#include "storage/s3_file_io.h"

#include <arrow/buffer.h>
#include <arrow/io/interfaces.h>
#include <arrow/result.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "base/uuid.h"

namespace k2::storage {
namespace {

class S3FileIoTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* endpoint = std::getenv("K2_TEST_S3_ENDPOINT");
    if (endpoint == nullptr) GTEST_SKIP() << "K2_TEST_S3_ENDPOINT is not set: no S3 store to test with";
    const char* bucket = std::getenv("K2_TEST_S3_BUCKET");
    options_.s3.endpoint = endpoint;
    options_.s3.request_timeout_ms = 2'000;
    io_ = MakeFileIo(options_);
    root_ = std::string("s3://") + (bucket == nullptr ? "lake" : bucket) + "/io-test-" + RandomHex64();
  }
  [[nodiscard]] std::string At(const std::string& name) const { return root_ + "/" + name; }

  std::string Bytes(size_t size) {
    std::string bytes(size, '\0');
    uint32_t state = 12345;
    for (char& c : bytes) {
      state = state * 1664525U + 1013904223U;
      c = static_cast<char>(state >> 24);
    }
    return bytes;
  }

  StorageOptions options_;
  std::shared_ptr<FileIo> io_;
  std::string root_;
};

TEST_F(S3FileIoTest, WritesReadsAndDeletesWholeFiles) {
  const std::string bytes = Bytes(100'000);
  ASSERT_TRUE(io_->WriteNew(At("a/b c%20d/x.avro"), bytes));
  EXPECT_EQ(io_->Read(At("a/b c%20d/x.avro")).value(), bytes);
  EXPECT_EQ(io_->Size(At("a/b c%20d/x.avro")).value(), 100'000);
  EXPECT_EQ(io_->Read(At("a/b c%20d/x.avro"), 10).error().kind, ErrorKind::kInvalidData);
  EXPECT_TRUE(io_->Sync(At("a/b c%20d/x.avro")));
  ASSERT_TRUE(io_->Delete(At("a/b c%20d/x.avro")));
  EXPECT_EQ(io_->Read(At("a/b c%20d/x.avro")).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(io_->Size(At("a/b c%20d/x.avro")).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(io_->Open(At("a/b c%20d/x.avro")).error().kind, ErrorKind::kNotFound);
  EXPECT_TRUE(io_->Delete(At("a/b c%20d/x.avro")));
}

TEST_F(S3FileIoTest, DoesNotOverwrite) {
  ASSERT_TRUE(io_->WriteNew(At("once"), "first"));
  EXPECT_EQ(io_->WriteNew(At("once"), "second").error().kind, ErrorKind::kAlreadyExists);
  EXPECT_EQ(io_->Read(At("once")).value(), "first");
}

TEST_F(S3FileIoTest, EmptyFiles) {
  ASSERT_TRUE(io_->WriteNew(At("empty"), ""));
  EXPECT_EQ(io_->Read(At("empty")).value(), "");
  EXPECT_EQ((*io_->Open(At("empty")))->GetSize().ValueOrDie(), 0);
}

TEST_F(S3FileIoTest, StreamsAreSeenWhenClosed) {
  for (const size_t size : {size_t{0}, size_t{1'000}, size_t{3'000'000}, size_t{25'000'000}}) {
    const std::string name = At("stream-" + std::to_string(size));
    const std::string bytes = Bytes(size);
    const auto stream = io_->Create(name).value();
    for (size_t begin = 0; begin < size; begin += 700'001) {
      const size_t length = std::min<size_t>(700'001, size - begin);
      ASSERT_TRUE(stream->Write(bytes.data() + begin, static_cast<int64_t>(length)).ok());
    }
    EXPECT_EQ(stream->Tell().ValueOrDie(), static_cast<int64_t>(size));
    EXPECT_EQ(io_->Size(name).error().kind, ErrorKind::kNotFound);
    const auto closed = stream->Close();
    ASSERT_TRUE(closed.ok()) << closed.ToString();
    EXPECT_EQ(io_->Read(name).value(), bytes) << size;
  }
}

TEST_F(S3FileIoTest, AbandonedStreamsLeaveNothing) {
  for (const size_t size : {size_t{1'000}, size_t{15'000'000}}) {
    const std::string bytes = Bytes(size);
    {
      const auto destroyed = io_->Create(At("destroyed")).value();
      ASSERT_TRUE(destroyed->Write(bytes.data(), static_cast<int64_t>(size)).ok());
    }
    const auto aborted = io_->Create(At("aborted")).value();
    ASSERT_TRUE(aborted->Write(bytes.data(), static_cast<int64_t>(size)).ok());
    (void)aborted->Abort();
    EXPECT_FALSE(aborted->Write("x", 1).ok());
  }
  EXPECT_TRUE(io_->List(root_).value().empty());
}

TEST_F(S3FileIoTest, ReadsRanges) {
  const std::string bytes = Bytes(3'000'000);
  ASSERT_TRUE(io_->WriteNew(At("ranges"), bytes));
  const auto file = io_->Open(At("ranges")).value();
  EXPECT_EQ(file->GetSize().ValueOrDie(), 3'000'000);
  const std::vector<std::pair<int64_t, int64_t>> ranges = {{2'999'992, 8}, {2'900'000, 100'000}, {0, 4},
                                                           {100, 1'000},   {1'000'000, 500'000}, {2'800'000, 100'000},
                                                           {0, 3'000'000}, {3'000'000, 10},      {2'871'000, 50'000}};
  for (const auto& [begin, length] : ranges) {
    const std::string expected = bytes.substr(static_cast<size_t>(begin), static_cast<size_t>(length));
    const auto buffer = file->ReadAt(begin, length);
    ASSERT_TRUE(buffer.ok()) << buffer.status().ToString();
    EXPECT_EQ((*buffer)->ToString(), expected) << begin;
    std::string out(expected.size(), '\0');
    EXPECT_EQ(file->ReadAt(begin, length, out.data()).ValueOrDie(), static_cast<int64_t>(expected.size()));
    EXPECT_EQ(out, expected) << begin;
  }
  EXPECT_FALSE(file->ReadAt(3'000'001, 1).ok());
}

TEST_F(S3FileIoTest, Lists) {
  EXPECT_TRUE(io_->List(At("none")).value().empty());
  for (const char* name : {"list/a", "list/b/c", "list/b/d=1/e", "listed/other"}) {
    ASSERT_TRUE(io_->WriteNew(At(name), name));
  }
  ASSERT_TRUE(io_->Delete(At("list/b/d=1/e")));
  auto files = io_->List(At("list")).value();
  std::ranges::sort(files, {}, &FileInfo::location);
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(files[0].location, At("list/a"));
  EXPECT_EQ(files[1].location, At("list/b/c"));
  EXPECT_EQ(files[1].size_bytes, 8);
  const int64_t now_us =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  EXPECT_NEAR(static_cast<double>(files[0].modified_us), static_cast<double>(now_us), 600e6);
}

TEST_F(S3FileIoTest, FromManyThreads) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        const std::string name = At(fmt::format("many/{}-{}", t, i));
        if (!io_->WriteNew(name, name) || io_->Read(name).value_or("") != name) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(io_->List(At("many")).value().size(), 80U);
}

TEST_F(S3FileIoTest, WrongKeysAreNamed) {
  if (std::getenv("K2_TEST_S3_FAULTS") != nullptr) GTEST_SKIP();
  StorageOptions wrong = options_;
  wrong.s3.access_key = "nobody";
  wrong.s3.secret_key = "nothing";
  const auto io = MakeFileIo(wrong);
  EXPECT_EQ(io->WriteNew(At("x"), "y").error().kind, ErrorKind::kPermission);
  EXPECT_EQ(io->Open(At("x")).error().kind, ErrorKind::kPermission);
  EXPECT_EQ(io->List(root_).error().kind, ErrorKind::kPermission) << io->List(root_).error().message;
}

TEST_F(S3FileIoTest, VendedKeysGoFirst) {
  if (std::getenv("K2_TEST_S3_FAULTS") != nullptr) GTEST_SKIP();
  const auto credentials = std::make_shared<StorageCredentials>();
  credentials->Put(root_, {{"s3.access-key-id", std::getenv("AWS_ACCESS_KEY_ID")},
                           {"s3.secret-access-key", std::getenv("AWS_SECRET_ACCESS_KEY")}});
  StorageOptions wrong = options_;
  wrong.s3.access_key = "nobody";
  wrong.s3.secret_key = "nothing";
  const auto io = MakeFileIo(wrong, credentials);
  EXPECT_TRUE(io->WriteNew(At("vended"), "y"));
  EXPECT_EQ(io->WriteNew(root_ + "-elsewhere/x", "y").error().kind, ErrorKind::kPermission);
}

TEST_F(S3FileIoTest, AStoreThatIsAwayIsUnavailable) {
  if (std::getenv("K2_TEST_S3_FAULTS") != nullptr) GTEST_SKIP();
  StorageOptions away = options_;
  away.s3.endpoint = "http://127.0.0.1:1";
  away.s3.tries = 2;
  const auto io = MakeFileIo(away);
  EXPECT_EQ(io->WriteNew(At("x"), "y").error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(io->Read(At("x")).error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(io->List(root_).error().kind, ErrorKind::kUnavailable) << io->List(root_).error().message;
}

// Round trips, printed: no bounds, for the machine may be busy.
TEST_F(S3FileIoTest, Latency) {
  if (std::getenv("K2_TEST_S3_FAULTS") != nullptr) GTEST_SKIP();
  const std::string small = Bytes(10'000);
  const std::string large = Bytes(1 << 20);
  const auto measure = [](const char* what, int times, const std::function<void(int)>& body) {
    std::vector<double> ms;
    for (int i = 0; i < times; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      body(i);
      ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
    }
    std::ranges::sort(ms);
    std::cout << fmt::format("{:<28} p50 {:.2f} ms  p95 {:.2f} ms\n", what, ms[ms.size() / 2],
                             ms[ms.size() * 95 / 100]);
  };
  measure("put 10 kB", 60, [&](int i) { ASSERT_TRUE(io_->WriteNew(At(fmt::format("s{}", i)), small)); });
  measure("get 10 kB", 60, [&](int i) { ASSERT_TRUE(io_->Read(At(fmt::format("s{}", i)))); });
  measure("put 1 MB", 30, [&](int i) { ASSERT_TRUE(io_->WriteNew(At(fmt::format("l{}", i)), large)); });
  measure("stream 1 MB", 30, [&](int i) {
    const auto stream = io_->Create(At(fmt::format("t{}", i))).value();
    ASSERT_TRUE(stream->Write(large.data(), 1 << 20).ok());
    ASSERT_TRUE(stream->Close().ok());
  });
  measure("open + footer of 1 MB", 30, [&](int i) {
    const auto file = io_->Open(At(fmt::format("l{}", i))).value();
    ASSERT_TRUE(file->ReadAt((1 << 20) - 65'536, 65'536).ok());
  });
  measure("get 1 MB", 30, [&](int i) { ASSERT_TRUE(io_->Read(At(fmt::format("l{}", i)))); });
  measure("delete", 60, [&](int i) { ASSERT_TRUE(io_->Delete(At(fmt::format("s{}", i)))); });
}

}  // namespace
}  // namespace k2::storage
