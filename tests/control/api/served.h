// A server of the control API in a directory of the test's own, a thread in the place of the control thread,
// and a client that sends whatever bytes it is told to.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <thread>

#include "../temporary_directory.h"
#include "control/api/server.h"
#include "control/json.h"
#include "dataplane/io/fd.h"

namespace vern::api::test {

inline constexpr std::chrono::seconds kSoon{20};  // on a busy machine, under sanitizers

// Polls until it holds, or the test has failed.
template <typename Condition>
bool wait_until(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + kSoon;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

struct Reply {
    unsigned status = 0;
    std::string head, body;
    std::string code() const {
        const auto parsed = nlohmann::json::parse(body, nullptr, false);
        return parsed.is_object() ? parsed.value("code", "") : "";
    }
};

// A connection over TCP that has not said anything yet, from an address of loopback's.
inline Fd dial(std::uint16_t port, const char* from = "127.0.0.1") {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    EXPECT_EQ(::inet_pton(AF_INET, from, &address.sin_addr), 1);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const timeval patience{kSoon.count(), 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

class RawClient {
  public:
    explicit RawClient(Fd fd) : fd_(std::move(fd)), connected_(true) {}
    explicit RawClient(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        connected_ = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
        const timeval patience{kSoon.count(), 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    }
    bool connected() const { return connected_; }
    int fd() const { return fd_.get(); }

    // False: the other side is gone.
    bool send(std::string_view text) {
        while (!text.empty()) {
            const ssize_t put = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
            if (put <= 0) return false;
            text.remove_prefix(static_cast<std::size_t>(put));
        }
        return true;
    }
    void finish() { ::shutdown(fd_.get(), SHUT_WR); }
    // Until `text` has come or the connection has ended; takes it and what is before it.
    std::string read_past(std::string_view text) {
        std::size_t found = 0;
        while ((found = input_.find(text)) == std::string::npos) {
            if (!fill()) return {};
        }
        std::string taken = input_.substr(0, found + text.size());
        input_.erase(0, taken.size());
        return taken;
    }
    // Status 0: there was none.
    Reply reply(bool with_body = true) {
        Reply reply{.status = 0, .head = read_past("\r\n\r\n"), .body = {}};
        if (reply.head.size() < 12) return reply;
        reply.status = static_cast<unsigned>(std::stoul(reply.head.substr(9, 3)));
        const auto at = reply.head.find("Content-Length: ");
        const std::size_t length = at == std::string::npos ? 0 : std::stoul(reply.head.substr(at + 16));
        while (with_body && input_.size() < length && fill()) {
        }
        reply.body = input_.substr(0, with_body ? length : 0);
        input_.erase(0, reply.body.size());
        return reply;
    }
    Reply ask(std::string_view text) { return send(text), reply(); }
    // Nothing more comes, not even a byte.
    bool ended() { return input_.empty() && !fill(); }

  private:
    bool fill() {
        std::array<char, 65536> chunk;
        const ssize_t got = ::recv(fd_.get(), chunk.data(), chunk.size(), 0);
        if (got <= 0) return false;
        input_.append(chunk.data(), static_cast<std::size_t>(got));
        return true;
    }

    Fd fd_;
    bool connected_ = false;
    std::string input_;
};

// The control thread's poll loop.
template <typename Answering>
class ControlThread {
  public:
    explicit ControlThread(Answering& server) : server_(server), stop_(::eventfd(0, EFD_CLOEXEC)) {
        thread_ = std::thread([this] {
            std::vector<pollfd> set;
            for (;;) {
                set.assign(1, {.fd = stop_.get(), .events = POLLIN, .revents = 0});
                server_.add_to(set);
                ::poll(set.data(), set.size(), -1);
                if (set[0].revents != 0) return;
                server_.handle(set);
            }
        });
    }
    ~ControlThread() {
        const std::uint64_t one = 1;
        EXPECT_EQ(::write(stop_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
        thread_.join();
    }

  private:
    Answering& server_;
    Fd stop_;
    std::thread thread_;
};

// Routes that show what came of a request.
inline void add_test_routes(Router& router) {
    const auto echo = [](const Request& request) {
        nlohmann::json query = nlohmann::json::object();
        for (const auto& [name, value] : request.target.query) query[name] = value;
        return json_response({{"method", name_of(request.method)},
                              {"path", request.target.path},
                              {"query", query},
                              {"bytes", request.body.size()},
                              {"by", request.caller.name}});
    };
    router.add(Method::get, "/echo", Role::read, echo);
    router.add(Method::put, "/echo", Role::write, echo, 1 << 20);
    router.add(Method::remove, "/things/{name}", Role::write, echo);
    router.add(Method::get, "/large", Role::read,
               [](const Request&) { return json_response(std::string(std::size_t{8} << 20, 'x')); });
    router.add(Method::get, "/throws", Role::read,
               [](const Request&) -> Response { throw std::runtime_error("as it should"); });
    router.add_events("/events", Role::read);
}

class Served : public testing::Test {
  protected:
    Served() { add_test_routes(router); }
    ~Served() override { control.reset(); }

    void serve(const Limits& limits = {}, Access access = {.writers = {}, .readers = {}, .own = ::geteuid()},
               bool with_control = true) {
        control.reset();
        server.reset();
        auto opened = Server::open("wg0", router, access, limits, directory.path());
        ASSERT_TRUE(opened) << opened.error().message;
        server = std::move(*opened);
        server->start();
        if (with_control) control.emplace(*server);
    }
    std::string path() const { return directory.path() + "/wg0.sock"; }
    RawClient client() const { return RawClient(path()); }
    static std::string get(std::string_view target, std::string_view more = "") {
        return "GET " + std::string(target) + " HTTP/1.1\r\nHost: x\r\n" + std::string(more) + "\r\n";
    }
    static std::string put(std::string_view target, std::size_t bytes, std::string_view more = "") {
        return "PUT " + std::string(target) +
               " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(bytes) + "\r\n" +
               std::string(more) + "\r\n";
    }

    vern::test::TemporaryDirectory directory;
    Router router;
    std::unique_ptr<Server> server;
    std::optional<ControlThread<Server>> control;  // goes before the server
};

}  // namespace vern::api::test
