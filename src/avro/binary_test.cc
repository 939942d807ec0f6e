#include "avro/binary.h"

#include <gtest/gtest.h>

#include <random>

namespace k2::avro {
namespace {

using std::string_literals::operator""s;

TEST(AvroBinary, WritesLongsAsTheSpecificationShows) {
  const auto encoded = [](int64_t value) {
    std::string out;
    AppendLong(out, value);
    return out;
  };
  EXPECT_EQ(encoded(0), "\x00"s);
  EXPECT_EQ(encoded(-1), "\x01");
  EXPECT_EQ(encoded(1), "\x02");
  EXPECT_EQ(encoded(-2), "\x03");
  EXPECT_EQ(encoded(-64), "\x7f");
  EXPECT_EQ(encoded(64), "\x80\x01");
  EXPECT_EQ(encoded(std::numeric_limits<int64_t>::min()), "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
}

TEST(AvroBinary, RoundTripsLongs) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 100'000; ++i) {
    const auto value = static_cast<int64_t>(random() >> (random() % 64)) * (i % 2 == 0 ? 1 : -1);
    std::string out;
    AppendLong(out, value);
    BinaryReader reader(out);
    int64_t back = 0;
    ASSERT_TRUE(reader.ReadLong(back));
    ASSERT_EQ(back, value);
    ASSERT_TRUE(reader.AtEnd());
    for (size_t size = 0; size < out.size(); ++size) {
      BinaryReader cut(std::string_view(out).substr(0, size));
      ASSERT_FALSE(cut.ReadLong(back));
    }
  }
}

TEST(AvroBinary, RefusesVarintsThatAreTooLong) {
  int64_t value = 0;
  EXPECT_FALSE(BinaryReader("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02").ReadLong(value));  // 65 bits
  EXPECT_FALSE(BinaryReader("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"s).ReadLong(value));
  int32_t narrow = 0;
  std::string out;
  AppendLong(out, int64_t{1} << 31);
  EXPECT_FALSE(BinaryReader(out).ReadInt(narrow));
}

TEST(AvroBinary, ReadsPlainValues) {
  std::string out;
  AppendBoolean(out, true);
  AppendInt(out, -7);
  AppendFloat(out, 0.5F);
  AppendDouble(out, -2.25);
  AppendBytes(out, "text");
  BinaryReader reader(out);
  bool flag = false;
  int32_t number = 0;
  float single = 0;
  double wide = 0;
  std::string_view bytes;
  ASSERT_TRUE(reader.ReadBoolean(flag) && reader.ReadInt(number) && reader.ReadFloat(single) &&
              reader.ReadDouble(wide) && reader.ReadBytes(bytes));
  EXPECT_TRUE(flag);
  EXPECT_EQ(number, -7);
  EXPECT_EQ(single, 0.5F);
  EXPECT_EQ(wide, -2.25);
  EXPECT_EQ(bytes, "text");
  EXPECT_TRUE(reader.AtEnd());
  EXPECT_FALSE(BinaryReader("\x02").ReadBoolean(flag));
}

TEST(AvroBinary, RefusesLengthsBeyondTheBytes) {
  std::string_view bytes;
  for (const int64_t size : {int64_t{-1}, int64_t{4}, std::numeric_limits<int64_t>::max()}) {
    std::string out;
    AppendLong(out, size);
    out += "abc";
    EXPECT_FALSE(BinaryReader(out).ReadBytes(bytes)) << size;
    EXPECT_FALSE(BinaryReader(out).SkipBytes()) << size;
  }
}

TEST(AvroBinary, ReadsBlocksWithASize) {
  std::string out;
  AppendLong(out, -3);
  AppendLong(out, 2);
  out += "ab";
  BinaryReader reader(out);
  int64_t count = 0;
  int64_t size = 0;
  ASSERT_TRUE(reader.ReadBlock(count, size));
  EXPECT_EQ(count, 3);
  EXPECT_EQ(size, 2);
  std::string lies;
  AppendLong(lies, -3);
  AppendLong(lies, 3);
  lies += "ab";
  EXPECT_FALSE(BinaryReader(lies).ReadBlock(count, size));
  std::string least;
  AppendLong(least, std::numeric_limits<int64_t>::min());
  AppendLong(least, 0);
  EXPECT_FALSE(BinaryReader(least).ReadBlock(count, size));
}

}  // namespace
}  // namespace k2::avro
