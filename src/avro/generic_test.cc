#include "avro/generic.h"

#include <gtest/gtest.h>

namespace k2::avro {
namespace {

using List = Value::List;
using Map = Value::Map;

constexpr const char* kEverything = R"({"type":"record","name":"R","fields":[
    {"name":"z","type":"null"},{"name":"b","type":"boolean"},{"name":"i","type":"int"},{"name":"l","type":"long"},
    {"name":"f","type":"float"},{"name":"d","type":"double"},{"name":"y","type":"bytes"},{"name":"s","type":"string"},
    {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},
    {"name":"x","type":{"type":"fixed","name":"X","size":3}},{"name":"a","type":{"type":"array","items":"long"}},
    {"name":"m","type":{"type":"map","values":["null","string"]}},{"name":"u","type":["null","int","string","E"]},
    {"name":"next","type":["null","R"]}]})";

List Everything(Value next) {
  return {Value(),
          true,
          -5,
          int64_t{1} << 40,
          0.5,
          -1e300,
          std::string("\0\xff", 2),
          "text",
          "B",
          "abc",
          List{1, 2, -3},
          Map{{"k", "v"}, {"n", Value()}},
          7,
          std::move(next)};
}

TEST(AvroGeneric, RoundTripsEveryType) {
  const auto schema = Schema::Parse(kEverything);
  ASSERT_TRUE(schema) << schema.error().message;
  const Value value = Everything(Everything(Value()));
  std::string bytes;
  ASSERT_TRUE(Encode(schema->root(), value, bytes));
  BinaryReader reader(bytes);
  const auto back = Decode(schema->root(), reader);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_TRUE(*back == value);
  EXPECT_TRUE(reader.AtEnd());
  for (size_t size = 0; size < bytes.size(); ++size) {
    BinaryReader cut(std::string_view(bytes).substr(0, size));
    EXPECT_FALSE(Decode(schema->root(), cut)) << size;
  }
}

TEST(AvroGeneric, RefusesValuesThatDoNotFit) {
  const auto fits = [](const char* schema, const Value& value) {
    std::string out;
    const Status status = Encode(Schema::Parse(schema)->root(), value, out);
    EXPECT_TRUE(status || status.error().kind == ErrorKind::kInvalidArgument);
    return status.has_value();
  };
  EXPECT_TRUE(fits(R"("int")", 5));
  EXPECT_FALSE(fits(R"("int")", int64_t{1} << 31));
  EXPECT_FALSE(fits(R"("int")", "5"));
  EXPECT_FALSE(fits(R"("null")", 5));
  EXPECT_FALSE(fits(R"({"type":"fixed","name":"F","size":2})", "abc"));
  EXPECT_FALSE(fits(R"({"type":"enum","name":"E","symbols":["A"]})", "B"));
  EXPECT_FALSE(fits(R"(["null","int"])", "text"));
  EXPECT_FALSE(fits(R"({"type":"record","name":"R","fields":[{"name":"a","type":"int"}]})", List{}));
}

TEST(AvroGeneric, SurvivesLyingCounts) {
  const auto schema = [](const char* text) { return Schema::Parse(text).value(); };
  std::string huge;
  AppendLong(huge, int64_t{1} << 60);
  huge += std::string(100, '\0');
  for (const char* text : {R"({"type":"array","items":"null"})", R"({"type":"array","items":"string"})",
                           R"({"type":"map","values":"null"})", R"("string")", R"("bytes")",
                           R"({"type":"array","items":{"type":"record","name":"E","fields":[]}})"}) {
    BinaryReader reader(huge);
    EXPECT_FALSE(Decode(schema(text).root(), reader)) << text;
  }
  // A record within itself without end, and one as deep as its bytes say.
  BinaryReader nothing("");
  EXPECT_FALSE(Decode(schema(R"({"type":"record","name":"R","fields":[{"name":"r","type":"R"}]})").root(), nothing));
  const std::string deep(100'000, '\2');
  BinaryReader reader(deep);
  EXPECT_FALSE(
      Decode(schema(R"({"type":"record","name":"R","fields":[{"name":"r","type":["null","R"]}]})").root(), reader));
}

TEST(AvroGeneric, ReadsDefaults) {
  const auto value = [](const char* schema, const char* text) {
    return FromDefault(Schema::Parse(schema)->root(), nlohmann::json::parse(text));
  };
  EXPECT_TRUE(value(R"("long")", "5") == Value(5));
  EXPECT_TRUE(value(R"("bytes")", R"("\u00ffa")") == Value("\xff"
                                                           "a"));
  EXPECT_FALSE(value(R"("bytes")", R"("\u0100")"));
  EXPECT_FALSE(value(R"("int")", "3000000000"));
  EXPECT_FALSE(value(R"("long")", "9223372036854775808"));
  EXPECT_FALSE(value(R"("long")", "1.5"));
  EXPECT_TRUE(value(R"(["null","string"])", "null") == Value());
  EXPECT_TRUE(value(R"(["null","string"])", R"("x")") == Value("x"));
  EXPECT_TRUE(value(R"({"type":"map","values":"int"})", R"({"a":1})") == Value(Map{{"a", 1}}));
  EXPECT_TRUE(value(R"({"type":"record","name":"R","fields":[{"name":"a","type":"int","default":3}]})", "{}") ==
              Value(List{3}));
  EXPECT_FALSE(value(R"({"type":"enum","name":"E","symbols":["A"]})", R"("B")"));
}

TEST(AvroGeneric, BoundsDefaultsThatMultiply) {
  std::string text = R"("int")";
  for (int i = 0; i < 40; ++i) {
    const std::string name = fmt::format("R{}", i);
    text = fmt::format(R"({{"type":"record","name":"{0}","fields":[{{"name":"a","type":{1},"default":{2}}},
                          {{"name":"b","type":{3},"default":{2}}}]}})",
                       name, text, i == 0 ? "0" : "{}", i == 0 ? "\"int\"" : fmt::format("\"R{}\"", i - 1));
  }
  const auto schema = Schema::Parse(text);
  ASSERT_TRUE(schema) << schema.error().message;
  EXPECT_FALSE(FromDefault(schema->root(), nlohmann::json::object()));
}

}  // namespace
}  // namespace k2::avro
