// A raw connection to a server on loopback: sends whatever a test wants, reads what comes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace k2::net {

struct ResponseForTests {
  int status = 0;                              // 0: there was none
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class ConnectionForTests {
 public:
  // `source`: the loopback address that the client has, such as 127.0.0.2.
  explicit ConnectionForTests(int port, const std::string& source = {});
  ~ConnectionForTests();
  ConnectionForTests(ConnectionForTests&& other) noexcept;
  ConnectionForTests& operator=(ConnectionForTests&&) = delete;

  // False: the server has closed the connection.
  bool Send(std::string_view bytes);
  // No more will be sent.
  void EndSending();
  // The next response whole; status 0 where the server closes before, or says nothing for so long.
  ResponseForTests Read(bool with_body = true, int64_t time_max_ms = 5'000);
  // Waits until the server closes; false: it did not in that time. What comes before is dropped.
  bool WaitForClose(int64_t time_max_ms);
  // Send, then Read.
  ResponseForTests Ask(std::string_view bytes);

 private:
  bool Fill(int64_t deadline_us);  // more into received_; false: closed, or too late
  int socket_ = -1;
  std::string received_;
};

// "GET /livez HTTP/1.1", with a Host and an empty line.
std::string GetForTests(std::string_view target, std::string_view headers = {});

}  // namespace k2::net
