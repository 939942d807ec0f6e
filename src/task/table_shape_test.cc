#include "task/table_shape.h"

#include <gtest/gtest.h>

#include "task/market_tables.h"

namespace k2::task {
namespace {

using iceberg::NestedField;
using iceberg::TableMetadata;
using iceberg::Type;
using iceberg::TypeId;

// A table as a catalog has made it, with ids of its own choice.
class TableShapeTest : public testing::Test {
 protected:
  TableShapeTest() {
    table_.schemas = {TableDefinition(kGoldTable)->schema};
    for (NestedField& field : Schema().fields) {
      field.id += 100;
      for (NestedField& nested : field.type.fields) nested.id += 100;
    }
    table_.last_column_id = Schema().HighestFieldId();
    table_.partition_specs = {{}};
    table_.properties = MissingColumnsProperty(kGoldTable, table_);
  }
  iceberg::Schema& Schema() { return table_.schemas.back(); }
  NestedField& Field(std::string_view name) { return const_cast<NestedField&>(*Schema().Find(name)); }
  void NewVersion() {
    table_.schemas.push_back(Schema());
    Schema().schema_id = table_.current_schema_id = static_cast<int32_t>(table_.schemas.size()) - 1;
  }
  void Drop(std::string_view name) {
    std::erase_if(Schema().fields, [&](const NestedField& field) { return field.name == name; });
  }
  void Add(std::string name, Type type, bool required = false) {
    Schema().fields.push_back(
        {.id = ++table_.last_column_id, .name = std::move(name), .required = required, .type = std::move(type)});
  }
  std::string Refusal(TableUse use) {
    const auto shape = ShapeOf(kGoldTable, table_, use);
    EXPECT_TRUE(shape || shape.error().kind == ErrorKind::kUnsupported);
    return shape ? "" : shape.error().message;
  }

  TableMetadata table_;
};

TEST_F(TableShapeTest, RenamesMovesAndWiderTypesAreWorkedWith) {
  NewVersion();
  Field("currency").name = "quote";
  Field("exchange_hour").type = Type::Primitive(TypeId::kLong);
  Field("price").type = Type::Decimal(38, 14);
  std::swap(Schema().fields[0], Schema().fields[9]);
  Add("currency", Type::Primitive(TypeId::kLong));
  const auto shape = ShapeOf(kGoldTable, table_, TableUse::kWrite);
  ASSERT_TRUE(shape) << shape.error().message;
  const iceberg::Schema rows = shape->Rows();
  EXPECT_EQ(rows.Find("currency")->id, 109);
  EXPECT_EQ(shape->schema.FindById(109)->name, "quote");
  EXPECT_EQ(rows.Find("currency (field id 122)")->type, Type::Primitive(TypeId::kLong));
  EXPECT_EQ(rows.Find("exchange_hour")->type, Type::Primitive(TypeId::kLong));
  EXPECT_EQ(rows.fields[9].name, "message_id");
  // Without the property, the names of the first schema tell the same.
  table_.properties.clear();
  EXPECT_EQ(ShapeOf(kGoldTable, table_, TableUse::kWrite)->columns, shape->columns);
}

TEST_F(TableShapeTest, WhatK2NeedsMustBeThere) {
  NewVersion();
  Drop("currency");
  Add("currency", Type::Primitive(TypeId::kString));  // another one, whatever its name
  for (const TableUse use : {TableUse::kRead, TableUse::kWrite}) {
    const std::string told = Refusal(use);
    EXPECT_NE(told.find("gold_crypto_trades: the column currency (field id 109) was dropped"), std::string::npos)
        << told;
    EXPECT_NE(told.find("k2 tables migrate"), std::string::npos);
  }
  table_.properties.clear();
  EXPECT_NE(Refusal(TableUse::kRead), "");
}

// Members of a struct are found by their names.
TEST(TableShape, AStructOfOtherMembersIsAnotherType) {
  const auto definition = TableDefinition(kBronzeTable);
  const Type own = definition->schema.Find("headers")->type;
  EXPECT_TRUE(HoldsValuesOf(own, own));
  Type renamed = own;
  renamed.fields[0].type.fields[0].name = "k";
  EXPECT_FALSE(HoldsValuesOf(renamed, own));
  Type shorter = own;
  shorter.fields[0].type.fields.pop_back();
  EXPECT_FALSE(HoldsValuesOf(shorter, own));
}

TEST_F(TableShapeTest, OptionalColumnsMayGo) {
  EXPECT_TRUE(AbsentColumns(kGoldTable, table_).empty());
  NewVersion();
  Drop("vendor_data");
  EXPECT_EQ(AbsentColumns(kGoldTable, table_), std::vector<std::string>{"vendor_data"});
  Add("vendor_data", Type::Primitive(TypeId::kString));
  const auto shape = ShapeOf(kGoldTable, table_, TableUse::kWrite);
  ASSERT_TRUE(shape) << shape.error().message;
  EXPECT_EQ(shape->columns.at("vendor_data"), 0);
  EXPECT_EQ(shape->Rows().Find("vendor_data"), nullptr);  // the new one is another's
}

TEST_F(TableShapeTest, OtherTypesAreRefused) {
  for (const Type& type : {Type::Decimal(38, 9), Type::Decimal(10, 8), Type::Primitive(TypeId::kString)}) {
    Field("price").type = type;
    EXPECT_NE(Refusal(TableUse::kRead).find("k2 needs decimal(24, 14)"), std::string::npos);
  }
}

// As version 0.1 made them; and such a column widened by somebody.
TEST_F(TableShapeTest, PricesAndQuantitiesOfTheOlderFormatAreWorkedWith) {
  EXPECT_EQ(FormatOf(kGoldTable, table_), TableFormat::kCurrent);
  for (const Type& type : {Type::Decimal(18, 8), Type::Decimal(38, 8)}) {
    Field("price").type = type;
    EXPECT_EQ(FormatOf(kGoldTable, table_), TableFormat::kOlder);
    EXPECT_TRUE(ShapeOf(kGoldTable, table_, TableUse::kWrite)->OfOlderFormat());
  }
  Field("price").type = Type::Decimal(38, 14);
  EXPECT_EQ(FormatOf(kGoldTable, table_), TableFormat::kCurrent);
  Field("quantity").type = Type::Decimal(18, 8);
  EXPECT_EQ(FormatOf(kGoldTable, table_), TableFormat::kOlder);
  EXPECT_EQ(FormatOf(kBronzeTable, table_), TableFormat::kCurrent) << "of tables of trades only";
}

// Somebody's own, in a table that was made before K2 had a column of that name.
TEST_F(TableShapeTest, AColumnOfOthersThatHasTheNameOfALaterOneIsLeftAlone) {
  ColumnIds columns = *ColumnsOf(kGoldTable, table_);
  columns.erase("source");
  table_.properties[std::string(kColumnsProperty)] = ColumnsToJson(columns);
  for (const Type& type : {Type::Primitive(TypeId::kInt), Type::Primitive(TypeId::kString)}) {
    Field("source").type = type;
    const auto shape = ShapeOf(kGoldTable, table_, TableUse::kWrite);
    ASSERT_TRUE(shape) << shape.error().message;
    EXPECT_EQ(shape->columns.at("source"), 0);
  }
}

// A file that was written before the table was migrated is read by the schema of then.
TEST_F(TableShapeTest, FilesOfEarlierSchemasHaveTheirOwnIds) {
  Field("price").type = Type::Decimal(18, 8);
  table_.snapshots.push_back({.snapshot_id = 5, .schema_id = table_.current_schema_id});
  NewVersion();
  Field("price").type = Type::Decimal(24, 14);
  Field("price").id = ++table_.last_column_id;
  ColumnIds columns = *ColumnsOf(kGoldTable, table_);
  columns["price"] = table_.last_column_id;
  table_.properties[std::string(kColumnsProperty)] = ColumnsToJson(columns);
  table_.snapshots.push_back({.snapshot_id = 6, .schema_id = table_.current_schema_id});
  const TableShape now = *ShapeOf(kGoldTable, table_, TableUse::kWrite);
  EXPECT_EQ(ShapeOfFile(kGoldTable, table_, now, 6)->columns, now.columns);
  EXPECT_EQ(ShapeOfFile(kGoldTable, table_, now, 7)->columns, now.columns) << "of a snapshot that is gone";
  const auto then = ShapeOfFile(kGoldTable, table_, now, 5);
  ASSERT_TRUE(then) << then.error().message;
  EXPECT_EQ(then->columns.at("price"), 107);
  EXPECT_EQ(then->Rows().Find("price")->type, Type::Decimal(18, 8));
}

TEST_F(TableShapeTest, RequiredColumnsOfOthersStopWritersAlone) {
  Add("theirs", Type::Primitive(TypeId::kLong), /*required=*/true);
  EXPECT_NE(Refusal(TableUse::kWrite).find("the column theirs (field id 122) is required"), std::string::npos);
  EXPECT_EQ(Refusal(TableUse::kRead), "");
  Field("theirs").write_default = "7";
  EXPECT_EQ(Refusal(TableUse::kWrite), "");
  Field("platform_sequence").required = true;
  EXPECT_NE(Refusal(TableUse::kWrite).find("platform_sequence is now required"), std::string::npos);
}

TEST_F(TableShapeTest, ABrokenPropertyIsNotGuessedAt) {
  for (const char* text : {"", "[]", "{\"symbol\":\"3\"}", "{\"symbol\":1,\"price\":1}", "{\"symbol\":0}"}) {
    table_.properties[std::string(kColumnsProperty)] = text;
    const auto shape = ShapeOf(kGoldTable, table_, TableUse::kRead);
    ASSERT_FALSE(shape) << text;
    EXPECT_EQ(shape.error().kind, ErrorKind::kInvalidData);
  }
}

}  // namespace
}  // namespace k2::task
