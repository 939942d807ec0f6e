// Who this process is to AWS: --aws-profile, --aws-role-arn, …
#pragma once

#include <memory>

#include "cli/commands.h"
#include "io/aws_credentials.h"

namespace k2 {

void AddAwsSettings(Program& program);

// The one chain of keys of this process, for storage, catalog and Kafka.
std::shared_ptr<AwsCredentials> AwsCredentialsOf(const Settings& settings);

}  // namespace k2
