#include "cli/storage_settings.h"

#include "cli/aws_settings.h"

namespace k2 {

void AddStorageSettings(Program& program) {
  Settings& settings = program.settings;
  settings.Add(program.app, "s3-endpoint", "", "http(s)://host:port of an S3 store; empty: Amazon's");
  settings.Add(program.app, "s3-region", "", "region of the buckets; empty: AWS_REGION, else us-east-1");
  settings.Add(program.app, "s3-path-style", "auto",
               "bucket in the path: auto (where there is an endpoint), true, false");
}

Result<StorageOptions> StorageOptionsOf(const Settings& settings) {
  StorageOptions options;
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

}  // namespace k2
