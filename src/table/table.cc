#include "table/table.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <random>
#include <set>
#include <system_error>
#include <thread>

#include "base/log.h"
#include "base/uuid.h"
#include "iceberg/own_files.h"
#include "iceberg/reachable_files.h"
#include "iceberg/snapshot_producer.h"
#include "storage/confined_file_io.h"
#include "table/audit.h"
#include "table/commit_fence.h"
#include "table/metadata_store.h"
#include "table/progress_json.h"
#include "table/scan.h"

namespace k2::table {
namespace {

using iceberg::TableMetadata;

bool HasCommit(const TableMetadata& metadata, const std::string& commit_id) {
  return std::ranges::any_of(metadata.snapshots, [&](const iceberg::Snapshot& snapshot) {
    const auto found = snapshot.summary.find(iceberg::kCommitIdKey);
    return found != snapshot.summary.end() && found->second == commit_id;
  });
}

struct NamedFile {
  std::string_view path;
  int64_t bytes = 0;
};

// Asks the storage for each, several at once: a step on a cluster names hundreds. kConflict: one is gone.
Status CheckStillThere(storage::FileIo& io, const std::vector<NamedFile>& files) {
  constexpr size_t kThreadsMax = 8;
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::optional<Error> failure;
  const auto look = [&] {
    for (size_t i = next++; i < files.size(); i = next++) {
      const std::string path(files[i].path);
      const Result<int64_t> bytes = io.Size(path);
      if (bytes && *bytes == files[i].bytes) continue;
      const bool gone = bytes || bytes.error().kind == ErrorKind::kNotFound;
      const std::lock_guard lock(mutex);
      failure = gone ? Error{ErrorKind::kConflict,
                             fmt::format("the file {} was removed or changed before a commit could reference it", path)}
                     : bytes.error();
      next = files.size();
    }
  };
  {
    std::vector<std::jthread> others;
    try {
      for (size_t i = 1; i < std::min(kThreadsMax, files.size()); ++i) others.emplace_back(look);
    } catch (const std::system_error&) {  // no more threads to be had: fewer do it
    }
    look();
  }
  if (failure) return std::unexpected(*std::move(failure));
  return {};
}

}  // namespace

// One commit with its tries.
class TableCommit {
 public:
  TableCommit(Table& table, catalog::TableState& state, int64_t read_us, LayerCommit commit, const CommitPolicy& policy)
      : table_(table),
        state_(state),
        read_us_(read_us),
        commit_(std::move(commit)),
        policy_(policy),
        store_(table.io(), *state.metadata),
        uuid_(state.metadata->table_uuid),
        deadline_us_(MonotonicMicros() + policy.max_duration_us) {
    if (commit_.commit_id.empty()) commit_.commit_id = RandomUuid().ToString();
    if (!commit_.begun.known()) commit_.begun = StartTime::Now();
    looked_ = commit_.begun;
    request_.operation = commit_.operation;
    request_.added = commit_.added;
    request_.removed = commit_.removed;
    request_.planned_sequence = commit_.planned_sequence;
    request_.commit_id = commit_.commit_id;
    request_.snapshot_id = RandomPositiveInt64();
  }

  Result<CommitDone> Run() {
    int32_t counted = 0;  // while the catalog cannot be reached only the time is bounded
    while (true) {
      ++attempts_;
      unreachable_ = false;
      const Status status = Try();
      if (done_) {
        Clean();
        return *done_;
      }
      if (!status && status.error().kind != ErrorKind::kConflict && status.error().kind != ErrorKind::kUnavailable) {
        if (in_doubt_) CheckApplied();
        if (done_) return *done_;
        return std::unexpected(status.error());
      }
      const ErrorKind kind = status ? ErrorKind::kConflict : status.error().kind;
      const std::string reason = status ? "the commit was refused" : status.error().message;
      if (!unreachable_) ++counted;
      const bool stopping = kind == ErrorKind::kUnavailable && policy_.stopping && policy_.stopping();
      if (hopeless_ || stopping || counted >= policy_.max_attempts || MonotonicMicros() > deadline_us_) {
        if (in_doubt_) CheckApplied();
        if (done_) return *done_;
        return Fail(kind, "{}: cannot commit after {} attempts: {}", table_.name().ToString(), attempts_, reason);
      }
      BackOff();
    }
  }

  [[nodiscard]] bool ever_unknown() const { return unknown_.has_value(); }
  [[nodiscard]] const Error& unknown() const { return *unknown_; }

  // Removes what certainly lost; never called once an outcome was unknown.
  void DeleteWritten() {
    for (const auto& file : store_.written()) (void)table_.io().Delete(file.path);
  }

 private:
  void Step(std::string_view step) const {
    if (policy_.on_step) policy_.on_step(step);
  }

  Status Try() {
    // The first try stands on what this process saw a moment ago, which saves a question; a head that has moved since
    // is what the requirements of the commit are for. No requirement speaks of a tag or branch that someone has made
    // since on a snapshot which this commit expires: what is older is asked for.
    const bool from_memory = attempts_ == 1 && BootMicros() - read_us_ <= policy_.memory_us_max;
    catalog::TableState head = state_;
    if (!from_memory) {
      K2_ASSIGN(head, table_.catalog().Load(table_.name()));
    }
    const TableMetadata& metadata = *head.metadata;
    if (metadata.table_uuid != uuid_) {
      return Fail(ErrorKind::kOffsetMismatch, "{} was dropped and recreated while this process ran; restart it",
                  table_.name().ToString());
    }
    // A conflict may be with itself: a gateway that lost the catalog's reply sends the request again.
    if (!from_memory && FoundItself(head)) return {};
    if (!from_memory) in_doubt_ = false;
    FoundProgress found;
    if (commit_.accept_loss) {
      K2_ASSIGN(found.progress, ReadProgressOfMain(metadata));
    } else {
      K2_ASSIGN(found, FindProgress(metadata));
    }
    if (const Status fence = CheckFence(commit_, found, metadata, table_.name()); !fence) {
      if (from_memory) return Fail(ErrorKind::kConflict, "{}", fence.error().message);
      return fence;
    }
    K2_TRY(CheckAdded(metadata));
    request_.now_ms = NowMicros() / 1000;
    schema_updates_.clear();
    std::optional<TableMetadata> changed;
    if (commit_.make_schema) {
      K2_ASSIGN(schema_updates_, commit_.make_schema(metadata));
      K2_ASSIGN(changed, iceberg::ApplyUpdates(metadata, schema_updates_, request_.now_ms));
    }
    const TableMetadata& base = changed ? *changed : metadata;
    K2_TRY(CheckColumns(base.CurrentSchema()));
    request_.summary = commit_.summary;
    const LayerProgress merged = ProgressAfter(found.progress, commit_);
    WriteCommitter(request_.summary);
    request_.summary[std::string(kOffsetsKey)] = ProgressToJson(merged, metadata.table_uuid);
    Result<iceberg::ProducedSnapshot> made = iceberg::ProduceSnapshot(store_, base, request_);
    // A file to remove that is not in the newest head will not come back: no more tries.
    hopeless_ |= !made && !from_memory && made.error().kind == ErrorKind::kConflict;
    K2_ASSIGN(iceberg::ProducedSnapshot produced, std::move(made));
    request_.added_manifests = produced.added_manifests;
    Step("manifests");
    return Ask(head, produced.snapshot);
  }

  // A table that was migrated since the files were written has other columns, and no reader would find these. Files
  // whose columns were not counted, as importers leave them, say nothing.
  Status CheckColumns(const iceberg::Schema& schema) {
    for (const iceberg::NestedField& field : schema.fields) {
      if (!field.required || !field.type.IsPrimitive() || !field.initial_default.empty()) continue;
      for (const iceberg::DataFile& file : commit_.added) {
        if (file.value_counts.empty() || file.value_counts.contains(field.id)) continue;
        hopeless_ = true;
        return Fail(ErrorKind::kConflict,
                    "the columns of {} have changed since {} was written: it has no {} (field id {})",
                    table_.name().ToString(), file.file_path, field.name, field.id);
      }
    }
    return {};
  }

  // What has been added since the plan, by whomever; of each head once.
  Status CheckAdded(const TableMetadata& metadata) {
    if (!commit_.planned_snapshot_id || !commit_.check_added || !metadata.current_snapshot_id) return {};
    const int64_t seen = checked_snapshot_.value_or(*commit_.planned_snapshot_id);
    const auto chain = SnapshotsBetween(metadata, seen, *metadata.current_snapshot_id);
    if (!chain) {
      return Fail(ErrorKind::kOffsetMismatch,
                  "{}: the history since snapshot {}, on which this batch was planned, is no longer available; nothing "
                  "was committed",
                  table_.name().ToString(), seen);
    }
    std::vector<iceberg::DataFile> added;
    for (const iceberg::Snapshot* snapshot : *chain) {
      if (!MayAddRows(*snapshot)) continue;
      K2_ASSIGN(const SnapshotFiles files, FilesOfSnapshot(table_.io(), metadata, *snapshot));
      for (const ScanFile& file : files.added) added.push_back(file.file);
    }
    if (!added.empty()) K2_TRY(commit_.check_added(metadata, added));
    checked_snapshot_ = metadata.current_snapshot_id;
    return {};
  }

  Status Ask(const catalog::TableState& head, const iceberg::Snapshot& snapshot) {
    const TableMetadata& metadata = *head.metadata;
    std::vector<iceberg::TableUpdate> updates = schema_updates_;
    updates.emplace_back(iceberg::AddSnapshot{snapshot});
    iceberg::SnapshotRef main{.snapshot_id = snapshot.snapshot_id, .is_branch = true};
    if (const iceberg::SnapshotRef* before = metadata.FindRef(iceberg::kMainBranch)) {
      main = *before;
      main.snapshot_id = snapshot.snapshot_id;
    }
    updates.emplace_back(iceberg::SetSnapshotRef{std::string(iceberg::kMainBranch), main});
    updates.emplace_back(iceberg::SetSnapshotRef{std::string(kOffsetsTag), {.snapshot_id = snapshot.snapshot_id}});
    // The tag leaves its snapshot in this very commit, so that the old one may go too.
    TableMetadata without_tag = metadata;
    without_tag.refs.erase(std::string(kOffsetsTag));
    expired_.clear();
    if (iceberg::GarbageCollected(metadata) && !table_.keeps_history()) {
      expired_ = iceberg::SnapshotsToExpire(without_tag, HistoryPolicyOf(metadata), NowMicros() / 1000);
    }
    if (!expired_.empty()) updates.emplace_back(iceberg::RemoveSnapshots{expired_});
    std::map<std::string, std::string> properties;
    if (commit_.make_properties) {
      K2_ASSIGN(properties, commit_.make_properties(metadata));
    }
    if (auto audit = AuditAfter(metadata, &snapshot, expired_)) properties[kAuditKey] = *std::move(audit);
    if (!properties.empty()) updates.emplace_back(iceberg::SetProperties{std::move(properties)});
    std::vector<iceberg::TableRequirement> requirements = {
        iceberg::AssertTableUuid{metadata.table_uuid},
        iceberg::AssertRefSnapshotId{std::string(iceberg::kMainBranch), metadata.current_snapshot_id},
        iceberg::AssertCurrentSchemaId{metadata.current_schema_id},
    };
    // The snapshot names its schema by the id that the catalog is going to give it.
    if (!schema_updates_.empty())
      requirements.emplace_back(iceberg::AssertLastAssignedFieldId{metadata.last_column_id});
    catalog::CommitOutcome outcome =
        table_.catalog().Commit(table_.name(), head, requirements, updates, [this] { return CheckBeforeSwap(); });
    in_doubt_ = !std::holds_alternative<catalog::NotSent>(outcome);
    if (auto* committed = std::get_if<catalog::Committed>(&outcome)) {
      Step("done");
      before_ = head;
      final_ = snapshot;
      state_ = std::move(committed->state);
      done_ = CommitDone{.snapshot_id = snapshot.snapshot_id, .attempts = attempts_};
      return {};
    }
    if (const auto* conflict = std::get_if<catalog::Conflict>(&outcome))
      return Fail(ErrorKind::kConflict, "{}", conflict->reason);
    if (const auto* rejected = std::get_if<catalog::Rejected>(&outcome)) return std::unexpected(rejected->error);
    if (const auto* not_sent = std::get_if<catalog::NotSent>(&outcome)) {
      unreachable_ = true;
      if (!told_) {
        log::Warn("catalog not available; retrying a commit",
                  {{"table", table_.name().ToString()}, {"error", not_sent->error.message}});
      }
      told_ = true;
      return Fail(ErrorKind::kUnavailable, "{}", not_sent->error.message);
    }
    // From here on nothing of this commit may be deleted. Trying again is safe: the next try asks for the same head,
    // so that at most one of them can be applied, and looks for its own commit id first.
    unknown_ = std::get<catalog::Unknown>(outcome).error;
    log::Warn("unknown commit outcome; checking the table",
              {{"table", table_.name().ToString()}, {"error", unknown_->message}});
    return Fail(ErrorKind::kUnavailable, "{}", unknown_->message);
  }

  // The process may have slept since it wrote its files, and somebody may have removed them as orphan files.
  Status CheckBeforeSwap() {
    Status ready = CheckAttemptAge(commit_.begun);
    if (ready && AgeMicros(looked_) > kLookAgainAfterUs) {
      const StartTime now = StartTime::Now();
      std::vector<NamedFile> files;
      for (const iceberg::DataFile& file : commit_.added) files.push_back({file.file_path, file.file_size_in_bytes});
      for (const auto& file : store_.written()) files.push_back({file.path, file.bytes});
      ready = table::CheckStillThere(table_.io(), files);
      looked_ = now;
      if (ready) ready = CheckAttemptAge(commit_.begun);
    }
    hopeless_ |= !ready && ready.error().kind == ErrorKind::kConflict;
    return ready;
  }

  bool FoundItself(const catalog::TableState& head) {
    if (!HasCommit(*head.metadata, commit_.commit_id)) return false;
    state_ = head;
    found_ = true;
    done_ = CommitDone{.snapshot_id = request_.snapshot_id, .attempts = attempts_};
    return true;
  }

  // Before it is given up after a refusal: the last try may have been applied all the same. An answer that cannot be
  // had makes the outcome unknown.
  void CheckApplied() {
    const Result<catalog::TableState> head = table_.catalog().Load(table_.name());
    if (head) {
      (void)FoundItself(*head);
    } else if (!unknown_ && head.error().kind != ErrorKind::kNotFound) {
      unknown_ = head.error();
    }
  }

  void BackOff() {
    static thread_local std::mt19937_64 random{std::random_device{}()};
    const int64_t ceiling = std::min(policy_.backoff_us_max, policy_.backoff_us_min << std::min(attempts_, 10));
    const auto wait = static_cast<int64_t>(random() % static_cast<uint64_t>(std::max<int64_t>(ceiling, 1))) + 1;
    std::this_thread::sleep_for(std::chrono::microseconds(wait));
  }

  // After a win: manifests of tries that lost, and what expired snapshots alone named. Failing to delete is no error:
  // the files are orphans then.
  void Clean() {
    if (unknown_ || found_) return;  // which of the tries it was is not known
    if (attempts_ > 1) {
      std::set<std::string> live{final_.manifest_list};
      const auto manifests = iceberg::ReadManifests(store_, final_);
      if (!manifests) return;
      for (const iceberg::ManifestFile& manifest : *manifests) live.insert(manifest.manifest_path);
      for (const auto& file : store_.written()) {
        if (!live.contains(file.path)) (void)table_.io().Delete(file.path);
      }
    }
    if (expired_.empty()) return;
    const auto files = iceberg::FilesOfExpired(store_, *before_.metadata, *state_.metadata, expired_);
    if (!files) {
      log::Warn("cannot delete the files of expired snapshots", {{"error", files.error().message}});
      return;
    }
    for (const auto* list : {&files->data_files, &files->manifests, &files->manifest_lists}) {
      for (const std::string& path : *list) (void)table_.io().Delete(path);
    }
  }

  Table& table_;
  catalog::TableState& state_;
  int64_t read_us_;  // when state_ was the catalog's
  LayerCommit commit_;
  const CommitPolicy& policy_;
  MetadataStore store_;
  std::string uuid_;
  StartTime looked_;  // when the files that it names were known to be there
  int64_t deadline_us_;
  iceberg::SnapshotRequest request_;
  int32_t attempts_ = 0;
  bool unreachable_ = false;  // in this try
  bool told_ = false;         // that it waits
  bool hopeless_ = false;
  bool in_doubt_ = false;                    // a try was sent and refused, and the head was not looked at since
  bool found_ = false;                       // at the head, after a try that was told to have failed
  std::optional<int64_t> checked_snapshot_;  // up to which CheckAdded has looked
  std::optional<Error> unknown_;             // sticky
  std::optional<CommitDone> done_;
  std::vector<int64_t> expired_;
  catalog::TableState before_;
  iceberg::Snapshot final_;
  std::vector<iceberg::TableUpdate> schema_updates_;  // of this try
};

iceberg::HistoryPolicy HistoryPolicyOf(const TableMetadata& metadata) {
  iceberg::HistoryPolicy policy;
  policy.max_age_ms = metadata.PropertyOr("history.expire.max-snapshot-age-ms", policy.max_age_ms);
  policy.min_to_keep =
      static_cast<int32_t>(metadata.PropertyOr("history.expire.min-snapshots-to-keep", policy.min_to_keep));
  policy.max_to_keep = static_cast<int32_t>(metadata.PropertyOr("k2.history.max-snapshots", policy.max_to_keep));
  return policy;
}

Result<Table> Table::Load(std::shared_ptr<catalog::Catalog> catalog, std::shared_ptr<storage::FileIo> io,
                          const catalog::TableName& name) {
  K2_ASSIGN(catalog::TableState state, catalog->Load(name));
  io = storage::ConfinedTo(std::move(io), state.metadata->location);
  return Table(std::move(catalog), std::move(io), name, std::move(state));
}

Status Table::Refresh() {
  const int64_t asked_us = BootMicros();
  K2_ASSIGN(state_, catalog_->Load(name_));
  read_us_ = asked_us;
  return {};
}

LayerCommitOutcome Table::Commit(LayerCommit commit, const CommitPolicy& policy) {
  TableCommit run(*this, state_, read_us_, std::move(commit), policy);
  Result<CommitDone> done = run.Run();
  if (done) {
    read_us_ = BootMicros();
    return *done;
  }
  if (run.ever_unknown()) {
    return OutcomeUnknown{
        Error{ErrorKind::kCommitUnknown, fmt::format("{}: unknown commit outcome ({}; then: {}). Its files are kept; "
                                                     "start again to resume from the current state of the table",
                                                     name_.ToString(), run.unknown().message, done.error().message)}};
  }
  run.DeleteWritten();
  return NotCommitted(done.error());
}

void Table::DeleteUncommitted(const NotCommitted& /*proof*/, const std::vector<iceberg::DataFile>& files) {
  for (const iceberg::DataFile& file : files) (void)io_->Delete(file.file_path);
}

Status Table::Update(
    const std::function<Result<std::vector<iceberg::TableUpdate>>(const iceberg::TableMetadata&)>& make,
    const std::vector<iceberg::TableRequirement>& extra_requirements) {
  constexpr int kTries = 10;
  Error last{ErrorKind::kConflict, ""};
  for (int attempt = 0; attempt < kTries; ++attempt) {
    K2_TRY(Refresh());
    K2_ASSIGN(const std::vector<iceberg::TableUpdate> updates, make(metadata()));
    if (updates.empty()) return {};
    std::vector<iceberg::TableRequirement> requirements = extra_requirements;
    requirements.emplace_back(iceberg::AssertTableUuid{metadata().table_uuid});
    // A schema is made out of the current one: what somebody has changed in it meanwhile must not be undone.
    const auto is_schema = [](const auto& update) { return std::holds_alternative<iceberg::AddSchema>(update); };
    if (std::ranges::any_of(updates, is_schema)) {
      requirements.emplace_back(iceberg::AssertCurrentSchemaId{metadata().current_schema_id});
    }
    const StartTime begun = StartTime::Now();
    catalog::CommitOutcome outcome =
        catalog_->Commit(name_, state_, requirements, updates, [&] { return CheckAttemptAge(begun); });
    if (auto* committed = std::get_if<catalog::Committed>(&outcome)) {
      state_ = std::move(committed->state);
      return {};
    }
    const auto* rejected = std::get_if<catalog::Rejected>(&outcome);
    if (rejected != nullptr && rejected->error.kind != ErrorKind::kConflict) return std::unexpected(rejected->error);
    if (const auto* unknown = std::get_if<catalog::Unknown>(&outcome)) {
      return Fail(ErrorKind::kCommitUnknown, "{}: {}", name_.ToString(), unknown->error.message);
    }
    if (const auto* not_sent = std::get_if<catalog::NotSent>(&outcome)) {
      last = not_sent->error;
    } else if (rejected != nullptr) {
      last = rejected->error;
    } else {
      last = {ErrorKind::kConflict, std::get<catalog::Conflict>(outcome).reason};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5 << attempt));
  }
  return Fail(last.kind, "{}: cannot commit after {} attempts: {}", name_.ToString(), kTries, last.message);
}

}  // namespace k2::table
