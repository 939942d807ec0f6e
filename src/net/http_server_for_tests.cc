#include "net/http_server_for_tests.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <string_view>

namespace k2::net {
namespace {

int Listen(int& port) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (listener < 0 || ::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener, 64) != 0 || ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::abort();
  }
  port = ntohs(address.sin_port);
  return listener;
}

void SendAll(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

// The next request on the connection; what follows it stays in `buffer`. False at the end.
bool ReadRequest(int socket, std::string& buffer, SeenRequest& request) {
  const auto more = [&] {
    char chunk[65536];
    const ssize_t got = ::recv(socket, chunk, sizeof(chunk), 0);
    if (got > 0) buffer.append(chunk, static_cast<size_t>(got));
    return got > 0;
  };
  size_t end = 0;
  while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
    if (!more()) return false;
  }
  std::string_view head = std::string_view(buffer).substr(0, end);
  const std::string_view first = head.substr(0, head.find("\r\n"));
  const size_t space = first.find(' ');
  request.method = first.substr(0, space);
  request.target = first.substr(space + 1, first.rfind(' ') - space - 1);
  while (head.find("\r\n") != std::string_view::npos) {
    head.remove_prefix(head.find("\r\n") + 2);
    const std::string_view line = head.substr(0, head.find("\r\n"));
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    std::string name(line.substr(0, colon));
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const std::string_view value = line.substr(colon + 1);
    request.headers[name] = value.substr(std::min(value.size(), value.find_first_not_of(' ')));
  }
  const auto length = request.headers.find("content-length");
  const size_t body = length == request.headers.end() ? 0 : std::strtoull(length->second.c_str(), nullptr, 10);
  while (buffer.size() < end + 4 + body) {
    if (!more()) return false;
  }
  request.body = buffer.substr(end + 4, body);
  buffer.erase(0, end + 4 + body);
  return true;
}

void ResetOnClose(int socket) {
  const linger hard{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

}  // namespace

HttpServerForTests::HttpServerForTests(Handler handler) : handler_(std::move(handler)), listener_(Listen(port_)) {
  acceptor_ = std::thread([this] { Accept(); });
}

HttpServerForTests::~HttpServerForTests() { Stop(); }

void HttpServerForTests::Stop() {
  if (stopping_.exchange(true)) return;
  acceptor_.join();
  ::close(listener_);
  {
    const std::lock_guard lock(mutex_);
    for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
  }
  for (std::thread& connection : connections_) connection.join();
}

std::vector<SeenRequest> HttpServerForTests::Seen() {
  const std::lock_guard lock(mutex_);
  return seen_;
}

void HttpServerForTests::Accept() {
  int count = 0;
  while (!stopping_) {
    pollfd waiting{.fd = listener_, .events = POLLIN};
    if (::poll(&waiting, 1, 20) <= 0) continue;
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) continue;
    const std::lock_guard lock(mutex_);
    sockets_.push_back(socket);
    connections_.emplace_back([this, socket, number = ++count] { Serve(socket, number); });
  }
}

void HttpServerForTests::Serve(int socket, int connection) {
  std::string buffer;
  SeenRequest request;
  while (!stopping_ && ReadRequest(socket, buffer, request)) {
    request.connection = connection;
    ScriptedReply reply;
    {
      const std::lock_guard lock(mutex_);
      seen_.push_back(request);
      reply = handler_(request);
    }
    std::string head = "HTTP/1.1 " + std::to_string(reply.status) + " Scripted\r\n";
    for (const auto& [name, value] : reply.headers) head += name + ": " + value + "\r\n";
    const bool bodiless = reply.status == 204 || reply.status == 304;
    if (!bodiless) head += "content-length: " + std::to_string(reply.body.size()) + "\r\n";
    head += "\r\n";
    const bool no_body = bodiless || request.method == "HEAD";
    if (reply.fault == ReplyFault::kResetBeforeReply) ResetOnClose(socket);
    if (reply.fault == ReplyFault::kResetBeforeReply || reply.fault == ReplyFault::kCloseBeforeReply) break;
    if (reply.fault == ReplyFault::kBlackHole) {
      char byte = 0;
      while (!stopping_ && ::recv(socket, &byte, 1, 0) > 0) {
      }
      break;
    }
    SendAll(socket, head);
    if (reply.fault == ReplyFault::kResetMidBody) {
      SendAll(socket, std::string_view(reply.body).substr(0, reply.body.size() / 2));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // so that the half arrives
      ResetOnClose(socket);
      break;
    }
    if (reply.fault == ReplyFault::kSlowBody) {
      for (const char byte : reply.body) {
        if (stopping_) break;
        SendAll(socket, std::string_view(&byte, 1));
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
    } else if (!no_body) {
      SendAll(socket, reply.body);
    }
    request = {};
  }
  const std::lock_guard lock(mutex_);
  sockets_.remove(socket);
  ::close(socket);
}

int FreePortForTests() {
  int port = 0;
  ::close(Listen(port));
  return port;
}

}  // namespace k2::net
