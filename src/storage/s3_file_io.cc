#include "storage/s3_file_io.h"

#include <arrow/filesystem/s3fs.h>
#include <arrow/io/interfaces.h>
#include <arrow/status.h>

#include <deque>
#include <mutex>

#include "storage/arrow_error.h"
#include "storage/aws_credentials.h"
#include "storage/aws_sdk.h"
#include "storage/request_counts.h"
#include "storage/s3_objects.h"
#include "storage/s3_streams.h"

namespace k2::storage {
namespace {

constexpr size_t kClientsMax = 16;
constexpr int64_t kTailBytes = 128 << 10;

std::string FirstOf(std::initializer_list<std::string> values) {
  for (const std::string& value : values) {
    if (!value.empty()) return value;
  }
  return {};
}

class RetryStrategy : public arrow::fs::S3RetryStrategy {
 public:
  explicit RetryStrategy(int64_t tries) : tries_(tries) {}
  bool ShouldRetry(const AWSErrorDetail& error, int64_t attempted_retries) override {
    return attempted_retries + 1 < tries_ && (error.should_retry || MayRetry(0, error.exception_name));
  }
  int64_t CalculateDelayBeforeNextRetry(const AWSErrorDetail& /*error*/, int64_t attempted_retries) override {
    return S3RetryDelay(attempted_retries + 1).count();
  }

 private:
  int64_t tries_;
};

// What one set of settings and keys leads to.
struct S3Connection {
  S3Options options;
  std::shared_ptr<arrow::fs::S3FileSystem> arrow;
  std::unique_ptr<S3Objects> objects;
};

bool SameClient(const S3Options& a, const S3Options& b) {
  return a.endpoint == b.endpoint && a.region == b.region && a.path_style == b.path_style &&
         a.access_key == b.access_key && a.secret_key == b.secret_key && a.session_token == b.session_token;
}

// Settings with what the environment adds to them.
S3Options Completed(S3Options options) {
  if (options.endpoint.empty()) {
    options.endpoint = FirstOf({ProcessEnvironment("AWS_ENDPOINT_URL_S3"), ProcessEnvironment("AWS_ENDPOINT_URL")});
  }
  if (options.region.empty())
    options.region = FirstOf({ProcessEnvironment("AWS_REGION"), ProcessEnvironment("AWS_DEFAULT_REGION")});
  if (options.region.empty() && !options.endpoint.empty()) options.region = "us-east-1";
  if (!options.path_style) options.path_style = !options.endpoint.empty();
  return options;
}

// The options with the keys that a catalog vended in their place. An endpoint that was named here stays: the catalog
// may know the store under a name that only its own network has.
S3Options WithProperties(S3Options options, const StorageProperties& properties) {
  const auto value = [&](const char* name) {
    const auto found = properties.find(name);
    return found == properties.end() ? std::string() : found->second;
  };
  const std::string style = value("s3.path-style-access");
  if (options.endpoint.empty()) {
    options.endpoint = value("s3.endpoint");
    if (!options.path_style && !style.empty()) options.path_style = style == "true";
  }
  options.region = FirstOf({options.region, value("client.region"), value("s3.region")});
  if (const std::string key = value("s3.access-key-id"); !key.empty()) {
    options.access_key = key;
    options.secret_key = value("s3.secret-access-key");
    options.session_token = value("s3.session-token");
  }
  return options;
}

// Where the keys are the chain's, single requests are signed with what it gives by then.
Result<std::shared_ptr<S3Connection>> Connect(const S3Options& asked, const std::shared_ptr<AwsCredentials>& chain,
                                              bool of_chain) {
  K2_TRY(StartAwsSdk());
  auto connection = std::make_shared<S3Connection>();
  connection->options = asked;
  S3Options options = Completed(asked);
  if (options.region.empty()) options.region = chain->Region();
  arrow::fs::S3Options s3 =
      options.access_key.empty()
          ? arrow::fs::S3Options::Anonymous()
          : arrow::fs::S3Options::FromAccessKey(options.access_key, options.secret_key, options.session_token);
  const bool path_style = *options.path_style;
  std::string host = options.endpoint;
  if (host.empty() && path_style) host = fmt::format("s3.{}.amazonaws.com", options.region);
  if (!host.empty()) {
    K2_ASSIGN(const S3Address address, AddressOf(host, options.region, "bucket", true));
    s3.scheme = address.base_url.substr(0, address.base_url.find("://"));
    s3.endpoint_override = address.host;
    s3.force_virtual_addressing = !path_style;
  }
  s3.region = options.region;
  s3.connect_timeout = static_cast<double>(options.connect_timeout_ms) / 1e3;
  s3.request_timeout = static_cast<double>(options.request_timeout_ms) / 1e3;
  s3.allow_delayed_open = true;  // no request before there is something to send
  s3.background_writes = true;
  s3.retry_strategy = std::make_shared<RetryStrategy>(options.tries);
  s3.tls_ca_file_path = ProcessEnvironment("AWS_CA_BUNDLE");
  auto made = arrow::fs::S3FileSystem::Make(s3);
  StopAwsSdkAtExit();
  if (!made.ok()) return std::unexpected(ArrowError(made.status(), "set up the S3 client"));
  connection->arrow = *std::move(made);
  connection->objects = std::make_unique<S3Objects>(
      S3Client{.endpoint = options.endpoint,
               .region = connection->arrow->region(),
               .path_style = path_style,
               .keys =
                   [chain, of_chain, keys = AwsKeys{options.access_key, options.secret_key, options.session_token}] {
                     return of_chain ? chain->Keys().value_or(keys) : keys;
                   },
               .reject = [chain, of_chain](const AwsKeys& refused) { return of_chain && chain->Reject(refused); },
               .connect_timeout_ms = options.connect_timeout_ms,
               .request_timeout_ms = options.request_timeout_ms,
               .tries = options.tries},
      net::MakeHttpClient({.ca_file = s3.tls_ca_file_path, .max_response_bytes = int64_t{1} << 30}));
  return connection;
}

class S3FileIo : public FileIo {
 public:
  S3FileIo(S3Options options, std::shared_ptr<StorageCredentials> credentials)
      : options_(std::move(options)),
        credentials_(std::move(credentials)),
        chain_(options_.chain != nullptr ? options_.chain : MakeAwsCredentials({})) {}

  Result<std::string> Read(const std::string& location, int64_t max_bytes) override {
    K2_ASSIGN(const auto connection, For(location));
    return connection->objects->Get(location, max_bytes);
  }
  Status WriteNew(const std::string& location, std::string_view bytes) override {
    K2_ASSIGN(const auto connection, For(location));
    return connection->objects->PutNew(location, std::string(bytes));
  }
  Result<std::shared_ptr<arrow::io::OutputStream>> Create(const std::string& location) override {
    K2_ASSIGN(const auto connection, For(location));
    K2_ASSIGN(const std::string path, ArrowPath(location));
    S3OutputCalls calls;
    calls.put = [connection, location](std::string bytes) {
      return connection->objects->PutNew(location, std::move(bytes));
    };
    calls.open_large = [connection, location, path]() -> Result<std::shared_ptr<arrow::io::OutputStream>> {
      auto stream = connection->arrow->OpenOutputStream(path);
      if (!stream.ok()) return std::unexpected(S3ArrowError(stream.status(), "create", location));
      return *std::move(stream);
    };
    calls.size = [connection, location] { return connection->objects->Size(location); };
    return MakeS3OutputStream(location, std::move(calls));
  }
  Status Sync(const std::string& /*location*/) override { return {}; }
  Result<std::shared_ptr<arrow::io::RandomAccessFile>> Open(const std::string& location) override {
    K2_ASSIGN(const auto connection, For(location));
    K2_ASSIGN(const std::string path, ArrowPath(location));
    K2_ASSIGN(S3Tail tail, connection->objects->GetTail(location, kTailBytes));
    arrow::fs::FileInfo info(path, arrow::fs::FileType::File);
    info.set_size(tail.size_bytes);
    auto file = connection->arrow->OpenInputFile(info);  // sends nothing: it has the size
    if (!file.ok()) return std::unexpected(S3ArrowError(file.status(), "open", location));
    return MakeS3InputFile(location, *std::move(file), std::move(tail.bytes), tail.size_bytes);
  }
  Result<int64_t> Size(const std::string& location) override {
    K2_ASSIGN(const auto connection, For(location));
    return connection->objects->Size(location);
  }
  Result<std::vector<FileInfo>> List(const std::string& folder) override;
  Status Delete(const std::string& location) override {
    K2_ASSIGN(const auto connection, For(location));
    return connection->objects->Delete(location);
  }

 private:
  Result<std::shared_ptr<S3Connection>> For(const std::string& location) {
    S3Options options = options_;
    bool remote_only = false;
    if (credentials_) {
      K2_ASSIGN(const auto properties, credentials_->Find(location));
      options = WithProperties(std::move(options), *properties);
      const auto remote = properties->find("s3.remote-signing-enabled");
      remote_only = remote != properties->end() && remote->second == "true";
    }
    const bool of_chain = options.access_key.empty();
    if (of_chain) {
      K2_ASSIGN(const AwsKeys keys, chain_->Keys());
      options.access_key = keys.access_key;
      if (keys.access_key.empty() && remote_only) {
        return Fail(ErrorKind::kUnsupported,
                    "the catalog vends no keys for {}; it only signs requests itself (s3.remote-signing-enabled), "
                    "which K2 does not support: let it vend credentials, or give AWS keys (docs/storage.md)",
                    location);
      }
      options.secret_key = keys.secret_key;
      options.session_token = keys.session_token;
    }
    const std::lock_guard lock(mutex_);
    for (const auto& connection : connections_) {
      if (SameClient(connection->options, options)) return connection;
    }
    K2_ASSIGN(auto connection, Connect(options, chain_, of_chain));
    connections_.push_front(connection);
    if (connections_.size() > kClientsMax) connections_.pop_back();
    return connection;
  }

  static Result<std::string> ArrowPath(const std::string& location) {
    K2_ASSIGN(const S3Location parsed, ParseS3Location(location));
    if (parsed.key.empty()) return Fail(ErrorKind::kInvalidArgument, "{} is a bucket, not a file in it", location);
    return parsed.bucket + "/" + parsed.key;
  }

  const S3Options options_;
  const std::shared_ptr<StorageCredentials> credentials_;
  const std::shared_ptr<AwsCredentials> chain_;
  std::mutex mutex_;
  std::deque<std::shared_ptr<S3Connection>> connections_;  // newest first
};

Result<std::vector<FileInfo>> S3FileIo::List(const std::string& folder) {
  K2_ASSIGN(const auto connection, For(folder));
  K2_ASSIGN(const S3Location parsed, ParseS3Location(folder));
  arrow::fs::FileSelector selector;
  selector.base_dir = parsed.key.empty() ? parsed.bucket : parsed.bucket + "/" + parsed.key;
  selector.recursive = true;
  selector.allow_not_found = true;
  const auto listed = connection->arrow->GetFileInfo(selector);
  if (!listed.ok()) return std::unexpected(S3ArrowError(listed.status(), "list", folder));
  std::vector<FileInfo> files;
  for (const arrow::fs::FileInfo& info : *listed) {
    if (!info.IsFile()) continue;  // folders, and markers of folders that other tools leave
    const auto since_1970 = info.mtime().time_since_epoch();
    files.push_back({.location = parsed.scheme + "://" + info.path(),
                     .size_bytes = info.size(),
                     .modified_us = std::chrono::duration_cast<std::chrono::microseconds>(since_1970).count()});
  }
  return files;
}

}  // namespace

std::shared_ptr<FileIo> MakeS3FileIo(const S3Options& options, std::shared_ptr<StorageCredentials> credentials) {
  return std::make_shared<S3FileIo>(options, std::move(credentials));
}

namespace {

Error ReadS3ArrowError(const arrow::Status& status, std::string_view action, std::string_view location) {
  const std::string& message = status.message();
  const auto says = [&](std::string_view text) { return message.find(text) != std::string::npos; };
  const auto error = [&](ErrorKind kind, std::string_view what_to_do) {
    return Error{kind, fmt::format("cannot {} {}: {}{}", action, location, message, what_to_do)};
  };
  if (says("AWS Error NO_SUCH_BUCKET")) {
    return error(ErrorKind::kNotFound, "; create the bucket, or choose another with --warehouse");
  }
  if (says("AWS Error NO_SUCH_KEY") || says("HTTP status 404")) return error(ErrorKind::kNotFound, "").OfFile(location);
  if (says("AWS Error ACCESS_DENIED") || says("AWS Error INVALID_ACCESS_KEY_ID") ||
      says("AWS Error SIGNATURE_DOES_NOT_MATCH") || says("HTTP status 403") || says("HTTP status 401")) {
    return error(ErrorKind::kPermission,
                 "; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the permissions of these keys");
  }
  if (says("HTTP status 301") || says("AuthorizationHeaderMalformed")) {
    return error(ErrorKind::kInvalidArgument, "; the bucket may be in another region: set --s3-region");
  }
  if (says("AWS Error NETWORK_CONNECTION") || says("AWS Error SLOW_DOWN") || says("AWS Error SERVICE_UNAVAILABLE") ||
      says("AWS Error INTERNAL_FAILURE") || says("AWS Error REQUEST_TIMEOUT") || says("AWS Error THROTTLING") ||
      says("HTTP status 5") || says("HTTP status 429") || says("HTTP status 408")) {
    return error(ErrorKind::kUnavailable, ". Is the S3 store up, and --s3-endpoint right?");
  }
  return ArrowError(status, fmt::format("cannot {} {}", action, location));
}

}  // namespace

Error S3ArrowError(const arrow::Status& status, std::string_view action, std::string_view location) {
  Error error = ReadS3ArrowError(status, action, location);
  // Arrow's requests are not seen here, but those that failed are.
  if (error.kind == ErrorKind::kPermission) CountRequest(Service::kStorage, RequestOutcome::kDenied);
  if (error.kind == ErrorKind::kUnavailable) CountRequest(Service::kStorage, RequestOutcome::kFailed);
  return error;
}

}  // namespace k2::storage
