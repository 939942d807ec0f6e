// FileIo on S3-compatible stores. Whole files go over single signed requests (storage/s3_objects.h); files larger than
// a part, reads of ranges and lists over Arrow's S3 file system.
#pragma once

#include <memory>
#include <string_view>

#include "storage/file_io.h"
#include "storage/storage_credentials.h"

namespace arrow {
class Status;
}

namespace k2::storage {

// `credentials` may be null. Keys of the chain (storage/aws_credentials.h) that are renewed are another set. One client
// per distinct set of keys, endpoint and region; the newest few are kept.
std::shared_ptr<FileIo> MakeS3FileIo(const S3Options& options, std::shared_ptr<StorageCredentials> credentials);

// An error of Arrow's S3 file system: kNotFound, kPermission, kUnavailable (after its tries), …
Error S3ArrowError(const arrow::Status& status, std::string_view action, std::string_view location);

}  // namespace k2::storage
