// A Silver task names tables and exchanges: what runs it may be older, or newer, than what planned it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "exchange/registry.h"
#include "storage/local_file_io.h"
#include "task/market_tables.h"
#include "task/task.h"

namespace k2::task {
namespace {

OutputTable OutputNamed(std::string_view table, TableFormat format = TableFormat::kOlder) {
  OutputTable output{.name = std::string(table), .location = "file:///nowhere", .shape = {}, .spec = {}};
  const auto definition = TableDefinition(table, format);
  EXPECT_TRUE(definition);
  output.shape = ShapeByNames(definition->schema);
  output.spec = definition->spec;
  return output;
}

SilverTask TaskOf(std::vector<std::string> topics, TableFormat format = TableFormat::kOlder) {
  SilverTask task;
  task.input_shape = OutputNamed(kBronzeTable).shape;
  for (std::string& topic : topics) task.ranges.push_back({.topic = std::move(topic), .end = 1});
  for (const exchange::Exchange* exchange : exchange::Exchanges())
    task.silver.push_back(OutputNamed(exchange->silver_table, format));
  task.rejected = OutputNamed(kRejectedTable);
  task.attempt_id = "a";
  return task;
}

int VersionIn(const SilverTask& task) { return nlohmann::json::parse(TaskToJson(task)).at("version"); }

TEST(TaskExchanges, ATopicOfAnExchangeThatOnlyTheDriverKnowsIsAnError) {
  const TaskContext context{.io = storage::MakeLocalFileIo(), .schemas = nullptr};
  for (const std::string topic : {"market.crypto.trades.nowhere", "recording/nowhere/0123", ""}) {
    const auto task = TaskFromJson(TaskToJson(TaskOf({"market.crypto.trades.binance", topic})));
    ASSERT_TRUE(task) << task.error().message;
    const auto result = RunTask(*task, context);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::kUnsupported);
    EXPECT_NE(result.error().message.find("does not support the exchange of topic " + topic), std::string::npos)
        << result.error().message;
  }
}

TEST(TaskExchanges, TablesAreFoundByName) {
  const TaskContext context{.io = storage::MakeLocalFileIo(), .schemas = nullptr};
  SilverTask task = TaskOf({"market.crypto.trades.binance"});
  task.silver.insert(task.silver.begin(), OutputNamed(kGoldTable));  // of a later K2: nothing of it is needed here
  EXPECT_TRUE(RunTask(task, context));
  std::erase_if(task.silver, [](const OutputTable& table) { return table.name == "silver_binance_trades"; });
  const auto result = RunTask(task, context);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("no table silver_binance_trades for topic market.crypto.trades.binance"),
            std::string::npos)
      << result.error().message;
}

TEST(TaskExchanges, WhatAnOlderK2CannotRunHasAVersionThatItRefuses) {
  const std::string binance = "market.crypto.trades.binance";
  const std::string kraken = "recording/kraken/0123";
  EXPECT_EQ(VersionIn(TaskOf({binance, kraken})), 2);
  EXPECT_EQ(VersionIn(TaskOf({binance, kraken}, TableFormat::kCurrent)), 3) << "it would validate by its own rules";
  EXPECT_EQ(VersionIn(TaskOf({binance, "market.crypto.trades.nowhere"})), 3);
  for (const exchange::Exchange* exchange : exchange::Exchanges().subspan(2)) {
    EXPECT_EQ(VersionIn(TaskOf({binance, "prod." + std::string(exchange->name)})), 3);
  }
  SilverTask other_places = TaskOf({binance});
  std::ranges::reverse(other_places.silver);
  EXPECT_EQ(VersionIn(other_places), 3);
  EXPECT_TRUE(TaskFromJson(TaskToJson(other_places)));
  nlohmann::json later = nlohmann::json::parse(TaskToJson(other_places));
  later["version"] = 4;
  const auto refused = TaskFromJson(later.dump());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
}

}  // namespace
}  // namespace k2::task
