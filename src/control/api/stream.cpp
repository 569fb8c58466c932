#include "control/api/stream.h"

#include <openssl/err.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <limits>
#include <new>

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

// OpenSSL reads and writes the socket itself. Asio's stream would put a pair of memory BIOs and two buffers
// of its own in between, 68 KiB for a connection that says a few hundred bytes. (It writes without
// MSG_NOSIGNAL; the API's threads have all signals blocked.)
class TlsStream final : public Stream {
  public:
    using Socket = net::ip::tcp::socket;

    TlsStream(Socket socket, SSL_CTX* context, Identify identify)
        : socket_(std::move(socket)), ssl_(::SSL_new(context)), identify_(std::move(identify)) {
        socket_.non_blocking(true);
        if (!ssl_ || ::SSL_set_fd(ssl_.get(), socket_.native_handle()) != 1) throw std::bad_alloc();
        ::SSL_set_accept_state(ssl_.get());
        ::SSL_set_mode(ssl_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                       SSL_MODE_RELEASE_BUFFERS);
        // Else a call reads on over records without data (KeyUpdate) as long as they come, and this thread
        // serves nobody else. Nor is anything read ahead, so that the socket tells what there is to read.
        ::SSL_clear_mode(ssl_.get(), SSL_MODE_AUTO_RETRY);
    }

    void handshake(Done done) override {
        later([this] { return ::SSL_do_handshake(ssl_.get()); }, std::move(done));
    }
    void read_some(net::mutable_buffer into, Done done) override {
        later([this, into] { return ::SSL_read(ssl_.get(), into.data(), size_of(into.size())); },
              std::move(done));
    }
    void write(std::string_view first, std::string_view then, Done done) override {
        unsent_ = {first, then};
        if (first.size() + then.size() <= kJoinedMax) {  // one record, one packet
            joined_.assign(first).append(then);
            unsent_ = {joined_, {}};
        }
        write_rest(std::move(done));
    }
    void end_sending() override { api::end_sending(socket_); }
    void close() override {
        Failure ignored;
        socket_.close(ignored);
    }
    std::optional<Caller> caller() override { return identify_(ssl_.get()); }

  private:
    static constexpr std::size_t kJoinedMax = 8192;
    static constexpr std::size_t kPartMax = 65536;
    static constexpr std::array<std::string_view, 2> kNothing{};
    struct Free {
        void operator()(SSL* ssl) const { ::SSL_free(ssl); }
    };

    static int size_of(std::size_t bytes) {
        return static_cast<int>(std::min<std::size_t>(bytes, std::numeric_limits<int>::max()));
    }

    // A part at a time, so that a long answer leaves turns to others.
    void write_rest(Done done) {
        later([this] { return write_some(); },
              [this, done = std::move(done)](const Failure& failure, std::size_t sent) {
                  if (failure || unsent_ == kNothing) return done(failure, sent);
                  write_rest(done);
              });
    }

    int write_some() {
        std::string_view& part = unsent_[0].empty() ? unsent_[1] : unsent_[0];
        if (part.empty()) return 1;
        const int sent = ::SSL_write(ssl_.get(), part.data(), size_of(std::min(part.size(), kPartMax)));
        if (sent > 0) part.remove_prefix(static_cast<std::size_t>(sent));
        return sent;
    }

    template <typename Attempt>
    void later(Attempt attempt, Done done) {
        net::post(socket_.get_executor(), [this, attempt, done = std::move(done)]() mutable {
            proceed({}, attempt, std::move(done));
        });
    }

    // As far as it goes without waiting, and on when it goes on. A socket that is closed may be another's.
    template <typename Attempt>
    void proceed(Failure failure, Attempt attempt, Done done) {
        if (!failure && !socket_.is_open()) failure = net::error::operation_aborted;
        if (failure) return done(failure, 0);
        ::ERR_clear_error();
        const int result = attempt();
        const int why = result > 0 ? SSL_ERROR_NONE : ::SSL_get_error(ssl_.get(), result);
        if (why == SSL_ERROR_NONE) return done({}, static_cast<std::size_t>(result));
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
            return done(why == SSL_ERROR_ZERO_RETURN ? Failure(net::error::eof)
                                                     : Failure(net::error::connection_aborted),
                        0);
        socket_.async_wait(why == SSL_ERROR_WANT_READ ? Socket::wait_read : Socket::wait_write,
                           [this, attempt, done = std::move(done)](const Failure& waited) mutable {
                               proceed(waited, attempt, std::move(done));
                           });
    }

    Socket socket_;
    const std::unique_ptr<SSL, Free> ssl_;
    const Identify identify_;
    std::array<std::string_view, 2> unsent_;
    std::string joined_;
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
