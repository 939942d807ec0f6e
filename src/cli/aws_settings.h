// Who this process is to AWS: --aws-profile, --aws-role-arn, …
#pragma once

#include <memory>

#include "cli/commands.h"
#include "storage/aws_credentials.h"

namespace k2::cli {

void AddAwsSettings(Program& program);

// The one chain of keys of this process, for storage, catalog and Kafka.
std::shared_ptr<storage::AwsCredentials> AwsCredentialsOf(const Settings& settings);

}  // namespace k2::cli
