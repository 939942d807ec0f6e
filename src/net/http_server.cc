#include "net/http_server.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <list>
#include <thread>
#include <utility>

#include "base/guard.h"
#include "base/log.h"
#include "base/metrics.h"
#include "net/client_rates.h"
#include "net/host_header.h"
#include "net/http_request_reader.h"
#include "net/http_response_text.h"

namespace k2::net {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kSweepInterval = std::chrono::milliseconds(100);
// After a response that ends the connection, what the client is still sending is read for so long, and so much of it:
// to close on it would reset the connection, and the client might not see the response.
constexpr int64_t kDrainTimeMaxUs = kMicrosPerSecond;
constexpr size_t kDrainBytesMax = 256 * 1024;

enum class Phase {
  kIdle,      // nothing of the next request has come
  kRequest,   // it is being read; also before the first one
  kResponse,  // it is being answered
  kDrain,     // the last response was sent
};

struct Connection {
  Connection(tcp::socket taken, const HttpLimits& limits)
      : socket(std::move(taken)), reader(limits.head_bytes_max, limits.body_bytes_max) {}

  tcp::socket socket;
  HttpRequestReader reader;
  std::string client;  // whose it is, for limits by client
  std::string local;   // the address at which it came in
  Phase phase = Phase::kRequest;
  int64_t deadline_us = 0;  // when the phase must be over
  int64_t asked_us = 0;     // when its last request was there, or when it was opened
  int requests = 0;
  size_t drained_bytes = 0;
  bool keep = true;  // stays open after the response
  bool closed = false;
  std::string response;
};
using ConnectionPtr = std::shared_ptr<Connection>;

asio::ip::address Unmapped(const asio::ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
}

std::string ClientOf(const asio::ip::address& address) {
  if (address.is_v4()) return address.to_string();
  auto bytes = address.to_v6().to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), uint8_t{0});  // a network of 64 bits is one host's to choose from
  return asio::ip::make_address_v6(bytes).to_string();
}

bool IsOutOfResources(const error_code& error) {
  return error == asio::error::no_descriptors || error == asio::error::no_buffer_space ||
         error == asio::error::no_memory || error == boost::system::errc::too_many_files_open_in_system;
}

HttpServerResponse Refusal(int status, const std::string& reason) {
  HttpServerResponse response{.status = status, .body = reason + "\n"};
  if (status == 429 || status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(HttpServerOptions options, OwnHosts hosts, Handler handler)
      : address(options.address),
        options_(std::move(options)),
        hosts_(std::move(hosts)),
        handler_(std::move(handler)),
        rates_(limits().requests_per_second, limits().requests_burst) {
    CountAnswer(200, 0);
  }

  ~Impl() { io_.stop(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Status Listen() {
    const auto failed = [&](const error_code& error) {
      return Fail(ErrorKind::kInvalidArgument, "cannot listen on {}: {}", address.ToString(), error.message());
    };
    error_code error;
    const auto found = tcp::resolver(io_).resolve(address.host, std::to_string(address.port),
                                                  tcp::resolver::passive | tcp::resolver::numeric_service, error);
    if (error) return failed(error);
    for (const auto& entry : found) {
      error = Bind(entry.endpoint());
      if (!error) break;
    }
    if (error) return failed(error);
    const tcp::endpoint bound = acceptor_.local_endpoint(error);
    if (error) return failed(error);
    address.port = bound.port();
    loopback_only_ = Unmapped(bound.address()).is_loopback();
    Accept();
    return {};
  }

  void Start() {
    thread_ = std::jthread([this] {
      if (options_.niceness != 0) ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), options_.niceness);
      while (!io_.stopped()) GuardedOrLogged("the HTTP server", [this] { io_.run(); });
    });
  }

  HttpAddress address;

 private:
  [[nodiscard]] const HttpLimits& limits() const { return options_.limits; }

  error_code Bind(const tcp::endpoint& endpoint) {
    error_code error;
    acceptor_.close(error);
    acceptor_.open(endpoint.protocol(), error);
    if (error) return error;
    ::fcntl(acceptor_.native_handle(), F_SETFD, FD_CLOEXEC);
    // Not SO_REUSEPORT: with it two processes would share the port in silence.
    acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(tcp::acceptor::max_listen_connections, error);
    return error;
  }

  void Accept() {
    acceptor_.async_accept([this](const error_code& error, tcp::socket socket) {
      if (!error) {
        Open(std::move(socket));
        Accept();
      } else if (IsOutOfResources(error)) {
        log::Warn("the HTTP server cannot accept a connection", {{"error", error.message()}});
        MakePlace({});
        retry_.expires_after(kSweepInterval);
        retry_.async_wait([this](const error_code&) { Accept(); });
      } else {
        Accept();  // the client has gone already
      }
    });
  }

  void Open(tcp::socket socket) {
    error_code error;
    const tcp::endpoint remote = socket.remote_endpoint(error);
    if (error) return;
    const tcp::endpoint local = socket.local_endpoint(error);
    if (error) return;
    ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
    socket.set_option(tcp::no_delay(true), error);
    const std::string client = ClientOf(Unmapped(remote.address()));
    const auto of_client = std::ranges::count(connections_, client, [](const auto& c) { return c->client; });
    if (static_cast<size_t>(of_client) >= limits().connections_per_client_max) MakePlace(client);
    if (connections_.size() >= limits().connections_max) MakePlace({});
    auto connection = std::make_shared<Connection>(std::move(socket), limits());
    connection->client = client;
    connection->local = Unmapped(local.address()).to_string();
    connection->asked_us = MonotonicMicros();
    connection->deadline_us = connection->asked_us + limits().request_time_max_us;
    connections_.push_back(connection);
    open_.Set(static_cast<double>(connections_.size()));
    if (!sweeping_) Sweep();
    Read(connection);
  }

  // Cuts the connection, of `client` where one is named, whose last request (or whose beginning) is longest ago.
  void MakePlace(const std::string& client) {
    ConnectionPtr oldest;
    for (const ConnectionPtr& connection : connections_) {
      if (!client.empty() && connection->client != client) continue;
      if (!oldest || connection->asked_us < oldest->asked_us) oldest = connection;
    }
    if (!oldest) return;
    crowded_out_.Add();
    Cut(*oldest, Refusal(503, "too many connections"));
  }

  void Read(const ConnectionPtr& connection) {
    const std::span<char> space = connection->reader.Space();
    connection->socket.async_read_some(asio::buffer(space.data(), space.size()),
                                       [this, connection](const error_code& error, size_t count) {
                                         if (connection->closed) return;
                                         if (error) return Close(*connection);
                                         Took(connection, count);
                                       });
  }

  void Took(const ConnectionPtr& connection, size_t count) {
    if (connection->phase == Phase::kDrain) {
      connection->drained_bytes += count;
      if (connection->drained_bytes > kDrainBytesMax) return Close(*connection);
      return Read(connection);
    }
    connection->reader.Received(count);
    Advance(connection);
  }

  void Advance(const ConnectionPtr& connection) {
    switch (connection->reader.Next()) {
      case HttpRequestReader::State::kIdle:
        // Empty lines between two requests are no reason to wait longer.
        if (connection->phase == Phase::kResponse) Enter(*connection, Phase::kIdle, limits().idle_time_max_us);
        return Read(connection);
      case HttpRequestReader::State::kPartial:
        if (connection->phase != Phase::kRequest) Enter(*connection, Phase::kRequest, limits().request_time_max_us);
        return Read(connection);
      case HttpRequestReader::State::kComplete: return Answer(connection);
      case HttpRequestReader::State::kRefused: {
        const HttpRefusal& refusal = connection->reader.refusal();
        connection->keep = false;
        return Write(connection, Refusal(refusal.status, refusal.reason), true);
      }
    }
  }

  void Answer(const ConnectionPtr& connection) {
    const HttpServerRequest request = connection->reader.Take();
    connection->asked_us = MonotonicMicros();
    ++connection->requests;
    connection->keep = request.keep_alive && connection->requests < limits().requests_per_connection_max;
    const HttpServerResponse response = ResponseTo(request, *connection);
    Write(connection, response, request.method != "HEAD");
  }

  HttpServerResponse ResponseTo(const HttpServerRequest& request, Connection& connection) {
    const auto found = options_.paths.find(request.path);
    const HttpPathRule rule = found == options_.paths.end() ? HttpPathRule{} : found->second;
    if (!rates_.Take(connection.client, connection.asked_us)) {
      connection.keep = false;
      if (!rule.unlimited) return Refusal(429, "too many requests from this address");
    }
    // No page of a browser speaks HTTP/1.0 without a Host.
    const bool any_host = request.host.empty() || (rule.any_host_beyond_loopback && !loopback_only_);
    if (!any_host && !hosts_.Contains(request.host, connection.local)) {
      return Refusal(421, "the request's Host is not allowed by this server");
    }
    Result<HttpServerResponse> response =
        Guarded("the answer to " + request.path, [&]() -> Result<HttpServerResponse> { return handler_(request); });
    if (response) return std::move(*response);
    log::Error(response.error().message);
    return Refusal(500, response.error().message);
  }

  void Write(const ConnectionPtr& connection, const HttpServerResponse& response, bool with_body) {
    Enter(*connection, Phase::kResponse, limits().response_time_max_us);
    connection->response = FormatHttpResponse(response, with_body, ConnectionHeaders(*connection), NowMicros());
    CountAnswer(response.status);
    asio::async_write(connection->socket, asio::buffer(connection->response),
                      [this, connection](const error_code& error, size_t) {
                        if (connection->closed) return;
                        if (error) return Close(*connection);
                        connection->response = {};
                        connection->keep ? Advance(connection) : Drain(connection);
                      });
  }

  [[nodiscard]] std::string ConnectionHeaders(const Connection& connection) const {
    if (!connection.keep) return "Connection: close\r\n";
    return fmt::format("Connection: keep-alive\r\nKeep-Alive: timeout={}, max={}\r\n",
                       limits().idle_time_max_us / kMicrosPerSecond,
                       limits().requests_per_connection_max - connection.requests);
  }

  void Drain(const ConnectionPtr& connection) {
    error_code error;
    connection->socket.shutdown(tcp::socket::shutdown_send, error);
    if (error) return Close(*connection);
    connection->reader.Discard();
    Enter(*connection, Phase::kDrain, kDrainTimeMaxUs);
    Read(connection);
  }

  static void Enter(Connection& connection, Phase phase, int64_t time_max_us) {
    connection.phase = phase;
    connection.deadline_us = MonotonicMicros() + time_max_us;
  }

  // Closes connections whose time is over, as long as there are any.
  void Sweep() {
    sweeping_ = !connections_.empty();
    if (!sweeping_) return;
    sweep_.expires_after(kSweepInterval);
    sweep_.async_wait([this](const error_code&) {
      const int64_t now_us = MonotonicMicros();
      const auto held = connections_;  // those that are closed leave the list
      for (const ConnectionPtr& connection : held) {
        if (connection->deadline_us > now_us) continue;
        if (connection->phase == Phase::kRequest || connection->phase == Phase::kResponse) slow_.Add();
        Cut(*connection, Refusal(408, "the request timed out"));
      }
      Sweep();
    });
  }

  // Closes it; one that has sent some of a request is told why, if that can be written at once.
  void Cut(Connection& connection, const HttpServerResponse& response) {
    if (connection.phase == Phase::kRequest && connection.reader.partial()) {
      connection.keep = false;
      const std::string text = FormatHttpResponse(response, true, ConnectionHeaders(connection), NowMicros());
      error_code error;
      connection.socket.non_blocking(true, error);
      if (!error) connection.socket.write_some(asio::buffer(text), error);
      if (!error) CountAnswer(response.status);
    }
    Close(connection);
  }

  void Close(Connection& connection) {
    if (connection.closed) return;
    connection.closed = true;
    error_code ignored;  // it is gone either way
    connection.socket.close(ignored);
    std::erase_if(connections_, [&](const ConnectionPtr& other) { return other.get() == &connection; });
    open_.Set(static_cast<double>(connections_.size()));
  }

  static void CountAnswer(int status, int64_t count = 1) {
    CounterOf("k2_http_requests_total", "Requests that the HTTP server has answered.",
              {{"code", std::to_string(status)}})
        .Add(count);
  }

  HttpServerOptions options_;
  OwnHosts hosts_;
  Handler handler_;
  ClientRates rates_;
  bool loopback_only_ = true;
  bool sweeping_ = false;
  Gauge& open_ = GaugeOf("k2_http_connections", "Connections to the HTTP server that are open.");
  Counter& slow_ = CounterOf("k2_http_connections_cut_total", kCutHelp, {{"reason", "slow"}});
  Counter& crowded_out_ = CounterOf("k2_http_connections_cut_total", kCutHelp, {{"reason", "crowded_out"}});
  static constexpr const char* kCutHelp = "Connections that the HTTP server has closed early.";

  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  asio::steady_timer sweep_{io_};
  asio::steady_timer retry_{io_};
  std::list<ConnectionPtr> connections_;
  std::jthread thread_;  // last: it has ended before the others go
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

const HttpAddress& HttpServer::address() const { return impl_->address; }

Result<std::unique_ptr<HttpServer>> HttpServer::Start(HttpServerOptions options, Handler handler) {
  K2_ASSIGN(OwnHosts hosts, OwnHosts::Create(options.address.host, options.hosts));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(hosts), std::move(handler));
  K2_TRY(impl->Listen());
  impl->Start();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

}  // namespace k2::net
