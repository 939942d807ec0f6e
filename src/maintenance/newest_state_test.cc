// Which metadata file is chosen, of chains that commits, killed attempts and restored catalogs leave.
#include "maintenance/newest_state.h"

#include <gtest/gtest.h>

#include <set>

namespace k2::maintenance {
namespace {

// A chain of files: each names the newest ones before it, as their writers do.
class Chain {
 public:
  explicit Chain(size_t log_max = 20) : log_max_(log_max) {}

  std::string Add(const std::string& name, const std::string& parent) {
    std::vector<std::string> log = parent.empty() ? std::vector<std::string>{} : logs_[parent];
    if (!parent.empty()) log.push_back(parent);
    if (log.size() > log_max_) log.erase(log.begin(), log.end() - static_cast<int64_t>(log_max_));
    logs_[name] = log;
    auto metadata = std::make_shared<iceberg::TableMetadata>();
    for (const std::string& before : log) metadata->metadata_log.push_back({0, "s3://b/t/metadata/" + before});
    files_.push_back({"s3://b/t/metadata/" + name, metadata});
    return name;
  }
  // 00000-a … by version; the last one's name.
  std::string Grow(std::string parent, int from, int to, const std::string& mark) {
    for (int version = from; version <= to; ++version) {
      parent = Add(fmt::format("{:05}-{}.metadata.json", version, mark), parent);
    }
    return parent;
  }
  void Lose(const std::string& name) {
    std::erase_if(files_,
                  [&](const catalog::MetadataFile& file) { return catalog::LastNameOf(file.location) == name; });
  }
  void Break(const std::string& name) { broken_.insert(name); }

  NewestState Find(const std::string& current = "", bool catalog_is_old = false) const {
    const FindFaults faults = [&](const catalog::MetadataFile& file) -> Result<std::vector<std::string>> {
      const bool broken = broken_.contains(std::string(catalog::LastNameOf(file.location)));
      return broken ? std::vector<std::string>{"a file is missing"} : std::vector<std::string>{};
    };
    return FindNewestState(files_, current, faults, catalog_is_old).value();
  }
  std::string Chosen(const std::string& current = "", bool catalog_is_old = false) const {
    const NewestState state = Find(current, catalog_is_old);
    if (!state.tied.empty()) return "tied";
    return state.chosen ? std::string(catalog::LastNameOf(state.chosen->location)) : "none";
  }

 private:
  size_t log_max_;
  std::map<std::string, std::vector<std::string>> logs_;
  std::vector<catalog::MetadataFile> files_;
  std::set<std::string> broken_;
};

TEST(NewestState, TheEndOfTheChain) {
  Chain chain;
  const std::string last = chain.Grow("", 0, 60, "a");
  for (int version = 0; version < 40; ++version) chain.Lose(fmt::format("{:05}-a.metadata.json", version));
  EXPECT_EQ(chain.Chosen(), last);
  EXPECT_EQ(chain.Chosen("00007-a.metadata.json"), last) << "the catalog names a file that is gone";
  EXPECT_EQ(chain.Chosen("00041-a.metadata.json"), last) << "a restored catalog, whose file is still there";
  EXPECT_EQ(chain.Chosen(last), last);
}

TEST(NewestState, WhatIsNotWholeIsPassedOver) {
  Chain chain;
  const std::string last = chain.Grow("", 0, 5, "a");
  chain.Break(last);
  EXPECT_EQ(chain.Chosen(), "00004-a.metadata.json");
  EXPECT_EQ(chain.Chosen(last), "00004-a.metadata.json") << "the catalog's is broken";
  EXPECT_EQ(chain.Find().notes.size(), 1U);
  for (int version = 0; version < 5; ++version) chain.Break(fmt::format("{:05}-a.metadata.json", version));
  EXPECT_EQ(chain.Chosen(), "none");
}

TEST(NewestState, AttemptsThatLostAreShorter) {
  Chain chain;
  chain.Grow("", 0, 10, "a");
  chain.Add("00008-lost.metadata.json", "00007-a.metadata.json");
  EXPECT_EQ(chain.Chosen(), "00010-a.metadata.json");
  EXPECT_EQ(chain.Chosen("00008-a.metadata.json"), "00010-a.metadata.json");
}

// One that was written on top of the current one: of a lost catalog it is the newest state; a catalog that is there has
// not taken it.
TEST(NewestState, AnAttemptOnTopOfTheCurrentOne) {
  Chain chain;
  const std::string current = chain.Grow("", 0, 4, "a");
  const std::string attempt = chain.Add("00005-attempt.metadata.json", current);
  EXPECT_EQ(chain.Chosen(), attempt);
  EXPECT_EQ(chain.Chosen(current), current);
  EXPECT_EQ(chain.Find(current).notes.size(), 1U);
  EXPECT_EQ(chain.Chosen(current, true), attempt) << "the catalog is known to be old";
  EXPECT_EQ(chain.Chosen(attempt, true), attempt);
}

TEST(NewestState, SiblingsAtTheEndAreNotChosenBetween) {
  Chain chain;
  const std::string parent = chain.Grow("", 0, 4, "a");
  const std::string one = chain.Add("00005-one.metadata.json", parent);
  const std::string two = chain.Add("00005-two.metadata.json", parent);
  EXPECT_EQ(chain.Chosen(), "tied");
  EXPECT_EQ(chain.Chosen(parent), parent);
  EXPECT_EQ(chain.Chosen(one), one);
  chain.Break(one);
  EXPECT_EQ(chain.Chosen(), two);
}

TEST(NewestState, OneThatWasCurrentGoesBeforeItsSibling) {
  Chain chain;
  const std::string parent = chain.Grow("", 0, 4, "a");
  const std::string taken = chain.Add("00005-taken.metadata.json", parent);
  chain.Add("00005-lost.metadata.json", parent);
  const std::string last = chain.Add("00006-last.metadata.json", taken);
  chain.Break(last);
  EXPECT_EQ(chain.Chosen(), taken);
}

// The catalog was restored, and commits were made since: what it names is not left for what it has parted from.
TEST(NewestState, NeverBehindTheCatalogOrBesideIt) {
  Chain chain;
  chain.Grow("", 0, 20, "a");
  const std::string current = chain.Grow("00010-a.metadata.json", 11, 12, "b");
  EXPECT_EQ(chain.Chosen(current), current);
  EXPECT_EQ(chain.Chosen("00010-a.metadata.json"), "00020-a.metadata.json");
}

TEST(NewestState, ShortLogsAreJoined) {
  Chain chain(2);
  const std::string last = chain.Grow("", 0, 9, "a");
  EXPECT_EQ(chain.Chosen("00001-a.metadata.json"), last);
}

}  // namespace
}  // namespace k2::maintenance
