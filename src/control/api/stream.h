// What a session speaks over: a Unix socket, or TLS over TCP. The API's own thread only. Of each kind of
// operation one at a time; `done` is called later, never from inside the call, and not after the stream is
// gone.
#pragma once

#include <openssl/ssl.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "control/api/access.h"

namespace vern::api {

class Stream {
  public:
    using Done = std::function<void(const boost::system::error_code& error, std::size_t bytes)>;

    virtual ~Stream() = default;
    virtual void handshake(Done done) = 0;
    virtual void read_some(boost::asio::mutable_buffer into, Done done) = 0;
    // All of both. They must stay until `done`.
    virtual void write(std::string_view first, std::string_view then, Done done) = 0;
    virtual void end_sending() = 0;  // the other side reads what was written, and then the end
    virtual void close() = 0;
    // Who speaks, and what he may now. Nothing: nobody who may.
    virtual std::optional<Caller> caller() = 0;
};

std::unique_ptr<Stream> make_unix_stream(boost::asio::local::stream_protocol::socket socket, Caller caller);
std::unique_ptr<Stream> make_tcp_stream(boost::asio::ip::tcp::socket socket, Caller caller);

// `identify`: who has shown his certificate, and what that is worth now; asked again for each request.
using Identify = std::function<std::optional<Caller>(SSL*)>;
std::unique_ptr<Stream> make_tls_stream(boost::asio::ip::tcp::socket socket, SSL_CTX* context,
                                        Identify identify);

}  // namespace vern::api
