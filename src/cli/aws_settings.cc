#include "cli/aws_settings.h"

#include <mutex>

namespace k2 {

void AddAwsSettings(Program& program) {
  Settings& settings = program.settings;
  settings.Add(program.app, "aws-profile", "",
               "profile of ~/.aws whose keys are used, before those of the environment; empty: AWS's own order");
  settings.Add(program.app, "aws-role-arn", "", "role to assume with the AWS keys that are found");
  settings.Add(program.app, "aws-external-id", "", "external id to assume it with");
  settings.Add(program.app, "aws-role-session-name", "k2", "name of the session, as AWS's audit logs show it");
}

std::shared_ptr<AwsCredentials> AwsCredentialsOf(const Settings& settings) {
  static std::mutex mutex;
  static std::shared_ptr<AwsCredentials> one;  // a process has one set of settings
  const std::lock_guard lock(mutex);
  if (one == nullptr) {
    one = MakeAwsCredentials({.profile = settings.Text("aws-profile"),
                              .role = {.arn = settings.Text("aws-role-arn"),
                                       .session_name = settings.Text("aws-role-session-name"),
                                       .external_id = settings.Text("aws-external-id")}});
  }
  return one;
}

}  // namespace k2
