// What goes into the audit trail and out of it: that floods stay small and are counted, that nobody waits for
// the journal, and in which words and forms records come.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <map>

#include "audit_trails.h"
#include "control/audit/aggregate.h"
#include "control/audit/ecs.h"
#include "control/audit/flow.h"
#include "control/audit/journal.h"
#include "control/audit/recorder.h"
#include "control/audit/sentence.h"
#include "control/json.h"
#include "control/policy/language.h"
#include "control/text.h"
#include "policy/fake_plane.h"

namespace vern::audit {
namespace {

using namespace test;
using nlohmann::json;

// Aggregation

struct Told {
    std::vector<Record> records;
    Aggregate aggregate;
    explicit Told(AggregateLimits limits = {})
        : aggregate([this](Record record) { records.push_back(std::move(record)); }, limits) {}
    std::uint64_t sum() const {
        std::uint64_t sum = 0;
        for (const Record& record : records) sum += record.suppressed.value_or(1);
        return sum;
    }
};

TEST(AuditAggregate, TheFirstAtOnceTheRestAsOne) {
    Told told;
    EXPECT_FALSE(told.aggregate.deadline());
    for (std::uint16_t i = 0; i < 5; ++i) {
        Record record = denied(22);
        record.src_port = 1000 + i;
        told.aggregate.add(record, kBoot + std::chrono::seconds(i));
    }
    ASSERT_EQ(told.records.size(), 1u);
    EXPECT_FALSE(told.records[0].suppressed);
    told.aggregate.tick(kBoot + std::chrono::milliseconds(9999), kNoon);
    EXPECT_EQ(told.records.size(), 1u);
    EXPECT_EQ(told.aggregate.deadline(), kBoot + std::chrono::seconds(10));
    told.aggregate.tick(kBoot + std::chrono::seconds(10), kNoon + std::chrono::seconds(10));
    ASSERT_EQ(told.records.size(), 2u);
    const Record& rest = told.records[1];
    EXPECT_EQ(rest.suppressed, 4u);
    EXPECT_EQ(rest.time, kNoon + std::chrono::seconds(10));
    EXPECT_EQ(rest.dst_port, 22u);
    EXPECT_EQ(rest.src, "10.100.0.3");  // of all of them
    EXPECT_FALSE(rest.src_port);        // of each another
    EXPECT_FALSE(told.aggregate.deadline());
    told.aggregate.add(denied(22), kBoot + std::chrono::seconds(11));
    EXPECT_EQ(told.records.size(), 3u);
    told.aggregate.end_interval(kNoon);  // nothing to add
    EXPECT_EQ(told.records.size(), 3u);
}

TEST(AuditAggregate, WhatDiffersInItsKeyIsToldByItself) {
    Told told;
    std::vector<Record> all(7, denied(22));
    all[1].peer_key = "other";
    all[2].rule = "r1";
    all[3].direction = "out";
    all[4].protocol = "udp";
    all[5].dst_port = 23;
    all[6].kind = Kind::would_deny;
    for (const Record& record : all) told.aggregate.add(record, kBoot);
    EXPECT_EQ(told.records.size(), 7u);
    Record ping = denied(0);
    ping.dst_port.reset();
    ping.detail = "type 8 code 0";
    told.aggregate.add(ping, kBoot);
    ping.detail = "type 13 code 0";
    told.aggregate.add(ping, kBoot);
    EXPECT_EQ(told.records.size(), 9u);
}

TEST(AuditAggregate, AScanOfAllPortsIsFewRecords) {
    Told told;
    for (std::uint32_t port = 0; port < 65536; ++port) {
        told.aggregate.add(denied(static_cast<std::uint16_t>(port)), kBoot);
        told.aggregate.add(denied(static_cast<std::uint16_t>(port)), kBoot);
    }
    EXPECT_EQ(told.records.size(), 64u);
    told.aggregate.end_interval(kNoon);
    EXPECT_EQ(told.records.size(), 64u + 64 + 1);
    EXPECT_EQ(told.sum(), 2u * 65536);
    EXPECT_EQ(told.records.back().suppressed, 2u * (65536 - 64));
    EXPECT_EQ(told.records.back().peer, "web-1");
    EXPECT_EQ(told.aggregate.keys(), 0u);
}

TEST(AuditAggregate, ItsTableIsBounded) {
    Told told;
    for (int peer = 0; peer < 200; ++peer) {
        for (std::uint16_t port = 0; port < 64; ++port) {
            Record record = denied(port);
            record.peer_key = "peer " + std::to_string(peer);
            record.kind = port % 2 == 0 ? Kind::flow_denied : Kind::flow_allowed;
            record.packets = 1;
            told.aggregate.add(record, kBoot);
        }
    }
    EXPECT_EQ(told.aggregate.keys(), 4096u);
    EXPECT_EQ(told.records.size(), 4096u);
    told.aggregate.end_interval(kNoon);
    EXPECT_EQ(told.records.size(), 4096u + 2);  // one a kind
    EXPECT_EQ(told.sum(), 200u * 64);
    EXPECT_EQ(told.records.back().packets, told.records.back().suppressed);
}

// Journal

struct JournalSocket {
    TemporaryDirectory directory;
    std::string path = directory.path() + "/socket";
    Fd fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    JournalSocket() {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    // Fields of the next datagram, by the journal's own rules.
    std::map<std::string, std::string> next() {
        std::string text(8192, '\0');
        const ssize_t got = ::recv(fd.get(), text.data(), text.size(), 0);
        text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        std::map<std::string, std::string> fields;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t end = text.find('\n', at), equals = text.find('=', at);
            if (equals < end) {
                fields[text.substr(at, equals - at)] = text.substr(equals + 1, end - equals - 1);
                at = end + 1;
                continue;
            }
            std::uint64_t size = 0;
            for (std::size_t i = 8; i > 0; --i)
                size = size << 8 | static_cast<unsigned char>(text.at(end + i));
            fields[text.substr(at, end - at)] = text.substr(end + 9, size);
            EXPECT_EQ(text.at(end + 9 + size), '\n');
            at = end + 9 + size + 1;
        }
        return fields;
    }
};

TEST(AuditJournal, FieldsArriveWhateverTheyHold) {
    JournalSocket socket;
    Journal journal(socket.path);
    Record record = denied(22);
    record.seq = 9;
    record.rule = "r1\nPRIORITY=0\n";
    ASSERT_TRUE(journal.send(record, "abc"));
    auto fields = socket.next();
    EXPECT_EQ(fields["SYSLOG_IDENTIFIER"], "vernd");
    EXPECT_EQ(fields["PRIORITY"], "4");
    EXPECT_EQ(fields["VERN_KIND"], "flow-denied");
    EXPECT_EQ(fields["VERN_RULE"], "r1\nPRIORITY=0\n");
    EXPECT_EQ(fields["VERN_PEER"], "web-1");
    EXPECT_EQ(fields["VERN_REASON"], "policy_no_rule");
    EXPECT_EQ(fields["VERN_SEQ"], "9");
    EXPECT_EQ(fields["VERN_DST_PORT"], "22");
    EXPECT_EQ(fields["VERN_HASH"], "abc");
    EXPECT_EQ(fields.count("VERN_SERIAL"), 0u);
    EXPECT_TRUE(
        fields["MESSAGE"].starts_with("flow-denied in web-1 tcp 10.100.0.3:40000 > 10.100.0.1:22, rule r1"));
    EXPECT_EQ(fields["MESSAGE"].find('\n'), std::string::npos);
}

TEST(AuditJournal, IsNeverWaitedFor) {
    Journal nobody("/nonexistent/socket"), too_long(std::string(200, 'x'));
    EXPECT_FALSE(nobody.send(denied(1), ""));
    EXPECT_FALSE(too_long.send(denied(1), ""));
    EXPECT_EQ(nobody.lost(), 1u);
    JournalSocket socket;
    Journal journal(socket.path);
    unsigned taken = 0;
    while (taken < 100'000 && journal.send(denied(1), "")) ++taken;
    EXPECT_GT(taken, 0u);
    EXPECT_EQ(journal.lost(), 1u);  // full, and nobody reads
    (void)socket.next();
    EXPECT_TRUE(journal.send(denied(1), ""));
}

// Decisions, and all of it together

policy::LogRecord decision(std::uint8_t protocol = policy::kTcp) {
    policy::LogRecord logged;
    logged.at = kBoot - std::chrono::milliseconds(100);
    logged.key.protocol = protocol;
    const auto address = [](std::uint8_t last) {
        std::array<std::byte, 16> bytes{};
        bytes[0] = std::byte{10};
        bytes[3] = std::byte{last};
        return bytes;
    };
    logged.key.remote = address(2);
    logged.key.local = address(1);
    logged.key.remote_port = 40000;
    logged.key.local_port = 22;
    logged.port = 22;
    logged.verdict = policy::Verdict::drop;
    logged.reason = Counter::policy_no_rule;
    logged.generation = 3;
    return logged;
}

TEST(AuditFlow, ADecisionInTheWordsOfItsPolicy) {
    policy::Document document;
    document.name = "db";
    PublicKey key{};
    key.bytes[0] = std::byte{1};
    document.peers["web-1"] = key;
    document.names[key] = "web-1";
    document.rules.push_back({.id = "ssh", .at = {}, .rule = {}, .expires = {}, .log_prefix = {}});
    const policy::InForce policy{&document, "0123456789abcdef", 3};
    policy::LogRecord logged = decision();
    Record record = flow_record(logged, key, policy, {kNoon, kBoot});
    EXPECT_EQ(sentence_of(record),
              "flow-denied in web-1 tcp 10.0.0.2:40000 > 10.0.0.1:22 db (policy_no_rule)");
    EXPECT_EQ(record.time, kNoon - std::chrono::milliseconds(100));
    EXPECT_EQ(record.peer_key, to_base64(key.bytes));
    EXPECT_EQ(record.policy_hash, "0123456789abcdef");
    logged.rule = 0;
    logged.verdict = policy::Verdict::pass;
    logged.reason = Counter::count;
    logged.direction = policy::Direction::out;
    record = flow_record(logged, key, policy, {kNoon, kBoot});
    EXPECT_EQ(sentence_of(record), "flow-allowed out web-1 tcp 10.0.0.1:22 > 10.0.0.2:40000, rule ssh");
    logged.would_be = true;
    EXPECT_EQ(flow_record(logged, key, policy, {kNoon, kBoot}).kind, Kind::would_deny);
    logged.generation = 2;  // nobody knows its names any more
    record = flow_record(logged, std::nullopt, policy, {kNoon, kBoot});
    EXPECT_EQ(record.rule + record.peer + record.peer_key + record.policy_version, "");
    logged = decision(policy::kIcmp);
    logged.port = 8 * 256;
    record = flow_record(logged, key, {}, {kNoon, kBoot});
    EXPECT_EQ(record.detail, "type 8 code 0");
    EXPECT_FALSE(record.dst_port);
}

TEST(AuditRecorder, TellsItsLifeAndEveryLoss) {
    const TemporaryDirectory directory;
    policy::ClockPair now{kNoon, kBoot};
    JournalSocket socket;
    {
        auto recorder = Recorder::start({.directory = directory.path(),
                                         .required = true,
                                         .interface = "wg0",
                                         .journal = true,
                                         .journal_socket = socket.path},
                                        [&] { return now; });
        ASSERT_TRUE(recorder);
        for (int i = 0; i < 3; ++i) (*recorder)->flow(decision(), std::nullopt, {});
        (*recorder)->tick(40);
        (*recorder)->tick(50);  // not within the interval
        (*recorder)->policy_event({.kind = policy::PolicyEvent::Kind::loaded,
                                   .name = "db",
                                   .hash = "00ff",
                                   .who = "uid 1000",
                                   .detail = "from db.toml"});
        (*recorder)->flow(decision(), std::nullopt, {});
        (*recorder)->flow(decision(), std::nullopt, {});
        (*recorder)->stop("ended by SIGTERM");
        EXPECT_EQ((*recorder)->summary()["seq"], 9);
        EXPECT_EQ((*recorder)->summary()["journal_lost"], 0);
    }
    std::string kinds;
    for (const Record& record : records_of(directory.path())) {
        kinds += std::string(name_of(record.kind)) +
                 (record.suppressed ? " " + std::to_string(*record.suppressed) : "") + "\n";
        auto fields = socket.next();
        EXPECT_EQ(fields["VERN_SEQ"], std::to_string(record.seq));
    }
    EXPECT_EQ(
        kinds,
        "started\nflow-denied\nrecords-lost 40\nflow-denied 2\npolicy-loaded\nflow-denied\nflow-denied 1\n"
        "records-lost 10\nstopped\n");
    const auto loaded = records_of(
        directory.path(), {.since = {}, .until = {}, .kinds = {Kind::policy_loaded}, .peer = {}, .rule = {}});
    ASSERT_EQ(loaded.size(), 1u);
    EXPECT_EQ(loaded[0].by, "uid 1000");
    EXPECT_EQ(loaded[0].policy_version, "db");
    EXPECT_EQ(broken_at(directory.path()), "");
}

// A peer with several: what it did is written down to the one that let it.
TEST(AuditRecorder, OfSeveralIdentitiesTheOneThatTheRuleAsksFor) {
    const TemporaryDirectory directory;
    const auto document = policy::parse_policy(R"(
version = 1
[[rule]]
id = "dba"
in = { from = ["x509:ou=DBA"] }
allow = ["tcp/5432"]
[[rule]]
id = "any"
in = {}
allow = ["tcp/22"]
)",
                                               "p", kNoon);
    ASSERT_TRUE(document) << document.error().message;
    identity::Binding ssh, x509;
    ssh.identity.kind = trust::Identity::Kind::ssh;
    ssh.identity.key_id = "guest";
    ssh.identity.issuer = "the SSH CA";
    x509.identity.kind = trust::Identity::Kind::x509;
    x509.identity.common_name = "ada";
    x509.identity.org_units = {"DBA"};
    x509.identity.issuer = "the X.509 CA";
    const policy::InForce policy{.document = &*document, .hash = "00ff", .generation = 3};
    {
        auto recorder =
            Recorder::start({.directory = directory.path(), .required = true, .interface = "wg0"}, [] {
                return policy::ClockPair{kNoon, kBoot};
            });
        ASSERT_TRUE(recorder);
        policy::LogRecord one = decision();
        const auto record = [&](std::uint32_t rule, std::uint32_t generation,
                                std::vector<const identity::Binding*> proven) {
            one.rule = rule;
            one.generation = generation;
            ++one.key.local_port;  // another decision each time
            (*recorder)->flow(one, PublicKey{}, policy, std::move(proven));
        };
        record(0, 3, {&ssh, &x509});
        record(1, 3, {&ssh, &x509});
        record(0, 2, {&ssh, &x509});
        record(0, 3, {&ssh});
        record(0, 3, {});
        (*recorder)->stop("");
    }
    std::vector<std::string> who;
    for (const Record& record : records_of(directory.path())) {
        if (record.kind == Kind::flow_denied) who.push_back(record.identity + "|" + record.issuer);
    }
    const std::string both = "ssh:guest@, x509:ada@ (DBA)|";
    EXPECT_EQ(who, (std::vector<std::string>{"x509:ada@ (DBA)|the X.509 CA", both, both,
                                             "ssh:guest@|the SSH CA", "|"}));
}

TEST(AuditRecorder, WithoutATrailItGoesOnAndTriesAgain) {
    const TemporaryDirectory directory;
    const std::string path = directory.write("taken", "no directory");
    policy::ClockPair now{kNoon, kBoot};
    RecorderOptions options{.directory = path + "/audit", .required = true, .interface = "wg0"};
    EXPECT_FALSE(Recorder::start(options, [&] { return now; }));
    options.required = false;
    auto recorder = Recorder::start(options, [&] { return now; });
    ASSERT_TRUE(recorder);
    (*recorder)->flow(decision(), std::nullopt, {});
    EXPECT_EQ((*recorder)->keeping().lost, 1u);
    EXPECT_FALSE((*recorder)->summary()["active"]);
    EXPECT_NE((*recorder)->summary()["failure"].get<std::string>().find("Not a directory"),
              std::string::npos);
    std::filesystem::remove(path);
    (*recorder)->tick(0);
    EXPECT_FALSE(std::filesystem::exists(path));
    now.boot = *(*recorder)->deadline();
    (*recorder)->tick(0);
    const auto records = records_of(path + "/audit");
    ASSERT_EQ(records.size(), 2u);
    EXPECT_EQ(records[1].kind, Kind::records_lost);
    EXPECT_EQ(records[1].suppressed, 1u);
    EXPECT_EQ((*recorder)->keeping().lost, 1u);  // since it began: it does not go back
    EXPECT_TRUE((*recorder)->summary()["active"]);
    EXPECT_FALSE((*recorder)->summary().contains("failure"));
}

struct Events final : policy::PolicyObserver {
    std::vector<policy::PolicyEvent> all;
    void policy_event(const policy::PolicyEvent& event) override { all.push_back(event); }
};

TEST(AuditPolicy, WhatGovernsFromTheStartIsTold) {
    const TemporaryDirectory directory;
    const auto events_of = [&](const std::string& state, const std::string& first) {
        policy::test::FakePlane plane;
        Events events;
        policy::Control control(policy::Store(directory.path() + "/" + state), plane);
        control.observe(&events);
        EXPECT_TRUE(control.start(first));
        return std::move(events.all);
    };
    EXPECT_TRUE(events_of("none", "").empty());
    const auto good = events_of("good", directory.write("good.toml", "version = 1\nname = \"db\"\n"));
    ASSERT_EQ(good.size(), 1u);
    EXPECT_EQ(good[0].kind, policy::PolicyEvent::Kind::loaded);
    EXPECT_EQ(good[0].name, "db");
    EXPECT_EQ(good[0].hash.size(), 16u);
    EXPECT_TRUE(good[0].who.empty());
    const auto bad = events_of("bad", directory.write("bad.toml", "version = 2\n"));
    ASSERT_EQ(bad.size(), 1u);
    EXPECT_EQ(bad[0].kind, policy::PolicyEvent::Kind::refused);
    EXPECT_TRUE(bad[0].detail.starts_with("everything is denied: "));
}

// Export

TEST(AuditExport, FiltersAndForms) {
    const TemporaryDirectory directory;
    {
        Trail trail = open(directory.path());
        Record other = denied(23, kNoon + std::chrono::seconds(1));
        other.peer = "other, \"x\"";
        other.peer_key = "k";
        other.rule = "r1";
        other.kind = Kind::flow_allowed;
        trail.write(denied(22));
        trail.write(other);
    }
    const auto count = [&](const Filter& filter) { return records_of(directory.path(), filter).size(); };
    EXPECT_EQ(count({}), 2u);
    const auto with = [](auto set) {
        Filter filter;
        set(filter);
        return filter;
    };
    EXPECT_EQ(count(with([](Filter& f) { f.since = kNoon + std::chrono::seconds(1); })), 1u);
    EXPECT_EQ(count(with([](Filter& f) { f.until = kNoon + std::chrono::seconds(1); })), 1u);
    EXPECT_EQ(count(with([](Filter& f) { f.kinds = {Kind::flow_allowed, Kind::limit}; })), 1u);
    EXPECT_EQ(count(with([](Filter& f) { f.peer = "web-1"; })), 1u);
    EXPECT_EQ(count(with([](Filter& f) { f.peer = "k"; })), 1u);
    EXPECT_EQ(count(with([](Filter& f) { f.rule = "r2"; })), 0u);
    const Record record = records_of(directory.path())[1];
    const std::string csv = text_of(Format::csv, record, "");
    EXPECT_NE(csv.find(R"(,"other, ""x""",)"), std::string::npos) << csv;
    const std::string header = header_of(Format::csv);
    EXPECT_TRUE(header.starts_with("seq,time,kind,host,"));
    EXPECT_EQ(std::count(header.begin(), header.end(), ','), 25);
    const json ecs = json::parse(text_of(Format::ecs, record, ""));
    EXPECT_EQ(ecs["@timestamp"], "2027-01-15T08:00:01.000Z");
    EXPECT_EQ(ecs["event"]["action"], "flow-allowed");
    EXPECT_EQ(ecs["event"]["type"], json::array({"allowed"}));
    EXPECT_EQ(ecs["event"]["sequence"], 2);
    EXPECT_EQ(ecs["network"]["direction"], "ingress");
    EXPECT_EQ(ecs["destination"]["port"], 23);
    EXPECT_EQ(ecs["rule"]["id"], "r1");
    EXPECT_EQ(ecs["vern"]["peer"]["name"], "other, \"x\"");
    EXPECT_FALSE(ecs.contains("user"));
    EXPECT_EQ(text_of(Format::json, record, "{}"), "{}\n");
}

TEST(AuditExport, EveryKindHasItsPlaceInTheSchema) {
    for (std::size_t i = 0; i < kKinds; ++i) {
        Record record;
        record.kind = static_cast<Kind>(i);
        const json ecs = json::parse(ecs_of(record));
        EXPECT_NE(ecs["event"]["outcome"], "unknown") << name_of(record.kind);
    }
}

PeerStatus peer_at(unsigned number, const std::string& endpoint) {
    PeerStatus peer;
    peer.public_key.bytes[0] = static_cast<std::byte>(number & 0xff);
    peer.public_key.bytes[1] = static_cast<std::byte>(number >> 8);
    peer.endpoint = parse_endpoint(endpoint).value();
    peer.latest_handshake = kNoon;
    return peer;
}

std::vector<PeerStatus> peers_at(std::initializer_list<std::pair<unsigned, const char*>> places) {
    std::vector<PeerStatus> peers;
    for (const auto& [number, endpoint] : places) peers.push_back(peer_at(number, endpoint));
    return peers;
}

TEST(AuditWatch, TellsWhatWasOnlyCounted) {
    std::vector<Record> told;
    Watch watch([&](Record record) { told.push_back(std::move(record)); }, kBoot);
    std::array<std::uint64_t, kCounterCount> counters{};
    const auto count = [&](Counter counter) { return counters[static_cast<std::size_t>(counter)]; };
    const auto name_of = [](const PublicKey& key) {
        return key.bytes[0] == std::byte{1} ? std::string("web") : std::string();
    };
    const auto look = [&](const std::vector<PeerStatus>& peers) {
        told.clear();
        watch.look(kBoot, kNoon, count, peers, name_of);
    };
    EXPECT_EQ(watch.deadline(), kBoot + std::chrono::seconds(10));
    counters[static_cast<std::size_t>(Counter::handshake_bad_mac1)] = 7;
    look(peers_at({{1, "192.0.2.1:51820"}, {2, "192.0.2.2:51820"}}));
    ASSERT_EQ(told.size(), 1u);  // endpoints are only remembered
    EXPECT_EQ(told[0].packets, 7u);
    EXPECT_EQ(watch.deadline(), kBoot + std::chrono::seconds(10));
    counters[static_cast<std::size_t>(Counter::handshake_bad_mac1)] = 10;
    counters[static_cast<std::size_t>(Counter::policy_flows_full)] = 2;
    counters[static_cast<std::size_t>(Counter::bad_tag)] = 2;
    look(peers_at({{1, "198.51.100.7:40000"}, {2, "192.0.2.2:51820"}, {3, "192.0.2.3:51820"}}));
    ASSERT_EQ(told.size(), 3u);
    EXPECT_EQ(told[0].kind, Kind::handshake_failed);
    EXPECT_EQ(told[0].reason, "handshake_bad_mac1");
    EXPECT_EQ(told[0].packets, 3u);
    EXPECT_EQ(told[1].kind, Kind::limit);
    EXPECT_EQ(told[1].reason, "policy_flows_full");
    EXPECT_EQ(told[2].kind, Kind::roamed);
    EXPECT_EQ(told[2].peer, "web");
    EXPECT_EQ(told[2].detail, "192.0.2.1:51820 to 198.51.100.7:40000");
    look(peers_at({{1, "198.51.100.7:40000"}}));
    EXPECT_TRUE(told.empty());
}

TEST(AuditWatch, AStormOfRoamingIsAFewLines) {
    std::vector<Record> told;
    Watch watch([&](Record record) { told.push_back(std::move(record)); }, kBoot);
    for (const char* endpoint : {"192.0.2.1:1", "192.0.2.1:2"}) {
        std::vector<PeerStatus> peers;
        for (unsigned i = 0; i < 1000; ++i) peers.push_back(peer_at(i, endpoint));
        watch.look(
            kBoot, kNoon, [](Counter) { return std::uint64_t{0}; }, peers,
            [](const PublicKey&) { return std::string(); });
    }
    ASSERT_EQ(told.size(), Watch::kRoamedMost + 1);
    EXPECT_EQ(told.back().suppressed, 1000 - Watch::kRoamedMost);
}

}  // namespace
}  // namespace vern::audit
