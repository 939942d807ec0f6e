// What Amazon MSK takes in place of a password, by SASL/OAUTHBEARER (IAM access control).
#pragma once

#include <cstdint>
#include <string>

#include "storage/aws_signature.h"

namespace k2::storage {

struct MskToken {
  std::string text;
  int64_t ends_at_us = 0;  // wall clock
};

// An address of the cluster's region, signed for a quarter of an hour, in base64url: as AWS's own signers for MSK make
// it.
MskToken MakeMskToken(const AwsKeys& keys, const std::string& region, int64_t now_us);

}  // namespace k2::storage
