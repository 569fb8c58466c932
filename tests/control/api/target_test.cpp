#include "control/api/target.h"

#include <gtest/gtest.h>

#include "../temporary_directory.h"
#include "control/api/metrics.h"
#include "control/api/parameters.h"
#include "control/api/router.h"
#include "control/json.h"

namespace vern::api {
namespace {

TEST(Target, IsPathAndQuery) {
    const auto target = parse_target("/v1/a+%20b?q=in+x%3e1&k=ab%2b/c=&empty=&flag");
    ASSERT_TRUE(target);
    EXPECT_EQ(target->path, (std::vector<std::string>{"v1", "a+ b"}));
    using Pairs = std::vector<std::pair<std::string, std::string>>;
    EXPECT_EQ(target->query, (Pairs{{"q", "in x>1"}, {"k", "ab+/c="}, {"empty", ""}, {"flag", ""}}));
    EXPECT_TRUE(parse_target("/")->path.empty());
    EXPECT_TRUE(parse_target("/a?")->query.empty());
}

TEST(Target, HasOneMeaning) {
    for (const char* wrong :
         {"",      "a",       "*",     "?a=1",    "//",         "/a/",          "/a//b",    "/.",
          "/..",   "/a/../b", "/%2e",  "/%2E%2e", "/.%2e",      "/a%2fb",       "/a%2Fb",   "/%00",
          "/%1f",  "/%7f",    "/%",    "/%4",     "/%g0",       "/%0g",         "/%%41",    "/a b",
          "/a\"",  "/a<",     "/a\\b", "/a#b",    "/a\x80",     "/a?b=\x01",    "/a?b=%00", "/a?b=%0a",
          "/a?=1", "/a?&",    "/a?b&", "/a?b&&c", "/a?b=1&b=2", "/a?b=1&%62=2", "/a?b=[",   "/a?b=%"})
        EXPECT_FALSE(parse_target(wrong)) << wrong;
    EXPECT_TRUE(parse_target("/..."));
    EXPECT_TRUE(parse_target("/a?b=%2F..%2f"));
}

TEST(Target, HasLimits) {
    EXPECT_TRUE(parse_target("/" + std::string(kTargetBytesMax - 1, 'a')));
    EXPECT_FALSE(parse_target("/" + std::string(kTargetBytesMax, 'a')));
    std::string path, query = "?";
    for (std::size_t i = 0; i < kSegmentsMax; ++i) path += "/a";
    for (std::size_t i = 0; i < kParametersMax; ++i) query += (i ? "&a" : "a") + std::to_string(i);
    EXPECT_TRUE(parse_target(path + query));
    EXPECT_FALSE(parse_target(path + "/a"));
    EXPECT_FALSE(parse_target(path + query + "&b"));
}

TEST(Target, WhatIsWrittenIsRead) {
    std::string every;
    for (int c = 0x20; c < 0x7f; ++c) every += static_cast<char>(c);
    every += "\xc3\xa6\xff";
    const auto target = parse_target(with_query("/x", {{"a", every}, {every, ""}}));
    ASSERT_TRUE(target) << target.error().message;
    EXPECT_EQ(target->query[0].second, every);
    EXPECT_EQ(target->query[1].first, every);
}

Request request_of(std::string_view target) {
    Request request;
    request.target = parse_target(target).value();
    return request;
}

TEST(Parameters, WhatIsNotReadRefuses) {
    const Request request = request_of("/x?confrim=60s");
    Parameters parameters(request);
    EXPECT_FALSE(parameters.duration("confirm", std::chrono::hours(24)));
    ASSERT_TRUE(parameters.refusal());
    EXPECT_EQ(parameters.refusal()->status, 400u);
}

TEST(Parameters, AreStrict) {
    for (const char* wrong :
         {"/x?n=", "/x?n=0", "/x?n=11", "/x?n=-1", "/x?n=01", "/x?n=1x", "/x?f=yes", "/x?f=", "/x?d=0",
          "/x?d=0s", "/x?d=61", "/x?d=2m", "/x?d=1d", "/x?d=s", "/x?d=99999999999999999999h"}) {
        const Request request = request_of(wrong);
        Parameters parameters(request);
        (void)parameters.number("n", 1, 10);
        (void)parameters.flag("f");
        (void)parameters.duration("d", std::chrono::seconds(60));
        EXPECT_TRUE(parameters.refusal()) << wrong;
    }
    const Request request = request_of("/x?n=10&f=true&d=1m&t=x");
    Parameters parameters(request);
    EXPECT_EQ(parameters.number("n", 1, 10), 10u);
    EXPECT_TRUE(parameters.flag("f"));
    EXPECT_EQ(parameters.duration("d", std::chrono::seconds(60)), std::chrono::seconds(60));
    EXPECT_EQ(parameters.text("t"), "x");
    EXPECT_FALSE(parameters.refusal());
}

TEST(Router, FindsByPathThenMethod) {
    Router router;
    const Handler none = [](const Request&) { return Response{}; };
    router.add(Method::get, "/a", Role::read, none);
    router.add(Method::put, "/a", Role::write, none, 7);
    router.add(Method::get, "/a/b", Role::read, none);
    router.add(Method::get, "/a/{name}", Role::write, none);
    const auto find = [&](std::optional<Method> method, std::string_view target) {
        return router.find(method, parse_target(target).value().path);
    };
    EXPECT_EQ(find(Method::put, "/a").route->body_bytes_max, 7u);
    EXPECT_EQ(find(Method::get, "/a/b").route->role, Role::read);
    EXPECT_EQ(find(Method::get, "/a/c").route->role, Role::write);
    EXPECT_EQ(find(Method::get, "/a/%7Bname%7D").route->role, Role::write);
    EXPECT_EQ(find(Method::post, "/a").allowed, "GET, PUT");
    EXPECT_EQ(find(std::nullopt, "/a").route, nullptr);
    for (const char* path : {"/", "/b", "/a/b/c", "/A"}) {
        EXPECT_EQ(find(Method::get, path).route, nullptr) << path;
        EXPECT_EQ(find(Method::get, path).allowed, "") << path;
    }
}

TEST(Metrics, AreWholeAndEscaped) {
    EXPECT_EQ(label_value("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
    Measured measured;
    measured.engine = "epoll";
    measured.counters[static_cast<std::size_t>(Counter::bad_tag)] = 7;
    measured.offloads = {{"gso", true}};
    measured.queues = {{"staged", 5}};
    ServiceTimes service;
    service.add(std::chrono::nanoseconds(999), 1);
    service.add(std::chrono::microseconds(3), 4);
    service.add(std::chrono::seconds(2), 1);
    service.add_to(measured.service);
    measured.peers = {
        {.key = "K=", .name = "web\"1", .receive_bytes = 5, .transmit_bytes = 6, .latest_handshake = {}},
        {.key = "L=", .name = "", .latest_handshake = WallTime(std::chrono::seconds(1'800'000'000))}};
    measured.peers_total = 2;
    measured.policy.state = policy::Measured::State::active;
    measured.policy.rules = {{.id = "r", .direction = "in", .action = "allow", .counts = {.packets = 3}}};
    measured.audit = audit::Keeping{.failure = "no space", .seq = 8, .lost = 9, .journal_lost = 10};
    const Route route{Method::get, "/v1/policy", {}, Role::read, {}, 0};
    measured.api.requests = {{{&route, 200}, 4}, {{nullptr, 404}, 1}};
    const std::string text = format_metrics("wg0", measured);
    for (const char* line :
         {"# TYPE vern_bad_tag_total counter\n",
          "# HELP vern_bad_tag_total data message that is not authentic\n",
          "vern_bad_tag_total{interface=\"wg0\"} 7\n",
          "vern_offload_enabled{interface=\"wg0\",offload=\"gso\"} 1\n",
          "vern_queue_depth{interface=\"wg0\",queue=\"staged\"} 5\n",
          "# TYPE vern_train_service_seconds histogram\n",
          "vern_train_service_seconds_bucket{interface=\"wg0\",le=\"1e-06\"} 1\n",
          "vern_train_service_seconds_bucket{interface=\"wg0\",le=\"2e-06\"} 1\n",
          "vern_train_service_seconds_bucket{interface=\"wg0\",le=\"4e-06\"} 5\n",
          "vern_train_service_seconds_bucket{interface=\"wg0\",le=\"0.065536\"} 5\n",
          "vern_train_service_seconds_bucket{interface=\"wg0\",le=\"+Inf\"} 6\n",
          "vern_train_service_seconds_sum{interface=\"wg0\"} 2.000012999\n",
          "vern_train_service_seconds_count{interface=\"wg0\"} 6\n",
          "vern_peer_receive_bytes_total{interface=\"wg0\",public_key=\"K=\",name=\"web\\\"1\"} 5\n",
          "vern_peer_last_handshake_seconds{interface=\"wg0\",public_key=\"L=\",name=\"\"} 1800000000\n",
          "vern_rule_packets_total{interface=\"wg0\",rule=\"r\",direction=\"in\",action=\"allow\"} 3\n",
          "vern_policy_state{interface=\"wg0\",state=\"active\"} 1\n",
          "vern_audit_active{interface=\"wg0\"} 0\n",
          "vern_audit_seq{interface=\"wg0\"} 8\n",
          "vern_audit_lost_total{interface=\"wg0\"} 9\n",
          "vern_audit_journal_lost_total{interface=\"wg0\"} 10\n",
          "vern_api_requests_total{interface=\"wg0\",method=\"GET\",route=\"/v1/policy\",status=\"200\"} 4\n",
          "vern_api_requests_total{interface=\"wg0\",method=\"\",route=\"\",status=\"404\"} 1\n"})
        EXPECT_NE(text.find(line), std::string::npos) << line;
    EXPECT_EQ(text.find("vern_peer_last_handshake_seconds{interface=\"wg0\",public_key=\"K=\""),
              std::string::npos);
    // Every counter once, with its words; every line a comment or a sample.
    for (const CounterInfo& counter : kCounterInfo) {
        const std::string name = "# HELP vern_" + std::string(counter.name) + "_total ";
        EXPECT_EQ(text.find(name), text.rfind(name)) << counter.name;
        EXPECT_NE(text.find(name), std::string::npos) << counter.name;
    }
    for (std::string_view rest = text; !rest.empty();) {
        const auto line = rest.substr(0, rest.find('\n'));
        ASSERT_LT(line.size(), rest.size());
        rest.remove_prefix(line.size() + 1);
        EXPECT_TRUE(line.starts_with("# HELP vern_") || line.starts_with("# TYPE vern_") ||
                    line.starts_with("vern_"))
            << line;
    }
}

TEST(Metrics, TimesFallIntoTheSmallestBucketThatHoldsThem) {
    EXPECT_EQ(ServiceTimes::bucket_of(0), 0u);
    EXPECT_EQ(ServiceTimes::bucket_of(1000), 0u);
    EXPECT_EQ(ServiceTimes::bucket_of(1001), 1u);
    EXPECT_EQ(ServiceTimes::bucket_of(2000), 1u);
    EXPECT_EQ(ServiceTimes::bucket_of(2001), 2u);
    EXPECT_EQ(ServiceTimes::bucket_of(65'536'000), kServiceBuckets - 2);
    EXPECT_EQ(ServiceTimes::bucket_of(65'536'001), kServiceBuckets - 1);
    EXPECT_EQ(ServiceTimes::bucket_of(~std::uint64_t{0}), kServiceBuckets - 1);
    // A clock that went back is no time at all.
    ServiceTimes service;
    ServiceTimeCounts counts;
    service.add(Duration(-5), 1);
    service.add_to(counts);
    EXPECT_EQ(counts.trains[0], 1u);
    EXPECT_EQ(counts.total_ns, 0u);
}

// What docs/ has for Prometheus and Grafana asks for nothing that is not told.
TEST(Metrics, DashboardAndAlertsNameWhatThereIs) {
    Measured measured;
    measured.audit.emplace();
    const std::string text = format_metrics("wg0", measured);
    for (const char* file : {"grafana-dashboard.json", "alerts.yml"}) {
        const std::string asked = test::read_file(std::string(VERN_SOURCE_DIRECTORY "/docs/") + file);
        unsigned names = 0;
        for (std::size_t at = 0, end; (at = asked.find("vern_", at)) != asked.npos; at = end, ++names) {
            end = asked.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_", at);
            std::string family = asked.substr(at, end - at);
            for (const char* suffix : {"_bucket", "_sum", "_count"}) {
                if (family.starts_with("vern_train_service_seconds") && family.ends_with(suffix))
                    family.resize(family.size() - std::string_view(suffix).size());
            }
            EXPECT_NE(text.find("# TYPE " + family + " "), std::string::npos) << file << ": " << family;
        }
        EXPECT_GT(names, 10u) << file;
    }
    EXPECT_TRUE(
        nlohmann::json::accept(test::read_file(VERN_SOURCE_DIRECTORY "/docs/grafana-dashboard.json")));
}

}  // namespace
}  // namespace vern::api
