// Schemas out of a registry that speaks Confluent's REST API (Confluent, Apicurio under /apis/ccompat/v7, Karapace,
// Redpanda), kept in memory and on disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/http.h"
#include "io/secret.h"
#include "source/registry_answer.h"
#include "source/schema_source.h"

namespace k2 {

struct RegistryOptions {
  std::string url;                  // up to before /schemas
  Secret user_info;                 // user:password, for basic authentication
  Secret token;                     // bearer token
  std::string cache_folder;         // empty: in memory only. Ids never change their schema, so files are good for ever
  int64_t missing_us = 30'000'000;  // how long an id that is not there is not asked for again
  size_t missing_max = 10'000;      // such ids that are remembered; with more, all are forgotten
  int64_t unavailable_us = 1'000'000;  // how long the registry is left alone after it did not answer
  int64_t timeout_ms = 10'000;
};

// Safe to call from several threads.
class RegistryClient final : public SchemaSource {
 public:
  // Error kInvalidArgument: no http or https URL, or both kinds of credentials.
  static Result<std::shared_ptr<RegistryClient>> Create(const RegistryOptions& options,
                                                        std::shared_ptr<HttpClient> http);

  // With the schemas that it refers to, as one text. Errors: kNotFound: the registry says there is no such id;
  // kUnavailable: it did not answer, or something that is no registry did; kPermission; kUnsupported: not Avro, or with
  // references that cannot be resolved (they form a cycle, are missing, or go beyond the limits).
  Result<std::string> SchemaJson(int32_t id) override;
  // By a few requests at a time. Ends early when the registry does not answer.
  size_t AskFor(std::span<const int32_t> ids, int64_t time_us_max) override;

  // The id of the schema under the subject, new or as it was. Errors also: kInvalidData: not compatible with what is
  // registered; kInvalidArgument: the registry does not take it as a schema.
  Result<int32_t> Register(const std::string& subject, std::string_view json);
  // Whether the subject would take the schema; true for a new subject.
  Result<bool> Compatible(const std::string& subject, std::string_view json);

 private:
  RegistryClient(const RegistryOptions& options, std::shared_ptr<HttpClient> http);
  struct Answer {
    int status = 0;
    int64_t error_code = 0;  // the registry's own
    std::string message;
    std::string body;
  };
  Result<Answer> Ask(const std::string& method, const std::string& path, std::string body = {});
  [[nodiscard]] std::unexpected<Error> Refused(const Answer& answer, std::string_view what) const;
  Result<std::string> Fetch(int32_t id);
  Result<SchemaAnswer> FetchAnswer(const std::string& path, int64_t missing_code, const std::string& what);
  struct Resolving;
  Status Resolve(const std::vector<SchemaReference>& references, int depth, Resolving& resolving);
  Result<SchemaAnswer> FetchReference(const SchemaReference& reference);
  // As messages may show it.
  [[nodiscard]] std::string Address() const { return WithoutSecrets(options_.url); }
  [[nodiscard]] std::string CachePath(int32_t id) const;
  [[nodiscard]] std::string ReadCache(int32_t id) const;
  void WriteCache(int32_t id, const std::string& json);

  const RegistryOptions options_;
  const std::shared_ptr<HttpClient> http_;
  std::string cache_folder_;
  std::atomic<bool> cache_fails_{false};
  std::mutex mutex_;
  std::map<int32_t, std::string> schemas_;
  std::map<int32_t, std::pair<int64_t, Error>> missing_;              // until when, monotonic
  std::map<std::pair<std::string, int32_t>, SchemaAnswer> referred_;  // by subject and version, which never changes
  int64_t unavailable_until_us_ = 0;
  Error unavailable_;
};

}  // namespace k2
