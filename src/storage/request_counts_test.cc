#include "storage/request_counts.h"

#include <arrow/status.h>
#include <gtest/gtest.h>

#include "base/metrics.h"
#include "storage/s3_file_io.h"

namespace k2::storage {
namespace {

int64_t CountOf(const std::string& service, const std::string& outcome) {
  const std::string text = ExposeMetrics();
  const std::string series =
      fmt::format("\nk2_service_requests_total{{outcome=\"{}\",service=\"{}\"}} ", outcome, service);
  const size_t at = text.find(series);
  return at == std::string::npos ? -1 : std::stoll(text.substr(at + series.size()));
}

TEST(RequestCounts, CountByOutcome) {
  CountRequest(Service::kCatalog, RequestOutcome::kAnswered);  // all series are there from the first one on
  const int64_t answered = CountOf("catalog", "answered");
  const int64_t denied = CountOf("catalog", "denied");
  const int64_t failed = CountOf("catalog", "failed");
  const int64_t storage = CountOf("storage", "failed");
  for (const int status : {200, 204, 304, 404, 409, 412, 416})
    CountRequest(Service::kCatalog, net::HttpResponse{status});
  for (const int status : {401, 403, 419}) CountRequest(Service::kCatalog, net::HttpResponse{status});
  for (const int status : {408, 429, 500, 503, 504}) CountRequest(Service::kCatalog, net::HttpResponse{status});
  CountRequest(Service::kCatalog, Fail(ErrorKind::kUnavailable, "refused"));
  CountRequest(Service::kCatalog, Fail(ErrorKind::kIo, "reset"));
  CountRequest(Service::kCatalog, Fail(ErrorKind::kCancelled, "another writer was first"));
  EXPECT_EQ(CountOf("catalog", "answered"), answered + 7);
  EXPECT_EQ(CountOf("catalog", "denied"), denied + 3);
  EXPECT_EQ(CountOf("catalog", "failed"), failed + 7);
  EXPECT_EQ(CountOf("storage", "failed"), storage);
}

// Of Arrow's own requests to S3, those that failed.
TEST(RequestCounts, CountWhatArrowCouldNotDo) {
  CountRequest(Service::kStorage, RequestOutcome::kAnswered);
  const int64_t denied = CountOf("storage", "denied");
  const int64_t failed = CountOf("storage", "failed");
  for (const char* text : {"AWS Error ACCESS_DENIED during PutObject operation", "AWS Error SLOW_DOWN",
                           "AWS Error NETWORK_CONNECTION during GetObject operation", "AWS Error NO_SUCH_KEY"}) {
    (void)S3ArrowError(arrow::Status::IOError(text), "read", "s3://lake/x");
  }
  EXPECT_EQ(CountOf("storage", "denied"), denied + 1);
  EXPECT_EQ(CountOf("storage", "failed"), failed + 2);
}

}  // namespace
}  // namespace k2::storage
