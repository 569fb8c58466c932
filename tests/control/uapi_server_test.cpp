// The server over real sockets, driven turn by turn from one thread, on a clock of the test's own.
#include "control/uapi_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>

#include "control/text.h"
#include "fake_target.h"
#include "temporary_directory.h"

namespace vern {
namespace {

using test::FakeTarget;
using test::key_bytes;
using test::TemporaryDirectory;

class Client {
  public:
    explicit Client(const std::string& path)
        : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        connected = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    }
    // What the socket takes.
    std::size_t send(std::string_view text) {
        const ssize_t put = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
        return put < 0 ? 0 : static_cast<std::size_t>(put);
    }
    // What is there; sets `ended` at its end.
    std::string receive(std::size_t most = 1 << 20) {
        std::string text(most, '\0');
        const ssize_t got = ::recv(fd_.get(), text.data(), text.size(), 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) ended = true;
        text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
        return text;
    }
    void finish_sending() { ::shutdown(fd_.get(), SHUT_WR); }
    void close() { fd_.reset(); }
    bool connected = false;
    bool ended = false;

  private:
    Fd fd_;
};

class UapiServerTest : public ::testing::Test {
  protected:
    void SetUp() override { open(); }
    void open() {
        auto opened = UapiServer::open("wgt", target, -1, directory.path() + "/a/b");
        ASSERT_TRUE(opened) << opened.error().message;
        server = std::move(*opened);
    }
    // One turn of the daemon's loop. True: something happened.
    bool turn() {
        std::vector<pollfd> set;
        server->add_to(set);
        if (::poll(set.data(), set.size(), 0) <= 0) {
            server->handle(set, now);
            return false;
        }
        server->handle(set, now);
        return true;
    }
    void settle() {
        for (int i = 0; i < 100000 && turn(); ++i) {
        }
    }
    std::string ask(Client& client, std::string_view request) {
        EXPECT_EQ(client.send(request), request.size());
        settle();
        return client.receive();
    }

    TemporaryDirectory directory;
    FakeTarget target;
    std::chrono::steady_clock::time_point now{};
    std::unique_ptr<UapiServer> server;
};

TEST_F(UapiServerTest, SocketIsForItsOwnerOnly) {
    struct stat status {};
    ASSERT_EQ(::lstat(server->path().c_str(), &status), 0);
    EXPECT_TRUE(S_ISSOCK(status.st_mode));
    EXPECT_EQ(status.st_mode & 07777, 0600U);
    EXPECT_EQ(server->path(), directory.path() + "/a/b/wgt.sock");
}

TEST_F(UapiServerTest, SocketGoesWithTheServer) {
    const std::string path = server->path();
    server.reset();
    EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST_F(UapiServerTest, LiveSocketIsLeftAlone) {
    const auto second = UapiServer::open("wgt", target, -1, directory.path() + "/a/b");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, EADDRINUSE);
    EXPECT_FALSE(server->removed());
    Client client(server->path());
    EXPECT_EQ(ask(client, "get=1\n\n"), "errno=0\n\n");
}

TEST_F(UapiServerTest, StaleSocketIsReplaced) {
    const std::string path = server->path();
    const std::string kept = directory.path() + "/kept.sock";
    ASSERT_EQ(::rename(path.c_str(), kept.c_str()), 0);
    server.reset();  // its file is elsewhere now: nothing listens there
    ASSERT_EQ(::rename(kept.c_str(), path.c_str()), 0);
    open();
    Client client(path);
    EXPECT_TRUE(client.connected);
}

// wg removes a socket that refuses it: there must be no moment in which this one does.
TEST_F(UapiServerTest, TheSocketAppearsWhenItListens) {
    server.reset();
    const Fd watch(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    ASSERT_GE(::inotify_add_watch(watch.get(), (directory.path() + "/a/b").c_str(), IN_CREATE | IN_MOVED_TO),
              0);
    open();
    alignas(inotify_event) std::array<char, 4096> buffer;
    const ssize_t got = ::read(watch.get(), buffer.data(), buffer.size());
    std::uint32_t how = 0;
    for (ssize_t at = 0; at < got;) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
        if (std::string_view(event->name) == "wgt.sock") how |= event->mask;
        at += static_cast<ssize_t>(sizeof *event + event->len);
    }
    EXPECT_EQ(how, std::uint32_t{IN_MOVED_TO});
}

TEST_F(UapiServerTest, NoticesThatItsSocketWasRemoved) {
    EXPECT_FALSE(server->removed());
    settle();
    ::unlink(server->path().c_str());
    EXPECT_TRUE(turn());  // poll wakes for it
    EXPECT_TRUE(server->removed());
}

TEST_F(UapiServerTest, LeavesASocketThatIsNotItsOwn) {
    const std::string path = server->path();
    ::unlink(path.c_str());
    FakeTarget other_target;
    const auto other = UapiServer::open("wgt", other_target, -1, directory.path() + "/a/b");
    ASSERT_TRUE(other);
    EXPECT_TRUE(server->removed());
    server.reset();
    EXPECT_EQ(::access(path.c_str(), F_OK), 0);
    EXPECT_FALSE((*other)->removed());
}

TEST_F(UapiServerTest, RefusesNamesThatAreNone) {
    for (const char* name : {"", "..", "a/b", "0123456789abcdef", "a b"}) {
        EXPECT_FALSE(UapiServer::open(name, target, -1, directory.path())) << name;
    }
    EXPECT_FALSE(UapiServer::open("x", target, -1, directory.path() + "/" + std::string(100, 'd')));
}

TEST_F(UapiServerTest, AdoptsAListeningDescriptor) {
    const int copy = ::dup(server->listen_fd());
    const auto adopted = UapiServer::open("wgt", target, copy, directory.path() + "/a/b");
    ASSERT_TRUE(adopted) << adopted.error().message;
    EXPECT_NE(::fcntl(copy, F_GETFL) & O_NONBLOCK, 0);
    EXPECT_FALSE(UapiServer::open("wgt", target, ::open("/dev/null", O_RDONLY), directory.path()));
    EXPECT_FALSE(UapiServer::open("wgt", target, 9999, directory.path()));
}

TEST_F(UapiServerTest, Get) {
    target.device.listen_port = 51820;
    Client client(server->path());
    EXPECT_EQ(ask(client, "get=1\n\n"), "listen_port=51820\nerrno=0\n\n");
}

TEST_F(UapiServerTest, GetVern) {
    Client client(server->path());
    EXPECT_EQ(ask(client, "get=vern\n\n"), "{\"version\":\"0.1.0\"}\nerrno=0\n\n");
}

TEST_F(UapiServerTest, WithoutMemoryForAnAnswerItSaysSoAndGoesOn) {
    Client client(server->path());
    target.no_memory = true;
    EXPECT_EQ(ask(client, "get=1\n\n"), "errno=-12\n\n");
    EXPECT_EQ(ask(client, "get=vern\n\n"), "errno=-12\n\n");
    target.no_memory = false;
    EXPECT_EQ(ask(client, "get=1\n\n"), "errno=0\n\n");
}

TEST_F(UapiServerTest, SetThenGetOnOneConnection) {
    Client client(server->path());
    EXPECT_EQ(ask(client, "set=1\nlisten_port=7\nfwmark=8\n\n"), "errno=0\n\n");
    EXPECT_EQ(ask(client, "set=1\n\n"), "errno=0\n\n");
    EXPECT_EQ(ask(client, "get=1\n\n"), "listen_port=7\nfwmark=8\nerrno=0\n\n");
    EXPECT_EQ(target.changes, 2);
}

TEST_F(UapiServerTest, RequestsSentTogetherAreAnsweredInOrder) {
    Client client(server->path());
    std::string requests, expected;
    for (int i = 1; i <= 500; ++i) {
        requests += "set=1\nlisten_port=" + std::to_string(i) + "\n\nget=1\n\n";
        expected += "errno=0\n\nlisten_port=" + std::to_string(i) + "\nerrno=0\n\n";
    }
    std::string answers;
    ASSERT_EQ(client.send(requests), requests.size());
    while (answers.size() < expected.size()) {
        const bool busy = turn();
        const std::string more = client.receive();
        ASSERT_TRUE(busy || !more.empty());
        answers += more;
    }
    EXPECT_EQ(answers, expected);
}

TEST_F(UapiServerTest, EveryByteAlone) {
    Client client(server->path());
    const std::string requests = "set=1\nprivate_key=" + std::string(64, '1') +
                                 "\npublic_key=" + std::string(64, '2') +
                                 "\nallowed_ip=10.0.0.0/8\n\nget=1\n\n";
    std::string answers;
    for (const char c : requests) answers += ask(client, std::string_view(&c, 1));
    EXPECT_EQ(answers.find("errno=0\n\nprivate_key="), 0U) << answers;
    EXPECT_TRUE(answers.ends_with("allowed_ip=10.0.0.0/8\nerrno=0\n\n")) << answers;
}

TEST_F(UapiServerTest, WrongSetChangesNothingAndTheConnectionGoesOn) {
    Client client(server->path());
    EXPECT_EQ(ask(client, "set=1\nlisten_port=7\nfwmark=x\n\n"), "errno=-22\n\n");
    EXPECT_EQ(target.changes, 0);
    EXPECT_EQ(target.device.listen_port, 0);
    ASSERT_EQ(target.refusals.size(), 1U);
    EXPECT_EQ(target.refusals[0], "UAPI set: line 2: fwmark: not a number from 0 to 4294967295");
    EXPECT_EQ(ask(client, "get=1\n\n"), "errno=0\n\n");
}

TEST_F(UapiServerTest, TargetsErrorIsTheAnswer) {
    Client client(server->path());
    target.refusal = Error{.message = "port taken", .code = EADDRINUSE};
    EXPECT_EQ(ask(client, "set=1\nlisten_port=7\n\n"), "errno=-98\n\n");
    EXPECT_EQ(target.refusals.at(0), "UAPI set: port taken");
    target.refusal.code = 0;  // must not read as success
    EXPECT_EQ(ask(client, "set=1\nlisten_port=7\n\n"), "errno=-22\n\n");
}

TEST_F(UapiServerTest, WhatIsNotOfTheProtocolEndsTheConnection) {
    for (const std::string request :
         {"foo=1\n\n", "\n", "get=2\n\n", "get=1\nx=y\n\n", "GET / HTTP/1.1\r\n\r\n\n\n", "set=1 \n\n"}) {
        Client client(server->path());
        EXPECT_EQ(ask(client, request), "errno=-71\n\n") << request;
        client.receive();
        EXPECT_TRUE(client.ended) << request;
    }
    EXPECT_EQ(target.changes, 0);
}

TEST_F(UapiServerTest, SetCutOffByTheEndIsNotApplied) {
    Client client(server->path());
    client.send("set=1\nlisten_port=7\n");
    client.finish_sending();
    settle();
    client.receive();
    EXPECT_TRUE(client.ended);
    EXPECT_EQ(target.changes, 0);
    EXPECT_EQ(target.refusals.size(), 1U);
}

TEST_F(UapiServerTest, HalfClosedClientGetsItsAnswers) {
    Client client(server->path());
    client.send("set=1\nlisten_port=7\n\nget=1\n\n");
    client.finish_sending();
    settle();
    EXPECT_EQ(client.receive(), "errno=0\n\nlisten_port=7\nerrno=0\n\n");
    client.receive();
    EXPECT_TRUE(client.ended);
}

TEST_F(UapiServerTest, LongLineIsRefusedWithoutItsEnd) {
    Client client(server->path());
    EXPECT_EQ(ask(client, "set=1\nfwmark=" + std::string(kUapiLineBytesMax, '1')), "errno=-90\n\n");
    client.receive();
    EXPECT_TRUE(client.ended);
}

TEST_F(UapiServerTest, LineOfTheLargestSizeIsRead) {
    Client client(server->path());
    std::string line = "fwmark=";
    line.append(kUapiLineBytesMax - line.size(), '1');
    EXPECT_EQ(ask(client, "set=1\n" + line + "\n\n"), "errno=-22\n\n");
    line += '1';
    EXPECT_EQ(ask(client, "set=1\n" + line + "\n\n"), "errno=-90\n\n");
}

TEST_F(UapiServerTest, RequestWithoutEndIsRefusedAtTheLimit) {
    Client client(server->path());
    std::string lines;
    while (lines.size() < (1 << 16)) lines += "listen_port=1\n";
    client.send("set=1\n");
    // All that is sent is sent by whole lines, or by what the socket takes of them.
    std::size_t sent = 6, offset = 0;
    while (!client.ended && sent < kUapiRequestBytesMax + (8 << 20)) {
        const std::size_t put = client.send(std::string_view(lines).substr(offset));
        offset = (offset + put) % lines.size();
        sent += put;
        turn();
        if (sent > kUapiRequestBytesMax && client.receive() == "errno=-90\n\n") break;
    }
    EXPECT_GT(sent, kUapiRequestBytesMax);
    EXPECT_LT(sent, kUapiRequestBytesMax + (8 << 20));
    EXPECT_EQ(target.changes, 0);
}

TEST_F(UapiServerTest, SlowReaderHoldsUpNobody) {
    for (unsigned i = 0; i < 10000; ++i) target.device.peers.emplace_back().public_key.bytes = key_bytes(i);
    Client slow(server->path());
    slow.send("get=1\n\nget=1\n\n");
    settle();
    Client quick(server->path());
    EXPECT_EQ(ask(quick, "set=1\nreplace_peers=true\n\n"), "errno=0\n\n");
    // The first answer is as of its time and arrives whole; the second is made only when the first has been
    // taken.
    std::string first;
    while (!first.ends_with("errno=0\n\n")) {
        first += slow.receive(1000);
        turn();
        ASSERT_FALSE(slow.ended);
    }
    const auto end = first.find("errno=0\n\n");
    const auto status = parse_uapi_get(first.substr(0, end));
    ASSERT_TRUE(status);
    EXPECT_EQ(status->peers.size(), 10000U);
    std::string second = first.substr(end + 9);
    if (second.empty()) {
        settle();
        second = slow.receive();
    }
    EXPECT_EQ(second, "errno=0\n\n");
}

TEST_F(UapiServerTest, ClientThatGoesAwayInTheMiddleOfAnAnswer) {
    for (unsigned i = 0; i < 10000; ++i) target.device.peers.emplace_back().public_key.bytes = key_bytes(i);
    Client client(server->path());
    client.send("get=1\n\n");
    settle();
    client.close();
    settle();
    Client next(server->path());
    EXPECT_EQ(ask(next, "set=1\n\n"), "errno=0\n\n");
    EXPECT_EQ(server->next_deadline(), now + kUapiIdleMax);
}

TEST_F(UapiServerTest, IdleClientIsCutOff) {
    EXPECT_EQ(server->next_deadline(), std::chrono::steady_clock::time_point::max());
    Client client(server->path());
    settle();
    EXPECT_EQ(server->next_deadline(), now + kUapiIdleMax);
    now += kUapiIdleMax / 2;
    client.send("set=1\n");
    settle();
    EXPECT_EQ(server->next_deadline(), now + kUapiIdleMax);
    now += kUapiIdleMax - std::chrono::milliseconds(1);
    settle();
    client.receive();
    EXPECT_FALSE(client.ended);
    now += std::chrono::milliseconds(1);
    settle();
    client.receive();
    EXPECT_TRUE(client.ended);
    EXPECT_EQ(server->next_deadline(), std::chrono::steady_clock::time_point::max());
}

TEST_F(UapiServerTest, OneClientTooManyTakesThePlaceOfTheIdlest) {
    std::vector<std::unique_ptr<Client>> clients;
    for (std::size_t i = 0; i < kUapiClientsMax; ++i) {
        clients.push_back(std::make_unique<Client>(server->path()));
        settle();
        now += std::chrono::milliseconds(1);
    }
    EXPECT_EQ(ask(*clients[0], "set=1\n\n"),
              "errno=0\n\n");  // the first is busy, so the second is the idlest
    Client late(server->path());
    EXPECT_EQ(ask(late, "get=1\n\n"), "errno=0\n\n");
    clients[1]->receive();
    EXPECT_TRUE(clients[1]->ended);
    for (std::size_t i = 0; i < kUapiClientsMax; ++i) {
        if (i == 1) continue;
        EXPECT_EQ(ask(*clients[i], "get=1\n\n"), "errno=0\n\n") << i;
    }
}

TEST_F(UapiServerTest, ManyClientsAtOnce) {
    for (int round = 0; round < 20; ++round) {
        std::vector<std::unique_ptr<Client>> clients;
        for (std::size_t i = 0; i < kUapiClientsMax; ++i)
            clients.push_back(std::make_unique<Client>(server->path()));
        for (auto& client : clients) client->send("set=1\nfwmark=");
        settle();
        for (auto& client : clients) client->send("5\n\n");
        settle();
        for (auto& client : clients) EXPECT_EQ(client->receive(), "errno=0\n\n");
        clients.clear();
        settle();
    }
    EXPECT_EQ(target.changes, 20 * static_cast<int>(kUapiClientsMax));
}

TEST_F(UapiServerTest, RestsWhenThereAreNoDescriptorsLeft) {
    Client client(server->path());
    settle();
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    Client waiting(server->path());
    rlimit none = before;
    none.rlim_cur = 0;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    std::vector<pollfd> set;
    server->add_to(set);
    set[0].revents = POLLIN;  // poll itself would be refused under this limit
    server->handle(set, now);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_FALSE(turn());  // nothing is polled that would spin
    EXPECT_LT(server->next_deadline(), now + std::chrono::seconds(1));
    now = server->next_deadline();
    turn();
    settle();
    EXPECT_EQ(ask(waiting, "get=1\n\n"), "errno=0\n\n");
}

}  // namespace
}  // namespace vern
