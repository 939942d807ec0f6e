// Signs the requests to a REST catalog with AWS keys, in place of a token.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "net/http.h"
#include "storage/aws_credentials.h"
#include "storage/aws_signature.h"

namespace k2::catalog {

struct RestSigning {
  std::shared_ptr<storage::AwsCredentials> credentials;  // empty: requests are not signed
  storage::AwsScope scope;
};

// The region and the signing name that the host of an AWS service has in its name (glue.eu-west-1.amazonaws.com); empty
// where they are not in it.
storage::AwsScope AwsScopeOfHost(const std::string& url);

// Safe to share between threads.
class RestSigner {
 public:
  explicit RestSigner(RestSigning signing) : signing_(std::move(signing)) {}

  // Adds the signature, and returns what was signed with. Errors: kPermission (there are no keys, or their service
  // refuses), kUnavailable (it does not answer), kInvalidArgument (a profile that cannot be used).
  Result<storage::AwsKeys> Sign(net::HttpRequest& request);

  // Whether a reply to a signed request says that the signature is not taken; nothing was done then.
  static bool IsRefusal(const net::HttpResponse& reply);
  // True: another signature would be another one. The keys are renewed, or the catalog's clock is known now.
  bool Reject(const storage::AwsKeys& signed_with, const net::HttpResponse& reply);

 private:
  const RestSigning signing_;
  storage::ServiceClock clock_{"the catalog"};
};

}  // namespace k2::catalog
