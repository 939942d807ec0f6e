#include "query/engine.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "query/fake_table.h"

namespace k2::query {
namespace {

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class EngineTest : public ::testing::Test {
 protected:
  // An old file without `venue`, where `name` was still called `label`, its columns in another order; and a new one.
  void SetUp() override {
    const auto old_file = WriteParquet(
        folder_.File("old.parquet"),
        "SELECT MAP {'k': 'old'} AS tags, 'a' AS label, 1::BIGINT AS id, ['x', 'y'] AS marks",
        "{id: 1, label: 2, marks: {__duckdb_field_id: 4, element: 5}, tags: {__duckdb_field_id: 6, key: 7, value: 8}}");
    const auto new_file = WriteParquet(
        folder_.File("new.parquet"),
        "SELECT 2::BIGINT AS id, 'b' AS name, 'KRAKEN' AS venue, []::VARCHAR[] AS marks, NULL::MAP(VARCHAR, VARCHAR) "
        "AS "
        "tags, 'gone' AS dropped",
        "{id: 1, name: 2, venue: 3, marks: {__duckdb_field_id: 4, element: 5}, tags: {__duckdb_field_id: 6, key: 7, "
        "value: 8}, dropped: 9}");
    table_ = std::make_shared<FakeTable>(
        "things",
        std::vector<ColumnInfo>{
            {"id", 1, "long", true, {}},
            {"name", 2, "string", true, {}},
            {"venue", 3, "string", false, {}},
            {"marks", 4, "list", true, {{"element", 5, "string", true, {}}}},
            {"tags", 6, "map", false, {{"key", 7, "string", true, {}}, {"value", 8, "string", true, {}}}}},
        std::vector<PlannedFile>{old_file, new_file});
    other_ = std::make_shared<FakeTable>("other", std::vector<ColumnInfo>{{"id", 1, "long", true, {}}},
                                         std::vector<PlannedFile>{old_file});
    engine_ = EngineOf({table_, other_});
  }

  ErrorKind KindOf(const std::string& sql) {
    const auto result = engine_->Run(sql);
    EXPECT_FALSE(result) << sql;
    return result ? ErrorKind::kInternal : result.error().kind;
  }

  ScratchFolder folder_;
  std::shared_ptr<FakeTable> table_;
  std::shared_ptr<FakeTable> other_;
  std::unique_ptr<QueryEngine> engine_;
};

TEST_F(EngineTest, FindsColumnsByFieldId) {
  EXPECT_EQ(Rows(*engine_, "SELECT * FROM things ORDER BY id"), "1,a,NULL,[x, y],{k=old};2,b,KRAKEN,[],NULL");
  EXPECT_EQ(Rows(*engine_, "SELECT id FROM things WHERE venue IS NULL"), "1");
  EXPECT_EQ(Rows(*engine_, "SELECT id FROM things WHERE venue = 'KRAKEN'"), "2");
  EXPECT_EQ(Rows(*engine_, "SELECT id FROM things WHERE name = 'a'"), "1");
  EXPECT_EQ(Rows(*engine_, "SELECT name, tags['k'] FROM market_data.things ORDER BY id DESC LIMIT 1"), "b,NULL");
  EXPECT_EQ(Rows(*engine_, "SELECT t.name FROM THINGS AS t JOIN other USING (id)"), "a");
}

// Iceberg spec, "Column Projection": files that were written outside Iceberg.
TEST_F(EngineTest, FindsColumnsWithoutIdsByTheNameMapping) {
  const auto file =
      WriteParquet(folder_.File("theirs.parquet"),
                   "SELECT 3::INT AS no, 'c' AS label, MAP {'k': 'v'} AS tags, ['z'] AS marks, {'lat': 1, "
                   "'long': 2} AS place, 5 AS day, 9 AS unmapped",
                   "");
  std::vector<ColumnInfo> columns = {
      {"id", 1, "long", true, {}, {"id", "no"}},
      {"name", 2, "string", true, {}, {"label"}},
      {"marks", 4, "list", true, {{"element", 5, "string", true, {}}}, {"marks"}},
      {"tags", 6, "map", false, {{"key", 7, "string", true, {}}, {"value", 8, "string", true, {}}}, {"tags"}},
      {"place",
       10,
       "struct",
       false,
       {{"latitude", 11, "int", false, {}, {"lat"}}, {"long", 12, "int", false, {}}},
       {"place"}},
      {"day", 13, "date", true, {}},
      {"unmapped", 14, "int", false, {}},
      {"venue", 15, "string", true, {}, {}, "NONE"}};
  PlannedFile planned = file;
  planned.constants[13] = int64_t{19'000};
  const auto engine = EngineOf({std::make_shared<FakeTable>("theirs", columns, std::vector<PlannedFile>{planned}),
                                std::make_shared<FakeTable>("bare", columns, std::vector<PlannedFile>{file})});
  EXPECT_EQ(Rows(*engine, "SELECT * FROM theirs"), "3,c,[z],{k=v},{'latitude': 1, 'long': NULL},2022-01-08,NULL,NONE");
  EXPECT_EQ(Rows(*engine, "SELECT id FROM theirs WHERE day = DATE '2022-01-08' AND name = 'c'"), "3");
  EXPECT_EQ(Rows(*engine, "SELECT count(*) FROM theirs WHERE day > DATE '2022-01-08'"), "0");
  EXPECT_EQ(Rows(*engine, "SELECT name FROM bare"), "c");
  EXPECT_EQ(Rows(*engine, "SELECT unmapped FROM bare"), "NULL");
  const auto refused = engine->Run("SELECT day FROM bare");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidData);
  EXPECT_NE(refused.error().message.find("field id 13, the required column 'day': its columns have no field ids"),
            std::string::npos)
      << refused.error().message;
}

TEST_F(EngineTest, CountsFromTheManifestsAndFromTheRowsAlike) {
  EXPECT_EQ(Rows(*engine_, "SELECT count(*) FROM things"), "2");
  EXPECT_EQ(Rows(*engine_, "SELECT count(id), count(venue), sum(id) FROM things"), "2,1,3");
  EXPECT_EQ(Rows(*engine_, "SELECT count(*) FROM things WHERE id > 1"), "1");
}

TEST_F(EngineTest, AsksNothingOfTablesThatAreNotNamed) {
  ASSERT_TRUE(engine_->Run("SELECT count(id) FROM things"));
  EXPECT_EQ(table_->asked.size(), 1U);
  EXPECT_EQ(table_->columns_asked, 1);
  EXPECT_EQ(other_->asked.size(), 0U);
  EXPECT_EQ(other_->columns_asked, 0);
}

TEST_F(EngineTest, ListsAndDescribesTables) {
  EXPECT_EQ(Rows(*engine_, "SHOW TABLES"), "other;things");
  EXPECT_EQ(Rows(*engine_, "SELECT column_name FROM (DESCRIBE things) WHERE column_type = 'MAP(VARCHAR, VARCHAR)'"),
            "tags");
  EXPECT_EQ(Rows(*engine_, "SELECT count(*) FROM information_schema.columns WHERE table_name = 'things'"), "5");
  EXPECT_EQ(table_->asked.size(), 0U);
}

TEST_F(EngineTest, SaysWhatIsWrongWithTheSql) {
  const auto unknown = engine_->Run("SELECT * FROM gold");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(unknown.error().message, "there is no table gold");
  EXPECT_EQ(unknown.error().hint, "the tables are other, things");
  EXPECT_EQ(KindOf("SELEC 1"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(KindOf("SELECT nix FROM things"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(KindOf(""), ErrorKind::kInvalidArgument);
  EXPECT_EQ(KindOf("SELECT 1; SELECT 2"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(KindOf("SELECT name::BIGINT FROM things"), ErrorKind::kInvalidArgument);
  EXPECT_FALSE(
      engine_->AddTable(std::make_shared<FakeTable>("OTHER", std::vector<ColumnInfo>{}, std::vector<PlannedFile>{})));
  EXPECT_EQ(Rows(*engine_, "SELECT 1"), "1") << "the engine goes on after errors";
}

TEST_F(EngineTest, OnlyReads) {
  const std::string target = folder_.File("target");
  const std::vector<std::string> statements = {"COPY (SELECT 1) TO '" + target + "'",
                                               "COPY things TO '" + target + "' (FORMAT parquet)",
                                               "CREATE TABLE x AS SELECT 1",
                                               "INSERT INTO things VALUES (1)",
                                               "DELETE FROM things",
                                               "ATTACH '" + target + "' AS x",
                                               "INSTALL httpfs",
                                               "LOAD httpfs",
                                               "SET enable_external_access = true",
                                               "EXPLAIN ANALYZE COPY (SELECT 1) TO '" + target + "'",
                                               "EXPLAIN ANALYZE COPY (SELECT 1) TO 'k2data:/(output)'",
                                               "SELECT * FROM read_csv('/etc/passwd')",
                                               "SELECT * FROM '/etc/passwd'",
                                               "SELECT * FROM read_parquet('" + folder_.File("old.parquet") + "')",
                                               "SELECT * FROM read_text('k2data://etc/passwd')",
                                               "SELECT * FROM glob('/*')"};
  for (const auto& sql : statements) {
    const auto result = engine_->Run(sql);
    if (result && sql.find("glob") != std::string::npos) {
      EXPECT_TRUE(result->rows.empty()) << sql;
      continue;
    }
    EXPECT_FALSE(result) << sql;
  }
  EXPECT_FALSE(std::filesystem::exists(target));
  EXPECT_EQ(KindOf("DELETE FROM things"), ErrorKind::kPermission);
  EXPECT_EQ(KindOf("SELECT * FROM read_csv('/etc/passwd')"), ErrorKind::kPermission);
  EXPECT_EQ(KindOf("SELECT * FROM read_text('k2data://etc/passwd')"), ErrorKind::kPermission);
}

TEST_F(EngineTest, HandsOnThePlannersErrors) {
  table_->failure = Error{ErrorKind::kUnsupported, "things-1.parquet has delete files"};
  const auto result = engine_->Run("SELECT * FROM things");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::kUnsupported);
  EXPECT_EQ(result.error().message, "table things: things-1.parquet has delete files");
}

TEST_F(EngineTest, NoticesFilesThatAreNotThoseOfTheManifest) {
  {
    std::ofstream file(folder_.File("new.parquet"), std::ios::app);
    file << "more";
  }
  const auto changed = engine_->Run("SELECT name FROM things");
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().kind, ErrorKind::kInvalidData);
  EXPECT_NE(changed.error().message.find("new.parquet"), std::string::npos) << changed.error().message;
}

TEST_F(EngineTest, TimesAreUtc) {
  EXPECT_EQ(
      Rows(*engine_,
           "SELECT TIMESTAMPTZ '2024-08-08 02:00:30+02', date_trunc('minute', TIMESTAMPTZ '2024-08-08 00:00:30Z'), "
           "time_bucket(INTERVAL 15 minutes, TIMESTAMPTZ '2024-08-08 00:20:00Z'), "
           "TIMESTAMPTZ '2024-08-08 23:59:59Z'::DATE"),
      "2024-08-08 00:00:30+00,2024-08-08 00:00:00+00,2024-08-08 00:15:00+00,2024-08-08");
}

TEST_F(EngineTest, WritesJson) {
  const std::string path = folder_.File("out.json");
  const auto count = engine_->WriteTo(
      "SELECT id, name, venue, marks, tags, 0.10::DECIMAL(18, 8) AS price, 'q\"\n' AS name, 'nan'::DOUBLE AS nan, "
      "TIMESTAMPTZ '2024-08-08 00:00:00.5Z' AS t, {'a': 1, 'b': [true, NULL]} AS s FROM things ORDER BY id",
      OutputFormat::kJson, {.path = path});
  ASSERT_TRUE(count) << count.error().message;
  EXPECT_EQ(*count, 2);
  const std::string text = Contents(path);
  EXPECT_NE(text.find("\"price\":0.10000000"), std::string::npos) << text;
  const auto json = nlohmann::json::parse(text);
  ASSERT_EQ(json.size(), 2U);
  EXPECT_EQ(json[0]["venue"], nullptr);
  EXPECT_EQ(json[0]["marks"], nlohmann::json({"x", "y"}));
  EXPECT_EQ(json[0]["tags"]["k"], "old");
  EXPECT_EQ(json[0]["name_1"], "q\"\n");
  EXPECT_EQ(json[0]["nan"], nullptr);
  EXPECT_EQ(json[0]["t"], "2024-08-08T00:00:00.500000Z");
  EXPECT_EQ(json[0]["s"].dump(), R"({"a":1,"b":[true,null]})");
  EXPECT_EQ(json[1]["id"], 2);
  ASSERT_TRUE(engine_->WriteTo("SELECT 1 WHERE false", OutputFormat::kJson, {.path = path}));
  EXPECT_EQ(nlohmann::json::parse(Contents(path)).size(), 0U);
}

TEST_F(EngineTest, WritesCsvAndTable) {
  const std::string path = folder_.File("out");
  ASSERT_TRUE(engine_->WriteTo("SELECT id, venue, 'a,\"b' AS x, '' AS y FROM things ORDER BY id", OutputFormat::kCsv,
                               {.path = path}));
  EXPECT_EQ(Contents(path), "id,venue,x,y\r\n1,,\"a,\"\"b\",\"\"\r\n2,KRAKEN,\"a,\"\"b\",\"\"\r\n");
  const auto count =
      engine_->WriteTo("SELECT range FROM range(5000)", OutputFormat::kTable, {.path = path, .rows_max = 3});
  ASSERT_TRUE(count);
  EXPECT_EQ(*count, 5000);
  EXPECT_NE(Contents(path).find("5000 rows, the first 3 shown"), std::string::npos);
}

TEST_F(EngineTest, WritesParquetThatOthersRead) {
  const std::string path = folder_.File("out.parquet");
  const auto count =
      engine_->WriteTo("SELECT id, name, tags FROM things -- the end", OutputFormat::kParquet, {.path = path});
  ASSERT_TRUE(count) << count.error().message;
  EXPECT_EQ(*count, 2);
  duckdb::DuckDB database(nullptr);
  auto read = duckdb::Connection(database).Query("SELECT sum(id), min(name) FROM '" + path + "'");
  ASSERT_FALSE(read->HasError()) << read->GetError();
  EXPECT_EQ(read->GetValue(0, 0).GetValue<int64_t>(), 3);
  EXPECT_FALSE(engine_->WriteTo("EXPLAIN SELECT 1", OutputFormat::kParquet, {.path = path}));
}

TEST_F(EngineTest, LeavesNoHalfResultBehind) {
  const std::string path = folder_.File("out.csv");
  EXPECT_FALSE(
      engine_->WriteTo("SELECT (range - 900000)::UTINYINT FROM range(1000000)", OutputFormat::kCsv, {.path = path}));
  EXPECT_FALSE(std::filesystem::exists(path));
  const auto nowhere = engine_->WriteTo("SELECT 1", OutputFormat::kCsv, {.path = folder_.File("none/out.csv")});
  ASSERT_FALSE(nowhere);
  EXPECT_NE(nowhere.error().message.find("none/out.csv"), std::string::npos);
}

TEST_F(EngineTest, CanBeInterrupted) {
  std::thread stop([&] {
    for (int i = 0; i < 20; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      engine_->Interrupt();
    }
  });
  const auto result =
      engine_->Run("SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b WHERE a.range <> b.range");
  stop.join();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::kCancelled);
}

// Rows are left out by their positions, in each row group, whatever columns and filters a query has.
TEST_F(EngineTest, DeletedRowsAreNotRead) {
  ScratchFolder folder;
  PlannedFile whole = WriteParquet(folder.File("a.parquet"), "SELECT i::BIGINT AS n FROM range(10) t(i)", "{n: 1}");
  PlannedFile cut =
      WriteParquet(folder.File("b.parquet"), "SELECT (10 + i)::BIGINT AS n FROM range(400000) t(i)", "{n: 1}");
  int asked = 0;
  cut.deleted_rows = [&]() -> Result<std::vector<int64_t>> {
    ++asked;
    return std::vector<int64_t>{0, 1, 2047, 2048, 200'000, 399'999};
  };
  const auto table = std::make_shared<FakeTable>("trades", std::vector<ColumnInfo>{{"n", 1, "long", true, {}}},
                                                 std::vector<PlannedFile>{whole, cut});
  const auto engine = EngineOf({table});
  EXPECT_EQ(Rows(*engine, "SELECT count(*) FROM trades"), "400004");
  EXPECT_EQ(Rows(*engine, "SELECT count(*), min(n), max(n) FROM trades WHERE n >= 10"), "399994,12,400008");
  EXPECT_EQ(Rows(*engine, "SELECT count(*) FROM trades WHERE n IN (5, 10, 2057, 2059, 200010, 200011)"), "3");
  EXPECT_EQ(Rows(*engine, "SELECT count(*) FROM trades a JOIN trades b USING (n)"), "400004");
  EXPECT_EQ(asked, 1);
  cut.deleted_rows = [] { return Fail(ErrorKind::kUnsupported, "cannot be told"); };
  const auto unreadable = std::make_shared<FakeTable>("trades", std::vector<ColumnInfo>{{"n", 1, "long", true, {}}},
                                                      std::vector<PlannedFile>{cut});
  const auto result = EngineOf({unreadable})->Run("SELECT count(*) FROM trades");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::kUnsupported);
  EXPECT_NE(result.error().message.find("cannot be told"), std::string::npos);
}

// Sorts that do not fit into memory spill, and give the same rows; without a folder, or beyond its limit, they fail.
TEST_F(EngineTest, SpillsWhatDoesNotFitIntoMemory) {
  const std::string sql =
      "SELECT n, lpad(n::VARCHAR, 200, 'x') AS text FROM range(400000) r(n) ORDER BY hash(n), n OFFSET 399990";
  const auto open = [&](const QueryOptions& options) {
    auto engine = QueryEngine::Open(options);
    EXPECT_TRUE(engine) << engine.error().message;
    return std::move(*engine);
  };
  const std::string spill = folder_.File("spill");
  constexpr int64_t kSmall = 64 << 20;
  const auto spilling = open({.memory_limit_bytes = kSmall, .threads = 2, .temp_dir = spill});
  EXPECT_EQ(Rows(*spilling, sql), Rows(*open({.threads = 2, .temp_dir = ""}), sql));
  const auto refused = [&](const QueryOptions& options) {
    const auto result = open(options)->Run(sql);
    EXPECT_FALSE(result);
    return result ? Error{} : result.error();
  };
  const Error without = refused({.memory_limit_bytes = kSmall, .threads = 2, .temp_dir = ""});
  EXPECT_EQ(without.kind, ErrorKind::kNoSpace);
  EXPECT_NE(without.hint.find("(query-spill)"), std::string::npos) << without.hint;
  const Error beyond =
      refused({.memory_limit_bytes = kSmall, .threads = 2, .temp_dir = spill, .temp_bytes_max = 1 << 20});
  EXPECT_EQ(beyond.kind, ErrorKind::kNoSpace);
  EXPECT_NE(beyond.hint.find("query-spill-max"), std::string::npos) << beyond.hint;
  EXPECT_FALSE(spilling->Run("SELECT * FROM read_text('" + folder_.File("old.parquet") + "')"));
}

}  // namespace
}  // namespace k2::query
