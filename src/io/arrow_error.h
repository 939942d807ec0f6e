// Arrow's Status as our Error: the errno inside it decides the kind.
#pragma once

#include <string_view>

#include "base/result.h"

namespace arrow {
class Status;
}

namespace k2 {

// `context` says what was tried on what. Errors of the system keep their kind (kNoSpace, kPermission, …); Arrow's
// Invalid is kInvalidData, NotImplemented kUnsupported, the rest kIo.
Error ArrowError(const arrow::Status& status, std::string_view context);

}  // namespace k2
