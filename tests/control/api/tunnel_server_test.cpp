// The listener for peers, on loopback in the place of a tunnel.
#include "control/api/tunnel_server.h"

#include "control/log.h"
#include "control/trust/tls_trust.h"
#include "served.h"

namespace vern::api::test {
namespace {

class TunnelServerTest : public testing::Test {
  protected:
    TunnelServerTest() {
        set_log_level(LogLevel::silent);
        router.add(Method::post, "/x", Role::peer, [](const Request& request) {
            return json_response({{"by", request.caller.name}});
        });
    }
    void serve() {
        auto tls = trust::make_tls_proof_server();
        ASSERT_TRUE(tls);
        // 127.0.0.0/24 is a peer's, 127.0.1.0/24 another's, and so on to 127.0.3.0/24.
        const auto peer_of = [](const IpAddress& source) -> std::optional<PublicKey> {
            PublicKey key;
            key.bytes[0] = source.bytes[2];
            if (source.bytes[2] > std::byte{3}) return std::nullopt;
            return key;
        };
        auto opened = TunnelServer::open("lo", 0, router, tls->context.get(), peer_of, limits);
        if (!opened && opened.error().code == EPERM) GTEST_SKIP() << "may not bind to an interface";
        ASSERT_TRUE(opened) << opened.error().message;
        server = std::move(*opened);
        control.emplace(*server);
    }
    RawClient client(const char* from) const { return RawClient(dial(server->port(), from)); }
    unsigned ask(const char* from) const {
        return client(from).ask("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").status;
    }

    Router router;
    Limits limits = tunnel_limits();
    std::unique_ptr<TunnelServer> server;
    std::optional<ControlThread<TunnelServer>> control;  // goes before the server
};

// Before a byte has come nobody knows whether it is a handshake that takes the place. A peer with many
// addresses is one.
TEST_F(TunnelServerTest, SilenceOfOnePeerTakesNoPlacesOfOthers) {
    limits.handshakes_max = 6;
    limits.handshakes_of_source_max = 4;
    serve();
    if (!server) return;
    std::vector<RawClient> silent;
    silent.reserve(4);
    for (int i = 0; i < 4; ++i) silent.push_back(client(("127.0.0." + std::to_string(2 + i)).c_str()));
    for (int i = 0; i < 10; ++i)
        EXPECT_TRUE(client(("127.0.0." + std::to_string(2 + i)).c_str()).ended()) << i;
    EXPECT_EQ(server->counts().handshakes_limited, 10u);
    EXPECT_EQ(server->counts().connections_refused, 0u);
    EXPECT_EQ(ask("127.0.1.2"), 200u);
    silent.clear();
    EXPECT_TRUE(wait_until([&] { return ask("127.0.0.2") == 200; }));
}

// Who keeps connections open, however many addresses he has, has as many as one peer may have.
TEST_F(TunnelServerTest, ConnectionsAreCountedByPeer) {
    limits.of_caller_max = 4;
    serve();
    if (!server) return;
    std::vector<RawClient> open;
    for (int i = 0; i < 4; ++i) {
        open.push_back(client(("127.0.2." + std::to_string(2 + i)).c_str()));
        EXPECT_EQ(open.back().ask("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").status, 200u);
    }
    EXPECT_EQ(ask("127.0.2.99"), 0u);
    EXPECT_EQ(ask("127.0.3.2"), 200u);
    EXPECT_EQ(ask("127.0.4.2"), 0u) << "nobody's address";
}

}  // namespace
}  // namespace vern::api::test
