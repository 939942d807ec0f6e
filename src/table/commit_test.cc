// The commit protocol of docs/source-offsets.md.
#include <cerrno>
#include <thread>

#include "catalog/testing/drop_table.h"
#include "catalog/testing/forwarding_catalog.h"
#include "table/commit_fixture.h"
#include "table/progress_json.h"

namespace k2::table {
namespace {

// A gateway that sends a commit a second time when it has lost the catalog's reply: the first was applied, and the
// second one's conflict is all that is heard.
class TwiceSendingCatalog final : public catalog::ForwardingCatalog {
 public:
  using ForwardingCatalog::ForwardingCatalog;
  bool away_after = false;  // and then the catalog is not reached any more

  Result<catalog::TableState> Load(const catalog::TableName& table) override {
    if (away_after && sent_) return Fail(ErrorKind::kUnavailable, "no answer");
    return base_->Load(table);
  }
  catalog::CommitOutcome Commit(const catalog::TableName& table, const catalog::TableState& base,
                                const std::vector<iceberg::TableRequirement>& requirements,
                                const std::vector<iceberg::TableUpdate>& updates,
                                const catalog::BeforeSwap& before_swap) override {
    (void)base_->Commit(table, base, requirements, updates, before_swap);
    sent_ = true;
    return base_->Commit(table, base, requirements, updates, before_swap);
  }

 private:
  bool sent_ = false;
};

TEST_F(CommitTest, AConflictWithItselfIsNoLoss) {
  for (const int32_t attempts : {20, 1}) {  // also where there is no next try
    const int64_t from = attempts == 20 ? 0 : 5;
    Table table = Load(std::make_shared<TwiceSendingCatalog>(catalog_));
    CommitPolicy policy;
    policy.max_attempts = attempts;
    EXPECT_COMMITTED(table.Commit(Move(0, from, from + 5), policy));
    EXPECT_EQ(Rows(), from + 5);
    EXPECT_EQ(OffsetOf(0), from + 5);
  }
}

TEST_F(CommitTest, AConflictThatCannotBeLookedIntoIsUnknown) {
  auto catalog = std::make_shared<TwiceSendingCatalog>(catalog_);
  Table table = Load(catalog);
  catalog->away_after = true;
  CommitPolicy policy;
  policy.max_duration_us = 300'000;
  const auto outcome = table.Commit(Move(0, 0, 5), policy);
  EXPECT_TRUE(std::holds_alternative<OutcomeUnknown>(outcome));
  EXPECT_EQ(Rows(), 5);
}

// Somebody's retention settings of main are not the commit's to drop.
TEST_F(CommitTest, MainKeepsItsRetentionSettings) {
  Table table = Load();
  EXPECT_COMMITTED(table.Commit(Move(0, 0, 5)));
  iceberg::SnapshotRef kept{.is_branch = true, .min_snapshots_to_keep = 7, .max_snapshot_age_ms = 86'400'000};
  ASSERT_TRUE(table.Update([&](const iceberg::TableMetadata& head) -> Result<std::vector<iceberg::TableUpdate>> {
    kept.snapshot_id = *head.current_snapshot_id;
    return std::vector<iceberg::TableUpdate>{iceberg::SetSnapshotRef{std::string(iceberg::kMainBranch), kept}};
  }));
  EXPECT_COMMITTED(table.Commit(Move(0, 5, 9)));
  kept.snapshot_id = *Load().metadata().current_snapshot_id;
  EXPECT_EQ(*Load().metadata().FindRef(iceberg::kMainBranch), kept);
}

// Recordings leave the document when they are finished: what a batch knows of one that is not named holds for the
// generation of finished_sources that counted when it was planned.
TEST_F(CommitTest, ARecordingThatIsNotNamedIsFencedByTheGeneration) {
  const SourceKey key{kRecordingCluster, "recording/binance/00112233445566778899aabbccddeeff",
                      "00112233445566778899aabbccddeeff", 0};
  const auto take_over = [&](int64_t generation) {
    LayerCommit commit;
    commit.operation = "replace";
    commit.base = Progress();
    for (const auto& [named, position] : commit.base.positions) commit.drop.push_back(named);
    commit.next.finished = {.table_uuid = "f", .generation = generation, .without = {}};
    EXPECT_COMMITTED(Load().Commit(std::move(commit)));
  };
  const auto move = [&](const FinishedMark& mark, int64_t from, int64_t to, bool named) {
    LayerCommit commit;
    commit.added = {NewFile(to - from)};
    commit.base.finished = mark;
    if (named) commit.base.positions[key] = At(from);
    commit.next.positions[key] = At(to);
    return Load().Commit(std::move(commit));
  };
  take_over(1);
  const FinishedMark first = Progress().finished;  // this batch's, which found the recording at 100 of generation 1
  EXPECT_COMMITTED(move(first, 100, 200, false));  // another one's; named from here on
  EXPECT_EQ(ErrorOf(move(first, 100, 150, false)).kind, ErrorKind::kOffsetMismatch);
  take_over(2);
  EXPECT_TRUE(Progress().positions.empty());
  EXPECT_EQ(ErrorOf(move(first, 100, 150, false)).kind, ErrorKind::kOffsetMismatch) << "it would take rows twice";
  EXPECT_EQ(ErrorOf(move({}, 0, 150, false)).kind, ErrorKind::kOffsetMismatch);
  EXPECT_COMMITTED(Load().Commit(Move(0, 0, 5)));  // a topic is never finished
  EXPECT_COMMITTED(move(Progress().finished, 200, 300, false));
  EXPECT_EQ(Progress().finished.generation, 2);
  // Dropping is fenced, too.
  LayerCommit late;
  late.operation = "replace";
  late.base = Progress();
  late.drop = {key};
  late.next.finished = {.table_uuid = "f", .generation = 3, .without = {}};
  EXPECT_COMMITTED(move(Progress().finished, 300, 400, true));
  EXPECT_EQ(ErrorOf(Load().Commit(late)).kind, ErrorKind::kOffsetMismatch);
  late.base = Progress();
  EXPECT_COMMITTED(Load().Commit(late));
  late.drop.clear();
  late.next.finished.generation = 4;
  EXPECT_EQ(ErrorOf(Load().Commit(late)).kind, ErrorKind::kOffsetMismatch) << "another process was at it";
}

// No requirement of a commit speaks of a tag that someone else has made meanwhile: what this process knows of the
// table may be a moment old, no more, or the tag would go with the snapshot that the commit expires.
TEST_F(CommitTest, AnOldStateIsNotStoodOn) {
  Table idle = Load();
  EXPECT_COMMITTED(idle.Commit(Move(0, 0, 5)));
  const auto tag = [&](const std::string& name) {
    Table other = Load();
    ASSERT_TRUE(other.Update([&](const iceberg::TableMetadata& head) -> Result<std::vector<iceberg::TableUpdate>> {
      return std::vector<iceberg::TableUpdate>{
          iceberg::SetSnapshotRef{name, {.snapshot_id = *head.current_snapshot_id}}};
    }));
  };
  tag("fresh");
  CommitPolicy policy;
  policy.memory_us_max = 3'600'000'000;
  const auto conflicted = idle.Commit(Move(0, 5, 6), policy);  // the catalog of this test compares whole metadata
  ASSERT_TRUE(std::holds_alternative<CommitDone>(conflicted));
  EXPECT_EQ(std::get<CommitDone>(conflicted).attempts, 2);
  tag("audit");
  policy.memory_us_max = 0;
  const auto loaded = idle.Commit(Move(0, 6, 7), policy);
  ASSERT_TRUE(std::holds_alternative<CommitDone>(loaded));
  EXPECT_EQ(std::get<CommitDone>(loaded).attempts, 1);
  EXPECT_NE(Load().metadata().FindRef("audit"), nullptr);
}

TEST_F(CommitTest, RefusesWhatDoesNotStartAtTheHead) {
  Table a = Load();
  Table b = Load();
  EXPECT_COMMITTED(a.Commit(Move(0, 0, 5)));
  const auto before = OnDisk();
  for (const int64_t from : {0, 4, 6}) {
    LayerCommit late = Move(0, from, 9);
    const auto files = late.added;
    const auto outcome = b.Commit(std::move(late));
    ASSERT_TRUE(std::holds_alternative<NotCommitted>(outcome));
    EXPECT_EQ(ErrorOf(outcome).kind, ErrorKind::kOffsetMismatch);
    b.DeleteUncommitted(std::get<NotCommitted>(outcome), files);
    EXPECT_EQ(OnDisk(), before) << "manifests of the try stay behind";
  }
  EXPECT_EQ(Rows(), 5);
  EXPECT_EQ(OffsetOf(0), 5);
}

// A position is all that it says: the same offset of a recording at another line is another place.
TEST_F(CommitTest, ComparesPositionsWholly) {
  LayerCommit first = Move(0, 0, 5);
  first.next.positions[Key(0)] = {.next_offset = 5, .next_line = 7, .next_byte = 100, .line_hash = "a"};
  EXPECT_COMMITTED(Load().Commit(first));
  LayerCommit second = Move(0, 5, 9);
  second.base.positions[Key(0)] = {.next_offset = 5, .next_line = 7, .next_byte = 100, .line_hash = "b"};
  EXPECT_EQ(ErrorOf(Load().Commit(second)).kind, ErrorKind::kOffsetMismatch);
}

TEST_F(CommitTest, MergesTheKeysOfOthers) {
  Table a = Load();
  Table b = Load();
  LayerCommit first = Move(0, 0, 5);
  first.next.rules_version = 1;
  first.next.upstream["u"] = {"u", "uuid", 7};
  EXPECT_COMMITTED(a.Commit(std::move(first)));
  EXPECT_COMMITTED(b.Commit(Move(1, 0, 3)));
  EXPECT_COMMITTED(a.Commit(Move(0, 5, 6)));
  const LayerProgress progress = Progress();
  EXPECT_EQ(progress.positions, (SourcePositions{{Key(0), At(6)}, {Key(1), At(3)}}));
  EXPECT_EQ(progress.rules_version, 1);
  EXPECT_EQ(progress.upstream.at("u").snapshot_id, 7);
  EXPECT_EQ(Rows(), 9);
}

TEST_F(CommitTest, FencesByUpstreamSnapshots) {
  const auto read_to = [&](int64_t from, int64_t to) {
    LayerCommit commit;
    commit.fence_upstream = true;
    commit.added = {NewFile(1)};
    if (from != 0) commit.base.upstream["u"] = {"u", "uuid", from};
    commit.next.upstream["u"] = {"u", "uuid", to};
    return commit;
  };
  EXPECT_COMMITTED(Load().Commit(read_to(0, 1)));
  EXPECT_EQ(ErrorOf(Load().Commit(read_to(0, 2))).kind, ErrorKind::kOffsetMismatch);
  LayerCommit other = read_to(1, 2);
  other.base.upstream["u"].table_uuid = "another";
  EXPECT_EQ(ErrorOf(Load().Commit(other)).kind, ErrorKind::kOffsetMismatch);
  EXPECT_COMMITTED(Load().Commit(read_to(1, 2)));
  EXPECT_EQ(Rows(), 2);
}

// Rows of another engine that came since the plan may be rows of this batch.
TEST_F(CommitTest, AsksWhatOthersHaveAddedSinceThePlan) {
  const int64_t planned = *Load().metadata().current_snapshot_id;
  std::vector<std::string> asked;
  const auto batch = [&](bool refuse) {
    LayerCommit commit = Move(0, 0, 5);
    commit.planned_snapshot_id = planned;
    commit.check_added = [&asked, refuse](const iceberg::TableMetadata&,
                                          const std::vector<iceberg::DataFile>& added) -> Status {
      for (const iceberg::DataFile& file : added) asked.push_back(file.file_path);
      if (refuse) return Fail(ErrorKind::kOffsetMismatch, "doubled");
      return {};
    };
    return commit;
  };
  const iceberg::DataFile theirs = NewFile(3);
  ForeignSnapshot("append", {theirs});
  EXPECT_EQ(ErrorOf(Load().Commit(batch(true))).message, "doubled");
  EXPECT_EQ(asked, std::vector<std::string>{theirs.file_path});
  asked.clear();
  Table table = Load();
  const iceberg::DataFile later = NewFile(2);
  CommitPolicy policy;
  policy.on_step = [&](std::string_view step) {
    if (step == "manifests" && asked.size() == 1) ForeignSnapshot("overwrite", {later});
  };
  EXPECT_COMMITTED(table.Commit(batch(false), policy));
  EXPECT_EQ(asked, (std::vector<std::string>{theirs.file_path, later.file_path}));  // each once
  LayerCommit lost = Move(0, 5, 6);
  lost.planned_snapshot_id = 77;  // expired
  lost.check_added = batch(false).check_added;
  EXPECT_EQ(ErrorOf(Load().Commit(lost)).kind, ErrorKind::kOffsetMismatch);
}

// Gold's parts of one Silver snapshot move no key: two writers that plan from the same place hold the same rows.
TEST_F(CommitTest, FencesByTheSnapshotThatCarriesTheProgress) {
  const auto part = [&](int64_t base) {
    LayerCommit commit;
    commit.fence_upstream = true;
    commit.base_snapshot_id = base;
    commit.added = {NewFile(1)};
    return commit;
  };
  Table table = Load();
  const int64_t base = FindProgress(table.metadata())->snapshot_id;
  EXPECT_EQ(base, table.metadata().current_snapshot_id);
  ForeignSnapshot("append", {NewFile(3)});  // no harm
  EXPECT_COMMITTED(Load().Commit(part(base)));
  EXPECT_EQ(ErrorOf(Load().Commit(part(base))).kind, ErrorKind::kOffsetMismatch);
  EXPECT_EQ(Rows(), 4);
}

TEST_F(CommitTest, TriesAgainOnTopOfAForeignAppend) {
  Table table = Load();
  int tries = 0;
  CommitPolicy policy;
  policy.on_step = [&](std::string_view step) {
    if (step == "manifests" && ++tries <= 3) ForeignSnapshot("append", {NewFile(100)});
  };
  const auto outcome = table.Commit(Move(0, 0, 5), policy);
  EXPECT_COMMITTED(outcome);
  EXPECT_EQ(std::get<CommitDone>(outcome).attempts, 4);
  EXPECT_EQ(Rows(), 305);
  EXPECT_EQ(OffsetOf(0), 5);
  ExpectDiskIsExactlyWhatIsNamed();
}

// The catalog compares with the head the try was made on, up to the swap itself.
TEST_F(CommitTest, LosesToACommitRightBeforeTheSwap) {
  for (const char* at : {"metadata-written", "before-swap"}) {
    const int64_t rows = Rows();
    const int64_t offset = OffsetOf(0);
    int times = 0;
    const auto catalog = Open({.on_step = [&](std::string_view step) {
      if (step == at && times++ == 0) ForeignSnapshot("append", {NewFile(100)});
    }});
    const auto outcome = Load(catalog).Commit(Move(0, offset, offset + 5));
    EXPECT_COMMITTED(outcome);
    EXPECT_EQ(std::get<CommitDone>(outcome).attempts, 2);
    EXPECT_EQ(Rows(), rows + 105);
    ExpectDiskIsExactlyWhatIsNamed();
  }
}

TEST_F(CommitTest, FindsItsOwnCommitWhenTheReplyIsLost) {
  const auto outcome = Load(OpenWithFaults({catalog::SwapFault::kReplyLost})).Commit(Move(0, 0, 5));
  EXPECT_COMMITTED(outcome);
  EXPECT_EQ(std::get<CommitDone>(outcome).attempts, 2);
  EXPECT_EQ(Rows(), 5);
  EXPECT_EQ(OffsetOf(0), 5);
  EXPECT_EQ(Load().metadata().snapshots.size(), 2U);
  ExpectNoLiveFileMissing();
}

TEST_F(CommitTest, AppliesOnceWhenTheRequestIsLost) {
  EXPECT_COMMITTED(Load(OpenWithFaults({catalog::SwapFault::kRequestLost})).Commit(Move(0, 0, 5)));
  EXPECT_COMMITTED(Load(OpenWithFaults({catalog::SwapFault::kRequestLost, catalog::SwapFault::kRequestLost,
                                        catalog::SwapFault::kReplyLost}))
                       .Commit(Move(0, 5, 8)));
  EXPECT_EQ(Rows(), 8);
  EXPECT_EQ(OffsetOf(0), 8);
  EXPECT_EQ(Load().metadata().snapshots.size(), 3U);
  ExpectNoLiveFileMissing();
}

// Others commit, and expire, between the lost reply and the look.
TEST_F(CommitTest, FindsItsCommitBelowThoseOfOthers) {
  int swaps = 0;
  const auto catalog =
      Open({.on_step =
                [&](std::string_view step) {
                  if (step != "after-swap" || ++swaps != 1) return;
                  ForeignSnapshot("append", {NewFile(100)});
                  EXPECT_COMMITTED(Load().Commit(Move(1, 0, 7)));
                },
            .swap_fault =
                [n = 0]() mutable { return n++ == 0 ? catalog::SwapFault::kReplyLost : catalog::SwapFault::kNone; }});
  EXPECT_COMMITTED(Load(catalog).Commit(Move(0, 0, 5)));
  EXPECT_EQ(Rows(), 112);
  EXPECT_EQ(Progress().positions, (SourcePositions{{Key(0), At(5)}, {Key(1), At(7)}}));
  ExpectNoLiveFileMissing();
}

// It landed, and its snapshot was expired before the look: it cannot be found, so it is not known; nothing goes.
TEST_F(CommitTest, AnExpiredOwnCommitIsUnknownAndKeepsItsFiles) {
  int swaps = 0;
  const auto catalog =
      Open({.on_step =
                [&](std::string_view step) {
                  if (step != "after-swap" || ++swaps != 1) return;
                  EXPECT_COMMITTED(Load().Commit(Move(1, 0, 7)));
                  ForeignExpiry();
                },
            .swap_fault =
                [n = 0]() mutable { return n++ == 0 ? catalog::SwapFault::kReplyLost : catalog::SwapFault::kNone; }});
  const auto outcome = Load(catalog).Commit(Move(0, 0, 5));
  ASSERT_TRUE(std::holds_alternative<OutcomeUnknown>(outcome));
  EXPECT_EQ(ErrorOf(outcome).kind, ErrorKind::kCommitUnknown);
  EXPECT_EQ(Rows(), 12) << "counted once, its files live";
  ExpectNoLiveFileMissing();
}

TEST_F(CommitTest, DeletesNothingWhileTheOutcomeIsUnknown) {
  const auto before = OnDisk();
  const auto catalog = Open({.swap_fault = [] { return catalog::SwapFault::kRequestLost; }});
  const auto outcome =
      Load(catalog).Commit(Move(0, 0, 5), {.max_attempts = 3, .backoff_us_min = 1, .backoff_us_max = 10});
  ASSERT_TRUE(std::holds_alternative<OutcomeUnknown>(outcome));
  EXPECT_EQ(ErrorOf(outcome).kind, ErrorKind::kCommitUnknown);
  // The data file, its manifest, and a manifest list and a metadata file a try.
  EXPECT_EQ(OnDisk().size(), before.size() + 1 + 1 + 3 + 3);
  EXPECT_EQ(Rows(), 0);
}

// A process that ends tries no more, but what may have been applied stays unknown.
TEST_F(CommitTest, AProcessThatEndsTriesNoMore) {
  int swaps = 0;
  const auto catalog = Open({.swap_fault = [&] {
    ++swaps;
    return catalog::SwapFault::kRequestLost;
  }});
  CommitPolicy policy;
  policy.stopping = [&] { return swaps >= 2; };
  const auto outcome = Load(catalog).Commit(Move(0, 0, 5), policy);
  EXPECT_EQ(ErrorOf(outcome).kind, ErrorKind::kCommitUnknown);
  EXPECT_EQ(swaps, 2);
  EXPECT_EQ(Rows(), 0);
}

// Unknown is sticky: a certain refusal after it does not make the first try's outcome certain.
TEST_F(CommitTest, ARefusalAfterAnUnknownOutcomeIsUnknown) {
  int swaps = 0;
  const auto catalog = Open({.on_step =
                                 [&](std::string_view step) {
                                   // Own key moved by another writer: the second try meets the fence.
                                   if (step == "after-swap" && ++swaps == 1)
                                     EXPECT_COMMITTED(Load().Commit(Move(0, 0, 9)));
                                 },
                             .swap_fault = [] { return catalog::SwapFault::kRequestLost; }});
  LayerCommit commit = Move(0, 0, 5);
  const std::string data_file = commit.added[0].file_path;
  const auto outcome = Load(catalog).Commit(commit);
  ASSERT_TRUE(std::holds_alternative<OutcomeUnknown>(outcome)) << ErrorOf(outcome).message;
  EXPECT_TRUE(OnDisk().contains(data_file));
  EXPECT_EQ(Rows(), 9);
}

TEST_F(CommitTest, AFullDiskCommitsNothingAndLeavesNothing) {
  struct Place {
    const char* operation;
    const char* location;
  };
  for (const int error : {ENOSPC, EIO}) {
    for (const Place place : {Place{"write-new", "snap-"}, Place{"write-new", ".metadata.json"},
                              Place{"disk.write", ""}, Place{"disk.sync-file", ""}, Place{"disk.sync-folder", ""}}) {
      SCOPED_TRACE(fmt::format("{} {} {}", place.operation, place.location, error));
      LayerCommit commit = Move(0, 0, 5);
      const auto before = OnDisk();
      io_->Inject({.operation = place.operation, .location_contains = place.location, .errno_value = error});
      const auto outcome = Load().Commit(commit);
      io_->ClearFaults();
      ASSERT_TRUE(std::holds_alternative<NotCommitted>(outcome));
      EXPECT_EQ(ErrorOf(outcome).kind, error == ENOSPC ? ErrorKind::kNoSpace : ErrorKind::kIo)
          << ErrorOf(outcome).message;
      EXPECT_EQ(OnDisk(), before);
      EXPECT_EQ(Rows(), 0);
    }
  }
  EXPECT_COMMITTED(Load().Commit(Move(0, 0, 5)));
  EXPECT_EQ(Rows(), 5);
}

TEST_F(CommitTest, TheTagMovesAndKeepsTheProgressFromOthersExpiry) {
  EXPECT_COMMITTED(Load().Commit(Move(0, 0, 5)));
  EXPECT_COMMITTED(Load().Commit(Move(0, 5, 8)));
  const int64_t ours = *Load().metadata().current_snapshot_id;
  for (int i = 0; i < 5; ++i) ForeignSnapshot("append", {NewFile(100)});
  EXPECT_EQ(OffsetOf(0), 8) << "through foreign commits";
  ForeignExpiry();
  const Table table = Load();
  EXPECT_EQ(table.metadata().snapshots.size(), 2U);
  ASSERT_NE(table.metadata().FindRef(kOffsetsTag), nullptr);
  EXPECT_EQ(table.metadata().FindRef(kOffsetsTag)->snapshot_id, ours);
  EXPECT_EQ(OffsetOf(0), 8) << "after an expiry";
  EXPECT_COMMITTED(Load().Commit(Move(0, 8, 9)));
  const Table after = Load();
  EXPECT_EQ(after.metadata().FindRef(kOffsetsTag)->snapshot_id, *after.metadata().current_snapshot_id);
  EXPECT_EQ(OffsetOf(0), 9);
  EXPECT_EQ(Rows(), 509);
  ExpectNoLiveFileMissing();
}

TEST_F(CommitTest, StopsWhereMainWasRolledBack) {
  EXPECT_COMMITTED(Load().Commit(Move(0, 0, 5)));
  const int64_t older = *Load().metadata().current_snapshot_id;
  EXPECT_COMMITTED(Load().Commit(Move(0, 5, 8)));
  const auto rolled = catalog_->Commit(kName, *catalog_->Load(kName), {},
                                       {iceberg::SetSnapshotRef{"main", {.snapshot_id = older, .is_branch = true}}});
  ASSERT_TRUE(std::holds_alternative<catalog::Committed>(rolled));
  for (const int64_t from : {5, 8}) {
    EXPECT_EQ(ErrorOf(Load().Commit(Move(0, from, 9))).kind, ErrorKind::kOffsetMismatch);
  }
  EXPECT_EQ(Rows(), 5);
}

TEST_F(CommitTest, StopsWhereTheTableWasMadeAnew) {
  Table table = Load();
  EXPECT_COMMITTED(table.Commit(Move(0, 0, 5)));
  const LayerCommit next = Move(0, 5, 6);
  ASSERT_TRUE(catalog::DropTable(root_, kName));
  const auto gone = table.Commit(next);
  ASSERT_TRUE(std::holds_alternative<NotCommitted>(gone));
  EXPECT_EQ(ErrorOf(gone).kind, ErrorKind::kNotFound);
  fs::remove_all(root_ + "/market_data/t");  // beside its files no other table is made
  catalog::CreateTableRequest request;
  request.schema.fields = {{1, "id", true, iceberg::Type::Primitive(iceberg::TypeId::kLong)}};
  ASSERT_TRUE(catalog_->Create(kName, request));
  const auto outcome = table.Commit(next);
  EXPECT_EQ(ErrorOf(outcome).kind, ErrorKind::kOffsetMismatch) << ErrorOf(outcome).message;
}

TEST_F(CommitTest, UpdatesPropertiesAndSchemaBesideOthers) {
  Table table = Load();
  int calls = 0;
  ASSERT_TRUE(table.Update([&](const iceberg::TableMetadata&) -> Result<std::vector<iceberg::TableUpdate>> {
    if (++calls == 1) EXPECT_COMMITTED(Load().Commit(Move(0, 0, 5)));
    return std::vector<iceberg::TableUpdate>{iceberg::SetProperties{{{"a", "b"}}}};
  }));
  EXPECT_EQ(calls, 2);
  ASSERT_TRUE(table.Update([&](const iceberg::TableMetadata& metadata) -> Result<std::vector<iceberg::TableUpdate>> {
    iceberg::Schema schema = metadata.CurrentSchema();
    schema.fields.push_back({2, "name", false, iceberg::Type::Primitive(iceberg::TypeId::kString)});
    return std::vector<iceberg::TableUpdate>{iceberg::AddSchema{schema, 2}, iceberg::SetCurrentSchema{-1}};
  }));
  const Table after = Load();
  EXPECT_EQ(after.metadata().properties.at("a"), "b");
  EXPECT_NE(after.metadata().CurrentSchema().Find("name"), nullptr);
  EXPECT_EQ(OffsetOf(0), 5);
  const auto refused = table.Update([](const iceberg::TableMetadata&) -> Result<std::vector<iceberg::TableUpdate>> {
    return Fail(ErrorKind::kInvalidArgument, "no");
  });
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(CommitTest, HistoryAndFilesStayBounded) {
  Table table = Load();
  std::vector<iceberg::DataFile> small;
  for (int i = 0; i < 60; ++i) {
    LayerCommit commit = Move(0, i, i + 1);
    small.push_back(commit.added[0]);
    EXPECT_COMMITTED(table.Commit(std::move(commit)));
    if (small.size() == 8) {  // compaction, by K2 or by another
      const iceberg::DataFile whole = NewFile(8);
      if (i % 16 == 7) {
        ForeignSnapshot("replace", {whole}, small);
      } else {
        LayerCommit compaction;
        compaction.operation = "replace";
        compaction.added = {whole};
        compaction.removed = small;
        compaction.planned_sequence = table.metadata().last_sequence_number;
        EXPECT_COMMITTED(table.Commit(std::move(compaction)));
      }
      small.clear();
    }
    ASSERT_LE(table.metadata().snapshots.size(), 8U);
  }
  EXPECT_EQ(Rows(), 60);
  EXPECT_EQ(OffsetOf(0), 60);
  ExpectDiskIsExactlyWhatIsNamed();
  EXPECT_LE(Load().metadata().metadata_log.size(), 4U);
  EXPECT_LE(OnDisk().size(), 60U);
}

TEST_F(CommitTest, WritersOfDifferentKeysAllLand) {
  constexpr int kWriters = 3;
  constexpr int kCommits = 12;
  std::vector<std::jthread> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([this, writer] {
      Table table = Load(Open());
      for (int i = 0; i < kCommits; ++i) EXPECT_COMMITTED(table.Commit(Move(writer, i, i + 1), {.max_attempts = 200}));
    });
  }
  writers.clear();
  EXPECT_EQ(Rows(), kWriters * kCommits);
  for (int writer = 0; writer < kWriters; ++writer) EXPECT_EQ(OffsetOf(writer), kCommits);
  ExpectDiskIsExactlyWhatIsNamed();
}

// Whatever comes in between: each batch counts once, its rows and its offset together.
TEST_F(CommitTest, ChanceMeetings) {
  const uint64_t seed = Seed();
  RecordProperty("seed", std::to_string(seed));
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  const auto chance = [&](unsigned percent) { return random() % 100 < percent; };
  int64_t foreign_rows = 0;
  const auto disturb = [&] {
    if (chance(20)) {
      ForeignSnapshot("append", {NewFile(1000)});
      foreign_rows += 1000;
    }
    if (chance(15)) EXPECT_COMMITTED(Load().Commit(Move(1, OffsetOf(1), OffsetOf(1) + 1)));
    if (chance(10)) ForeignExpiry();
  };
  bool quiet = false;
  const auto catalog =
      Open({.on_step = [&](std::string_view) { disturb(); },
            .swap_fault =
                [&] {
                  if (quiet || !chance(30)) return catalog::SwapFault::kNone;
                  return chance(50) ? catalog::SwapFault::kReplyLost : catalog::SwapFault::kRequestLost;
                }});
  Table table = Load(catalog);
  int unknown = 0;
  for (int i = 0; i < 40; ++i) {
    const int64_t from = OffsetOf(0);
    const auto outcome =
        table.Commit(Move(0, from, from + 1), {.max_attempts = 4, .backoff_us_min = 1, .backoff_us_max = 10});
    const int64_t now = OffsetOf(0);
    if (std::holds_alternative<CommitDone>(outcome)) {
      EXPECT_EQ(now, from + 1);
    }
    if (std::holds_alternative<NotCommitted>(outcome)) {
      EXPECT_EQ(now, from) << ErrorOf(outcome).message;
    }
    unknown += std::holds_alternative<OutcomeUnknown>(outcome) ? 1 : 0;
    ASSERT_EQ(Rows(), foreign_rows + OffsetOf(0) + OffsetOf(1)) << "after step " << i;
  }
  ExpectNoLiveFileMissing();
}

}  // namespace
}  // namespace k2::table
