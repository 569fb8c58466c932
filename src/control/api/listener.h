// Accepts connections until it is closed. The API's own thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>

namespace vern::api {

inline constexpr std::chrono::milliseconds kAcceptPause{100};  // when the process has no descriptors left

template <typename Protocol>
class Listener {
  public:
    using Socket = typename Protocol::socket;
    using Take = std::function<void(Socket)>;

    Listener(boost::asio::io_context& io, Take take) : acceptor_(io), pause_(io), take_(std::move(take)) {}
    typename Protocol::acceptor& acceptor() { return acceptor_; }

    void accept() {
        acceptor_.async_accept([this](const boost::system::error_code& error, Socket socket) {
            if (error == boost::asio::error::operation_aborted) return;
            if (!error || error == boost::asio::error::connection_aborted) {
                accept();  // first: what cannot take a client for want of memory must not be the end of it
                if (!error) take_(std::move(socket));
                return;
            }
            // The connection stays queued, and would be told of at once.
            pause_.expires_after(kAcceptPause);
            pause_.async_wait([this](const boost::system::error_code& ended) {
                if (!ended) accept();
            });
        });
    }

  private:
    typename Protocol::acceptor acceptor_;
    boost::asio::steady_timer pause_;
    Take take_;
};

}  // namespace vern::api
