#include "iceberg/schema.h"

#include <gtest/gtest.h>

#include "iceberg/schema_json.h"

namespace k2::iceberg {
namespace {

// Forms of the specification's Appendix C, nested three deep.
constexpr std::string_view kNested =
    R"json({"type":"struct","schema-id":7,"identifier-field-ids":[1],"fields":[)json"
    R"json({"id":1,"name":"id","required":true,"type":"uuid","doc":"the \"id\"","write-default":"0db3e2a8-9d1d"},)json"
    R"json({"id":2,"name":"prices","required":false,"type":{"type":"list","element-id":3,"element":"decimal(18, 8)",)json"
    R"json("element-required":true}},)json"
    R"json({"id":4,"name":"vendor","required":false,"type":{"type":"map","key-id":5,"key":"string","value-id":6,"value":)json"
    R"json({"type":"struct","fields":[{"id":7,"name":"raw","required":false,"type":"fixed[16]"}]},)json"
    R"json("value-required":false}}]})json";

TEST(Schema, RoundTripsNestedTypesByteForByte) {
  const auto schema = ParseSchema(kNested);
  ASSERT_TRUE(schema.has_value()) << schema.error().message;
  EXPECT_EQ(SchemaToJson(*schema), kNested);
  EXPECT_EQ(schema->schema_id, 7);
  EXPECT_EQ(schema->HighestFieldId(), 7);
  EXPECT_EQ(schema->FindById(7)->name, "raw");
  EXPECT_EQ(schema->FindById(7)->type.length, 16);
  EXPECT_EQ(schema->FindById(8), nullptr);
  EXPECT_EQ(schema->Find("raw"), nullptr) << "only top-level fields are found by name";
  EXPECT_EQ(schema->Find("vendor")->type.ToString(), "map<string, struct<7: raw: optional fixed[16]>>");
  EXPECT_EQ(schema->Find("prices")->type, Type::List(3, true, Type::Decimal(18, 8)));
  Schema other = *schema;
  other.schema_id = 8;
  EXPECT_TRUE(other.SameFields(*schema));
  other.fields[1].type.fields[0].type.scale = 2;
  EXPECT_FALSE(other.SameFields(*schema));
}

TEST(Schema, ReadsEveryPrimitiveType) {
  for (const char* name : {"boolean", "int", "long", "float", "double", "decimal(38, 0)", "date", "time", "timestamp",
                           "timestamptz", "string", "uuid", "fixed[3]", "binary"}) {
    const auto type = ParsePrimitiveType(name);
    ASSERT_TRUE(type.has_value()) << name;
    EXPECT_EQ(type->ToString(), name);
  }
  EXPECT_EQ(ParsePrimitiveType("decimal(9,2)").value(), Type::Decimal(9, 2));
  EXPECT_EQ(ParsePrimitiveType("decimal( 9 , 2 )").value(), Type::Decimal(9, 2));
}

TEST(Schema, RefusesTypesItDoesNotKnow) {
  for (const char* name : {"timestamptz_ns", "variant", "geometry(srid:4326)", "unknown", "Int", ""}) {
    EXPECT_EQ(ParsePrimitiveType(name).error().kind, ErrorKind::kUnsupported) << name;
  }
  for (const char* name : {"decimal", "decimal(39, 0)", "decimal(0, 0)", "decimal(4, 5)", "decimal(4, -1)",
                           "decimal(4, 2", "decimal(4, 2)x", "fixed", "fixed[-1]", "fixed[99999999999]"}) {
    EXPECT_EQ(ParsePrimitiveType(name).error().kind, ErrorKind::kInvalidData) << name;
  }
}

TEST(Schema, RefusesBrokenSchemas) {
  const auto with_fields = [](std::string_view fields, std::string_view more = "") {
    return ParseSchema(fmt::format(R"({{"type":"struct",{}"fields":[{}]}})", more, fields));
  };
  ASSERT_TRUE(with_fields(R"({"id":1,"name":"a","required":true,"type":"int"})").has_value());
  for (const char* fields : {
           R"({"id":1,"name":"a","required":true,"type":"int"},{"id":1,"name":"b","required":true,"type":"int"})",
           R"({"id":1,"name":"a","required":true,"type":"int"},{"id":2,"name":"a","required":true,"type":"int"})",
           R"({"id":-1,"name":"a","required":true,"type":"int"})",
           R"({"id":1.0,"name":"a","required":true,"type":"int"})",
           R"({"id":3000000000,"name":"a","required":true,"type":"int"})",
           R"({"id":1,"name":"a","required":1,"type":"int"})",
           R"({"id":1,"required":true,"type":"int"})",
           R"({"id":1,"name":"a","required":true,"type":7})",
           R"({"id":1,"name":"a","required":true})",
           R"(null)",
       }) {
    EXPECT_FALSE(with_fields(fields).has_value()) << fields;
  }
  EXPECT_FALSE(with_fields(R"({"id":1,"name":"a","required":true,"type":"int"})", R"("identifier-field-ids":[2],)"));
  EXPECT_FALSE(ParseSchema("").has_value());
  EXPECT_FALSE(ParseSchema(R"("int")").has_value());
}

TEST(Schema, StopsAtNestingThatWouldExhaustTheStack) {
  for (const int levels : {1'000, 5'000'000}) {
    std::string text;
    for (int i = 0; i < levels; ++i) text += R"({"type":"list","element":)";
    EXPECT_EQ(ParseSchema(text).error().kind, ErrorKind::kInvalidData);
  }
}

TEST(PartitionSpec, RoundTrips) {
  constexpr std::string_view kFields =
      R"([{"name":"ts_day","transform":"day","source-id":4,"field-id":1000},)"
      R"({"name":"id_bucket","transform":"bucket[16]","source-id":1,"field-id":1001}])";
  const auto fields = ParsePartitionFields(kFields);
  ASSERT_TRUE(fields.has_value());
  EXPECT_EQ(PartitionFieldsToJson({.spec_id = 3, .fields = *fields}), kFields);
  EXPECT_EQ(PartitionSpecToJson({.spec_id = 3, .fields = *fields}),
            R"({"spec-id":3,"fields":)" + std::string(kFields) + "}");
  const auto unnumbered = ParsePartitionFields(
      R"([{"name":"a","transform":"day","source-id":4},{"name":"b","transform":"hour","source-id":4}])");
  ASSERT_TRUE(unnumbered.has_value());
  EXPECT_EQ((*unnumbered)[1].field_id, 1001) << "version 1 numbers them from 1000";
  EXPECT_EQ(ParsePartitionFields(R"([{"name":"a","transform":"day","source-ids":[4,5]}])").error().kind,
            ErrorKind::kUnsupported);
}

TEST(Transform, HasResultTypes) {
  const Type timestamptz = Type::Primitive(TypeId::kTimestamptz);
  const Type date = Type::Primitive(TypeId::kDate);
  EXPECT_EQ(TransformResultType("day", timestamptz).value(), date);
  EXPECT_EQ(TransformResultType("hour", timestamptz).value(), Type::Primitive(TypeId::kInt));
  EXPECT_EQ(TransformResultType("month", date).value(), Type::Primitive(TypeId::kInt));
  EXPECT_EQ(TransformResultType("identity", Type::Decimal(9, 2)).value(), Type::Decimal(9, 2));
  EXPECT_EQ(TransformResultType("truncate[10]", Type::Decimal(9, 2)).value(), Type::Decimal(9, 2));
  EXPECT_EQ(TransformResultType("bucket[16]", date).value(), Type::Primitive(TypeId::kInt));
  EXPECT_EQ(TransformResultType("void", date).value(), date);
  EXPECT_EQ(TransformResultType("hour", date).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(TransformResultType("truncate[4]", date).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(TransformResultType("bucket[4]", Type::Primitive(TypeId::kDouble)).error().kind,
            ErrorKind::kInvalidArgument);
  for (const char* unknown : {"bucket", "bucket[]", "bucket[0]", "bucket[-1]", "bucket[1", "bucket[1x]", "days", ""}) {
    EXPECT_EQ(TransformResultType(unknown, date).error().kind, ErrorKind::kUnsupported) << unknown;
  }
}

}  // namespace
}  // namespace k2::iceberg
