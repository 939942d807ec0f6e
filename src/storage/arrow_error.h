// Arrow's Status as our Error, and back: the errno or the kind inside it decides.
#pragma once

#include <string_view>

#include "base/result.h"

namespace arrow {
class Status;
}

namespace k2::storage {

// `context` says what was tried on what. Errors of the system keep their kind (kNoSpace, kPermission, …), so do those
// that ToArrow made; Arrow's Invalid is kInvalidData, NotImplemented kUnsupported, the rest kIo.
Error ArrowError(const arrow::Status& status, std::string_view context);

// An IOError that carries the error's kind through Arrow's and Parquet's readers and writers.
arrow::Status ToArrow(const Error& error);

}  // namespace k2::storage
