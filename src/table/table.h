// The only door to a table: load it, plan what to read, commit what was written together with source offsets.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/age.h"
#include "catalog/catalog.h"
#include "iceberg/data_file.h"
#include "storage/file_io.h"
#include "table/source_offsets.h"

namespace k2::table {

// What a layer has committed about its progress, beside the source positions (docs/source-offsets.md). Lives as one
// versioned JSON document in the snapshot's summary under "k2.offsets".
struct UpstreamHint {
  std::string table;  // namespace.name
  std::string table_uuid;
  int64_t snapshot_id = 0;      // last upstream snapshot that was read wholly
  int64_t sequence_number = 0;  // of that snapshot: tells what was read when the snapshot is expired; 0: not known
  bool operator==(const UpstreamHint&) const = default;
};

// 0 where the metadata does not hold the snapshot.
int64_t SequenceOf(const iceberg::TableMetadata& metadata, int64_t snapshot_id);

// Recordings that were read to their end stand in the table `finished_sources`, and in the document no longer
// (pipeline/bronze/finished_sources.h). Which of its rows speak for the sources that a table's document does not name.
struct FinishedMark {
  std::string table_uuid;  // of finished_sources; empty: no source has ever left the document
  // Rows of this generation and of earlier ones count, but for those of `without` (first and last, in order): they were
  // written, and the table did not take them over.
  int64_t generation = 0;
  std::vector<std::pair<int64_t, int64_t>> without;
  bool operator==(const FinishedMark&) const = default;
};

struct LayerProgress {
  SourcePositions positions;
  std::map<std::string, UpstreamHint> upstream;  // by upstream table name
  int32_t rules_version = 0;                     // validation rules the rows were judged by; 0 where none are
  FinishedMark finished = {};
  bool operator==(const LayerProgress&) const = default;
};

// The progress a table's history holds (walk of main's parents, else the tag `k2-offsets`); an empty one for a table
// that never had any. kOffsetMismatch: the tag was rolled away from main, or the version is unknown.
Result<LayerProgress> ReadProgress(const iceberg::TableMetadata& metadata);

// The same, and the snapshot that carries it; 0 where none does.
struct FoundProgress {
  LayerProgress progress;
  int64_t snapshot_id = 0;
};
Result<FoundProgress> FindProgress(const iceberg::TableMetadata& metadata);

// What main's own history holds, whatever the tag says: where to go on from after a rollback that was meant.
Result<LayerProgress> ReadProgressOfMain(const iceberg::TableMetadata& metadata);
// kOffsetMismatch: main has a history, but its part with the progress is expired.
Status CheckMainHasProgress(const iceberg::TableMetadata& metadata);
// What the tag `k2-offsets` says; an empty one without it.
Result<LayerProgress> ReadProgressOfTag(const iceberg::TableMetadata& metadata);

// How long the table keeps its snapshots: property "k2.history.max-snapshots" and Iceberg's own two of history.expire.
iceberg::HistoryPolicy HistoryPolicyOf(const iceberg::TableMetadata& metadata);

// One try at moving a layer forward: files and the progress that speaks of them, in one snapshot.
struct LayerCommit {
  std::string operation = "append";        // append | replace | delete | overwrite
  std::vector<iceberg::DataFile> added;    // data files, with metrics; may be empty (offsets alone)
  std::vector<iceberg::DataFile> removed;  // data files to drop (replace, delete, overwrite)
  // Sequence number of the snapshot that the batch was planned on. replace, overwrite: that the rows of `removed` were
  // read at (SnapshotRequest). With base_snapshot_id: other engines must not have deleted rows since.
  std::optional<int64_t> planned_sequence;
  LayerProgress base;           // own keys: what the batch starts from. Checked against the head (the fence)
  LayerProgress next;           // own keys after it; other keys are taken from the head
  std::vector<SourceKey> drop;  // own keys that leave the document; at the head they stand as in `base`
  std::map<std::string, std::string> summary;  // extra entries
  // Where set: table properties to set with the snapshot, made anew for the head that each try stands on.
  std::function<Result<std::map<std::string, std::string>>(const iceberg::TableMetadata& head)> make_properties;
  // Where set: updates that give the table the schema that `added` was written with, computed for the head of each try.
  // The snapshot has that schema.
  std::function<Result<std::vector<iceberg::TableUpdate>>(const iceberg::TableMetadata& head)> make_schema;
  std::string commit_id;         // random, made when empty; summary key "k2.commit-id"
  bool accept_loss = false;      // go on from what main holds although the tag says it was rolled back
  bool forget_finished = false;  // the table finished_sources is lost: recordings that it named count as new
  bool fence_upstream = false;   // Gold: its own keys are the upstream snapshots, not the positions
  // Where set: the snapshot that `base` was read from must still be the one that carries the progress, but for those
  // that compaction and retention have made since. For a batch that was compared with the table's rows: any other
  // commit of K2, even one that moved no key, may hold the same rows.
  std::optional<int64_t> base_snapshot_id;
  StartTime begun;  // the step's plan, before `added` was written; where not known, when the commit begins
  // Where both are set: the head that the batch was planned on, and what is asked, before each try, about data files
  // that other engines have added since. An error of it ends the commit. Where the history between is gone, it is
  // kOffsetMismatch.
  std::optional<int64_t> planned_snapshot_id;
  std::function<Status(const iceberg::TableMetadata& head, const std::vector<iceberg::DataFile>& added)> check_added;
};

// Called between the steps of a commit, for crash tests: "manifests" (manifests and list are written), "done".
using StepHook = std::function<void(std::string_view step)>;

struct CommitPolicy {
  int32_t max_attempts = 20;
  int64_t max_duration_us =
      60'000'000;  // then the commit gives itself up: kConflict or, if ever unknown, kCommitUnknown
  int64_t backoff_us_min = 2'000;
  int64_t backoff_us_max = 500'000;
  int64_t memory_us_max = 1'000'000;  // how old the state in memory may be that the first try stands on
  // Who commits may do so again with the same commit id and files, in another process: nothing of a commit that failed
  // is deleted then, for it may be the second one, and the first may have been applied long ago.
  bool keep_files = false;
  StepHook on_step;
  // Where set and true, a service that does not answer is not tried again. What is on its way is not cut off.
  std::function<bool()> stopping;
};

struct CommitDone {
  int64_t snapshot_id = 0;
  int32_t attempts = 0;
};

// Certainly not applied: the only thing that lets a caller delete what it wrote (Table::DeleteUncommitted).
// kOffsetMismatch: own keys differ at the head, another writer was here. kConflict: the budget is used up, or the
// attempt is too old (base/age.h), or files that it was to name are gone: plan the step again.
class NotCommitted {
 public:
  [[nodiscard]] const Error& error() const { return error_; }

 private:
  friend class Table;
  explicit NotCommitted(Error error) : error_(std::move(error)) {}
  Error error_;
};

// May or may not be applied, now or later. Nothing of the attempt may be deleted.
struct OutcomeUnknown {
  Error error;
};

using LayerCommitOutcome = std::variant<CommitDone, NotCommitted, OutcomeUnknown>;

// A table of one catalog. Cheap to copy; not shared between threads.
class Table {
 public:
  Table(std::shared_ptr<catalog::Catalog> catalog, std::shared_ptr<storage::FileIo> io, catalog::TableName name,
        catalog::TableState state)
      : catalog_(std::move(catalog)), io_(std::move(io)), name_(std::move(name)), state_(std::move(state)) {}

  static Result<Table> Load(std::shared_ptr<catalog::Catalog> catalog, std::shared_ptr<storage::FileIo> io,
                            const catalog::TableName& name);
  Status Refresh();

  [[nodiscard]] const iceberg::TableMetadata& metadata() const { return *state_.metadata; }
  [[nodiscard]] const catalog::TableState& state() const { return state_; }
  [[nodiscard]] const catalog::TableName& name() const { return name_; }
  [[nodiscard]] storage::FileIo& io() const { return *io_; }
  [[nodiscard]] const std::shared_ptr<storage::FileIo>& io_ptr() const { return io_; }
  [[nodiscard]] catalog::Catalog& catalog() const { return *catalog_; }

  // Commits expire no snapshot: the catalog does that.
  void KeepHistory() { keeps_history_ = true; }
  [[nodiscard]] bool keeps_history() const { return keeps_history_; }

  // Commits with retry, as docs/source-offsets.md says: each try takes the head (the first one from memory, where that
  // is a moment old), checks own keys against `base`, merges the others, writes manifest list and snapshot on that
  // head, moves the tag `k2-offsets`, expires history beyond the table's policy (unless it is kept), and asks the
  // catalog with assert-table-uuid and assert-ref-snapshot-id(main). The manifests of tries that certainly lost are
  // removed; the data files are the caller's. An attempt that is older than kAttemptAgeMaxUs when the catalog would be
  // asked times out; files that were written more than kLookAgainAfterUs ago are looked at once more before. Files that
  // lack a required column of the table, for it was migrated since they were planned, are a conflict.
  LayerCommitOutcome Commit(LayerCommit commit, const CommitPolicy& policy = {});

  // Deletes data files of an attempt that was certainly not applied.
  void DeleteUncommitted(const NotCommitted& proof, const std::vector<iceberg::DataFile>& files);

  // Property changes, schema changes: updates with requirements, retried on conflict.
  Status Update(const std::function<Result<std::vector<iceberg::TableUpdate>>(const iceberg::TableMetadata&)>& make,
                const std::vector<iceberg::TableRequirement>& extra_requirements = {});

 private:
  std::shared_ptr<catalog::Catalog> catalog_;
  std::shared_ptr<storage::FileIo> io_;
  catalog::TableName name_;
  catalog::TableState state_;
  int64_t read_us_ = BootMicros();  // when it was the catalog's
  bool keeps_history_ = false;
};

}  // namespace k2::table
