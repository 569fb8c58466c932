// The kernel as the reference: random rules, written once for the gate and once for nftables with conntrack,
// and a million packets through both. What comes out of the one must come out of the other, but for what
// docs/policy.md says is meant.
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <thread>

#include "../io/network.h"
#include "policies.h"

namespace vern::policy {
namespace {

using namespace test;

constexpr unsigned kPeers = 8;  // a peer's addresses end in its number

std::string text_of(const IpAddress& address) {
    std::string text;
    char part[8];
    for (std::size_t i = 0; i < (address.family == Family::v6 ? 16U : 4U); ++i) {
        const unsigned byte = std::to_integer<unsigned>(address.bytes[i]);
        std::snprintf(part, sizeof part, address.family == Family::v6 ? "%02x" : "%u", byte);
        if (i > 0 && (address.family == Family::v4 || i % 2 == 0))
            text += address.family == Family::v6 ? ':' : '.';
        text += part;
    }
    return text;
}
std::string text_of(const Prefix& prefix) {
    return text_of(prefix.address) + "/" + std::to_string(prefix.length);
}

// --- the rules as nftables says them

// "ip saddr { … } " for those of the family; nothing: no packet of the family can match.
std::optional<std::string> addresses(const std::vector<Prefix>& prefixes, Family family, const char* which) {
    if (prefixes.empty()) return "";
    std::string list;
    for (const Prefix& prefix : prefixes) {
        if (prefix.address.family == family) list += (list.empty() ? "" : ", ") + text_of(prefix);
    }
    if (list.empty()) return std::nullopt;
    // One after the other when a set would refuse them for overlapping.
    return std::string(family == Family::v6 ? "ip6 " : "ip ") + which + " { " + list + " } ";
}

std::string service(const Service& one) {
    if (one.protocol == Service::kAnyProtocol) return "";
    std::string protocol = "meta l4proto " + std::to_string(one.protocol) + " ";
    if (one.first_port == 0 && one.last_port == 65535) return protocol;
    const std::string range = std::to_string(one.first_port) + "-" + std::to_string(one.last_port) + " ";
    const bool icmp = one.protocol == 1 || one.protocol == 58;
    return protocol + (icmp ? "@th,0,16 " : "th dport ") + range;
}

std::string peer_addresses(const std::vector<PublicKey>& peers, Family family) {
    std::string list;
    for (unsigned peer = 0; peer < kPeers; ++peer) {
        if (std::ranges::count(peers, key_of(peer)) == 0) continue;
        for (const unsigned a : {0U, 1U}) {
            for (const unsigned b : {0U, 1U}) {
                const auto address = family == Family::v6
                                         ? vern::test::v6({0xfd00, a, 0, 0, b << 15, 0, 0, peer})
                                         : vern::test::v4(10, a, b << 7, peer);
                list += (list.empty() ? "" : ", ") + text_of(address);
            }
        }
    }
    return list;
}

std::string nft_of(const RuleSet& set, const Rule& rule) {
    const bool in = rule.direction == Direction::in;
    const std::string verdict = rule.action == Action::allow  ? "accept"
                                : rule.action == Action::deny ? "drop"
                                                              : "reject with icmpx admin-prohibited";
    std::string text;
    for (const Family family : {Family::v4, Family::v6}) {
        const auto remote = addresses(rule.remote, family, in ? "saddr" : "daddr");
        const auto local = addresses(rule.local, family, in ? "daddr" : "saddr");
        if (!remote || !local) continue;
        std::string match = std::string("iifname \"") + (in ? "mesh" : "lan") + "\" meta nfproto " +
                            (family == Family::v6 ? "ipv6 " : "ipv4 ");
        if (rule.peers != kAnyPeer) {
            const std::string list = peer_addresses(set.peer_sets[rule.peers], family);
            if (list.empty()) continue;
            match += std::string(family == Family::v6 ? "ip6 " : "ip ") + (in ? "saddr { " : "daddr { ") +
                     list + " } ";
        }
        match += *remote + *local;
        if (rule.services.empty()) text += match + verdict + "\n";
        for (const Service& one : rule.services) text += match + service(one) + verdict + "\n";
    }
    return text;
}

// Conntrack calls every ICMP message invalid that is no request it knows, no reply to one and no error; here
// rules decide about them, so they are kept from it.
std::string nft_of(const RuleSet& set) {
    std::string text =
        "table inet filter {\nchain raw {\ntype filter hook prerouting priority -300;\n"
        "icmp type != { 0, 3, 5, 8, 11, 12 } notrack\nicmpv6 type != { 1, 2, 3, 4, 128, 129, 137 } "
        "notrack\n}\n"
        "chain forward {\ntype filter hook forward priority 0; policy drop;\n"
        "ct state established,related accept\nct state invalid drop\n";
    for (const bool allow : {false, true}) {
        for (const Rule& rule : set.rules) {
            if ((rule.action == Action::allow) == allow) text += nft_of(set, rule);
        }
    }
    return text + "}\n}\n";
}

// --- the kernel's side

class Kernel {
  public:
    Kernel() : mesh_(open("mesh")), lan_(open("lan")) {
        for (const char* name : {"mesh", "lan"}) {
            vern::test::set_up(name, true);
            vern::test::set_sysctl(std::string("net/ipv4/conf/") + name + "/rp_filter", "0");
        }
        for (const auto& [name, value] : std::initializer_list<std::pair<const char*, const char*>>{
                 {"net/ipv4/conf/all/rp_filter", "0"},
                 {"net/ipv4/ip_forward", "1"},
                 {"net/ipv6/conf/all/forwarding", "1"},
                 {"net/ipv4/conf/all/send_redirects", "0"}})
            vern::test::set_sysctl(name, value);
        for (const char* v : {"-4", "-6"}) {
            run(std::string("ip ") + v + " route add default dev lan table 100");
            run(std::string("ip ") + v + " route add default dev mesh table 101");
            run(std::string("ip ") + v + " rule add iif mesh lookup 100");
            run(std::string("ip ") + v + " rule add iif lan lookup 101");
        }
    }

    void use(const std::string& rules) {
        std::FILE* nft = ::popen("nft -f -", "w");  // NOLINT(cert-env33-c): a fixed command
        ASSERT_NE(nft, nullptr);
        std::fwrite(rules.data(), 1, rules.size(), nft);
        ASSERT_EQ(::pclose(nft), 0) << rules;
        // As strict as a firewall is set up that means it; checksums are not what is compared here.
        for (const auto& [name, value] :
             std::initializer_list<std::pair<const char*, const char*>>{{"nf_conntrack_tcp_loose", "0"},
                                                                        {"nf_conntrack_tcp_be_liberal", "1"},
                                                                        {"nf_conntrack_checksum", "0"}})
            vern::test::set_sysctl(std::string("net/netfilter/") + name, value);
    }

    // It is through when send() returns.
    void send(Direction direction, const Bytes& packet) {
        const Fd& fd = direction == Direction::in ? mesh_ : lan_;
        ASSERT_EQ(::write(fd.get(), packet.data(), packet.size()), static_cast<ssize_t>(packet.size()));
    }
    template <typename Take>
    void receive(Direction direction, Take take) {
        const Fd& fd = direction == Direction::in ? lan_ : mesh_;
        std::array<std::byte, 2048> buffer;
        for (;;) {
            const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
            if (got <= 0) return;
            take(std::span<const std::byte>(buffer).first(static_cast<std::size_t>(got)));
        }
    }

  private:
    static Fd open(const char* name) {
        Fd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
        ifreq request{};
        std::snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
        request.ifr_flags = IFF_TUN | IFF_NO_PI;
        EXPECT_EQ(::ioctl(fd.get(), TUNSETIFF, &request), 0);
        return fd;
    }
    static void run(const std::string& command) {
        ASSERT_EQ(std::system(command.c_str()), 0) << command;  // NOLINT(cert-env33-c): of our own making
    }

    Fd mesh_, lan_;
};

// --- packets

constexpr std::size_t kMarkBytes = 4;
constexpr std::uint32_t kMark = 0xa5000000;  // what the kernel itself sends has none

// What is on its way: enough to make the next packet of it.
struct Talk {
    Direction direction;
    PacketSpec first;
    bool echo = false;
    unsigned step = 0;
};

class Packets {
  public:
    explicit Packets(std::uint64_t seed) : draw_(seed) {}

    struct Packet {
        Direction direction;
        Bytes bytes;
        std::string what;
    };
    Packet next(std::uint32_t mark) {
        Packet packet = !talks_.empty() && draw_.chance(45) ? go_on() : begin();
        std::memcpy(packet.bytes.data() + packet.bytes.size() - kMarkBytes, &mark, kMarkBytes);
        return packet;
    }
    RandomRules& draw() { return draw_; }

    // Addresses of this side are apart from the peers', or conntrack could not tell the directions.
    static IpAddress local(IpAddress address) {
        address.bytes[0] = address.family == Family::v6 ? std::byte{0xfc} : std::byte{11};
        return address;
    }

  private:
    Packet begin() {
        Talk talk;
        talk.direction = draw_.chance(50) ? Direction::in : Direction::out;
        PacketSpec& spec = talk.first;
        spec.protocol = draw_.protocol();
        spec.v6 = spec.protocol == 58 || (spec.protocol != 1 && draw_.chance(40));
        const IpAddress remote = draw_.address(spec.v6), own = local(draw_.address(spec.v6));
        spec.from = talk.direction == Direction::in ? remote : own;
        spec.to = talk.direction == Direction::in ? own : remote;
        spec.source_port = static_cast<std::uint16_t>(1024 + draw_.below(60000));
        spec.destination_port = draw_.port();
        spec.fragment = 0;
        spec.payload = 16 + draw_.below(40);
        std::string what = "new";
        if (spec.protocol == 6 && draw_.chance(20)) {
            static constexpr std::uint8_t kStray[] = {kAck, kSynAck,     kRst,       kFinAck,
                                                      0,    kSyn | kFin, kPsh | kAck};
            spec.flags = kStray[draw_.below(std::size(kStray))];
            what = "stray";
        } else {
            spec.flags = kSyn;
        }
        if (spec.v6 && draw_.chance(15)) {
            spec.extension = Bytes(8 * (1 + draw_.below(3)));
            spec.extension[1] = static_cast<std::byte>(spec.extension.size() / 8 - 1);
            spec.extension[2] = std::byte{1};  // PadN over all of it
            spec.extension[3] = static_cast<std::byte>(spec.extension.size() - 4);
        }
        Packet packet{talk.direction, build(spec), what};
        const bool icmp = spec.protocol == 1 || spec.protocol == 58;
        if (icmp) {
            talk.echo = draw_.chance(60);
            set_icmp(packet.bytes, talk,
                     talk.echo ? (spec.v6 ? 128 : 8) : static_cast<std::uint8_t>(draw_.below(256)),
                     talk.echo ? std::uint8_t{0} : static_cast<std::uint8_t>(draw_.below(3)));
        }
        if (what == "new" && (!icmp || talk.echo)) {
            if (talks_.size() < 512)
                talks_.push_back(talk);
            else
                talks_[draw_.below(talks_.size())] = talk;
        }
        return packet;
    }

    // The next one of something begun, from either side.
    Packet go_on() {
        Talk& talk = talks_[draw_.below(talks_.size())];
        const bool back = talk.step == 0 ? draw_.chance(80) : draw_.chance(50);
        PacketSpec spec = talk.first;
        spec.extension.clear();
        const Direction other = talk.direction == Direction::in ? Direction::out : Direction::in;
        if (back) {
            std::swap(spec.from, spec.to);
            std::swap(spec.source_port, spec.destination_port);
        }
        if (spec.protocol == 6) spec.flags = talk.step == 0 ? (back ? kSynAck : kSyn) : kAck;
        if (back || talk.step > 0) ++talk.step;
        Packet packet{back ? other : talk.direction, build(spec), back ? "reply" : "more"};
        if (talk.echo) set_icmp(packet.bytes, talk, back ? (spec.v6 ? 129 : 0) : (spec.v6 ? 128 : 8), 0);
        return packet;
    }

    static void set_icmp(Bytes& packet, const Talk& talk, std::uint8_t type, std::uint8_t code) {
        const bool v6 = talk.first.v6;
        std::size_t at = v6 ? 40 : 20;
        if (v6 && packet[6] == std::byte{60}) at += 8 * (1 + std::to_integer<std::size_t>(packet[41]));
        packet[at] = std::byte(type);
        packet[at + 1] = std::byte(code);
        store_be16(&packet[at + 4], talk.first.source_port);
    }

    RandomRules draw_;
    std::vector<Talk> talks_;
};

RuleSet comparable(RandomRules& draw, std::uint32_t generation) {
    RuleSet set = draw.rules(2 + draw.below(24), generation, kPeers);
    for (Rule& rule : set.rules) {
        rule.rate.reset();  // time, and observing, are not what is compared
        rule.expires.reset();
        rule.observe = false;
        for (Prefix& prefix : rule.local) {
            if (prefix.length >= 8) prefix.address = Packets::local(prefix.address);
        }
        // nftables takes no set whose members overlap.
        for (auto* list : {&rule.remote, &rule.local}) {
            if (list->size() > 1) list->resize(1);
        }
    }
    return set;
}

// One rule set, so many packets; in a network of its own, since conntrack remembers.
struct Round : GateTest {
    Round() : GateTest(1 << 16) {}
    void TestBody() override {}

    void run(std::uint64_t seed, std::uint32_t count, std::map<std::string, std::uint64_t>& tally) {
        Packets packets(seed);
        RuleSet set = comparable(packets.draw(), 1);
        Kernel kernel;
        kernel.use(nft_of(set));
        use(set);
        std::vector<bool> ours(count), theirs(count);
        std::vector<Packets::Packet> sent(64);
        for (std::uint32_t mark = 0; mark < count;) {
            const std::uint32_t from = mark;
            for (auto& packet : sent) {
                if (mark == count) break;
                packet = packets.next(kMark + mark);
                const auto remote_at = std::to_integer<unsigned>(packet.bytes[0]) >> 4 == 6
                                           ? (packet.direction == kIn ? 23U : 39U)
                                           : (packet.direction == kIn ? 15U : 19U);
                ours[mark++] =
                    judge(packet.direction, packet.bytes,
                          std::to_integer<std::uint64_t>(packet.bytes[remote_at])) == Verdict::pass;
                kernel.send(packet.direction, packet.bytes);
            }
            for (const Direction direction : {kIn, kOut}) {
                kernel.receive(direction, [&](std::span<const std::byte> got) {
                    std::uint32_t id = 0;
                    std::memcpy(&id, got.data() + got.size() - kMarkBytes, kMarkBytes);
                    id -= kMark;
                    if (id < from || id >= mark) return;
                    const Bytes& was = sent[id - from].bytes;
                    if (was.size() == got.size() && sent[id - from].direction == direction) theirs[id] = true;
                });
            }
            for (std::uint32_t i = from; i < mark; ++i) {
                const auto& packet = sent[i - from];
                ++tally[ours[i] ? "passed" : "denied"];
                if (ours[i] == theirs[i]) continue;
                ++tally["different"];
                const bool v6 = std::to_integer<unsigned>(packet.bytes[0]) >> 4 == 6;
                const unsigned protocol = std::to_integer<unsigned>(packet.bytes[v6 ? 6 : 9]);
                ++tally["different: " + packet.what + " " + std::to_string(protocol) + (v6 ? " v6" : " v4") +
                        (ours[i] ? ", we pass it" : ", the kernel passes it")];
            }
        }
    }
};

TEST(Nftables, TheSameVerdictsOnAMillionPackets) {
    if (::geteuid() != 0) GTEST_SKIP() << "not root: no network namespace of our own";
    // NOLINTNEXTLINE(cert-env33-c): a fixed command
    if (std::system("command -v nft >/dev/null && command -v ip >/dev/null") != 0)
        GTEST_SKIP() << "no nft, or no ip";
    constexpr unsigned kRounds = 100;
    std::map<std::string, std::uint64_t> tally;
    std::string why_not;
    for (unsigned round = 0; round < kRounds && why_not.empty() && !HasFatalFailure(); ++round) {
        std::thread([&] {
            if (why_not = vern::test::enter_fresh_network(); why_not.empty())
                Round().run(1000 + round, 10'000, tally);
        }).join();
    }
    if (!why_not.empty()) GTEST_SKIP() << why_not;
    for (const auto& [what, count] : tally)
        std::printf("%10llu %s\n", static_cast<unsigned long long>(count), what.c_str());
    EXPECT_EQ(tally["different"], 0U);
    EXPECT_GT(tally["passed"], 100'000U);
    EXPECT_GT(tally["denied"], 100'000U);
}

}  // namespace
}  // namespace vern::policy
