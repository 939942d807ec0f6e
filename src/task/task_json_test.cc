// Tasks and results as JSON: what goes to another process and comes back is the same work.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <random>

#include "base/seed_for_tests.h"
#include "iceberg/schema_json.h"
#include "recording/recording.h"
#include "recording/simulator.h"
#include "task/market_tables.h"
#include "task/task.h"

namespace k2::task {
namespace {

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}
  int64_t Long() {
    switch (random_() % 6) {
      case 0: return INT64_MIN;
      case 1: return INT64_MAX;
      case 2: return 0;
      case 3: return 9'007'199'254'740'993;  // no double holds it
      default: return static_cast<int64_t>(random_() % 1'000);
    }
  }
  int32_t Int() { return static_cast<int32_t>(random_()); }
  bool Bool() { return random_() % 2 == 0; }
  size_t Size(size_t below) { return random_() % below; }
  std::string Text() {
    static const std::vector<std::string> texts = {"",
                                                   "a",
                                                   "\"\\/\n\t",
                                                   "B\xC3\xBC"
                                                   "cher",
                                                   "\xF0\x9F\x92\xB0",
                                                   "a=1/b=%20",
                                                   "null"};
    return texts[random_() % texts.size()];
  }
  std::string Bytes() {
    std::string bytes(random_() % 12, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }
  iceberg::Literal Literal() {
    switch (random_() % 7) {
      case 0: return std::monostate{};
      case 1: return Bool();
      case 2: return Int();
      case 3: return Long();
      case 4: return static_cast<double>(Int()) / 7;
      case 5: return static_cast<iceberg::Int128>(Long()) * Long() - Long();
      default: return Bytes();
    }
  }
  table::SourcePosition Position() {
    return {.next_offset = Long(),
            .leader_epoch = Int(),
            .messages = Long(),
            .next_line = Long(),
            .next_byte = Long(),
            .line_hash = Text()};
  }
  OutputTable Table() {
    const std::vector<std::string> names = AllTables();
    const catalog::CreateTableRequest request = *TableDefinition(names[random_() % names.size()]);
    return {.name = Text(), .location = Text(), .shape = ShapeByNames(request.schema), .spec = request.spec};
  }
  template <typename T>
  std::vector<T> Some(const std::function<T()>& one) {
    std::vector<T> some;
    for (size_t n = Size(4); n > 0; --n) some.push_back(one());
    return some;
  }
  iceberg::DataFile File() {
    iceberg::DataFile file{.file_path = Text(), .record_count = Long(), .file_size_in_bytes = Long()};
    file.spec_id = Int();
    file.partition = Some<iceberg::Literal>([&] { return Literal(); });
    for (size_t n = Size(4); n > 0; --n) {
      file.column_sizes[Int()] = Long();
      file.value_counts[Int()] = Long();
      file.null_value_counts[Int()] = Long();
      file.nan_value_counts[Int()] = Long();
      file.lower_bounds[Int()] = Bytes();
      file.upper_bounds[Int()] = Bytes();
      file.split_offsets.push_back(Long());
    }
    if (Bool()) file.sort_order_id = Int();
    return file;
  }

 private:
  std::mt19937_64 random_;
};

bool Same(const TableShape& a, const TableShape& b) {
  return a.schema.SameFields(b.schema) && a.columns == b.columns && a.name_mapping == b.name_mapping;
}
bool Same(const OutputTable& a, const OutputTable& b) {
  return a.name == b.name && a.location == b.location && Same(a.shape, b.shape) && a.spec == b.spec;
}
bool Same(const iceberg::DeleteFiles& a, const iceberg::DeleteFiles& b) {
  return std::ranges::equal(a, b, [](const auto& x, const auto& y) { return *x == *y; });
}
bool Same(const std::vector<InputFile>& a, const std::vector<InputFile>& b) {
  return std::ranges::equal(a, b, [](const auto& x, const auto& y) {
    return x.path == y.path && x.record_count == y.record_count && Same(x.deletes, y.deletes);
  });
}
// Of a Gold file without its deletes, which the equality of two takes for the same ones only.
GoldFile Bare(GoldFile file) {
  file.deletes.clear();
  return file;
}
bool Same(const GoldFile& a, const GoldFile& b) { return Bare(a) == Bare(b) && Same(a.deletes, b.deletes); }

TEST(TaskJson, TasksRoundTrip) {
  const uint64_t seed = SeedForTests();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  Draw draw(seed);
  const auto deletes = [&] {
    return draw.Some<std::shared_ptr<const iceberg::DeleteFile>>([&] {
      return std::make_shared<const iceberg::DeleteFile>(
          iceberg::DeleteFile{.path = draw.Text(),
                              .content = draw.Int() % 2 == 0 ? iceberg::FileContent::kPositionDeletes
                                                             : iceberg::FileContent::kEqualityDeletes,
                              .equality_ids = draw.Some<int32_t>([&] { return draw.Int(); }),
                              .record_count = draw.Long(),
                              .size_bytes = draw.Long()});
    });
  };
  const auto inputs = [&] {
    return draw.Some<InputFile>(
        [&] { return InputFile{.path = draw.Text(), .record_count = draw.Long(), .deletes = deletes()}; });
  };
  for (int i = 0; i < 100; ++i) {
    const BronzeTask bronze{.inputs = draw.Some<BronzeInput>([&] {
                              return BronzeInput{.source = {draw.Text(), draw.Text(), draw.Text(), draw.Int()},
                                                 .exchange = draw.Text(),
                                                 .recording = draw.Text(),
                                                 .begin = draw.Position(),
                                                 .end_offset = draw.Long()};
                            }),
                            .max_messages = draw.Long(),
                            .max_bytes = draw.Long(),
                            .output = draw.Table(),
                            .attempt_id = draw.Text()};
    const auto b = TaskFromJson(TaskToJson(bronze));
    ASSERT_TRUE(b) << b.error().message;
    const auto& bronze_back = std::get<BronzeTask>(*b);
    ASSERT_TRUE(std::ranges::equal(bronze_back.inputs, bronze.inputs,
                                   [](const BronzeInput& x, const BronzeInput& y) {
                                     return x.source == y.source && x.begin == y.begin && x.exchange == y.exchange &&
                                            x.recording == y.recording && x.end_offset == y.end_offset;
                                   }) &&
                bronze_back.max_messages == bronze.max_messages && bronze_back.max_bytes == bronze.max_bytes &&
                bronze_back.attempt_id == bronze.attempt_id && Same(bronze_back.output, bronze.output));

    SilverTask silver;
    silver.inputs = inputs();
    silver.input_shape = draw.Table().shape;
    silver.ranges = draw.Some<OffsetRange>([&] {
      OffsetRange range{draw.Text(), draw.Text(), draw.Int(), draw.Long(), draw.Long(), draw.Bool()};
      range.without_topic_id = range.topic_id.empty() || draw.Bool();
      return range;
    });
    silver.rejected_files = draw.Some<std::string>([&] { return draw.Text(); });
    silver.schema_folder = draw.Text();
    silver.silver = draw.Some<OutputTable>([&] { return draw.Table(); });
    silver.rejected = draw.Table();
    silver.attempt_id = draw.Text();
    const auto s = TaskFromJson(TaskToJson(silver));
    ASSERT_TRUE(s) << s.error().message;
    const auto& silver_back = std::get<SilverTask>(*s);
    ASSERT_TRUE(
        Same(silver_back.inputs, silver.inputs) && Same(silver_back.input_shape, silver.input_shape) &&
        silver_back.ranges == silver.ranges && silver_back.rejected_files == silver.rejected_files &&
        silver_back.schema_folder == silver.schema_folder && silver_back.attempt_id == silver.attempt_id &&
        Same(silver_back.rejected, silver.rejected) &&
        std::ranges::equal(silver_back.silver, silver.silver, [](const auto& x, const auto& y) { return Same(x, y); }));

    GoldTask gold;
    gold.inputs = draw.Some<GoldInput>([&] { return GoldInput{draw.Table().shape, inputs()}; });
    gold.existing = draw.Some<GoldFile>([&] {
      return GoldFile{draw.Text(), draw.Int(), draw.Int(), draw.Long(), draw.Long(), draw.Long(), deletes()};
    });
    gold.output = draw.Table();
    gold.attempt_id = draw.Text();
    gold.memory_bytes = draw.Long();
    gold.hours = draw.Some<int64_t>([&] { return draw.Int(); });
    std::ranges::sort(gold.hours);
    gold.shares = i + 1;
    gold.share = i / 2;
    const auto g = TaskFromJson(TaskToJson(gold));
    ASSERT_TRUE(g) << g.error().message;
    const auto& gold_back = std::get<GoldTask>(*g);
    const auto same_input = [](const GoldInput& x, const GoldInput& y) {
      return Same(x.shape, y.shape) && Same(x.files, y.files);
    };
    const bool same_existing = std::ranges::equal(gold_back.existing, gold.existing,
                                                  [](const GoldFile& x, const GoldFile& y) { return Same(x, y); });
    ASSERT_TRUE(std::ranges::equal(gold_back.inputs, gold.inputs, same_input) && same_existing &&
                Same(gold_back.output, gold.output) && gold_back.attempt_id == gold.attempt_id &&
                gold_back.memory_bytes == gold.memory_bytes && gold_back.hours == gold.hours &&
                gold_back.share == gold.share && gold_back.shares == gold.shares);

    const CompactionTask joins{.inputs = inputs(), .output = draw.Table(), .attempt_id = draw.Text()};
    const auto c = TaskFromJson(TaskToJson(joins));
    ASSERT_TRUE(c) << c.error().message;
    const auto& back = std::get<CompactionTask>(*c);
    ASSERT_TRUE(Same(back.inputs, joins.inputs) && Same(back.output, joins.output) &&
                back.attempt_id == joins.attempt_id);
  }
}

TEST(TaskJson, ResultsRoundTrip) {
  const uint64_t seed = SeedForTests();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  Draw draw(seed);
  for (int i = 0; i < 200; ++i) {
    TaskResult result;
    result.attempt_id = draw.Text();
    result.outputs = draw.Some<TableFiles>(
        [&] { return TableFiles{draw.Text(), draw.Some<iceberg::DataFile>([&] { return draw.File(); })}; });
    result.rows_in = draw.Long();
    result.rows_out = draw.Long();
    result.rejected[draw.Text()] = draw.Long();
    result.duplicates = draw.Long();
    result.identity_conflicts = draw.Long();
    result.ends = draw.Some<table::SourcePosition>([&] { return draw.Position(); });
    result.range_rows = draw.Some<int64_t>([&] { return draw.Long(); });
    result.counts = {draw.Long(), draw.Long(), draw.Long(), draw.Long(), draw.Long(), draw.Long(), draw.Long(), "book"};
    result.warning = draw.Text();
    const auto back = TaskResultFromJson(TaskResultToJson(result));
    ASSERT_TRUE(back) << back.error().message;
    ASSERT_EQ(back->outputs.size(), result.outputs.size());
    for (size_t n = 0; n < result.outputs.size(); ++n) {
      ASSERT_EQ(back->outputs[n].table, result.outputs[n].table);
      ASSERT_EQ(back->outputs[n].files, result.outputs[n].files);
    }
    ASSERT_EQ(TaskResultToJson(*back), TaskResultToJson(result));
  }
}

TEST(TaskJson, RefusesWhatIsNoTask) {
  for (const char* text : {"", "null", "[]", "{}", "{\"kind\":\"gold\"}", "{\"kind\":\"gold\",\"version\":2}",
                           "{\"kind\":7,\"version\":2}", "{\"kind\":\"lead\",\"version\":2}", "\xFF"}) {
    EXPECT_EQ(TaskFromJson(text).error().kind, ErrorKind::kInvalidArgument) << text;
    EXPECT_EQ(TaskResultFromJson(text).error().kind, ErrorKind::kInvalidArgument) << text;
  }
  for (const int version : {1, 4}) {
    const std::string other = fmt::format(R"({{"kind":"gold","version":{}}})", version);
    EXPECT_EQ(TaskFromJson(other).error().kind, ErrorKind::kUnsupported);
  }
  TaskResult result;
  result.outputs = {{"t", {iceberg::DataFile{.partition = {iceberg::Literal(int32_t{5})}}}}};
  const std::string good = TaskResultToJson(result);
  ASSERT_TRUE(TaskResultFromJson(good));
  for (const char* literal : {"{}", "5", "[]", "[5]", "\"int\"", "{\"int\":\"5\"}", "{\"int\":5,\"long\":5}",
                              "{\"bytes\":\"0\"}", "{\"bytes\":\"zz\"}", "{\"decimal\":[1]}", "{\"decimal\":5}"}) {
    std::string bad = good;
    bad.replace(bad.find("{\"int\":5}"), 9, literal);
    EXPECT_FALSE(TaskResultFromJson(bad)) << bad;
  }
}

// A path need not be UTF-8.
TEST(TaskJson, EveryPathCanBeWritten) {
  BronzeTask task;
  task.inputs.push_back({.source = {}, .exchange = {}, .recording = "/data/\xFF.txt", .begin = {}});
  task.output = {
      .name = "t", .location = "l", .shape = ShapeByNames(TableDefinition(kBronzeTable)->schema), .spec = {}};
  EXPECT_TRUE(TaskFromJson(TaskToJson(task)));
}

// The three layers' work, by the tasks and by their copies.
TEST(TaskJson, ACopyDoesTheSameWork) {
  namespace fs = std::filesystem;
  const std::string root = (fs::temp_directory_path() / ("k2-task-" + RandomHex64())).string();
  fs::create_directories(root);
  ASSERT_TRUE(recording::SimulateToFile({.trades = 500, .malformed_ppm = 20'000}, {.path = root + "/r.txt"}));
  const auto output = [&](std::string_view name) {
    const catalog::CreateTableRequest request = *TableDefinition(name);
    return OutputTable{std::string(name), fmt::format("file://{}/{}", root, name), ShapeByNames(request.schema),
                       request.spec};
  };
  const TaskContext context{.io = storage::MakeFileIo()};
  // Without the moment of the verdict, which differs.
  const auto told = [](TaskResult result) {
    result.attempt_id.clear();
    for (TableFiles& table : result.outputs) {
      for (iceberg::DataFile& file : table.files) {
        file.file_path = file.file_path.substr(0, file.file_path.rfind('/'));
        if (table.table != kRejectedTable) continue;
        file.column_sizes.clear();
        file.file_size_in_bytes = 0;
        file.lower_bounds.erase(10);
        file.upper_bounds.erase(10);
      }
    }
    return TaskResultToJson(result);
  };
  const auto run = [&](Task task) {
    const auto result = RunTask(task, context);
    EXPECT_TRUE(result) << result.error().message;
    auto copy = TaskFromJson(TaskToJson(task));
    EXPECT_TRUE(copy);
    std::visit([](auto& one) { one.attempt_id += "-copy"; }, *copy);
    const auto again = RunTask(*copy, context);
    EXPECT_TRUE(again) << again.error().message;
    EXPECT_EQ(told(*again), told(*result));
    return *TaskResultFromJson(TaskResultToJson(*result));
  };
  const auto inputs = [](const TaskResult& result, std::string_view table) {
    std::vector<InputFile> files;
    for (const iceberg::DataFile& file : result.Find(table)->files)
      files.push_back({file.file_path, file.record_count});
    return files;
  };
  auto reader = recording::RecordingReader::Open(*exchange::Exchanges().front(), root + "/r.txt");
  ASSERT_TRUE(reader);
  const table::SourceKey key = (*reader)->key();
  const TaskResult bronze = run(BronzeTask{.inputs = {{key, "binance", root + "/r.txt", {}}},
                                           .max_messages = 10'000,
                                           .max_bytes = 1 << 30,
                                           .output = output(kBronzeTable),
                                           .attempt_id = "a"});
  ASSERT_GT(bronze.rows_out, 500);
  SilverTask silver;
  silver.inputs = inputs(bronze, kBronzeTable);
  silver.input_shape = output(kBronzeTable).shape;
  silver.ranges = {{.topic = key.topic, .end = bronze.ends.at(0).next_offset}};
  silver.rejected = output(kRejectedTable);
  for (const exchange::Exchange* exchange : exchange::Exchanges())
    silver.silver.push_back(output(exchange->silver_table));
  silver.attempt_id = "a";
  const TaskResult judged = run(silver);
  EXPECT_EQ(judged.rows_in, bronze.rows_out);
  EXPECT_GT(judged.Find(kRejectedTable)->rows(), 0);
  GoldTask gold;
  gold.inputs = {{silver.silver[0].shape, inputs(judged, "silver_binance_trades")}};
  gold.output = output(kGoldTable);
  gold.attempt_id = "a";
  gold.memory_bytes = 1 << 20;
  const TaskResult kept = run(gold);
  EXPECT_EQ(kept.rows_out, 500);
  // And once more upon what is there: nothing is new.
  for (const iceberg::DataFile& file : kept.Find(kGoldTable)->files) {
    const int32_t hour = std::get<int32_t>(file.partition[0]) * 24 + std::get<int32_t>(file.partition[1]);
    gold.existing.push_back({file.file_path, hour, hour, file.record_count});
  }
  EXPECT_EQ(run(gold).rows_out, 0);
  fs::remove_all(root);
}

}  // namespace
}  // namespace k2::task
