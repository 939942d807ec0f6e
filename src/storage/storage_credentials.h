// Keys for places of storage, as a catalog hands them out with a table (vended credentials): by location prefix.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"

namespace k2::storage {

// Properties under the names that Iceberg gives them: s3.endpoint, s3.access-key-id, s3.secret-access-key,
// s3.session-token, s3.session-token-expires-at-ms, s3.path-style-access, client.region.
using StorageProperties = std::map<std::string, std::string>;

// Written by a catalog on each load of a table, read by the file system. Safe to share between threads.
class StorageCredentials {
 public:
  // Asks the catalog again for the keys of a prefix whose keys are about to end; it calls Put.
  using Refresher = std::function<Status(const std::string& prefix)>;

  void Put(const std::string& prefix, StorageProperties properties);
  void SetRefresher(Refresher refresher);

  // The properties of the longest prefix of `location`; an empty map where there is none. Keys that end within a minute
  // are renewed first; if that fails the old ones are given while they are valid, then it is kUnavailable.
  Result<std::shared_ptr<const StorageProperties>> Find(std::string_view location);

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const StorageProperties>, std::less<>> by_prefix_;
  Refresher refresher_;
  std::mutex renewing_;            // one asks the catalog, the others take what it gets
  int64_t renew_again_at_us_ = 0;  // where that was in vain: not on every look-up
};

}  // namespace k2::storage
