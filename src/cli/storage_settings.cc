#include "cli/storage_settings.h"

#include "cli/aws_settings.h"

namespace k2::cli {

void AddStorageSettings(Program& program) {
  program.settings.BeginGroup("storage");
  const SettingText texts[] = {
      {"s3-endpoint", "URL", "", "S3 store, http(s)://HOST:PORT; without one Amazon's"},
      {"s3-region", "REGION", "", "Region of the buckets; without one AWS_REGION, else us-east-1"},
      {"s3-path-style", "WHEN", "auto", "Put the bucket into the path: auto (if there is an endpoint), true or false"},
  };
  for (const SettingText& text : texts) program.settings.Add(program.app, text);
}

Result<storage::StorageOptions> StorageOptionsOf(const Settings& settings) {
  storage::StorageOptions options;
  options.s3.endpoint = settings.Text("s3-endpoint");
  options.s3.chain = AwsCredentialsOf(settings);
  options.s3.region = settings.Text("s3-region");
  const std::string& style = settings.Text("s3-path-style");
  if (style == "true" || style == "false") {
    options.s3.path_style = style == "true";
  } else if (style != "auto") {
    return Fail(ErrorKind::kInvalidArgument, "s3-path-style = '{}': auto, true or false", style);
  }
  return options;
}

}  // namespace k2::cli
