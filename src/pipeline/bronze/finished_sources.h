// Recordings that were read to their end leave the tables' documents: each retained snapshot carries one, and a lake
// may see a hundred thousand recordings. Where they ended stands in the table finished_sources, by table
// (docs/source-offsets.md, "Finished recordings").
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "pipeline/lakehouse.h"
#include "table/table.h"
#include "task/finished_rows.h"

namespace k2::pipeline {

// Finds such recordings. Remembers what it has found, as long as the table that is asked for has taken over no further
// generation. Errors of all: kOffsetMismatch: finished_sources is gone, another one, or was rolled back.
class FinishedSources {
 public:
  explicit FinishedSources(Lakehouse lakehouse) : lakehouse_(std::move(lakehouse)) {}

  // Where `table`, whose document says `progress`, stands in those of `keys` that the document does not name; what is
  // in neither is new. Reads nothing where no source has ever left the document, and none of `keys` can have.
  Result<table::SourcePositions> Find(const table::Table& table, const table::LayerProgress& progress,
                                      const std::vector<table::SourceKey>& keys);
  // Of all recordings that the document does not name.
  Result<table::SourcePositions> All(const table::Table& table, const table::LayerProgress& progress);
  // Whether Find and All could tell.
  Status Check(const table::Table& table, const table::LayerProgress& progress);

 private:
  struct Known {
    table::FinishedMark mark;
    std::map<table::SourceKey, std::optional<table::SourcePosition>> positions;
    bool all = false;
  };
  Known& KnownOf(const table::Table& table, const table::FinishedMark& mark);
  Status Read(const table::Table& table, const table::FinishedMark& mark, const std::set<table::SourceKey>* keys,
              Known& known);

  Lakehouse lakehouse_;
  std::optional<table::Table> finished_;
  std::map<std::string, Known> known_;  // by the table's uuid
};

struct ArchivePolicy {
  // Nothing is done while no document names more recordings than this.
  size_t recordings_max = 64;
  // Where set: only recordings that stand in Bronze as they stood then.
  const table::SourcePositions* unmoved_since = nullptr;
  table::CommitPolicy commit = {};
};

// Moves recordings in which Bronze, Silver and rejected_trades are level out of the documents of these tables into
// finished_sources, which it makes where it is missing: first their rows there, then, in later commits, they leave the
// documents one table after the other. Killed at any point, or beaten by another writer, it leaves recordings in both,
// which does no harm. The number of recordings moved. kOffsetMismatch, kConflict: another process is at it.
Result<int64_t> ArchiveFinished(const Lakehouse& lakehouse, const ArchivePolicy& policy = {});

}  // namespace k2::pipeline
