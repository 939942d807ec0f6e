#include "avro/decode_plan.h"

#include <gtest/gtest.h>

#include <random>

#include "avro/generic.h"
#include "avro/schema.h"

namespace k2::avro {
namespace {

using List = Value::List;
using Map = Value::Map;

// Writes down what it is given: "slot=value" in the order of the calls.
struct TextSink {
  std::string text;
  template <typename T>
  void Add(uint16_t slot, const T& value) {
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", slot, value);
  }
  void Null(uint16_t slot) { Add(slot, "null"); }
  void Boolean(uint16_t slot, bool value) { Add(slot, value); }
  void Long(uint16_t slot, int64_t value) { Add(slot, value); }
  void Double(uint16_t slot, double value) { Add(slot, fmt::format("{:.1f}", value)); }
  void Bytes(uint16_t slot, std::string_view value) { Add(slot, fmt::format("'{}'", value)); }
  void Symbol(uint16_t slot, int32_t symbol) { Add(slot, fmt::format("#{}", symbol)); }
  void BeginItems(uint16_t slot) { Add(slot, "["); }
  void Key(uint16_t slot, std::string_view key) { Add(slot, fmt::format("{}:", key)); }
};

std::string Record(const std::string& fields) { return R"({"type":"record","name":"R","fields":[)" + fields + "]}"; }
std::string Of(const std::string& type) { return Record(R"({"name":"a","type":)" + type + "}"); }

std::string_view Name(Outcome outcome) {
  constexpr std::string_view kNames[] = {"ok", "truncated", "trailing", "malformed", "unresolvable"};
  return kNames[static_cast<size_t>(outcome)];
}

std::string RunBytes(const DecodePlan& plan, std::string_view bytes) {
  TextSink sink;
  const RunResult result = Run(plan, bytes, sink);
  return result ? sink.text : std::string(Name(result.outcome));
}

// The value written with one schema and read with another; "error" when the schemas do not resolve.
std::string Resolve(const std::string& writer, const std::string& reader, const Value& value) {
  const auto from = Schema::Parse(writer);
  const auto to = Schema::Parse(reader);
  EXPECT_TRUE(from && to) << writer << reader;
  const auto plan = DecodePlan::Compile(*from, *to);
  if (!plan) {
    EXPECT_EQ(plan.error().kind, ErrorKind::kInvalidData);
    return "error";
  }
  std::string bytes;
  const Status encoded = Encode(from->root(), value, bytes);
  EXPECT_TRUE(encoded) << encoded.error().message;
  for (size_t size = 0; size < bytes.size(); ++size) {
    TextSink sink;
    const Outcome outcome = Run(*plan, std::string_view(bytes).substr(0, size), sink).outcome;
    EXPECT_TRUE(outcome == Outcome::kTruncated || outcome == Outcome::kUnresolvable) << size << Name(outcome);
  }
  return RunBytes(*plan, bytes);
}

TEST(DecodePlan, ReadsEveryTypeAsItself) {
  const std::string schema =
      Record(R"({"name":"z","type":"null"},{"name":"b","type":"boolean"},{"name":"i","type":"int"},
      {"name":"l","type":"long"},{"name":"f","type":"float"},{"name":"d","type":"double"},{"name":"y","type":"bytes"},
      {"name":"s","type":"string"},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},
      {"name":"x","type":{"type":"fixed","name":"X","size":2}},{"name":"a","type":{"type":"array","items":"long"}},
      {"name":"t","type":{"type":"array","items":"string"}},{"name":"m","type":{"type":"map","values":"string"}},
      {"name":"n","type":{"type":"map","values":["null","int"]}},{"name":"u","type":["null","long"]},
      {"name":"r","type":{"type":"record","name":"I","fields":[{"name":"p","type":"int"}]}})");
  const Value value = List{Value(),
                           true,
                           -5,
                           int64_t{1} << 40,
                           0.5,
                           1.5,
                           "y",
                           "s",
                           "B",
                           "xx",
                           List{1, 2},
                           List{"t"},
                           Map{{"k", "v"}},
                           Map{{"k", 1}, {"l", Value()}},
                           9,
                           List{3}};
  EXPECT_EQ(Resolve(schema, schema, value),
            "0=null 1=true 2=-5 3=1099511627776 4=0.5 5=1.5 6='y' 7='s' 8=#1 9='xx' 10=[ 16=1 16=2 11=[ 17='t' "
            "12=[ 12=k: 18='v' 13=[ 13=k: 19=1 13=l: 19=null 14=9 20=3");
}

TEST(DecodePlan, ResolvesFields) {
  const std::string ab = Record(R"({"name":"a","type":"int"},{"name":"b","type":"string"})");
  const std::string ba = Record(R"({"name":"b","type":"string"},{"name":"a","type":"int"})");
  const Value value = List{1, "x"};
  EXPECT_EQ(Resolve(ab, ba, value), "1=1 0='x'");                                     // reordered
  EXPECT_EQ(Resolve(ab, Record(R"({"name":"b","type":"string"})"), value), "0='x'");  // dropped
  EXPECT_EQ(Resolve(ab, Record(R"({"name":"c","type":"long","default":7},{"name":"a","type":"int"})"), value),
            "1=1 0=7");
  EXPECT_EQ(Resolve(ab, Record(R"({"name":"c","type":"long"})"), value), "error");  // added without a default
  EXPECT_EQ(Resolve(ab, Record(R"({"name":"n","aliases":["b"],"type":"string"})"), value), "0='x'");
  // The writer's own field of that name goes before the alias.
  EXPECT_EQ(Resolve(ab, Record(R"({"name":"b","aliases":["a"],"type":"string"})"), value), "0='x'");
  EXPECT_EQ(Resolve(ab, R"({"type":"record","name":"other.R","fields":[{"name":"a","type":"int"}]})", value), "0=1");
  EXPECT_EQ(Resolve(ab, R"({"type":"record","name":"S","fields":[{"name":"a","type":"int"}]})", value), "error");
  EXPECT_EQ(Resolve(ab, R"({"type":"record","name":"S","aliases":["R"],"fields":[{"name":"a","type":"int"}]})", value),
            "0=1");
}

TEST(DecodePlan, FillsDefaultsOfEveryType) {
  const std::string empty = Record("");
  const auto with = [&](const std::string& type, const std::string& value) {
    return Resolve(empty, Record(R"({"name":"a","type":)" + type + R"(,"default":)" + value + "}"), List{});
  };
  EXPECT_EQ(with(R"("null")", "null"), "0=null");
  EXPECT_EQ(with(R"(["null","long"])", "null"), "0=null");
  EXPECT_EQ(with(R"("boolean")", "true"), "0=true");
  EXPECT_EQ(with(R"("double")", "2"), "0=2.0");
  EXPECT_EQ(with(R"("string")", R"("text")"), "0='text'");
  EXPECT_EQ(with(R"({"type":"array","items":"string"})", R"(["p","q"])"), "0=[ 1='p' 1='q'");
  EXPECT_EQ(with(R"({"type":"map","values":"long"})", R"({"k":4})"), "0=[ 0=k: 1=4");
  EXPECT_EQ(with(R"({"type":"enum","name":"E","symbols":["A","B"]})", R"("B")"), "0=#1");
  EXPECT_EQ(with(R"({"type":"fixed","name":"F","size":1})", R"("z")"), "0='z'");
  EXPECT_EQ(with(R"("long")", R"("text")"), "error");
}

TEST(DecodePlan, Promotes) {
  const std::string types[] = {"int", "long", "float", "double", "string", "bytes", "boolean", "null"};
  const Value values[] = {3, 3, 3.0, 3.0, "3", "3", true, Value()};
  const std::string results[] = {"0=3", "0=3", "0=3.0", "0=3.0", "0='3'", "0='3'", "0=true", "0=null"};
  // Specification, "Schema Resolution": what each may be read as, itself included.
  const std::vector<size_t> allowed[] = {{0, 1, 2, 3}, {1, 2, 3}, {2, 3}, {3}, {4, 5}, {4, 5}, {6}, {7}};
  for (size_t from = 0; from < 8; ++from) {
    for (size_t to = 0; to < 8; ++to) {
      const bool ok = std::ranges::find(allowed[from], to) != allowed[from].end();
      EXPECT_EQ(Resolve(Of("\"" + types[from] + "\""), Of("\"" + types[to] + "\""), List{values[from]}),
                ok ? results[to] : "error")
          << types[from] << " as " << types[to];
    }
  }
  // Inside arrays and maps too.
  EXPECT_EQ(Resolve(Of(R"({"type":"array","items":"int"})"), Of(R"({"type":"array","items":"double"})"), List{List{5}}),
            "0=[ 1=5.0");
  EXPECT_EQ(Resolve(Of(R"({"type":"map","values":"bytes"})"), Of(R"({"type":"map","values":"string"})"),
                    List{Map{{"k", "v"}}}),
            "0=[ 0=k: 1='v'");
}

TEST(DecodePlan, ResolvesEnums) {
  const auto of = [](const char* rest) { return Of(std::string(R"({"type":"enum","name":"E",)") + rest + "}"); };
  EXPECT_EQ(Resolve(of(R"("symbols":["A","B"])"), of(R"("symbols":["B","C","A"])"), List{"A"}), "0=#2");
  EXPECT_EQ(Resolve(of(R"("symbols":["A","B"])"), of(R"("symbols":["B"])"), List{"B"}), "0=#0");
  EXPECT_EQ(Resolve(of(R"("symbols":["A","B"])"), of(R"("symbols":["B"])"), List{"A"}), "unresolvable");
  EXPECT_EQ(Resolve(of(R"("symbols":["A","B"])"), of(R"("symbols":["B","X"],"default":"X")"), List{"A"}), "0=#1");
  EXPECT_EQ(Resolve(of(R"("symbols":["A"])"), Of(R"({"type":"enum","name":"F","symbols":["A"]})"), List{"A"}), "error");
  EXPECT_EQ(Resolve(of(R"("symbols":["A"])"), Of(R"("string")"), List{"A"}), "error");
}

TEST(DecodePlan, ResolvesUnions) {
  const auto optional = Of(R"(["null","long"])");
  EXPECT_EQ(Resolve(optional, optional, List{Value()}), "0=null");
  EXPECT_EQ(Resolve(optional, Of(R"(["long","null"])"), List{4}), "0=4");
  EXPECT_EQ(Resolve(Of(R"(["int","null"])"), optional, List{4}), "0=4");
  EXPECT_EQ(Resolve(Of(R"(["int","null"])"), optional, List{Value()}), "0=null");
  EXPECT_EQ(Resolve(Of(R"("int")"), optional, List{4}), "0=4");   // only the reader has a union
  EXPECT_EQ(Resolve(optional, Of(R"("long")"), List{4}), "0=4");  // only the writer has one
  EXPECT_EQ(Resolve(optional, Of(R"("long")"), List{Value()}), "unresolvable");
  EXPECT_EQ(Resolve(optional, Of(R"("string")"), List{4}), "error");
  EXPECT_EQ(Resolve(optional, Of(R"(["null","string"])"), List{Value()}), "0=null");
  EXPECT_EQ(Resolve(optional, Of(R"(["null","string"])"), List{4}), "unresolvable");
  EXPECT_EQ(Resolve(Of(R"(["int","string","boolean"])"), Of(R"(["string","double"])"), List{"x"}), "0='x'");
  EXPECT_EQ(Resolve(Of(R"(["int","string","boolean"])"), Of(R"(["string","double"])"), List{4}), "0=4.0");
  EXPECT_EQ(Resolve(Of(R"(["int","string","boolean"])"), Of(R"(["string","double"])"), List{true}), "unresolvable");
  EXPECT_EQ(Resolve(Of(R"("int")"), Of(R"(["double","int"])"), List{4}), "0=4");  // the same type goes first
}

TEST(DecodePlan, KeepsDecimalsAndTimesApart) {
  const std::string bytes82 = R"({"type":"bytes","logicalType":"decimal","precision":18,"scale":8})";
  const std::string fixed8 = R"({"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":4,"scale":8})";
  const std::string fixed = R"({"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":9,"scale":8})";
  EXPECT_EQ(Resolve(Of(fixed), Of(bytes82), List{"ab"}), "0='ab'");
  EXPECT_EQ(Resolve(Of(bytes82), Of(fixed), List{"abc"}), "0='abc'");
  EXPECT_EQ(Resolve(Of(R"({"type":"bytes","logicalType":"decimal","precision":18,"scale":6})"), Of(bytes82), List{"a"}),
            "error");
  EXPECT_EQ(Resolve(Of(R"("bytes")"), Of(bytes82), List{"a"}), "error");  // of no known scale
  EXPECT_EQ(Resolve(Of(fixed8), Of(bytes82), List{"ab"}), "error");       // scale above precision: no decimal
  const std::string micros = R"({"type":"long","logicalType":"timestamp-micros"})";
  EXPECT_EQ(Resolve(Of(R"({"type":"long","logicalType":"timestamp-millis"})"), Of(micros), List{1}), "error");
  EXPECT_EQ(Resolve(Of(R"("long")"), Of(micros), List{1}), "0=1");
}

TEST(DecodePlan, TellsTheScaleOfDecimals) {
  const auto decimal = [](int scale, const std::string& type = "bytes", const std::string& more = "") {
    return fmt::format(R"({{"type":"{}",{}"logicalType":"decimal","precision":18,"scale":{}}})", type, more, scale);
  };
  const auto plan = [&](const std::string& writer, DecodePlan::Decimals decimals = DecodePlan::Decimals::kRescaled) {
    return DecodePlan::Compile(*Schema::Parse(Of(writer)), *Schema::Parse(Of(decimal(8))), decimals);
  };
  EXPECT_EQ(plan(decimal(8))->WriterScale(0), 8);
  EXPECT_EQ(plan(decimal(4))->WriterScale(0), 4);
  EXPECT_EQ(plan(decimal(0, "fixed", R"("name":"F","size":8,)"))->WriterScale(0), 0);
  EXPECT_FALSE(plan(decimal(4), DecodePlan::Decimals::kSameScale));
  EXPECT_FALSE(plan(decimal(9))) << "digits would be lost";
  EXPECT_FALSE(plan(R"("bytes")"));
  // A value does not say which branch it is of: the first scale is read, messages with the other are refused.
  const std::string two = fmt::format("[{},{}]", decimal(2), decimal(3, "fixed", R"("name":"F","size":1,)"));
  const auto of_two = plan(two);
  ASSERT_TRUE(of_two);
  EXPECT_EQ(of_two->WriterScale(0), 2);
  EXPECT_EQ(RunBytes(*of_two, "\0\2a"s), "0='a'");
  EXPECT_EQ(RunBytes(*of_two, "\2a"s), "unresolvable");
}

TEST(DecodePlan, SkipsEveryType) {
  const std::string writer =
      Record(R"({"name":"z","type":"null"},{"name":"b","type":"boolean"},{"name":"l","type":"long"},
      {"name":"f","type":"float"},{"name":"d","type":"double"},{"name":"s","type":"string"},
      {"name":"x","type":{"type":"fixed","name":"X","size":3}},{"name":"e","type":{"type":"enum","name":"E","symbols":["A"]}},
      {"name":"m","type":{"type":"map","values":{"type":"array","items":"X"}}},{"name":"u","type":["null","R"]},
      {"name":"last","type":"int"})");
  const auto value = [](Value next) {
    return List{Value(), true, 77, 0.5, 0.5, "text", "xyz", "A", Map{{"k", List{"abc", "def"}}}, std::move(next), 42};
  };
  EXPECT_EQ(Resolve(writer, Record(R"({"name":"last","type":"int"})"), value(value(Value()))), "0=42");
}

TEST(DecodePlan, ReadsBlocksWithSizes) {
  const auto schema = Schema::Parse(Of(R"({"type":"array","items":"long"})")).value();
  const auto plan = DecodePlan::Compile(schema, schema).value();
  std::string bytes;
  AppendLong(bytes, -2);
  AppendLong(bytes, 2);
  AppendLong(bytes, 1);
  AppendLong(bytes, 2);
  AppendLong(bytes, 1);
  AppendLong(bytes, 3);
  AppendLong(bytes, 0);
  EXPECT_EQ(RunBytes(plan, bytes), "0=[ 1=1 1=2 1=3");
  const auto none = DecodePlan::Compile(schema, Schema::Parse(Record("")).value()).value();
  EXPECT_EQ(RunBytes(none, bytes), "");
}

TEST(DecodePlan, TellsWhatIsWrong) {
  const auto outcome = [](const std::string& type, std::string_view bytes) {
    const auto schema = Schema::Parse(Of(type)).value();
    return RunBytes(DecodePlan::Compile(schema, schema).value(), bytes);
  };
  using std::string_literals::operator""s;
  EXPECT_EQ(outcome(R"("string")", "\x01"), "malformed");  // length -1
  EXPECT_EQ(outcome(R"("string")",
                    "\x06"
                    "ab"),
            "truncated");
  EXPECT_EQ(outcome(R"("string")",
                    "\x02"
                    "ab"),
            "trailing");
  EXPECT_EQ(outcome(R"("boolean")", "\x02"), "malformed");
  EXPECT_EQ(outcome(R"("long")", std::string(11, '\xff')), "malformed");
  EXPECT_EQ(outcome(R"("int")", "\x80\x80\x80\x80\x10"), "malformed");
  EXPECT_EQ(outcome(R"(["null","long"])", "\x04"), "malformed");
  EXPECT_EQ(outcome(R"(["null","long","string"])", "\x06"), "malformed");
  EXPECT_EQ(outcome(R"({"type":"enum","name":"E","symbols":["A"]})", "\x02"), "malformed");
  EXPECT_EQ(outcome(R"({"type":"array","items":"long"})", "\xfe\xff\xff\xff\xff\xff\x7f"), "truncated");
  EXPECT_EQ(outcome(R"({"type":"array","items":"null"})", "\xfe\xff\xff\xff\xff\xff\x7f"), "truncated");
}

TEST(DecodePlan, RefusesSchemasWithoutEnd) {
  const auto self = Schema::Parse(Of(R"(["null","R"])")).value();
  EXPECT_FALSE(DecodePlan::Compile(self, self));
  EXPECT_TRUE(DecodePlan::Compile(self, Schema::Parse(Record("")).value()));
  std::string nested = R"("long")";
  for (size_t i = 0; i < kMaxPlanLoops; ++i) nested = R"({"type":"array","items":)" + nested + "}";
  const auto deepest = Schema::Parse(Of(nested)).value();
  EXPECT_TRUE(DecodePlan::Compile(deepest, deepest));
  const auto deeper = Schema::Parse(Of(R"({"type":"array","items":)" + nested + "}")).value();
  EXPECT_FALSE(DecodePlan::Compile(deeper, deeper));
}

}  // namespace
}  // namespace k2::avro
