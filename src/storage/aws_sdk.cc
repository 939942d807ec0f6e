#include "storage/aws_sdk.h"

#include <arrow/filesystem/s3fs.h>
#include <arrow/status.h>

#include <cstdlib>
#include <mutex>

#include "storage/arrow_error.h"

namespace k2::storage {

Status StartAwsSdk() {
  static const arrow::Status started = [] {
    arrow::fs::S3GlobalOptions options = arrow::fs::S3GlobalOptions::Defaults();
    options.log_level = arrow::fs::S3LogLevel::Off;
    return arrow::fs::InitializeS3(options);
  }();
  if (!started.ok()) return std::unexpected(ArrowError(started, "start the S3 client"));
  return {};
}

void StopAwsSdkAtExit() {
  static std::once_flag once;
  std::call_once(once, [] { std::atexit([] { (void)arrow::fs::EnsureS3Finalized(); }); });
}

Result<AwsKeys> AwsKeysOfSdk() {
  K2_TRY(StartAwsSdk());
  static const arrow::fs::S3Options chain = arrow::fs::S3Options::Defaults();
  StopAwsSdkAtExit();
  const auto ask = [] { return AwsKeys{chain.GetAccessKey(), chain.GetSecretKey(), chain.GetSessionToken()}; };
  // Three calls may see two sets of keys where they are being renewed.
  AwsKeys keys = ask();
  for (AwsKeys again = ask(); again != keys; again = ask()) keys = again;
  return keys;
}

}  // namespace k2::storage
