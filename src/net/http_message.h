// A request and a response of HTTP/1.1, as the server and its handler see them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace k2::net {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpServerRequest {
  std::string method;  // as it was sent: GET
  std::string path;    // /readyz; begins with '/', not decoded
  std::string query;   // verbose; without the '?'
  std::string host;    // of the target where that has one, else of the Host header; empty: HTTP/1.0 without one
  HttpHeaders headers;
  std::string body;
  bool keep_alive = true;  // the client wants to send another request

  // The first header of that name, whatever its case; empty: there is none.
  [[nodiscard]] std::string_view Header(std::string_view name) const;
  // Whether the query has a parameter of that name, with or without a value.
  [[nodiscard]] bool HasParameter(std::string_view name) const;
};

struct HttpServerResponse {
  int status = 200;
  std::string body;
  std::string content_type = "text/plain; charset=utf-8";
  HttpHeaders headers = {};  // besides those that the server sets
};

// Names of headers, hosts: by ASCII's lower case.
[[nodiscard]] std::string LowerAscii(std::string_view text);

}  // namespace k2::net
