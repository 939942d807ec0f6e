#include "avro/references.h"

#include <gtest/gtest.h>

#include "avro/schema.h"

namespace k2::avro {
namespace {

std::string Canonical(std::string_view json, const std::vector<std::string>& references) {
  const auto text = InlineReferences(json, references);
  if (!text) return text.error().message;
  const auto schema = Schema::Parse(*text);
  return schema ? schema->CanonicalForm() : schema.error().message;
}

TEST(AvroReferences, FirstUseBecomesTheDefinition) {
  const std::string side = R"({"type":"enum","name":"Side","namespace":"x","symbols":["BUY","SELL"]})";
  EXPECT_EQ(Canonical(R"({"type":"record","name":"a.T","fields":[{"name":"s","type":"x.Side"},
                          {"name":"r","type":["null",{"type":"array","items":"x.Side"}],"default":null}]})",
                      {side}),
            R"({"name":"a.T","type":"record","fields":[{"name":"s","type":{"name":"x.Side","type":"enum",)"
            R"("symbols":["BUY","SELL"]}},{"name":"r","type":["null",{"type":"array","items":"x.Side"}]}]})");
  EXPECT_EQ(Canonical(R"("x.Side")", {side}), R"({"name":"x.Side","type":"enum","symbols":["BUY","SELL"]})");
  EXPECT_EQ(Canonical(R"({"type":"x.Side"})", {side}), Canonical(R"("x.Side")", {side}));
}

// A type of a type, one that two references use, one that is defined inside another's definition.
TEST(AvroReferences, OfReferences) {
  const std::string money = R"({"type":"fixed","name":"x.Money","size":8})";
  const std::string pair = R"({"type":"record","name":"Pair","namespace":"x","fields":[{"name":"m","type":"Money"},
      {"name":"in","type":{"type":"enum","name":"In","symbols":["A"]}}]})";
  const std::string other = R"({"type":"record","name":"y.Other","fields":[{"name":"m","type":"x.Money"}]})";
  EXPECT_EQ(Canonical(R"({"type":"record","name":"a.T","fields":[{"name":"i","type":"x.In"},
                          {"name":"o","type":"y.Other"},{"name":"p","type":"x.Pair"}]})",
                      {money, pair, other}),
            R"({"name":"a.T","type":"record","fields":[{"name":"i","type":{"name":"x.In","type":"enum",)"
            R"("symbols":["A"]}},{"name":"o","type":{"name":"y.Other","type":"record","fields":[{"name":"m",)"
            R"("type":{"name":"x.Money","type":"fixed","size":8}}]}},{"name":"p","type":{"name":"x.Pair",)"
            R"("type":"record","fields":[{"name":"m","type":"x.Money"},{"name":"in","type":"x.In"}]}}]})");
}

TEST(AvroReferences, KeepNamespaces) {
  // Without a namespace, used within one: the reference's own name counts (Java reads it so, too).
  const std::string bare = R"({"type":"record","name":"Bare","fields":[{"name":"n","type":["null","Bare"]}]})";
  EXPECT_EQ(Canonical(R"({"type":"record","name":"a.T","fields":[{"name":"x","type":"Bare"},
                          {"name":"y","type":"Bare"}]})",
                      {bare}),
            R"({"name":"a.T","type":"record","fields":[{"name":"x","type":{"name":"Bare","type":"record",)"
            R"("fields":[{"name":"n","type":["null","Bare"]}]}},{"name":"y","type":"Bare"}]})");
  // A type of the schema's own comes before the reference's of another namespace.
  EXPECT_EQ(Canonical(R"([{"type":"fixed","name":"a.Bare","size":1},
                          {"type":"record","name":"a.T","fields":[{"name":"x","type":"Bare"}]}])",
                      {bare}),
            R"([{"name":"a.Bare","type":"fixed","size":1},)"
            R"({"name":"a.T","type":"record","fields":[{"name":"x","type":"a.Bare"}]}])");
}

TEST(AvroReferences, WhatCannotBeRead) {
  EXPECT_EQ(InlineReferences("{", {}).error().kind, ErrorKind::kInvalidData);
  EXPECT_EQ(InlineReferences("\"int\"", {"nonsense"}).error().kind, ErrorKind::kInvalidData);
  EXPECT_EQ(InlineReferences(std::string(10'000, '['), {}).error().kind, ErrorKind::kInvalidData);
  EXPECT_NE(Canonical(R"("x.Missing")", {"\"int\""}).find("not defined"), std::string::npos);
  // Two types of one name: the schema's error, as without references.
  EXPECT_NE(Canonical(R"([{"type":"fixed","name":"F","size":1},{"type":"fixed","name":"F","size":2}])", {})
                .find("defined twice"),
            std::string::npos);
  // A chain of definitions that nests too deep.
  std::vector<std::string> chain;
  for (int i = 0; i < 400; ++i) {
    chain.push_back(
        fmt::format(R"({{"type":"record","name":"R{}","fields":[{{"name":"f","type":"R{}"}}]}})", i, i + 1));
  }
  EXPECT_EQ(InlineReferences("\"R0\"", chain).error().kind, ErrorKind::kInvalidData);
}

}  // namespace
}  // namespace k2::avro
