// The AWS SDK that Arrow's library holds: its start and end, and the keys that it finds.
#pragma once

#include "base/result.h"
#include "storage/aws_signature.h"

namespace k2::storage {

// For as long as the process lives.
Status StartAwsSdk();
// It must be shut down before the process ends, and before Arrow's own statics go that belong to its clients: these
// come with the first client, so this is called when there is one.
void StopAwsSdkAtExit();

// What the SDK's own chain gives, which it keeps and renews; no access key where it finds none. When they end is not
// told.
Result<AwsKeys> AwsKeysOfSdk();

}  // namespace k2::storage
