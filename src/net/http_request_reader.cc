#include "net/http_request_reader.h"

// The one place that reads Beast's headers, which cost seconds.
#include <algorithm>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace k2::net {
namespace {

namespace http = boost::beast::http;
using RequestParser = http::request_parser<http::string_body>;

std::string Text(boost::beast::string_view text) { return {text.data(), text.size()}; }

// GET http://name/path HTTP/1.1: what a proxy is sent. The target's host counts (RFC 9112, 3.2.2).
bool SplitTarget(std::string target, HttpServerRequest& request) {
  constexpr std::string_view kScheme = "http://";
  if (LowerAscii(std::string_view(target).substr(0, kScheme.size())) == kScheme) {
    target.erase(0, kScheme.size());
    const size_t end = std::min(target.find_first_of("/?"), target.size());
    request.host = target.substr(0, end);
    target.erase(0, end);
    if (!target.starts_with('/')) target.insert(0, 1, '/');
  }
  if (!target.starts_with('/')) return false;
  const size_t mark = target.find('?');
  request.path = target.substr(0, mark);
  if (mark != std::string::npos) request.query = target.substr(mark + 1);
  return true;
}

// GET / HTTP/2.0
bool NamesAnotherVersion(std::string_view line) {
  line = line.substr(0, line.find('\r'));
  const size_t at = line.rfind(" HTTP/");
  if (at == std::string_view::npos || line.size() != at + 9) return false;
  const auto digit = [&](size_t i) { return line[i] >= '0' && line[i] <= '9'; };
  return digit(at + 6) && line[at + 7] == '.' && digit(at + 8);
}

}  // namespace

class HttpRequestReader::Impl {
 public:
  Impl(size_t head_bytes_max, size_t body_bytes_max)
      : head_bytes_max_(head_bytes_max), body_bytes_max_(body_bytes_max), buffer_(head_bytes_max) {}

  std::span<char> Space() {
    if (begin_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    return std::span(buffer_).subspan(end_);
  }

  void Received(size_t count) { end_ += count; }

  State Next() {
    if (state_ == State::kComplete || state_ == State::kRefused) return state_;
    if (!parser_) SkipEmptyLines();
    if (begin_ == end_) return state_ = parser_ ? State::kPartial : State::kIdle;
    if (!parser_ && end_ - begin_ == 1 && buffer_[begin_] == '\r') return state_ = State::kPartial;
    if (!parser_) Begin();
    while (!parser_->is_done()) {
      if (begin_ == end_) return state_ = State::kPartial;
      const bool in_head = !parser_->is_header_done();
      const std::string_view rest = Rest();
      boost::system::error_code error;
      const size_t taken = parser_->put(boost::asio::buffer(rest.data(), rest.size()), error);
      begin_ += taken;
      if (in_head) head_bytes_ += taken;
      if (error && error != http::error::need_more) return Refuse(Why(error, rest));
      if (!parser_->is_header_done()) {
        if (head_bytes_ + (end_ - begin_) >= head_bytes_max_) return Refuse(HeadTooLarge());
        return state_ = State::kPartial;
      }
      if (in_head) {
        if (head_bytes_ > head_bytes_max_) return Refuse(HeadTooLarge());
        if (std::optional<HttpRefusal> refusal = CheckHead()) return Refuse(std::move(*refusal));
      }
    }
    return state_ = Finish();
  }

  HttpServerRequest Take() {
    state_ = State::kIdle;
    parser_.reset();
    return std::exchange(request_, {});
  }

  [[nodiscard]] const HttpRefusal& refusal() const { return refusal_; }
  [[nodiscard]] bool partial() const { return state_ == State::kPartial; }
  void Discard() { begin_ = end_ = 0; }

 private:
  [[nodiscard]] std::string_view Rest() const { return {buffer_.data() + begin_, end_ - begin_}; }

  // Before a request line, where some clients send them (RFC 9112, 2.2).
  void SkipEmptyLines() {
    while (end_ - begin_ >= 2 && buffer_[begin_] == '\r' && buffer_[begin_ + 1] == '\n') begin_ += 2;
  }

  void Begin() {
    parser_.emplace();
    parser_->eager(false);  // the head is checked before anything of a body is read
    parser_->header_limit(static_cast<uint32_t>(head_bytes_max_));
    parser_->body_limit(body_bytes_max_);
    head_bytes_ = 0;
  }

  State Refuse(HttpRefusal refusal) {
    refusal_ = std::move(refusal);
    parser_.reset();
    return state_ = State::kRefused;
  }

  [[nodiscard]] HttpRefusal HeadTooLarge() const {
    if (head_bytes_ == 0 && Rest().find('\n') == std::string_view::npos)
      return {414, fmt::format("the request line is longer than {} bytes", head_bytes_max_)};
    return {431, fmt::format("the headers are larger than {} bytes", head_bytes_max_)};
  }

  [[nodiscard]] HttpRefusal BodyTooLarge() const {
    if (body_bytes_max_ == 0) return {413, "a request body is not supported"};
    return {413, fmt::format("the request body is larger than {} bytes", body_bytes_max_)};
  }

  [[nodiscard]] HttpRefusal Why(const boost::system::error_code& error, std::string_view line) const {
    if (error == http::error::body_limit || error == http::error::buffer_overflow) return BodyTooLarge();
    if (error == http::error::header_limit) return HeadTooLarge();
    if (error == http::error::bad_version && NamesAnotherVersion(line)) return {505, "only HTTP/1.1 is supported"};
    return {400, "the request is not HTTP/1.1: " + error.message()};
  }

  // What is known before the body comes.
  [[nodiscard]] std::optional<HttpRefusal> CheckHead() const {
    const auto& head = parser_->get();
    const size_t hosts = head.count(http::field::host);
    if (hosts > 1 || (hosts == 0 && head.version() >= 11)) {
      return HttpRefusal{400, "an HTTP/1.1 request must have exactly one Host header"};
    }
    if (head.count(http::field::transfer_encoding) > 0) {
      if (body_bytes_max_ == 0) return BodyTooLarge();
      // Not chunked either: Beast 1.81 aborts on a last chunk that comes byte by byte.
      return HttpRefusal{411, "a request body requires a Content-Length"};
    }
    if (head.count(http::field::expect) > 0) return HttpRefusal{417, "the Expect header is not supported"};
    return std::nullopt;
  }

  State Finish() {
    auto message = parser_->release();
    request_ = {};
    request_.method = Text(message.method_string());
    request_.keep_alive = message.keep_alive();
    request_.host = Text(message[http::field::host]);
    if (!SplitTarget(Text(message.target()), request_)) {
      return Refuse({400, "the request's target must begin with '/'"});
    }
    for (const auto& field : message) request_.headers.emplace_back(Text(field.name_string()), Text(field.value()));
    request_.body = std::move(message.body());
    return State::kComplete;
  }

  size_t head_bytes_max_;
  size_t body_bytes_max_;
  std::vector<char> buffer_;
  size_t begin_ = 0;  // what was received and not read yet: [begin_, end_)
  size_t end_ = 0;
  size_t head_bytes_ = 0;  // of the request line and the headers, read so far
  std::optional<RequestParser> parser_;
  State state_ = State::kIdle;
  HttpServerRequest request_;
  HttpRefusal refusal_;
};

HttpRequestReader::HttpRequestReader(size_t head_bytes_max, size_t body_bytes_max)
    : impl_(std::make_unique<Impl>(head_bytes_max, body_bytes_max)) {}
HttpRequestReader::~HttpRequestReader() = default;

std::span<char> HttpRequestReader::Space() { return impl_->Space(); }
void HttpRequestReader::Received(size_t count) { impl_->Received(count); }
HttpRequestReader::State HttpRequestReader::Next() { return impl_->Next(); }
HttpServerRequest HttpRequestReader::Take() { return impl_->Take(); }
const HttpRefusal& HttpRequestReader::refusal() const { return impl_->refusal(); }
bool HttpRequestReader::partial() const { return impl_->partial(); }
void HttpRequestReader::Discard() { impl_->Discard(); }

}  // namespace k2::net
