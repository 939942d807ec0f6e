// Rows that delete files remove, by position and by equality.
#include "table/row_deletes.h"

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/uuid.h"
#include "table/arrow_schema.h"

namespace k2::table {
namespace {

using iceberg::DeleteFile;
using iceberg::DeleteFiles;
using iceberg::FileContent;
using iceberg::NestedField;
using iceberg::Schema;
using iceberg::Type;
using iceberg::TypeId;

class RowDeletesTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(root_); }
  void TearDown() override { std::filesystem::remove_all(root_); }

  // Rows n = 0, 1, …; name is "n<n mod 10>", null where n mod 10 is 9.
  std::string WriteData(const Schema& schema, int64_t rows, int64_t group_rows) {
    arrow::Int64Builder numbers;
    arrow::StringBuilder names;
    for (int64_t row = 0; row < rows; ++row) {
      (void)numbers.Append(row);
      (void)(row % 10 == 9 ? names.AppendNull() : names.Append(fmt::format("n{}", row % 10)));
    }
    return Write("data", schema, rows, {numbers.Finish().ValueOrDie(), names.Finish().ValueOrDie()}, group_rows);
  }

  std::string Write(const std::string& name, const Schema& schema, int64_t rows,
                    const std::vector<std::shared_ptr<arrow::Array>>& columns, int64_t group_rows = 1000) {
    std::string path = fmt::format("file://{}/{}-{}.parquet", root_, name, RandomHex64());
    auto writer = DataFileWriter::Create(io_, path, schema, {}, {}, {.row_group_rows = group_rows});
    EXPECT_TRUE(writer) << writer.error().message;
    const Status written = (*writer)->Write(*arrow::RecordBatch::Make(ToArrowSchema(schema), rows, columns));
    EXPECT_TRUE(written) << written.error().message;
    EXPECT_TRUE((*writer)->Finish());
    return path;
  }

  std::shared_ptr<const DeleteFile> Positions(const std::vector<std::pair<std::string, int64_t>>& rows) {
    Schema schema;
    schema.fields = {{iceberg::kDeletePathFieldId, "file_path", true, Type::Primitive(TypeId::kString)},
                     {iceberg::kDeletePositionFieldId, "pos", true, Type::Primitive(TypeId::kLong)}};
    arrow::StringBuilder paths;
    arrow::Int64Builder positions;
    for (const auto& [path, position] : rows) {
      (void)paths.Append(path);
      (void)positions.Append(position);
    }
    return std::make_shared<DeleteFile>(
        DeleteFile{.path = Write("positions", schema, static_cast<int64_t>(rows.size()),
                                 {paths.Finish().ValueOrDie(), positions.Finish().ValueOrDie()}),
                   .content = FileContent::kPositionDeletes});
  }

  std::shared_ptr<const DeleteFile> Names(const NestedField& field,
                                          const std::vector<std::optional<std::string>>& texts) {
    Schema schema;
    schema.fields = {field};
    arrow::StringBuilder names;
    for (const auto& text : texts) (void)(text ? names.Append(*text) : names.AppendNull());
    return std::make_shared<DeleteFile>(
        DeleteFile{.path = Write("names", schema, static_cast<int64_t>(texts.size()), {names.Finish().ValueOrDie()}),
                   .content = FileContent::kEqualityDeletes,
                   .equality_ids = {field.id}});
  }

  std::shared_ptr<const DeleteFile> Pairs(const std::vector<std::pair<int32_t, std::string>>& pairs) {
    Schema schema;  // the number is narrower than the table's, as before it was widened, and the columns are swapped
    schema.fields = {{2, "name", false, Type::Primitive(TypeId::kString)},
                     {1, "number", false, Type::Primitive(TypeId::kInt)}};
    arrow::Int32Builder numbers;
    arrow::StringBuilder names;
    for (const auto& [number, name] : pairs) {
      (void)numbers.Append(number);
      (void)names.Append(name);
    }
    return std::make_shared<DeleteFile>(
        DeleteFile{.path = Write("pairs", schema, static_cast<int64_t>(pairs.size()),
                                 {names.Finish().ValueOrDie(), numbers.Finish().ValueOrDie()}),
                   .content = FileContent::kEqualityDeletes,
                   .equality_ids = {1, 2}});
  }

  // The numbers of the rows that are left.
  std::vector<int64_t> Left(const std::string& path, const DeleteFiles& deletes, const Schema& schema,
                            ReadOptions options = {}) {
    std::vector<int64_t> numbers;
    const Status read = ReadLiveRows(*io_, path, deletes, schema, options, [&](const auto& batch) {
      EXPECT_EQ(batch->num_columns(), options.field_ids.empty() ? static_cast<int>(schema.fields.size())
                                                                : static_cast<int>(options.field_ids.size()));
      const auto& column = static_cast<const arrow::Int64Array&>(*batch->column(0));
      for (int64_t row = 0; row < batch->num_rows(); ++row) numbers.push_back(column.Value(row));
      return Status{};
    });
    EXPECT_TRUE(read) << read.error().message;
    std::vector<int64_t> deleted;
    const auto positions = ReadDeletedPositions(*io_, path, deletes, schema);
    EXPECT_TRUE(positions) << positions.error().message;
    if (options.range_field == 0) {
      EXPECT_EQ(numbers.size() + positions.value_or(deleted).size(), 40U);
    }
    for (const int64_t number : numbers) EXPECT_FALSE(std::ranges::binary_search(*positions, number)) << number;
    return numbers;
  }

  static std::vector<int64_t> Without(const std::function<bool(int64_t)>& deleted) {
    std::vector<int64_t> numbers;
    for (int64_t number = 0; number < 40; ++number) {
      if (!deleted(number)) numbers.push_back(number);
    }
    return numbers;
  }

  const NestedField number_{1, "number", false, Type::Primitive(TypeId::kLong)};
  const NestedField name_{2, "name", false, Type::Primitive(TypeId::kString)};
  const Schema schema_{.schema_id = 0, .fields = {number_, name_}};
  std::string root_ = (std::filesystem::temp_directory_path() / ("k2-deletes-" + RandomHex64())).string();
  std::shared_ptr<storage::FileIo> io_ = storage::MakeFileIo();
};

TEST_F(RowDeletesTest, ByPositionAcrossRowGroups) {
  const std::string path = WriteData(schema_, 40, 16);
  const auto some = Positions({{path, 39}, {path, 0}, {"another", 5}, {path, 16}, {path, 16}});
  const auto more = Positions({{path, 17}, {"another", 6}});
  const auto deleted = [](int64_t row) { return row == 0 || row == 16 || row == 17 || row == 39; };
  EXPECT_EQ(Left(path, {some, more}, schema_), Without(deleted));
  EXPECT_EQ(Left(path, {some, more}, schema_, {.field_ids = {1}, .batch_rows = 5}), Without(deleted));
}

TEST_F(RowDeletesTest, ByPositionWhereRowGroupsAreSkipped) {
  const std::string path = WriteData(schema_, 40, 10);
  const auto positions = Positions({{path, 5}, {path, 25}});
  EXPECT_EQ(Left(path, {positions}, schema_, {.range_field = 1, .range_min = 20, .range_max = 29}),
            (std::vector<int64_t>{20, 21, 22, 23, 24, 26, 27, 28, 29}));
}

TEST_F(RowDeletesTest, ByEqualityAlsoOfColumnsThatAreNotAskedFor) {
  const std::string path = WriteData(schema_, 40, 16);
  const auto names = Names(name_, {"n3", std::nullopt, "none"});
  const auto deleted = [](int64_t row) { return row % 10 == 3 || row % 10 == 9; };
  EXPECT_EQ(Left(path, {names}, schema_), Without(deleted)) << "null is equal to null";
  EXPECT_EQ(Left(path, {names}, schema_, {.field_ids = {1}}), Without(deleted));
  EXPECT_EQ(Left(path, {names}, schema_, {.dictionary_fields = {2}}), Without(deleted));
  // Several schemas, widened types, columns in another order, positions besides.
  const auto pairs = Pairs({{7, "n7"}, {8, "n7"}, {17, "n7"}});
  const auto positions = Positions({{path, 1}});
  EXPECT_EQ(Left(path, {names, pairs, positions}, schema_),
            Without([&](int64_t row) { return deleted(row) || row == 7 || row == 17 || row == 1; }));
}

TEST_F(RowDeletesTest, ByColumnsThatWereRenamedDroppedOrAdded) {
  const std::string path = WriteData(schema_, 40, 16);
  const auto names = Names(name_, {"n3"});
  const auto deleted = [](int64_t row) { return row % 10 == 3; };
  Schema renamed{.schema_id = 1, .fields = {number_, {2, "title", false, Type::Primitive(TypeId::kString)}}};
  EXPECT_EQ(Left(path, {names}, renamed), Without(deleted));
  const Schema dropped{.schema_id = 2, .fields = {number_, {3, "name", false, Type::Primitive(TypeId::kString)}}};
  EXPECT_EQ(Left(path, {names}, dropped), Without(deleted));
  // Of a column that the file does not have all rows are null.
  const NestedField added{4, "added", false, Type::Primitive(TypeId::kString)};
  const Schema with_added{.schema_id = 3, .fields = {number_, name_, added}};
  EXPECT_EQ(Left(path, {Names(added, {"x"})}, with_added).size(), 40U);
  EXPECT_EQ(Left(path, {Names(added, {std::nullopt})}, with_added).size(), 0U);
}

TEST_F(RowDeletesTest, WhatCannotBeAppliedIsAnError) {
  const std::string path = WriteData(schema_, 40, 16);
  const auto read = [&](DeleteFile deletes) {
    const auto file = std::make_shared<const DeleteFile>(std::move(deletes));
    return ReadDeletedPositions(*io_, path, {file}, schema_).error();
  };
  DeleteFile names = *Names(name_, {"n3"});
  names.equality_ids = {1};
  EXPECT_EQ(read(names).kind, ErrorKind::kInvalidData) << "it has no such column";
  names.equality_ids = {};
  EXPECT_EQ(read(names).kind, ErrorKind::kInvalidData);
  names.content = FileContent::kPositionDeletes;
  EXPECT_EQ(read(names).kind, ErrorKind::kInvalidData);
  names.path += ".gone";
  EXPECT_EQ(read(names).kind, ErrorKind::kNotFound);
}

}  // namespace
}  // namespace k2::table
