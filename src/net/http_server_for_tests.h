// An HTTP server on loopback that does to a request whatever a test wants: raw sockets, a thread a connection.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace k2::net {

struct SeenRequest {
  std::string method;
  std::string target;                          // path and query
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  int connection = 0;  // from 1, in the order they were opened
};

enum class ReplyFault {
  kNone,
  kResetBeforeReply,  // the connection is reset, no byte of a reply
  kCloseBeforeReply,  // closed in order, no byte of a reply
  kResetMidBody,      // half of the body, then a reset
  kBlackHole,         // nothing, and the connection stays open
  kSlowBody,          // a byte every 20 ms
};

struct ScriptedReply {
  int status = 200;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  ReplyFault fault = ReplyFault::kNone;
};

class HttpServerForTests {
 public:
  // The handler runs on the connections' threads, one call at a time.
  using Handler = std::function<ScriptedReply(const SeenRequest&)>;
  explicit HttpServerForTests(Handler handler);
  ~HttpServerForTests();
  HttpServerForTests(const HttpServerForTests&) = delete;
  HttpServerForTests& operator=(const HttpServerForTests&) = delete;

  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::vector<SeenRequest> Seen();
  // Refuses connections from here on, and ends those that are open.
  void Stop();

 private:
  void Accept();
  void Serve(int socket, int connection);

  Handler handler_;
  int port_ = 0;
  int listener_ = -1;
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;  // handler and what was seen
  std::vector<SeenRequest> seen_;
  std::list<int> sockets_;
  std::vector<std::thread> connections_;
  std::thread acceptor_;
};

// A port of loopback on which nothing listens.
int FreePortForTests();

}  // namespace k2::net
