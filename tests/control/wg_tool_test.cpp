// The real `wg`, and `vern show`, against the server at its usual path, in a mount namespace where that path
// is a directory of the test's own. Needs root (or user namespaces) and wireguard-tools.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <thread>

#include "control/process.h"
#include "control/text.h"
#include "control/uapi_client.h"
#include "control/uapi_server.h"
#include "fake_target.h"
#include "temporary_directory.h"

namespace vern {
namespace {

using test::FakeTarget;
using test::key_bytes;
using test::TemporaryDirectory;

// Empty when the namespace is there; else why not.
std::string enter_namespace() {
    static const std::string why = [] {
        if (find_program("wg").empty()) return std::string("wg (wireguard-tools) is not installed");
        if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWNS | CLONE_NEWUSER) != 0)
            return std::string("no right to a mount namespace");
        if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount("tmpfs", "/run", "tmpfs", 0, nullptr) != 0) {
            return std::string("no right to mount");
        }
        return std::string();
    }();
    return why;
}

// Serves a target from a thread, as the daemon's control thread would.
class Service {
  public:
    Service() : stop_(::eventfd(0, EFD_CLOEXEC)) {
        auto opened = UapiServer::open("wgt", target);
        if (!opened) throw std::runtime_error(opened.error().message);
        server_ = std::move(*opened);
        thread_ = std::thread([this] { run(); });
    }
    ~Service() {
        ::eventfd_write(stop_.get(), 1);
        thread_.join();
    }
    // With the server at rest.
    template <typename Look>
    auto locked(Look look) {
        const std::lock_guard lock(mutex_);
        return look(target);
    }

  private:
    void run() {
        while (true) {
            std::vector<pollfd> set;
            server_->add_to(set);
            set.push_back({.fd = stop_.get(), .events = POLLIN, .revents = 0});
            ::poll(set.data(), set.size(), -1);
            if (set.back().revents != 0) return;
            const std::lock_guard lock(mutex_);
            server_->handle(set, std::chrono::steady_clock::now());
        }
    }
    FakeTarget target;
    Fd stop_;
    std::mutex mutex_;
    std::unique_ptr<UapiServer> server_;
    std::thread thread_;
};

class WgTool : public ::testing::Test {
  protected:
    void SetUp() override {
        if (const std::string why = enter_namespace(); !why.empty()) GTEST_SKIP() << why;
        service = std::make_unique<Service>();
    }

    static ProcessResult run(const std::vector<std::string>& words) {
        auto result = run_process(words);
        EXPECT_TRUE(result) << result.error().message;
        return result ? *result : ProcessResult{.status = -1, .output = {}, .errors = {}};
    }
    static std::string wg(std::vector<std::string> words) {
        words.insert(words.begin(), "wg");
        const auto result = run(words);
        EXPECT_EQ(result.status, 0) << result.errors;
        return result.output;
    }
    static std::string vern(std::vector<std::string> words) {
        const char* const program = std::getenv("VERN");
        if (program == nullptr) throw std::runtime_error("VERN: where vern is, is not said");
        words.insert(words.begin(), program);
        const auto result = run(words);
        EXPECT_EQ(result.status, 0) << result.errors;
        return result.output;
    }
    static std::string key(unsigned n) { return to_base64(key_bytes(n)); }

    // Two peers, of which the second has everything.
    void fill() {
        service->locked([](FakeTarget& target) {
            DeviceChange change;
            change.private_key.emplace(key_bytes(0x40));
            clamp(*change.private_key);
            change.listen_port = 51820;
            change.fwmark = 0xca6c;
            change.peers.emplace_back().public_key.bytes = key_bytes(1);
            PeerChange& peer = change.peers.emplace_back();
            peer.public_key.bytes = key_bytes(2);
            peer.preshared_key.emplace(key_bytes(3));
            peer.endpoint = *parse_endpoint("[2001:db8::7]:4711");
            peer.persistent_keepalive_s = 25;
            peer.allowed_ips = {{*parse_prefix("10.1.0.0/16"), false}, {*parse_prefix("fd00::/8"), false}};
            EXPECT_TRUE(target.apply(std::move(change)));
            target.device.peers[1].receive_bytes = 1234567;
            target.device.peers[1].transmit_bytes = 999;
            target.device.peers[1].latest_handshake = WallTime(std::chrono::seconds(1700000000));
            return 0;
        });
    }

    TemporaryDirectory directory;
    std::unique_ptr<Service> service;
};

TEST_F(WgTool, ShowDump) {
    fill();
    EXPECT_EQ(wg({"show", "wgt", "listen-port"}), "51820\n");
    const std::string dump = wg({"show", "wgt", "dump"});
    EXPECT_NE(dump.find("\t51820\t0xca6c\n"), std::string::npos) << dump;
    EXPECT_NE(dump.find(key(1) + "\t(none)\t(none)\t(none)\t0\t0\t0\toff\n"), std::string::npos) << dump;
    EXPECT_NE(dump.find(key(2) + "\t" + key(3) +
                        "\t[2001:db8::7]:4711\t10.1.0.0/16,fd00::/8\t1700000000\t1234567\t999\t25\n"),
              std::string::npos)
        << dump;
}

TEST_F(WgTool, EmptyDevice) {
    EXPECT_EQ(wg({"show", "wgt", "dump"}), "(none)\t(none)\t0\toff\n");
    EXPECT_EQ(vern({"show", "wgt", "dump"}), "(none)\t(none)\t0\toff\n");
}

TEST_F(WgTool, VernShowPrintsFieldsAsWgDoes) {
    fill();
    for (const char* field :
         {"public-key", "private-key", "listen-port", "fwmark", "peers", "preshared-keys", "endpoints",
          "allowed-ips", "latest-handshakes", "transfer", "persistent-keepalive", "dump"}) {
        EXPECT_EQ(vern({"show", "wgt", field}), wg({"show", "wgt", field})) << field;
        if (std::string_view(field) == "endpoints")
            continue;  // there wg names the interface on the first line only
        EXPECT_EQ(vern({"show", "all", field}), wg({"show", "all", field})) << field;
    }
    EXPECT_EQ(vern({"show", "interfaces"}), wg({"show", "interfaces"}));
}

TEST_F(WgTool, VernShowPrintsWhatWgDoes) {
    fill();
    service->locked([](FakeTarget& target) { return target.json = "{}"; });
    for (const auto& words : std::vector<std::vector<std::string>>{{"show", "wgt"}, {"show"}}) {
        // "... seconds ago": both must have looked within one second.
        std::string before, ours, after;
        do {
            before = wg(words);
            ours = vern(words);
            after = wg(words);
        } while (before != after);
        EXPECT_EQ(ours, before);
    }
    EXPECT_EQ(vern({"show", "--show-keys"}).find("(hidden)"), std::string::npos);
}

TEST_F(WgTool, VernShowTellsOfTheEngine) {
    fill();
    service->locked([](FakeTarget& target) {
        target.json =
            R"({"version":"0.1.0","engine":{"name":"epoll","reason":"io_uring is refused here"},"aead":{"name":"openssl","reason":""},)"
            R"("workers":2,"helpers":1,"hand_over":{"tasks":5,"calls":2,"stalls":0},"mtu":1420,"offloads":{"tso":{"on":true,"reason":""},"uso":{"on":false,"reason":"kernel too old"}},)"
            R"("counters":{"bad_tag":3,"replayed":0,"from_the_future":1},"handshakes":{"begun":4}})";
        return 0;
    });
    const std::string text = vern({"show", "wgt"});
    EXPECT_NE(
        text.find(
            "  vernd: 0.1.0\n  engine: epoll (io_uring is refused here), 2 workers, 1 helper\n  handed over: "
            "5 trains, 0 waits for a worker without CPU\n  aead: openssl\n  mtu: "
            "1420\n"
            "  offloads: tso\n  offload off: uso (kernel too old)\n  handshakes: 4 begun\n"
            "  counted: 3 bad_tag (data message that is not authentic)\n  counted: 1 from_the_future\n"),
        std::string::npos)
        << text;
    const std::string json = vern({"show", "--json"});
    EXPECT_NE(json.find(R"("engine":{"name":"epoll")"), std::string::npos) << json;
    EXPECT_EQ(json.find("private_key"), std::string::npos);
    EXPECT_NE(vern({"show", "--json", "--show-keys"}).find("\"private_key\":"), std::string::npos);
}

TEST_F(WgTool, VernShowTakesAnyStatus) {
    fill();
    for (const char* status :
         {"", "[]", "{", "7", "null",
          R"({"engine":7,"aead":[],"offloads":[1],"counters":7,"handshakes":"x","mtu":-1})",
          R"({"engine":{"name":"\u001b[2J"},"offloads":{"x":1},"counters":{"x":"y"}})"}) {
        service->locked([&](FakeTarget& target) { return target.json = status; });
        const std::string text = vern({"show", "wgt"});
        EXPECT_EQ(text.find('\x1b'), std::string::npos) << status;
        EXPECT_NE(text.find("listening port: 51820"), std::string::npos) << status;
    }
}

TEST_F(WgTool, Set) {
    const std::string psk = directory.write("psk", key(9) + "\n");
    wg({"set", "wgt", "listen-port", "4000", "fwmark", "0x10", "peer", key(5), "preshared-key", psk,
        "endpoint", "192.0.2.1:51820", "persistent-keepalive", "7", "allowed-ips",
        "10.0.0.0/8,192.168.0.1/32"});
    service->locked([&](FakeTarget& target) {
        EXPECT_EQ(target.device.listen_port, 4000);
        EXPECT_EQ(target.device.fwmark, 16U);
        EXPECT_EQ(target.device.peers.size(), 1U);
        const PeerStatus& peer = target.device.peers.at(0);
        EXPECT_EQ(to_base64(peer.preshared_key.span()), key(9));
        EXPECT_EQ(to_text(peer.endpoint), "192.0.2.1:51820");
        EXPECT_EQ(peer.persistent_keepalive_s, 7);
        EXPECT_EQ(peer.allowed_ips.size(), 2U);
        return 0;
    });
    wg({"set", "wgt", "peer", key(5), "remove"});
    service->locked([](FakeTarget& target) {
        EXPECT_TRUE(target.device.peers.empty());
        return 0;
    });
}

TEST_F(WgTool, SetconfAddconfSyncconfShowconf) {
    const std::string begin = "[Interface]\nPrivateKey = " + key(0x40) + "\nListenPort = 1234\n";
    const std::string one = "[Peer]\nPublicKey = " + key(1) + "\nAllowedIPs = 10.0.0.0/8\n";
    const std::string two =
        "[Peer]\nPublicKey = " + key(2) + "\nEndpoint = 127.0.0.1:9\nPersistentKeepalive = 5\n";
    wg({"setconf", "wgt", directory.write("a", begin + one)});
    wg({"addconf", "wgt", directory.write("b", two)});
    EXPECT_EQ(wg({"show", "wgt", "peers"}), key(1) + "\n" + key(2) + "\n");
    wg({"syncconf", "wgt", directory.write("c", begin + two)});
    EXPECT_EQ(wg({"show", "wgt", "peers"}), key(2) + "\n");
    const std::string shown = wg({"showconf", "wgt"});
    EXPECT_NE(shown.find("ListenPort = 1234"), std::string::npos);
    wg({"setconf", "wgt", directory.write("d", shown)});
    EXPECT_EQ(wg({"showconf", "wgt"}), shown);
}

TEST_F(WgTool, RefusalReachesTheUser) {
    service->locked([](FakeTarget& target) {
        target.refusal = Error{.message = "port taken", .code = EADDRINUSE};
        return 0;
    });
    const auto result = run({"wg", "set", "wgt", "listen-port", "1"});
    EXPECT_NE(result.status, 0);
    EXPECT_NE(result.errors.find("Address already in use"), std::string::npos) << result.errors;
}

TEST_F(WgTool, TenThousandPeers) {
    std::string file = "[Interface]\nPrivateKey = " + key(0x40) + "\n";
    for (unsigned i = 0; i < 10000; ++i) {
        file += "[Peer]\nPublicKey = " + key(i) + "\nAllowedIPs = 10." + std::to_string(i / 250) + "." +
                std::to_string(i % 250) + ".0/24\n";
    }
    wg({"setconf", "wgt", directory.write("many", file)});
    const std::string dump = wg({"show", "wgt", "dump"});
    EXPECT_EQ(std::count(dump.begin(), dump.end(), '\n'), 10001);
    EXPECT_EQ(vern({"show", "wgt", "dump"}), dump);
}

TEST_F(WgTool, Client) {
    auto client = UapiClient::connect("wgt");
    ASSERT_TRUE(client) << client.error().message;
    DeviceChange change;
    change.listen_port = 77;
    change.peers.emplace_back().public_key.bytes = key_bytes(1);
    EXPECT_TRUE(client->set(change));
    const auto status = client->get();
    ASSERT_TRUE(status);
    EXPECT_EQ(status->listen_port, 77);
    EXPECT_EQ(status->peers.size(), 1U);
    EXPECT_EQ(client->get_vern().value_or("none"), R"({"version":"0.1.0"})");
    service->locked([](FakeTarget& target) {
        target.refusal = Error{.message = "no", .code = EADDRINUSE};
        return 0;
    });
    const auto refused = client->set(change);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, EADDRINUSE);
    EXPECT_EQ(uapi_interfaces(), std::vector<std::string>{"wgt"});
    const auto none = UapiClient::connect("nosuch");
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, ENOENT);
}

}  // namespace
}  // namespace vern
