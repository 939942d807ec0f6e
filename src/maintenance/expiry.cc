#include "maintenance/expiry.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/failpoint.h"
#include "base/log.h"
#include "iceberg/own_files.h"
#include "iceberg/reachable_files.h"
#include "table/audit.h"
#include "table/metadata_store.h"

namespace k2::maintenance {
namespace {

std::vector<int64_t> ToExpire(const iceberg::TableMetadata& metadata, int64_t now_us, const ExpiryOptions& options) {
  iceberg::HistoryPolicy policy = table::HistoryPolicyOf(metadata);
  if (options.older_than_us) policy = {.max_age_ms = *options.older_than_us / 1000, .min_to_keep = 1};
  if (options.older_than_us) policy.max_to_keep = INT32_MAX;
  return iceberg::SnapshotsToExpire(metadata, policy, now_us / 1000);
}

void Count(const iceberg::ExpiredFiles& files, ExpiryReport& report) {
  report.data_files = static_cast<int64_t>(files.data_files.size());
  report.metadata_files = static_cast<int64_t>(files.manifests.size() + files.manifest_lists.size());
}

void Delete(table::Table& table, const iceberg::ExpiredFiles& files, const ExpiryOptions& options,
            ExpiryReport& report) {
  for (const auto* list : {&files.data_files, &files.manifests, &files.manifest_lists}) {
    for (const std::string& path : *list) {
      if (!table.io().Delete(path)) ++report.not_deleted;
      Failpoint("expire.deleted");
      if (options.on_step) options.on_step("deleted");
    }
  }
}

}  // namespace

Result<ExpiryReport> ExpireSnapshots(table::Table& table, int64_t now_us, const ExpiryOptions& options) {
  constexpr int kTries = 10;
  std::optional<Error> last;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    if (attempt > 0) std::this_thread::sleep_for(std::chrono::milliseconds(5 << attempt));
    K2_TRY(table.Refresh());
    const catalog::TableState before = table.state();
    K2_TRY(iceberg::CheckGarbageCollected(*before.metadata, table.name().ToString(), "no snapshot was expired"));
    ExpiryReport report{.table = table.name().name, .snapshots = ToExpire(*before.metadata, now_us, options)};
    if (report.snapshots.empty()) return report;
    if (options.dry_run) {
      iceberg::TableMetadata after = *before.metadata;
      std::erase_if(after.snapshots, [&](const iceberg::Snapshot& snapshot) {
        return std::ranges::find(report.snapshots, snapshot.snapshot_id) != report.snapshots.end();
      });
      table::MetadataStore store(table.io(), before.metadata->location);
      K2_ASSIGN(const auto files, iceberg::FilesOfExpired(store, *before.metadata, after, report.snapshots));
      Count(files, report);
      return report;
    }
    // Every ref must stand where it was looked at: one that was set on an old snapshot since keeps it.
    std::vector<iceberg::TableRequirement> requirements = {iceberg::AssertTableUuid{before.metadata->table_uuid}};
    for (const auto& [name, ref] : before.metadata->refs) {
      requirements.emplace_back(iceberg::AssertRefSnapshotId{name, ref.snapshot_id});
    }
    std::vector<iceberg::TableUpdate> updates = {iceberg::RemoveSnapshots{report.snapshots}};
    if (auto audit = table::AuditAfter(*before.metadata, nullptr, report.snapshots)) {
      updates.emplace_back(iceberg::SetProperties{{{table::kAuditKey, *std::move(audit)}}});
    }
    const catalog::CommitOutcome outcome = table.catalog().Commit(table.name(), before, requirements, updates);
    if (const auto* committed = std::get_if<catalog::Committed>(&outcome)) {
      Failpoint("expire.committed");
      if (options.on_step) options.on_step("committed");
      table::MetadataStore store(table.io(), before.metadata->location);
      const auto files = iceberg::FilesOfExpired(store, *before.metadata, *committed->state.metadata, report.snapshots);
      K2_TRY(table.Refresh());
      if (!files) {
        log::Warn("cannot delete the files of expired snapshots",
                  {{"table", table.name().ToString()}, {"error", files.error().message}});
        return report;
      }
      Count(*files, report);
      Delete(table, *files, options, report);
      return report;
    }
    if (const auto* rejected = std::get_if<catalog::Rejected>(&outcome)) return std::unexpected(rejected->error);
    if (const auto* unknown = std::get_if<catalog::Unknown>(&outcome)) {
      return Fail(ErrorKind::kCommitUnknown,
                  "{}: unknown commit outcome: its snapshots may or may not be expired ({}); no file was deleted",
                  table.name().ToString(), unknown->error.message);
    }
    if (const auto* not_sent = std::get_if<catalog::NotSent>(&outcome)) last = not_sent->error;
    if (const auto* conflict = std::get_if<catalog::Conflict>(&outcome))
      last = Error{ErrorKind::kConflict, conflict->reason};
  }
  return Fail(last->kind, "{}: cannot expire snapshots after {} attempts: {}", table.name().ToString(), kTries,
              last->message);
}

}  // namespace k2::maintenance
