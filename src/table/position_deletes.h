// Position delete files hold the names of the data files whose rows they delete (format/spec.md, "Position Delete
// Files"): where the data files have other names, they are written again.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "iceberg/relocation.h"
#include "storage/file_io.h"

namespace k2::table {

// Reads the file at `from` and writes it to `to`, which must not exist yet, with `name` applied to each file_path; all
// other columns, field ids and the footer's entries are kept. Durable when it returns. Errors: kUnsupported, a file
// that is not Parquet; kInvalidData, one without the column file_path.
Result<iceberg::RewrittenFile> RewritePositionDeletes(storage::FileIo& io, const std::string& from,
                                                      const std::string& to, const iceberg::NewName& name);

}  // namespace k2::table
