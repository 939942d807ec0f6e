// A response as the bytes that are sent.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "net/http_message.h"

namespace k2::net {

// "Not Found"; of a status that K2 does not send, "Status".
std::string_view HttpReason(int status);

// `with_body` is false for the answer to HEAD: the length is that of the body, which is not there. `connection`: the
// headers that tell what becomes of the connection, each line with its end. `now_us` is for Date. Line breaks in
// headers' values become blanks, so that what a handler puts there begins no header of its own.
std::string FormatHttpResponse(const HttpServerResponse& response, bool with_body, std::string_view connection,
                               int64_t now_us);

// Sun, 06 Nov 1994 08:49:37 GMT (RFC 9110, 5.6.7)
std::string FormatHttpDate(int64_t us);

}  // namespace k2::net
