#include "cli/aws_settings.h"

#include <mutex>

namespace k2::cli {

void AddAwsSettings(Program& program) {
  program.settings.BeginGroup("storage");
  const SettingText texts[] = {
      {"aws-profile", "NAME", "",
       "Profile of ~/.aws whose keys to use, before those of the environment; without one AWS's own order"},
      {"aws-role-arn", "ARN", "", "Role to assume with the AWS keys that are found"},
      {"aws-external-id", "ID", "", "External id to assume it with"},
      {"aws-role-session-name", "NAME", "k2", "Name of the session in AWS's audit logs"},
  };
  for (const SettingText& text : texts) program.settings.Add(program.app, text);
}

std::shared_ptr<storage::AwsCredentials> AwsCredentialsOf(const Settings& settings) {
  static std::mutex mutex;
  static std::shared_ptr<storage::AwsCredentials> one;  // a process has one set of settings
  const std::lock_guard lock(mutex);
  if (one == nullptr) {
    one = storage::MakeAwsCredentials({.profile = settings.Text("aws-profile"),
                                       .role = {.arn = settings.Text("aws-role-arn"),
                                                .session_name = settings.Text("aws-role-session-name"),
                                                .external_id = settings.Text("aws-external-id")}});
  }
  return one;
}

}  // namespace k2::cli
