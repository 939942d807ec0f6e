// A catalog finds out that its warehouse was moved or copied, and that other spellings of its place are none of that.
#include "catalog/warehouse_place.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/uuid.h"
#include "catalog/sqlite_catalog.h"

namespace k2::catalog {
namespace {

namespace fs = std::filesystem;

const TableName kPlaced{"market_data", "trades"};

class WarehousePlaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(root_);
    const auto catalog = Open("lake");
    ASSERT_TRUE(catalog->CreateNamespaceIfMissing("market_data"));
    CreateTableRequest request;
    request.schema.fields = {{1, "id", true, iceberg::Type::Primitive(iceberg::TypeId::kLong)}};
    ASSERT_TRUE(catalog->Create(kPlaced, request));
    EXPECT_FALSE(catalog->displacement());
  }
  void TearDown() override { fs::remove_all(root_); }

  std::shared_ptr<Catalog> Open(const std::string& folder) {
    auto catalog = OpenSqliteCatalog(root_ + "/" + folder, storage::MakeFileIo());
    EXPECT_TRUE(catalog) << catalog.error().message;
    return *catalog;
  }
  void Copy(const std::string& from, const std::string& to) const {
    fs::copy(root_ + "/" + from, root_ + "/" + to, fs::copy_options::recursive);
  }
  static bool CanCommit(Catalog& catalog) {
    const auto state = catalog.Load(kPlaced);
    EXPECT_TRUE(state) << state.error().message;
    return std::holds_alternative<Committed>(
        catalog.Commit(kPlaced, *state, {}, {iceberg::SetProperties{{{"a", RandomHex64()}}}}));
  }
  void Forget(const std::string& folder) const {  // as a catalog of an older version is
    const auto db = SqliteDb::Open(root_ + "/" + folder + "/catalog.db", 1000).value();
    ASSERT_TRUE(db->Run("DROP TABLE k2_warehouse"));
  }

  std::string root_ = (fs::temp_directory_path() / ("k2-place-" + RandomHex64())).string();
};

TEST_F(WarehousePlaceTest, ACopyIsReadAndNotWritten) {
  Copy("lake", "copy");
  ASSERT_TRUE(CanCommit(*Open("lake")));  // the original goes on
  const auto copy = Open("copy");
  ASSERT_TRUE(copy->displacement());
  EXPECT_TRUE(copy->displacement()->copied);
  EXPECT_FALSE(copy->Load(kPlaced)->metadata->properties.contains("a")) << "the original's state was read";
  EXPECT_FALSE(CanCommit(*copy));
  const auto made = copy->Create({"market_data", "x"}, {});
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("k2 tables relocate"), std::string::npos) << made.error().message;
  fs::remove_all(root_ + "/copy/market_data/trades/metadata");
  EXPECT_FALSE(Open("copy")->Load(kPlaced)) << "the original's files were read";
  EXPECT_FALSE(Open("lake")->displacement());
}

TEST_F(WarehousePlaceTest, AMovedOneIsReadAndNotWritten) {
  fs::rename(root_ + "/lake", root_ + "/moved");
  const auto moved = Open("moved");
  ASSERT_TRUE(moved->displacement());
  EXPECT_FALSE(moved->displacement()->copied);
  EXPECT_TRUE(moved->Load(kPlaced));
  EXPECT_FALSE(CanCommit(*moved));
  Open("lake");  // an empty one at the old place is not the original
  EXPECT_FALSE(Open("moved")->displacement()->copied);
  fs::remove_all(root_ + "/lake");
  fs::rename(root_ + "/moved", root_ + "/lake");
  EXPECT_TRUE(CanCommit(*Open("lake"))) << "it is back";
}

TEST_F(WarehousePlaceTest, OtherSpellingsAreThePlaceItself) {
  fs::create_directory_symlink(root_ + "/lake", root_ + "/link");
  for (const char* spelling : {"link", "lake", "lake/"}) {
    const auto catalog = Open(spelling);
    EXPECT_FALSE(catalog->displacement()) << spelling;
    EXPECT_TRUE(CanCommit(*catalog)) << spelling;
    EXPECT_EQ(catalog->LocationOfNew({"a", "b"}), "file://" + root_ + "/lake/a/b");
  }
  // Moved, with a link in its old place.
  fs::remove(root_ + "/link");
  fs::rename(root_ + "/lake", root_ + "/disk");
  fs::create_directory_symlink(root_ + "/disk", root_ + "/lake");
  EXPECT_TRUE(CanCommit(*Open("disk")));
}

TEST_F(WarehousePlaceTest, WithoutAMemoryTheTablesTell) {
  Copy("lake", "copy");
  Forget("copy");
  EXPECT_TRUE(Open("copy")->displacement()) << "its tables lie elsewhere, and their files here as well";
  Forget("lake");
  EXPECT_FALSE(Open("lake")->displacement());
  Copy("lake", "other");
  EXPECT_TRUE(Open("other")->displacement()) << "the place was not noted";
}

TEST_F(WarehousePlaceTest, OneThatIsTakenAwayWhileItIsOpenTakesNoCommit) {
  const auto catalog = Open("lake");
  ASSERT_TRUE(CanCommit(*catalog));
  const auto state = catalog->Load(kPlaced);
  fs::rename(root_ + "/lake", root_ + "/moved");
  Copy("moved", "lake");
  const auto outcome = catalog->Commit(kPlaced, *state, {}, {iceberg::SetProperties{{{"a", "b"}}}});
  ASSERT_TRUE(std::holds_alternative<Rejected>(outcome));
  EXPECT_NE(std::get<Rejected>(outcome).error.message.find("moved or replaced"), std::string::npos);
}

TEST_F(WarehousePlaceTest, SettledItIsAPlaceOfItsOwn) {
  Copy("lake", "copy");
  ASSERT_TRUE(Open("copy")->SettlePlace());
  EXPECT_FALSE(Open("copy")->displacement());
  ASSERT_TRUE(Open("copy")->RememberPlace("file://" + root_ + "/elsewhere"));
  EXPECT_FALSE(Open("copy")->displacement()->copied);
}

TEST_F(WarehousePlaceTest, ALinkedCatalogIsTheOriginals) {
  fs::create_directories(root_ + "/linked");
  fs::create_hard_link(root_ + "/lake/catalog.db", root_ + "/linked/catalog.db");
  fs::copy(root_ + "/lake/market_data", root_ + "/linked/market_data", fs::copy_options::recursive);
  EXPECT_TRUE(IsSameFile(root_ + "/lake/catalog.db", root_ + "/linked/catalog.db"));
  ASSERT_TRUE(Open("linked")->displacement());
  EXPECT_TRUE(Open("linked")->displacement()->copied);
}

}  // namespace
}  // namespace k2::catalog
