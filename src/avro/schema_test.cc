#include "avro/schema.h"

#include <gtest/gtest.h>

namespace k2::avro {
namespace {

std::string Hex(const std::array<uint8_t, 32>& digest) {
  std::string out;
  for (const uint8_t byte : digest) out += fmt::format("{:02x}", byte);
  return out;
}

// Canonical forms and fingerprints: the cases of the Avro project's schema-tests.txt, and fastavro's on a larger one.
TEST(AvroSchema, CanonicalFormsAndFingerprints) {
  struct Case {
    const char* schema;
    const char* canonical;
    uint64_t crc64;
    const char* sha256;
  };
  const Case cases[] = {
      {R"("null")", R"("null")", 0x63dd24e7cc258f8a,
       "f072cbec3bf8841871d4284230c5e983dc211a56837aed862487148f947d1a1f"},
      {R"({"type":"boolean"})", R"("boolean")", 0x9f42fc78a4d4f764,
       "a5b031ab62bc416d720c0410d802ea46b910c4fbe85c50a946ccc658b74e677e"},
      {R"( "int" )", R"("int")", 0x7275d51a3f395c8f,
       "3f2b87a9fe7cc9b13835598c3981cd45e3e355309e5090aa0933d7becb6fba45"},
      {R"("long")", R"("long")", 0xd054e14493f41db7,
       "c32c497df6730c97fa07362aa5023f37d49a027ec452360778114cf427965add"},
      {R"("float")", R"("float")", 0x4d7c02cb3ea8d790,
       "1e71f9ec051d663f56b0d8e1fc84d71aa56ccfe9fa93aa20d10547a7abeb5cc0"},
      {R"("double")", R"("double")", 0x8e7535c032ab957e,
       "730a9a8c611681d7eef442e03c16c70d13bca3eb8b977bb403eaff52176af254"},
      {R"("bytes")", R"("bytes")", 0x4fc016dac3201965,
       "9ae507a9dd39ee5b7c7e285da2c0846521c8ae8d80feeae5504e0c981d53f5fa"},
      {R"("string")", R"("string")", 0x8f014872634503c7,
       "e9e5c1c9e4f6277339d1bcde0733a59bd42f8731f449da6dc13010a916930d48"},
      {R"({"type":"fixed","name":"foo","size":15})", R"({"name":"foo","type":"fixed","size":15})", 0x18602ec3ed31a504,
       "802428b30753d93ff41de7ee0e319755f8765c014184311efe67b06453b545e5"},
      {R"([ "int" , "boolean" ])", R"(["int","boolean"])", 0x4ad63578080c1602,
       "0f26ad42a4cd5964b28c6ba47665c3ef4c185b367311bba4075d6ccb880c35da"},
      {R"({"type":"enum","name":"foo","symbols":["A1","A2"],"doc":"x"})",
       R"({"name":"foo","type":"enum","symbols":["A1","A2"]})", 0x68f03fe9040a9a04,
       "30ca4df59e24e95f9d4f9766ac8dd54cf1b293b705059826e3f3c8da5c7c1336"},
      {R"({"type":"record","name":"ns.A","doc":"x","fields":[
            {"name":"b","type":{"type":"fixed","name":"B","size":4},"default":"abcd"},{"name":"c","type":"B"},
            {"name":"d","type":["null",{"type":"map","values":"ns.A"}]},
            {"name":"e","type":{"type":"int","logicalType":"date"}}]})",
       R"({"name":"ns.A","type":"record","fields":[{"name":"b","type":{"name":"ns.B","type":"fixed","size":4}},)"
       R"({"name":"c","type":"ns.B"},{"name":"d","type":["null",{"type":"map","values":"ns.A"}]},{"name":"e","type":"int"}]})",
       0xe0032c282c98839d, "53a42e11891db22f5d3f1756c53a90e71e16209122e4c81d1526f98ee7e568ab"},
  };
  for (const Case& c : cases) {
    const auto schema = Schema::Parse(c.schema);
    ASSERT_TRUE(schema) << schema.error().message;
    EXPECT_EQ(schema->CanonicalForm(), c.canonical);
    EXPECT_EQ(schema->Fingerprint(), c.crc64) << c.schema;
    EXPECT_EQ(Hex(schema->Sha256()), c.sha256) << c.schema;
    EXPECT_EQ(Schema::Parse(c.canonical)->CanonicalForm(), c.canonical);
  }
  EXPECT_EQ(Crc64Avro(""), 0xc15d213aa4d7a795);
}

TEST(AvroSchema, KeepsLogicalTypesAndAttributes) {
  const auto schema =
      Schema::Parse(R"({"type":"record","name":"R","namespace":"a.b","aliases":["Old","x.Older"],"fields":[
      {"name":"price","aliases":["p"],"doc":"d","field-id":7,
       "type":{"type":"bytes","logicalType":"decimal","precision":18,"scale":8}},
      {"name":"at","type":{"type":"long","logicalType":"timestamp-micros","adjust-to-utc":true},"default":5},
      {"name":"day","type":["null",{"type":"int","logicalType":"date"}],"default":null},
      {"name":"bad","type":{"type":"string","logicalType":"decimal","precision":3}},
      {"name":"worse","type":{"type":"bytes","logicalType":"decimal","precision":3,"scale":4}},
      {"name":"sizes","type":{"type":"array","logicalType":"map","element-id":9,"items":{"type":"record","name":"kv",
       "fields":[{"name":"key","type":"int","field-id":1},{"name":"value","type":"long","field-id":2}]}}},
      {"name":"tags","type":{"type":"map","values":"string","key-id":3,"value-id":4}}]})");
  ASSERT_TRUE(schema) << schema.error().message;
  const Node& root = schema->root();
  EXPECT_EQ(root.name, "a.b.R");
  EXPECT_EQ(root.aliases, (std::vector<std::string>{"a.b.Old", "x.Older"}));
  EXPECT_EQ(root.fields[0].type->logical, LogicalType::kDecimal);
  EXPECT_EQ(root.fields[0].type->precision, 18);
  EXPECT_EQ(root.fields[0].type->scale, 8);
  EXPECT_EQ(root.fields[0].IntAttribute("field-id"), 7);
  EXPECT_EQ(root.fields[0].aliases, std::vector<std::string>{"p"});
  EXPECT_EQ(root.FieldIndexById(7), 0);
  EXPECT_EQ(root.FieldIndexById(8), -1);
  EXPECT_EQ(root.fields[1].type->logical, LogicalType::kTimestampMicros);
  EXPECT_TRUE(root.fields[1].type->attributes["adjust-to-utc"].get<bool>());
  EXPECT_TRUE(root.fields[1].has_default);
  EXPECT_FALSE(root.fields[0].has_default);
  EXPECT_EQ(root.fields[2].type->NonNull().logical, LogicalType::kDate);
  EXPECT_EQ(root.fields[3].type->logical, LogicalType::kNone);
  EXPECT_EQ(root.fields[4].type->logical, LogicalType::kNone);
  const Node& sizes = *root.fields[5].type;
  EXPECT_EQ(sizes.logical, LogicalType::kMap);
  EXPECT_EQ(sizes.IntAttribute("element-id"), 9);
  EXPECT_EQ(sizes.items->FieldIndexById(2), 1);
  EXPECT_EQ(root.fields[6].type->IntAttribute("value-id"), 4);
  EXPECT_EQ(root.FieldIndex("tags"), 6);
}

TEST(AvroSchema, ResolvesNamesInTheirNamespace) {
  const auto schema = Schema::Parse(R"({"type":"record","name":"List","namespace":"n","fields":[
      {"name":"next","type":["null","List"]},
      {"name":"e","type":{"type":"enum","name":"other.E","symbols":["X"]}},{"name":"f","type":"other.E"}]})");
  ASSERT_TRUE(schema) << schema.error().message;
  EXPECT_EQ(schema->root().fields[0].type->branches[1], &schema->root());
  EXPECT_EQ(schema->root().fields[1].type, schema->root().fields[2].type);
  // E is other.E: in namespace n there is none.
  EXPECT_FALSE(Schema::Parse(R"({"type":"record","name":"n.R","fields":[
      {"name":"e","type":{"type":"enum","name":"other.E","symbols":["X"]}},{"name":"f","type":"E"}]})"));
}

TEST(AvroSchema, RefusesWhatIsNoSchema) {
  for (const char* bad : {
           "",
           "{",
           "5",
           "\"strin\"",
           R"({"name":"x"})",
           R"({"type":"record","name":"R"})",
           R"({"type":"record","name":"R","fields":[{"name":"a"}]})",
           R"({"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]})",
           R"({"type":"record","name":"R","fields":[{"name":"a","type":{"type":"record","name":"R","fields":[]}}]})",
           R"({"type":"record","fields":[]})",
           R"({"type":"record","name":"1R","fields":[]})",
           R"({"type":"record","name":"int","fields":[]})",
           R"({"type":"enum","name":"E","symbols":["a","a"]})",
           R"({"type":"enum","name":"E","symbols":["a b"]})",
           R"({"type":"enum","name":"E","symbols":["a"],"default":"b"})",
           R"({"type":"fixed","name":"F","size":-1})",
           R"({"type":"fixed","name":"F","size":99999999999})",
           R"({"type":"fixed","name":"F"})",
           R"({"type":"array"})",
           R"({"type":"map","items":"int"})",
           R"(["int","int"])",
           R"(["int",["null"]])",
           R"([{"type":"array","items":"int"},{"type":"array","items":"long"}])",
       }) {
    const auto schema = Schema::Parse(bad);
    ASSERT_FALSE(schema) << bad;
    EXPECT_EQ(schema.error().kind, ErrorKind::kInvalidData) << bad;
  }
}

TEST(AvroSchema, BoundsDepthAndSize) {
  const auto nested = [](int levels) {
    std::string text = "\"int\"";
    for (int i = 0; i < levels; ++i) text = R"({"type":"array","items":)" + text + "}";
    return text;
  };
  EXPECT_TRUE(Schema::Parse(nested(kMaxSchemaDepth)));
  EXPECT_FALSE(Schema::Parse(nested(kMaxSchemaDepth + 1)));
  EXPECT_FALSE(Schema::Parse(std::string(500'000, '[')));
  EXPECT_FALSE(Schema::Parse(R"({"type":"int","x":)" + std::string(1000, '[') + std::string(1000, ']') + "}"));
  EXPECT_FALSE(Schema::Parse("\"" + std::string(kMaxSchemaSize, 'a') + "\""));
}

}  // namespace
}  // namespace k2::avro
