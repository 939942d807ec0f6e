#include "avro/container.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/uuid.h"

namespace k2::avro {
namespace {

using List = Value::List;
using Map = Value::Map;

const std::string kTestData = std::string(K2_SOURCE_DIR) + "/src/avro/testdata/";

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Result<std::vector<Value>> ReadAll(std::string_view file) {
  K2_ASSIGN(ContainerReader reader, ContainerReader::Open(file));
  std::vector<Value> values;
  while (true) {
    Value value;
    K2_ASSIGN(const bool more, reader.Next(value));
    if (!more) return values;
    values.push_back(std::move(value));
  }
}

// Record i of the files that fastavro has written into testdata/.
Value Entry(int i) {
  const int cents = i * 7 - 100;
  std::string amount;
  for (int shift = 24; shift >= 0; shift -= 8) amount.push_back(static_cast<char>(cents >> shift));
  Value sizes;
  if (i % 4 != 0) sizes = List{List{0, 0}, List{1, i}, List{2, 2 * i}};
  return List{i % 3, i % 2 == 0 ? Value((int64_t{1} << 62) + i) : Value(),
              List{fmt::format("s3://b/{}.parquet", i), List{i % 5 == 0 ? Value() : Value(19943 + i), amount}, sizes,
                   Map{{"x", std::string{static_cast<char>(i), '\0', '\xff'}}}, i % 2 == 0, i / 8.0, i / 4.0,
                   i % 2 == 0 ? "A" : "B"}};
}

TEST(AvroContainer, ReadsFilesOfFastavro) {
  for (const char* codec : {"null", "deflate", "zstandard"}) {
    const std::string file = ReadFile(kTestData + "entries_" + codec + ".avro");
    ASSERT_FALSE(file.empty());
    const auto reader = ContainerReader::Open(file);
    ASSERT_TRUE(reader) << reader.error().message;
    EXPECT_EQ(reader->metadata().at("format-version"), "2");
    EXPECT_EQ(reader->metadata().at("avro.codec"), codec);
    const Node& data_file = *reader->schema().root().fields[2].type;
    EXPECT_EQ(data_file.FieldIndexById(108), 2);
    EXPECT_EQ(data_file.fields[2].type->NonNull().logical, LogicalType::kMap);
    const auto values = ReadAll(file);
    ASSERT_TRUE(values) << values.error().message;
    ASSERT_EQ(values->size(), 40U);
    for (int i = 0; i < 40; ++i) EXPECT_TRUE((*values)[static_cast<size_t>(i)] == Entry(i)) << codec << " " << i;
  }
}

TEST(AvroContainer, WhatWeWriteFastavroReads) {
  const std::string source = ReadFile(kTestData + "entries_null.avro");
  const std::string schema = ContainerReader::Open(source)->metadata().at("avro.schema");
  for (const Codec codec : {Codec::kNull, Codec::kDeflate}) {
    auto writer = ContainerWriter::Create(schema, {{"format-version", "2"}, {"content", "data"}}, codec);
    ASSERT_TRUE(writer) << writer.error().message;
    for (int i = 0; i < 5000; ++i) ASSERT_TRUE(writer->Append(Entry(i % 40)));  // several blocks
    EXPECT_EQ(writer->records(), 5000);
    const std::string file = writer->Finish().value();
    const auto back = ReadAll(file);
    ASSERT_TRUE(back) << back.error().message;
    ASSERT_EQ(back->size(), 5000U);
    EXPECT_TRUE((*back)[4999] == Entry(39));
    EXPECT_EQ(ContainerReader::Open(file)->metadata().at("avro.schema"), schema);  // as given

    const std::string python = std::string(K2_SOURCE_DIR) + "/.venv/bin/python";
    if (access(python.c_str(), X_OK) != 0) GTEST_SKIP() << "no .venv: fastavro did not judge";
    const std::string path = std::filesystem::temp_directory_path() / fmt::format("k2_avro_{}.avro", RandomHex64());
    std::ofstream(path, std::ios::binary) << file;
    const std::string script =
        "import sys,fastavro; a=list(fastavro.reader(open(sys.argv[1],'rb')));"
        "r=fastavro.reader(open(sys.argv[2],'rb')); b=list(r);"
        "assert b==a*125, 'rows differ'; assert r.metadata['content']=='data';"
        "assert r.writer_schema['fields'][2]['field-id']==2; print('same')";
    const std::string command =
        fmt::format("{} -c \"{}\" {} {} 2>&1", python, script, kTestData + "entries_null.avro", path);
    FILE* pipe = popen(command.c_str(), "r");
    ASSERT_NE(pipe, nullptr);
    std::string output(4096, '\0');
    output.resize(fread(output.data(), 1, output.size(), pipe));
    EXPECT_EQ(pclose(pipe), 0) << output;
    EXPECT_EQ(output, "same\n");
    std::filesystem::remove(path);
  }
}

TEST(AvroContainer, EmptyFileHasNoRecords) {
  auto writer = ContainerWriter::Create(R"("long")", {}, Codec::kDeflate);
  const auto values = ReadAll(writer->Finish().value());
  ASSERT_TRUE(values);
  EXPECT_TRUE(values->empty());
}

TEST(AvroContainer, AFailedAppendAddsNothing) {
  auto writer = ContainerWriter::Create(R"({"type":"array","items":"int"})", {}, Codec::kNull);
  EXPECT_FALSE(writer->Append(List{1, "x"}));
  EXPECT_TRUE(writer->Append(List{2}));
  const auto values = ReadAll(writer->Finish().value());
  ASSERT_TRUE(values) << values.error().message;
  ASSERT_EQ(values->size(), 1U);
  EXPECT_TRUE((*values)[0] == Value(List{2}));
}

TEST(AvroContainer, RefusesCutsAndSurvivesFlips) {
  for (const char* codec : {"null", "deflate", "zstandard"}) {
    std::string file = ReadFile(kTestData + "entries_" + codec + ".avro");
    size_t whole = 0;  // cuts between two blocks leave a legal file
    for (size_t size = 0; size < file.size(); size += 3) {
      const auto values = ReadAll(std::string_view(file).substr(0, size));
      if (values) {
        ++whole;
      } else {
        ASSERT_EQ(values.error().kind, ErrorKind::kInvalidData) << values.error().message;
      }
    }
    EXPECT_LT(whole, 10U);
    for (size_t i = 0; i < file.size(); i += 7) {
      for (const char flip : {'\x01', '\xff'}) {
        file[i] = static_cast<char>(file[i] ^ flip);
        (void)ReadAll(file);
        file[i] = static_cast<char>(file[i] ^ flip);
      }
    }
  }
}

TEST(AvroContainer, RefusesAnUnknownCodec) {
  auto writer = ContainerWriter::Create(R"("long")", {}, Codec::kNull);
  std::string file = writer->Finish().value();
  file.replace(file.find("\x08null"), 5, "\x08lzma");
  const auto reader = ContainerReader::Open(file);
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().kind, ErrorKind::kUnsupported);
  EXPECT_FALSE(ContainerWriter::Create(R"("long")", {}, Codec::kZstandard));
}

TEST(AvroContainer, RefusesABombOfABlock) {
  std::string bomb(compressBound(kMaxBlockSize + 100), '\0');
  auto size = static_cast<uLongf>(bomb.size());
  const std::string zeros(kMaxBlockSize + 100, '\0');
  ASSERT_EQ(compress2(reinterpret_cast<Bytef*>(bomb.data()), &size, reinterpret_cast<const Bytef*>(zeros.data()),
                      zeros.size(), 1),
            Z_OK);
  auto writer = ContainerWriter::Create(R"("bytes")", {}, Codec::kDeflate);
  std::string file = writer->Finish().value();
  const std::string sync = file.substr(file.size() - kSyncSize);
  AppendLong(file, 1);
  AppendBytes(file, std::string_view(bomb).substr(2, size - 2));  // without zlib's header
  file += sync;
  const auto values = ReadAll(file);
  ASSERT_FALSE(values);
  EXPECT_NE(values.error().message.find("64 MiB"), std::string::npos) << values.error().message;
  auto larger = ContainerWriter::Create(R"("bytes")", {}, Codec::kNull);
  EXPECT_FALSE(larger->Append(std::string(kMaxBlockSize + 8, 'x')));
}

}  // namespace
}  // namespace k2::avro
