#include "iceberg/snapshot_producer.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "iceberg/dead_deletes.h"
#include "iceberg/literal.h"
#include "iceberg/manifest.h"
#include "iceberg/manifest_list.h"
#include "iceberg/manifest_merge.h"
#include "iceberg/snapshot_summary.h"

namespace k2::iceberg {
namespace {

// Remembers what is written through it.
class RecordingStore : public ManifestStore {
 public:
  explicit RecordingStore(ManifestStore& store) : store_(store) {}
  Result<std::string> Read(const std::string& path) override { return store_.Read(path); }
  Status WriteNew(const std::string& path, std::string_view bytes) override {
    written.push_back(path);
    return store_.WriteNew(path, bytes);
  }
  std::string NewPath(MetadataFileKind kind) override { return store_.NewPath(kind); }

  std::vector<std::string> written;

 private:
  ManifestStore& store_;
};

// Could this manifest list the file, by its spec and its partition summaries?
bool MightList(const ManifestFile& manifest, const DataFile& file, const std::vector<Type>& types) {
  if (manifest.partition_spec_id != file.spec_id) return false;
  if (file.partition.size() != types.size() || manifest.partitions.size() != types.size()) return true;
  for (size_t i = 0; i < types.size(); ++i) {
    const Literal& value = file.partition[i];
    const FieldSummary& field = manifest.partitions[i];
    if (IsNull(value)) {
      if (!field.contains_null) return false;
      continue;
    }
    if (IsNan(value) || !field.lower_bound || !field.upper_bound) continue;
    const Result<Literal> lower = FromBytes(*field.lower_bound, types[i]);
    const Result<Literal> upper = FromBytes(*field.upper_bound, types[i]);
    if (!lower || !upper || !Comparable(value, *lower)) continue;
    if (CompareLiterals(value, *lower) < 0 || CompareLiterals(value, *upper) > 0) return false;
  }
  return true;
}

class Producer {
 public:
  Producer(ManifestStore& store, const TableMetadata& base, const SnapshotRequest& request)
      : store_(store), base_(base), request_(request), pruner_(base, request.remove_where) {}

  Result<ProducedSnapshot> Run() {
    K2_TRY(CheckRequest());
    K2_TRY(LoadParent());
    K2_TRY(RemoveFiles());
    K2_TRY(CheckReplacedRows());
    K2_TRY(LookAtDeletes());
    std::erase_if(manifests_, [&](const ManifestFile& manifest) {
      return manifest.added_snapshot_id != request_.snapshot_id && !MayHaveLiveFiles(manifest);
    });
    K2_TRY(MergeManifests(store_, base_, request_.snapshot_id, MergePolicy::Of(base_), manifests_));
    K2_TRY(AddFiles());
    return Finish();
  }

 private:
  Status CheckRequest() const;
  Status LoadParent();
  Status RemoveFiles();
  Status RemoveFrom(size_t index);
  Result<bool> IsRemoved(const DataFile& file);
  Status CheckReplacedRows() const;
  Status LookAtDeletes();
  Status AddFiles();
  Result<ProducedSnapshot> Finish();

  RecordingStore store_;
  const TableMetadata& base_;
  const SnapshotRequest& request_;
  Pruner pruner_;
  const Snapshot* parent_ = nullptr;
  SnapshotTotals parent_totals_;
  std::vector<ManifestFile> manifests_;
  std::vector<ManifestFile> added_manifests_;
  std::unordered_set<std::string_view> wanted_;   // paths to remove
  std::unordered_set<std::string_view> missing_;  // those that are not found yet
  std::vector<ManifestEntry> removed_;            // data files, as they were listed
  SnapshotChanges changes_;
};

Status Producer::CheckRequest() const {
  const auto wrong = [](std::string_view what) { return Fail(ErrorKind::kInvalidArgument, "snapshot: {}", what); };
  if (base_.format_version != 2) {
    return Fail(ErrorKind::kUnsupported, "the table has Iceberg format version {}: k2 writes version 2 only",
                base_.format_version);
  }
  const std::string& operation = request_.operation;
  if (operation != "append" && operation != "replace" && operation != "delete" && operation != "overwrite") {
    return wrong(fmt::format("unknown operation \"{}\"", operation));
  }
  const bool removes = !request_.removed.empty() || !request_.remove_where.empty();
  if (operation == "append" && removes) return wrong("an append removes no files");
  if (operation == "delete" && !request_.added.empty()) return wrong("a delete adds no files");
  if (operation == "replace" && !request_.remove_where.empty())
    return wrong("a replace must list the files it removes");
  if (operation == "replace" && removes && !request_.planned_sequence) {
    return wrong("a replace must give the sequence number it was planned at");
  }
  std::set<std::string_view> paths;
  for (const DataFile& file : request_.added) {
    if (file.content != FileContent::kData) return wrong("only data files can be added, not " + file.file_path);
    if (!paths.insert(file.file_path).second) return wrong("a file is added twice: " + file.file_path);
    if (file.record_count < 0 || file.file_size_in_bytes <= 0) return wrong("a file without size: " + file.file_path);
  }
  return {};
}

Status Producer::LoadParent() {
  parent_ = base_.CurrentSnapshot();
  if (parent_ == nullptr) return {};
  K2_ASSIGN(manifests_, ReadManifests(store_, *parent_));
  for (ManifestFile& manifest : manifests_) {
    const bool known = manifest.added_files_count >= 0 && manifest.existing_files_count >= 0 &&
                       manifest.deleted_files_count >= 0 && manifest.added_rows_count >= 0 &&
                       manifest.existing_rows_count >= 0 && manifest.deleted_rows_count >= 0;
    if (known) continue;  // else: out of a version 1 list
    K2_ASSIGN(const std::vector<ManifestEntry> entries, ReadEntries(store_, base_, manifest));
    manifest.added_files_count = manifest.existing_files_count = manifest.deleted_files_count = 0;
    manifest.added_rows_count = manifest.existing_rows_count = manifest.deleted_rows_count = 0;
    for (const ManifestEntry& entry : entries) {
      const bool added = entry.status == EntryStatus::kAdded;
      auto& files = added ? manifest.added_files_count
                          : (IsLive(entry) ? manifest.existing_files_count : manifest.deleted_files_count);
      auto& rows = added ? manifest.added_rows_count
                         : (IsLive(entry) ? manifest.existing_rows_count : manifest.deleted_rows_count);
      ++files;
      rows += entry.file.record_count;
    }
  }
  if (!SnapshotTotals::Parse(parent_->summary, parent_totals_)) {
    K2_ASSIGN(parent_totals_, CountTotals(store_, base_, manifests_));
  }
  return {};
}

Status Producer::RemoveFiles() {
  for (const DataFile& file : request_.removed) wanted_.insert(file.file_path);
  missing_ = wanted_;
  if (wanted_.empty() && request_.remove_where.empty()) return {};
  std::unordered_map<int32_t, std::vector<Type>> types;
  for (const PartitionSpec& spec : base_.partition_specs) {
    K2_ASSIGN(types[spec.spec_id], PartitionTypes(spec, base_));
  }
  std::vector<size_t> unlikely;
  for (size_t i = 0; i < manifests_.size(); ++i) {
    if (manifests_[i].content != ManifestContent::kData || !MayHaveLiveFiles(manifests_[i])) continue;
    const bool by_rows = !request_.remove_where.empty() && pruner_.ManifestMayMatch(manifests_[i]);
    const bool by_path = std::ranges::any_of(request_.removed, [&](const DataFile& file) {
      return missing_.contains(file.file_path) && MightList(manifests_[i], file, types[file.spec_id]);
    });
    if (by_rows || by_path) {
      K2_TRY(RemoveFrom(i));
    } else {
      unlikely.push_back(i);
    }
  }
  for (const size_t i : unlikely) {
    if (missing_.empty()) break;
    K2_TRY(RemoveFrom(i));
  }
  if (missing_.empty()) return {};
  return Fail(ErrorKind::kConflict, "{} of the {} files to remove are no longer in the table (for example {})",
              missing_.size(), wanted_.size(), *missing_.begin());
}

// Writes the manifest anew without its files that are to go; leaves it as it is when there are none.
Status Producer::RemoveFrom(size_t index) {
  K2_ASSIGN(std::vector<ManifestEntry> entries, ReadEntries(store_, base_, manifests_[index]));
  std::vector<ManifestEntry> kept;
  bool changed = false;
  for (ManifestEntry& entry : entries) {
    if (!IsLive(entry)) continue;  // deleted by an older snapshot, whose own manifest says so
    K2_ASSIGN(const bool removed, IsRemoved(entry.file));
    if (removed) {
      changed = true;
      changes_.Removed(entry.file);
      removed_.push_back(entry);
      entry.snapshot_id = request_.snapshot_id;
    }
    entry.status = removed ? EntryStatus::kDeleted : EntryStatus::kExisting;
    kept.push_back(std::move(entry));
  }
  if (!changed) return {};
  K2_ASSIGN(manifests_[index], WriteManifest(store_, base_, manifests_[index].partition_spec_id, ManifestContent::kData,
                                             request_.snapshot_id, kept));
  return {};
}

Result<bool> Producer::IsRemoved(const DataFile& file) {
  if (wanted_.contains(file.file_path)) {
    missing_.erase(file.file_path);
    return true;
  }
  if (request_.remove_where.empty() || !pruner_.FileMayMatch(file)) return false;
  if (pruner_.AllRowsMatch(file)) return true;
  return Fail(ErrorKind::kInvalidArgument,
              "file {} may hold rows to delete and rows to keep: delete along partition boundaries", file.file_path);
}

Status Producer::CheckReplacedRows() const {
  if (request_.operation != "replace") return {};
  int64_t added = 0;
  for (const DataFile& file : request_.added) added += file.record_count;
  const bool has_deletes = std::ranges::any_of(
      manifests_, [](const ManifestFile& manifest) { return manifest.content == ManifestContent::kDeletes; });
  if (added == changes_.removed().records || (has_deletes && added < changes_.removed().records)) return {};
  return Fail(ErrorKind::kInvalidArgument, "a replace must keep the rows: {} are removed, {} added",
              changes_.removed().records, added);
}

Status Producer::LookAtDeletes() {
  DeadDeletes deletes(store_, base_, request_.snapshot_id);
  K2_TRY(deletes.Read(manifests_));
  if (deletes.empty() || removed_.empty()) return {};
  if (request_.planned_sequence) {
    // What came since goes on applying to the files of a replace, where these are of the same partitions.
    const bool elsewhere = std::ranges::any_of(removed_, [&](const ManifestEntry& entry) {
      return std::ranges::none_of(request_.added, [&](const DataFile& file) {
        return file.spec_id == entry.file.spec_id && file.partition == entry.file.partition;
      });
    });
    const bool equality = request_.operation != "replace" || elsewhere;
    K2_TRY(deletes.CheckNoneSince(*request_.planned_sequence, equality, removed_));
  }
  // Later equality deletes go on applying to the rows of a replace.
  return deletes.Drop(removed_, request_.planned_sequence.value_or(INT64_MAX), manifests_, changes_);
}

Status Producer::AddFiles() {
  std::map<int32_t, std::vector<ManifestEntry>> by_spec;
  for (const DataFile& file : request_.added) {
    if (base_.FindSpec(file.spec_id) == nullptr) {
      return Fail(ErrorKind::kConflict, "{} was written with partition spec {}, which the table no longer has",
                  file.file_path, file.spec_id);
    }
    changes_.Added(file);
    ManifestEntry& entry = by_spec[file.spec_id].emplace_back();
    entry.snapshot_id = request_.snapshot_id;
    if (request_.operation == "replace") entry.sequence_number = request_.planned_sequence;
    entry.file = file;
  }
  const bool reusable = request_.added_manifests.size() == by_spec.size() &&
                        std::ranges::all_of(request_.added_manifests, [&](const ManifestFile& manifest) {
                          const auto found = by_spec.find(manifest.partition_spec_id);
                          return manifest.added_snapshot_id == request_.snapshot_id && found != by_spec.end() &&
                                 static_cast<size_t>(manifest.added_files_count) == found->second.size();
                        });
  if (reusable) {
    added_manifests_ = request_.added_manifests;
  } else {
    for (const auto& [spec_id, entries] : by_spec) {
      K2_ASSIGN(ManifestFile file,
                WriteManifest(store_, base_, spec_id, ManifestContent::kData, request_.snapshot_id, entries));
      added_manifests_.push_back(std::move(file));
    }
  }
  manifests_.insert(manifests_.begin(), added_manifests_.begin(), added_manifests_.end());
  return {};
}

Result<ProducedSnapshot> Producer::Finish() {
  ProducedSnapshot produced;
  Snapshot& snapshot = produced.snapshot;
  snapshot.snapshot_id = request_.snapshot_id;
  if (parent_ != nullptr) snapshot.parent_snapshot_id = parent_->snapshot_id;
  snapshot.sequence_number = base_.last_sequence_number + 1;
  snapshot.timestamp_ms = std::max(request_.now_ms, base_.last_updated_ms);
  snapshot.operation = request_.operation;
  snapshot.schema_id = base_.current_schema_id;
  snapshot.summary = request_.summary;
  if (!request_.commit_id.empty()) snapshot.summary[kCommitIdKey] = request_.commit_id;
  changes_.WriteTo(parent_totals_, snapshot.summary);
  K2_ASSIGN(const std::string list, EncodeManifestList(snapshot.snapshot_id, snapshot.parent_snapshot_id,
                                                       snapshot.sequence_number, manifests_));
  snapshot.manifest_list = store_.NewPath(MetadataFileKind::kManifestList);
  K2_TRY(store_.WriteNew(snapshot.manifest_list, list));
  produced.added_manifests = std::move(added_manifests_);
  produced.written = std::move(store_.written);
  produced.added_files = changes_.added().data_files;
  produced.removed_files = changes_.removed().data_files;
  produced.removed_records = changes_.removed().records;
  return produced;
}

}  // namespace

Result<ProducedSnapshot> ProduceSnapshot(ManifestStore& store, const TableMetadata& base,
                                         const SnapshotRequest& request) {
  return Producer(store, base, request).Run();
}

}  // namespace k2::iceberg
