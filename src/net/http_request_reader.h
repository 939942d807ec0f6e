// Bytes of a connection to requests, in bounded memory. Knows no socket.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "net/http_message.h"

namespace k2::net {

// Why a request is not answered as it asks: the status to answer with, and the reason as a sentence without its end.
struct HttpRefusal {
  int status = 400;
  std::string reason;
};

class HttpRequestReader {
 public:
  enum class State {
    kIdle,      // between two requests: no byte of the next one has come
    kPartial,   // some of a request
    kComplete,  // a request can be taken
    kRefused,   // what came is no request, or one beyond the limits; nothing more is read
  };

  // `head_bytes_max`: the request line and the headers together. `body_bytes_max`: 0, no body is taken.
  HttpRequestReader(size_t head_bytes_max, size_t body_bytes_max);
  ~HttpRequestReader();
  HttpRequestReader(const HttpRequestReader&) = delete;
  HttpRequestReader& operator=(const HttpRequestReader&) = delete;

  // Where to put the bytes that come next; never empty after Next() said kIdle or kPartial.
  [[nodiscard]] std::span<char> Space();
  // So many bytes were put there.
  void Received(size_t count);
  // Reads on in what was received, up to the end of one request.
  State Next();
  // After kComplete, once.
  HttpServerRequest Take();
  // After kRefused.
  [[nodiscard]] const HttpRefusal& refusal() const;
  // Some of a request has come, and not all of it.
  [[nodiscard]] bool partial() const;
  // Forgets what was received, so that there is space for what is not wanted.
  void Discard();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace k2::net
