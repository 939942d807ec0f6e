#include "net/http_client_for_tests.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "base/time.h"
#include "net/http_message.h"

namespace k2::net {
namespace {

sockaddr_in Loopback(const char* host, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  ::inet_pton(AF_INET, host, &address.sin_addr);
  return address;
}

}  // namespace

ConnectionForTests::ConnectionForTests(int port, const std::string& source)
    : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  if (!source.empty()) {
    const sockaddr_in from = Loopback(source.c_str(), 0);
    ::bind(socket_, reinterpret_cast<const sockaddr*>(&from), sizeof from);
  }
  const sockaddr_in to = Loopback("127.0.0.1", port);
  if (::connect(socket_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    ::close(std::exchange(socket_, -1));
  }
}

ConnectionForTests::~ConnectionForTests() {
  if (socket_ >= 0) ::close(socket_);
}

ConnectionForTests::ConnectionForTests(ConnectionForTests&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)), received_(std::move(other.received_)) {}

bool ConnectionForTests::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void ConnectionForTests::EndSending() { ::shutdown(socket_, SHUT_WR); }

bool ConnectionForTests::Fill(int64_t deadline_us) {
  const int64_t left_ms = std::max<int64_t>(0, (deadline_us - MonotonicMicros()) / 1000);
  pollfd wanted{.fd = socket_, .events = POLLIN, .revents = 0};
  if (socket_ < 0 || ::poll(&wanted, 1, static_cast<int>(left_ms)) <= 0) return false;
  std::array<char, 65536> chunk{};
  const ssize_t count = ::recv(socket_, chunk.data(), chunk.size(), 0);
  if (count <= 0) return false;
  received_.append(chunk.data(), static_cast<size_t>(count));
  return true;
}

ResponseForTests ConnectionForTests::Read(bool with_body, int64_t time_max_ms) {
  const int64_t deadline_us = MonotonicMicros() + time_max_ms * 1000;
  size_t end = 0;
  while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
    if (!Fill(deadline_us)) return {};
  }
  ResponseForTests response;
  response.status = std::atoi(received_.substr(9, 3).c_str());
  for (size_t at = received_.find("\r\n") + 2; at < end;) {
    const size_t line_end = received_.find("\r\n", at);
    const std::string line = received_.substr(at, line_end - at);
    const size_t colon = line.find(": ");
    response.headers[LowerAscii(line.substr(0, colon))] = line.substr(colon + 2);
    at = line_end + 2;
  }
  received_.erase(0, end + 4);
  const size_t length = with_body ? std::strtoull(response.headers["content-length"].c_str(), nullptr, 10) : 0;
  while (received_.size() < length) {
    if (!Fill(deadline_us)) return {};
  }
  response.body = received_.substr(0, length);
  received_.erase(0, length);
  return response;
}

bool ConnectionForTests::WaitForClose(int64_t time_max_ms) {
  const int64_t deadline_us = MonotonicMicros() + time_max_ms * 1000;
  while (Fill(deadline_us)) received_.clear();
  return MonotonicMicros() < deadline_us;
}

ResponseForTests ConnectionForTests::Ask(std::string_view bytes) {
  Send(bytes);
  return Read();
}

std::string GetForTests(std::string_view target, std::string_view headers) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", target, headers);
}

}  // namespace k2::net
