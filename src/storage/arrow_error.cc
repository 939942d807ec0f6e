#include "storage/arrow_error.h"

#include <arrow/status.h>
#include <arrow/util/io_util.h>

#include "storage/disk.h"

namespace k2::storage {
namespace {

constexpr const char* kTypeId = "k2::ErrorKind";

class KindDetail : public arrow::StatusDetail {
 public:
  explicit KindDetail(ErrorKind kind) : kind_(kind) {}
  const char* type_id() const override { return kTypeId; }
  std::string ToString() const override { return std::string(k2::ToString(kind_)); }
  [[nodiscard]] ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace

Error ArrowError(const arrow::Status& status, std::string_view context) {
  if (status.detail() && status.detail()->type_id() == kTypeId) {
    return {static_cast<const KindDetail&>(*status.detail()).kind(), fmt::format("{}: {}", context, status.message())};
  }
  if (const int errno_value = arrow::internal::ErrnoFromStatus(status); errno_value != 0) {
    Error error = ErrnoError(errno_value, "use", context);
    return {error.kind, fmt::format("{}: {}", context, status.message())};
  }
  ErrorKind kind = ErrorKind::kIo;
  if (status.IsInvalid() || status.IsTypeError() || status.IsSerializationError()) kind = ErrorKind::kInvalidData;
  if (status.IsNotImplemented()) kind = ErrorKind::kUnsupported;
  if (status.IsCancelled()) kind = ErrorKind::kCancelled;
  return {kind, fmt::format("{}: {}", context, status.message())};
}

arrow::Status ToArrow(const Error& error) {
  return arrow::Status::IOError(error.message).WithDetail(std::make_shared<KindDetail>(error.kind));
}

}  // namespace k2::storage
