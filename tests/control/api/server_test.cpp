#include "control/api/server.h"

#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "control/api/client.h"
#include "control/log.h"
#include "served.h"

namespace vern::api::test {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

class ServerTest : public Served {
  protected:
    ServerTest() { set_log_level(LogLevel::silent); }
};

TEST_F(ServerTest, AnswersAndKeepsTheConnection) {
    serve();
    auto one = client();
    for (int i = 0; i < 3; ++i) {
        const Reply reply = one.ask(get("/echo?a=b%20c"));
        EXPECT_EQ(reply.status, 200u);
        const json body = json::parse(reply.body);
        EXPECT_EQ(body["path"], json::array({"echo"}));
        EXPECT_EQ(body["query"], json({{"a", "b c"}}));
        EXPECT_EQ(body["by"], "uid " + std::to_string(::geteuid()));
    }
    EXPECT_EQ(one.ask(get("/echo", "Connection: close\r\n")).status, 200u);
    EXPECT_TRUE(one.ended());
}

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInTheirOrder) {
    serve();
    auto one = client();
    one.send(get("/echo?n=1") + put("/echo?n=2", 5) + "12345" + get("/nothing") + get("/echo?n=4"));
    EXPECT_EQ(json::parse(one.reply().body)["query"]["n"], "1");
    EXPECT_EQ(json::parse(one.reply().body)["bytes"], 5);
    EXPECT_EQ(one.reply().status, 404u);
    EXPECT_EQ(json::parse(one.reply().body)["query"]["n"], "4");
}

TEST_F(ServerTest, ARequestMayComeByteByByteAndItsAnswerGoTheSameWay) {
    serve();
    auto one = client();
    for (const char c : put("/echo", 3) + "abc") ASSERT_TRUE(one.send(std::string(1, c)));
    EXPECT_EQ(json::parse(one.reply().body)["bytes"], 3);
    // An answer larger than any buffer of the socket, read piece by piece.
    const Reply large = one.ask(get("/large"));
    EXPECT_EQ(large.body.size(), (std::size_t{8} << 20) + 3);
}

TEST_F(ServerTest, AHalfClosedClientGetsItsAnswer) {
    serve();
    auto one = client();
    one.send(put("/echo", 3) + "abc");
    one.finish();
    EXPECT_EQ(one.reply().status, 200u);
    EXPECT_TRUE(one.ended());
    auto cut = client();
    cut.send(put("/echo", 3) + "ab");
    cut.finish();
    EXPECT_TRUE(cut.ended());
}

TEST_F(ServerTest, HeadersHaveALimit) {
    serve();
    auto fits = client();
    EXPECT_EQ(fits.ask(get("/echo", "X: " + std::string(15'000, 'x') + "\r\n")).status, 200u);
    auto one = client();
    const Reply reply = one.ask(get("/echo", "X: " + std::string(100'000, 'x') + "\r\n"));
    EXPECT_EQ(reply.status, 431u);
    EXPECT_EQ(reply.code(), "header-too-large");
    auto many = client();
    std::string fields;
    for (int i = 0; i < 5000; ++i) fields += "A" + std::to_string(i) + ": b\r\n";
    many.send("GET /echo HTTP/1.1\r\n");
    EXPECT_EQ(many.ask(fields).status, 431u);
    auto line = client();
    EXPECT_EQ(line.ask("GET /" + std::string(100'000, 'a')).status, 431u);
}

TEST_F(ServerTest, BodiesHaveALimitOfTheirRoute) {
    serve();
    auto one = client();
    EXPECT_EQ(json::parse(one.ask(put("/echo", 1 << 20) + std::string(1 << 20, 'x')).body)["bytes"], 1 << 20);
    // Refused before it is read; the client that sends all of it all the same sees why.
    auto large = client();
    const Reply reply = large.ask(put("/echo", (1 << 20) + 1) + std::string((1 << 20) + 1, 'x'));
    EXPECT_EQ(reply.status, 413u);
    EXPECT_EQ(reply.code(), "body-too-large");
    for (const char* length : {"18446744073709551615", "18446744073709551616", "-1", "1x", ""}) {
        auto odd = client();
        const unsigned status =
            odd.ask("PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::string(length) + "\r\n\r\n")
                .status;
        EXPECT_TRUE(status == 400 || status == 413) << length << " " << status;
    }
}

TEST_F(ServerTest, AllBodiesTogetherHaveALimit) {
    serve({.bodies_bytes_max = 1 << 20});
    auto one = client(), other = client();
    one.send(put("/echo", 1 << 19));  // and nothing of it
    ASSERT_TRUE(wait_until([&] {
        auto probe = client();
        return probe.ask(put("/echo", 1 << 20) + std::string(1 << 20, 'x')).status == 503;
    }));
    EXPECT_EQ(other.ask(put("/echo", 1 << 19) + std::string(1 << 19, 'x')).status, 200u);
    one.send(std::string(1 << 19, 'x'));
    EXPECT_EQ(one.reply().status, 200u);
    EXPECT_EQ(one.ask(put("/echo", 1 << 20) + std::string(1 << 20, 'x')).status, 200u);
}

TEST_F(ServerTest, AnAnswerThatIsHeldHoldsNoBody) {
    router.add(
        Method::put, "/held", Role::write,
        [](const Request&) {
            Response response;
            response.later = [] { return json_response("at last"); };
            return response;
        },
        1 << 20);
    router.add(Method::put, "/release", Role::write, [this](const Request&) {
        server->release();
        return json_response(1);
    });
    serve({.bodies_bytes_max = 1 << 20});
    auto one = client(), other = client();
    one.send(put("/held", 1 << 20) + std::string(1 << 20, 'x'));
    EXPECT_TRUE(wait_until([&] {
        auto probe = client();
        return probe.ask(put("/echo", 1 << 20) + std::string(1 << 20, 'x')).status == 200;
    }));
    EXPECT_EQ(other.ask(put("/release", 0)).status, 200u);
    EXPECT_EQ(one.reply().body, "\"at last\"\n");
    EXPECT_EQ(one.ask(put("/echo", 1 << 20) + std::string(1 << 20, 'x')).status, 200u);
}

TEST_F(ServerTest, WrongMethodsAreTold) {
    serve();
    auto one = client();
    const Reply reply = one.ask("POST /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(reply.status, 405u);
    EXPECT_NE(reply.head.find("Allow: GET, PUT\r\n"), std::string::npos);
    EXPECT_EQ(one.ask("BREW /echo HTTP/1.1\r\nHost: x\r\n\r\n").status, 405u);
    one.send("HEAD /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(one.reply(false).status, 405u);
    EXPECT_EQ(json::parse(one.ask("DELETE /things/a HTTP/1.1\r\nHost: x\r\n\r\n").body)["path"],
              json::array({"things", "a"}));
    EXPECT_EQ(one.ask("DELETE /things HTTP/1.1\r\nHost: x\r\n\r\n").status, 404u);
}

TEST_F(ServerTest, WhatIsNoRequestEndsTheConnection) {
    serve();
    for (const std::string& wrong :
         {std::string("\r\n\r\n"), std::string("hello\r\n\r\n"), std::string("GET /echo\r\n\r\n"),
          std::string("GET /echo HTTP/2.0\r\n\r\n"), std::string("GET  /echo HTTP/1.1\r\nHost: x\r\n\r\n"),
          std::string("GET /echo HTTP/1.1\r\nHost : x\r\n\r\n"), std::string("GET /echo HTTP/1.1\r\n\r\n"),
          std::string("GET /echo HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
          std::string("GET /echo HTTP/1.1\nHost: x\n\n"),
          std::string("PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na"),
          std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 15)}) {
        auto one = client();
        one.send(wrong);
        one.finish();
        EXPECT_EQ(one.reply().status, 400u) << wrong;
        EXPECT_TRUE(one.ended());
    }
}

TEST_F(ServerTest, BodiesHaveALengthAndNoOtherFraming) {
    serve();
    for (const char* framing : {"Transfer-Encoding: chunked\r\n", "Transfer-Encoding: identity\r\n",
                                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"}) {
        auto one = client();
        const Reply reply = one.ask("PUT /echo HTTP/1.1\r\nHost: x\r\n" + std::string(framing) +
                                    "\r\n3\r\nabc\r\n0\r\n\r\n" + get("/echo"));
        EXPECT_TRUE(reply.status == 411 || reply.status == 400) << framing;
        EXPECT_TRUE(one.ended()) << framing;  // what came behind is no request
    }
}

TEST_F(ServerTest, WebPagesHaveNoWord) {
    serve();
    auto one = client();
    const Reply reply = one.ask(get("/echo", "Origin: https://example.org\r\n"));
    EXPECT_EQ(reply.status, 403u);
    EXPECT_EQ(reply.code(), "browser");
}

TEST_F(ServerTest, AClientThatWaitsForContinueIsTold) {
    serve();
    auto one = client();
    one.send(put("/echo", 3, "Expect: 100-continue\r\n"));
    EXPECT_EQ(one.read_past("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    EXPECT_EQ(json::parse(one.ask("abc").body)["bytes"], 3);
    EXPECT_EQ(one.ask(put("/echo", 10 << 20, "Expect: 100-continue\r\n")).status, 413u);
}

TEST_F(ServerTest, TargetsWithTwoMeaningsAreRefused) {
    serve();
    auto one = client();
    for (const char* target : {"/%2e%2e/echo", "/../echo", "/./echo", "/echo/", "//echo", "/echo%00",
                               "/echo%2", "/echo%zz", "/things%2fecho", "/echo?a=%0a", "/echo?a=1&a=2",
                               "/echo?&", "/echo?=1", "http://x/echo", "*", "/echo#x", "/echo?a=\"b\""}) {
        const Reply reply = one.ask(get(target));
        EXPECT_EQ(reply.status, 400u) << target;
    }
    EXPECT_EQ(one.ask(get("/%65cho")).status, 200u);
}

TEST_F(ServerTest, SlowClientsAreCut) {
    serve({.request = milliseconds(150)});
    auto header = client(), body = client();
    header.send("GET /echo HT");
    body.send(put("/echo", 100) + "a");
    EXPECT_TRUE(header.ended());
    EXPECT_TRUE(body.ended());
    EXPECT_EQ(server->counts().timeouts, 2u);
    // Nor does it help to send something now and then.
    auto trickle = client();
    const auto began = std::chrono::steady_clock::now();
    while (trickle.send("a") && std::chrono::steady_clock::now() - began < kSoon)
        std::this_thread::sleep_for(milliseconds(10));
    EXPECT_EQ(server->counts().timeouts, 3u);
}

TEST_F(ServerTest, WhoAsksInALoopWaitsForHisTurnWhateverHeAsks) {
    serve({.requests_a_second = 20, .requests_at_once = 2});
    auto one = client(), other = client();
    const auto began = std::chrono::steady_clock::now();
    EXPECT_EQ(one.ask(get("/echo")).status, 200u);
    EXPECT_EQ(other.ask(get("/nothing")).status, 404u);
    one.send(get("/echo") + get("/nothing"));
    EXPECT_EQ(one.reply().status, 200u);
    EXPECT_EQ(one.reply().status, 404u);
    EXPECT_GE(std::chrono::steady_clock::now() - began, milliseconds(100));
}

TEST_F(ServerTest, IdleClientsGo) {
    serve({.idle = milliseconds(100)});
    auto one = client();
    EXPECT_EQ(one.ask(get("/echo")).status, 200u);
    EXPECT_TRUE(one.ended());
    EXPECT_EQ(server->counts().timeouts, 0u);
    EXPECT_TRUE(wait_until([&] { return server->counts().connections == 0; }));
}

TEST_F(ServerTest, WhoDoesNotReadIsCut) {
    serve({.answer = milliseconds(150)});
    auto one = client();
    one.send(get("/large"));
    EXPECT_TRUE(wait_until([&] { return server->counts().timeouts == 1; }));
    EXPECT_TRUE(wait_until([&] { return server->counts().connections == 0; }));
    auto other = client();
    EXPECT_EQ(other.ask(get("/echo")).status, 200u);
}

TEST_F(ServerTest, AnswersHaveALimitAloneAndTogether) {
    serve({.answer_bytes_max = 1 << 20});
    auto one = client();
    EXPECT_EQ(one.ask(get("/large")).code(), "answer-too-large");
    serve({.answers_bytes_max = std::size_t{12} << 20});
    auto slow = client(), other = client();
    slow.send(get("/large"));
    ASSERT_TRUE(wait_until([&] { return other.ask(get("/large")).status == 503; }));
    EXPECT_EQ(slow.reply().body.size(), (std::size_t{8} << 20) + 3);
    EXPECT_TRUE(wait_until([&] { return other.ask(get("/large")).status == 200; }));
}

TEST_F(ServerTest, ConnectionsHaveALimit) {
    serve({.of_caller_max = 3});
    std::vector<RawClient> some;
    some.reserve(3);
    for (int i = 0; i < 3; ++i) some.push_back(client());
    for (RawClient& one : some) EXPECT_EQ(one.ask(get("/echo")).status, 200u);
    auto over = client();
    EXPECT_TRUE(over.ended());
    EXPECT_EQ(server->counts().connections_refused, 1u);
    some.pop_back();
    EXPECT_TRUE(wait_until([&] { return client().ask(get("/echo")).status == 200; }));
}

TEST_F(ServerTest, ABusyControlThreadHoldsUpAnswersAndNothingElse) {
    serve({.jobs_max = 2}, {.writers = {}, .readers = {}, .own = ::geteuid()}, false);
    auto first = client(), second = client();
    first.send(get("/echo?n=1"));
    second.send(get("/echo?n=2"));
    ASSERT_TRUE(wait_until([&] {
        auto probe = client();
        probe.send(get("/echo?n=3"));
        pollfd answer{.fd = probe.fd(), .events = POLLIN, .revents = 0};
        return ::poll(&answer, 1, 50) == 1 && probe.reply().status == 503;
    }));
    auto third = client();
    const Reply busy = third.ask(get("/echo"));
    EXPECT_EQ(busy.code(), "busy");
    EXPECT_NE(busy.head.find("Retry-After: 1\r\n"), std::string::npos);
    EXPECT_EQ(third.ask(get("/nothing")).status, 404u);
    // A probe may have taken a place, and is gone; that its answer has nobody to go to hurts nobody.
    control.emplace(*server);
    int answered = 0;
    for (RawClient* one : {&first, &second}) answered += one->reply().status == 200;
    EXPECT_GE(answered, 1);
    EXPECT_EQ(third.ask(get("/echo")).status, 200u);
}

TEST_F(ServerTest, AHandlerThatThrowsIsAnAnswer) {
    serve();
    auto one = client();
    const Reply reply = one.ask(get("/throws"));
    EXPECT_EQ(reply.status, 500u);
    EXPECT_EQ(reply.body.find("as it should"), std::string::npos);
    EXPECT_EQ(one.ask(get("/echo")).status, 200u);
}

TEST_F(ServerTest, EventsComeInOrderToAllWhoListen) {
    serve({.heartbeat = milliseconds(50)});
    auto one = client(), other = client();
    for (RawClient* listener : {&one, &other}) {
        listener->send(get("/events"));
        EXPECT_NE(listener->read_past("\r\n\r\n").find("text/event-stream"), std::string::npos);
        EXPECT_EQ(listener->read_past(":\n\n"), ":\n\n");
    }
    EXPECT_EQ(server->counts().event_clients, 2u);
    server->publish("a.b", [] { return nlohmann::json{{"n", "x\ny"}}; });
    server->publish("c", [] { return 2; });
    for (RawClient* listener : {&one, &other}) {
        EXPECT_TRUE(listener->read_past("id: 1\n").ends_with("id: 1\n"));
        EXPECT_EQ(listener->read_past("\n\n"), "event: a.b\ndata: {\"n\":\"x\\ny\"}\n\n");
        EXPECT_TRUE(listener->read_past("event: c\ndata: 2\n\n").ends_with("data: 2\n\n"));
        EXPECT_EQ(listener->read_past(":\n\n"), ":\n\n");  // a sign of life
    }
    one.finish();
    EXPECT_TRUE(wait_until([&] { return server->counts().event_clients == 1; }));
}

TEST_F(ServerTest, AListenerThatIsTooSlowIsCut) {
    serve({.event_clients_max = 2, .events_queued_max = 16});
    auto slow = client(), quick = client();
    for (RawClient* listener : {&slow, &quick}) {
        listener->send(get("/events"));
        EXPECT_FALSE(listener->read_past(":\n\n").empty());
    }
    auto third = client();
    EXPECT_EQ(third.ask(get("/events?x=1")).status, 400u);
    EXPECT_EQ(third.ask(get("/events")).status, 503u);
    const std::string large(10'000, 'x');
    for (int n = 0; n < 400 && server->counts().event_clients_cut == 0; ++n) {
        server->publish("e", [&] { return nlohmann::json{{"n", n}, {"more", large}}; });
        EXPECT_FALSE(quick.read_past("\"n\":" + std::to_string(n) + "}").empty());
    }
    EXPECT_EQ(server->counts().event_clients_cut, 1u);
    EXPECT_EQ(server->counts().event_clients, 1u);
}

TEST_F(ServerTest, EndsWithClientsInEveryState) {
    serve({.jobs_max = 1}, {.writers = {}, .readers = {}, .own = ::geteuid()}, false);
    auto idle = client(), half = client(), body = client(), waiting = client(), refused = client(),
         listening = client();
    half.send("GET /ec");
    body.send(put("/echo", 100));
    listening.send(get("/events"));
    EXPECT_FALSE(listening.read_past(":\n\n").empty());
    EXPECT_EQ(refused.ask("x\r\n\r\n").status, 400u);
    waiting.send(get("/echo"));
    ASSERT_TRUE(wait_until([&] {
        std::vector<pollfd> set;
        server->add_to(set);
        return ::poll(set.data(), set.size(), 0) == 1;
    }));
    server.reset();
    for (RawClient* one : {&idle, &half, &body, &waiting, &refused, &listening}) EXPECT_TRUE(one->ended());
    EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(ServerTest, ALiveSocketStaysAndAStaleOneGoes) {
    serve();
    const auto second = Server::open("wg0", router, {}, {}, directory.path());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, EADDRINUSE);
    EXPECT_EQ(client().ask(get("/echo")).status, 200u);
    control.reset();
    server.reset();
    {
        const Fd left(::socket(AF_UNIX, SOCK_STREAM, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path().copy(address.sun_path, sizeof address.sun_path - 1);
        ASSERT_EQ(::bind(left.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    }
    serve();
    EXPECT_EQ(client().ask(get("/echo")).status, 200u);
}

TEST_F(ServerTest, TheFileLetsInNoMoreThanItMust) {
    const auto mode = [&] {
        struct stat status {};
        EXPECT_EQ(::stat(path().c_str(), &status), 0);
        return std::pair(status.st_mode & 0777u, status.st_gid);
    };
    const gid_t own = ::getegid();
    serve();
    EXPECT_EQ(mode().first, 0600u);
    serve({}, {.writers = own, .readers = {}, .own = ::geteuid()});
    EXPECT_EQ(mode(), std::pair(0660u, own));
    serve({}, {.writers = own, .readers = own, .own = ::geteuid()});
    EXPECT_EQ(mode().first, 0666u);
}

TEST(Access, RightsAreOfUserAndGroups) {
    const Access access{.writers = 500, .readers = 600, .own = 77};
    const auto role = [&](uid_t uid, gid_t gid, std::vector<gid_t> groups) {
        return role_of({.uid = uid, .gid = gid, .pid = 1, .groups = std::move(groups)}, access);
    };
    EXPECT_EQ(role(0, 0, {}), Role::write);
    EXPECT_EQ(role(77, 1, {}), Role::write);
    EXPECT_EQ(role(1000, 500, {}), Role::write);
    EXPECT_EQ(role(1000, 1000, {1, 500}), Role::write);
    EXPECT_EQ(role(1000, 1000, {1, 600, 500}), Role::write);
    EXPECT_EQ(role(1000, 600, {1}), Role::read);
    EXPECT_EQ(role(1000, 1000, {1, 600}), Role::read);
    EXPECT_EQ(role(1000, 1000, {1, 2}), Role::none);
    EXPECT_EQ(role_of({.uid = 1000, .gid = 0, .pid = 1, .groups = {0}},
                      Access{.writers = {}, .readers = {}, .own = 77}),
              Role::none);
}

// What a process of another user, with these groups besides, is answered to each of `requests`.
std::vector<unsigned> asked_as(uid_t uid, std::vector<gid_t> groups, const std::string& path,
                               const std::vector<std::string>& requests) {
    int ends[2];
    if (::pipe(ends) != 0) return {};
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setgroups(groups.size(), groups.data()) != 0 || ::setresgid(uid, uid, uid) != 0 ||
            ::setresuid(uid, uid, uid) != 0)
            ::_exit(1);
        for (const std::string& request : requests) {
            RawClient one(path);
            const unsigned status = one.connected() ? one.ask(request).status : 1;
            if (::write(ends[1], &status, sizeof status) != sizeof status) ::_exit(1);
        }
        ::_exit(0);
    }
    ::close(ends[1]);
    std::vector<unsigned> statuses(requests.size());
    for (unsigned& status : statuses)
        EXPECT_EQ(::read(ends[0], &status, sizeof status), static_cast<ssize_t>(sizeof status));
    ::close(ends[0]);
    ::waitpid(child, nullptr, 0);
    return statuses;
}

TEST_F(ServerTest, TheKernelSaysWhoAsks) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    constexpr gid_t kWriters = 54'321, kReaders = 54'322;
    ASSERT_EQ(::chmod(directory.path().c_str(), 0755), 0);
    serve({}, {.writers = kWriters, .readers = kReaders, .own = 0});
    const std::vector<std::string> both{get("/echo"), put("/echo", 0)};
    EXPECT_EQ(asked_as(65'534, {}, path(), {get("/echo"), "hello\r\n\r\n"}),
              (std::vector<unsigned>{403, 400}));
    EXPECT_EQ(asked_as(65'534, {1, kReaders}, path(), both), (std::vector<unsigned>{200, 403}));
    EXPECT_EQ(asked_as(65'534, {kWriters}, path(), both), (std::vector<unsigned>{200, 200}));
    // Not even whether a path exists is told to strangers.
    EXPECT_TRUE(wait_until([&] { return server->counts().connections == 0; }));
    EXPECT_EQ(asked_as(65'534, {}, path(), {get("/nothing")}), (std::vector<unsigned>{403}));
    // With one group the file's own mode keeps them out.
    serve({}, {.writers = kWriters, .readers = {}, .own = 0});
    EXPECT_EQ(asked_as(65'534, {}, path(), {get("/echo")}), (std::vector<unsigned>{1}));
    EXPECT_EQ(asked_as(65'534, {kWriters}, path(), {get("/echo")}), (std::vector<unsigned>{200}));
}

TEST_F(ServerTest, TheClientTellsWhatTheDaemonSays) {
    serve();
    EXPECT_EQ((*ask("wg0", Method::put, "/echo?a=1", std::string(1 << 20, 'x'), directory.path()))["bytes"],
              1 << 20);
    const auto missing = ask("wg0", Method::get, "/nothing", {}, directory.path());
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().message, "there is no such path");
    const auto large = ask("wg0", Method::put, "/echo", std::string(4 << 20, 'x'), directory.path());
    ASSERT_FALSE(large);
    EXPECT_EQ(large.error().message, "a body of 1048576 bytes at most is taken");
    const auto nobody = ask("wg1", Method::get, "/echo", {}, directory.path());
    ASSERT_FALSE(nobody);
    EXPECT_EQ(nobody.error().message, "wg1: no vernd runs this interface");
    EXPECT_EQ(only_interface(directory.path()), "wg0");
    control.reset();
    const auto busy = exchange("wg0", Method::get, "/echo", {}, milliseconds(50), directory.path());
    ASSERT_FALSE(busy);
    EXPECT_EQ(busy.error().code, ETIMEDOUT);
}

}  // namespace
}  // namespace vern::api::test
