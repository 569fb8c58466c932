#include "control/api/stream.h"

#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>

namespace vern::api {
namespace {

namespace net = boost::asio;
using Failure = boost::system::error_code;

template <typename Socket>
void end_sending(Socket& socket) {
    Failure ignored;
    socket.shutdown(Socket::shutdown_send, ignored);
}

template <typename Channel>
void write_both(Channel& channel, std::string_view first, std::string_view then, Stream::Done done) {
    net::async_write(channel, std::array{net::buffer(first), net::buffer(then)}, std::move(done));
}

// Nothing in between; who speaks is known from the start.
template <typename Socket>
class PlainStream final : public Stream {
  public:
    PlainStream(Socket socket, Caller caller) : socket_(std::move(socket)), caller_(std::move(caller)) {}

    void handshake(Done done) override {
        net::post(socket_.get_executor(), [done = std::move(done)] { done({}, 0); });
    }
    void read_some(net::mutable_buffer into, Done done) override {
        socket_.async_read_some(into, std::move(done));
    }
    void write(std::string_view first, std::string_view then, Done done) override {
        write_both(socket_, first, then, std::move(done));
    }
    void end_sending() override { api::end_sending(socket_); }
    void close() override {
        Failure ignored;
        socket_.close(ignored);
    }
    std::optional<Caller> caller() override { return caller_; }

  private:
    Socket socket_;
    const Caller caller_;
};

class TlsStream final : public Stream {
  public:
    TlsStream(net::ip::tcp::socket socket, SSL_CTX* context, Identify identify)
        : context_(owned(context)), channel_(std::move(socket), context_), identify_(std::move(identify)) {}

    void handshake(Done done) override {
        channel_.async_handshake(net::ssl::stream_base::server,
                                 [done = std::move(done)](const Failure& error) { done(error, 0); });
    }
    void read_some(net::mutable_buffer into, Done done) override {
        channel_.async_read_some(into, std::move(done));
    }
    void write(std::string_view first, std::string_view then, Done done) override {
        write_both(channel_, first, then, std::move(done));
    }
    void end_sending() override { api::end_sending(channel_.next_layer()); }
    void close() override {
        Failure ignored;
        channel_.next_layer().close(ignored);
    }
    std::optional<Caller> caller() override { return identify_(channel_.native_handle()); }

  private:
    // Asio's context lets go of what it is given.
    static SSL_CTX* owned(SSL_CTX* context) {
        ::SSL_CTX_up_ref(context);
        return context;
    }

    net::ssl::context context_;
    net::ssl::stream<net::ip::tcp::socket> channel_;
    const Identify identify_;
};

}  // namespace

std::unique_ptr<Stream> make_unix_stream(net::local::stream_protocol::socket socket, Caller caller) {
    return std::make_unique<PlainStream<net::local::stream_protocol::socket>>(std::move(socket),
                                                                              std::move(caller));
}

std::unique_ptr<Stream> make_tcp_stream(net::ip::tcp::socket socket, Caller caller) {
    return std::make_unique<PlainStream<net::ip::tcp::socket>>(std::move(socket), std::move(caller));
}

std::unique_ptr<Stream> make_tls_stream(net::ip::tcp::socket socket, SSL_CTX* context, Identify identify) {
    return std::make_unique<TlsStream>(std::move(socket), context, std::move(identify));
}

}  // namespace vern::api
