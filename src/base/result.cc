#include "base/result.h"

namespace k2 {

std::string_view ToString(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument: return "invalid_argument";
    case ErrorKind::kInvalidData: return "invalid_data";
    case ErrorKind::kNotFound: return "not_found";
    case ErrorKind::kAlreadyExists: return "already_exists";
    case ErrorKind::kConflict: return "conflict";
    case ErrorKind::kCommitUnknown: return "commit_unknown";
    case ErrorKind::kOffsetMismatch: return "offset_mismatch";
    case ErrorKind::kUpstreamChanged: return "upstream_changed";
    case ErrorKind::kIo: return "io";
    case ErrorKind::kNoSpace: return "no_space";
    case ErrorKind::kPermission: return "permission";
    case ErrorKind::kUnavailable: return "unavailable";
    case ErrorKind::kUnsupported: return "unsupported";
    case ErrorKind::kCancelled: return "cancelled";
    case ErrorKind::kInternal: return "internal";
  }
  return "internal";
}

int ExitCode(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
    case ErrorKind::kNotFound:
    case ErrorKind::kAlreadyExists:
    case ErrorKind::kUnsupported: return 2;
    case ErrorKind::kIo:
    case ErrorKind::kNoSpace:
    case ErrorKind::kPermission:
    case ErrorKind::kUnavailable: return 3;
    case ErrorKind::kCommitUnknown: return 4;
    case ErrorKind::kInvalidData:
    case ErrorKind::kConflict:
    case ErrorKind::kOffsetMismatch:
    case ErrorKind::kUpstreamChanged:
    case ErrorKind::kCancelled: return 1;
    case ErrorKind::kInternal: return 5;
  }
  return 5;
}

}  // namespace k2
