// What the routes of trust, identities and whois take, refuse and answer.
#include "control/api/identity_routes.h"

#include <gtest/gtest.h>

#include "../identity/fake_peers.h"
#include "../trust/ssh_workshop.h"
#include "control/api/target.h"
#include "control/text.h"
#include "control/trust/statement.h"

namespace vern::api {
namespace {

using identity::Identities;
using nlohmann::json;
using vern::test::Workshop;
using namespace vern::identity::test;

class IdentityRoutes : public testing::Test {
  protected:
    IdentityRoutes() {
        EXPECT_TRUE(identities.start().empty());
        add_identity_routes(router, {identities, peers, [](const PublicKey& peer) {
                                         return peer == kLaptop ? std::string("laptop") : std::string();
                                     }});
    }

    // That nothing waits for longer than a tick, and what is said then.
    Response settled(const Response& response) {
        EXPECT_TRUE(response.later);
        if (!response.later) return response;
        peers.clock.boot += std::chrono::milliseconds(500);
        identities.tick();
        EXPECT_FALSE(identities.pending());
        return response.later();
    }
    Response ask(Method method, std::string_view target, std::string body = {}) {
        const Request request{.method = method,
                              .target = parse_target(target).value(),
                              .body = std::move(body),
                              .caller = {.role = Role::write, .name = "uid 0", .unix_peer = {}}};
        const Route* route = router.find(method, request.target.path).route;
        EXPECT_NE(route, nullptr) << target;
        return route ? route->handler(request) : Response{};
    }
    static json body_of(const Response& response) { return json::parse(response.body, nullptr, false); }
    // "404 unknown-identity"
    static std::string told(const Response& response) {
        const json body = body_of(response);
        return std::to_string(response.status) +
               (body.is_object() && body.contains("code") ? " " + body["code"].get<std::string>() : "");
    }
    static std::string header(const Response& response, std::string_view name) {
        for (const auto& [given, value] : response.headers)
            if (given == name) return value;
        return "(none)";
    }

    // Trust in a CA, and a proof of the laptop's that it certified.
    void trust(const std::string& name = "corp") {
        const json body{{"key", Workshop::get().public_line(ca())}, {"groups", {"staff"}}};
        const Response response = ask(Method::put, "/v1/trust/ssh/" + name, body.dump());
        ASSERT_EQ(response.status, 200u) << response.body;
    }
    static std::string ca() { return Workshop::get().key("ed25519", "-routes-ca"); }
    static json proof() {
        const std::string user = Workshop::get().key("ed25519", "-routes-user");
        Workshop::get().certify(ca(), user, {"-z", "4711"}, "dba,web");
        const std::string statement = trust::encode_statement(
            {.wg = kLaptop, .audience = kDaemon, .nonce = {}, .not_after = kNow + 60});
        return {{"statement", statement},
                {"signature",
                 Workshop::get().sign(user + "-cert", std::string(identity::kNamespace), statement)}};
    }

    vern::test::TemporaryDirectory directory;
    FakePeers peers;
    SeededRandom random;
    bool disk_fails = false, rules_fit = true;
    Duration slow{};  // what a change of rules takes
    Identities identities{directory.path() + "/wg0",
                          peers,
                          random,
                          [](const identity::IdentityEvent&) {},
                          [this] {
                              peers.clock.boot += slow;
                              return rules_fit;
                          },
                          [this](std::string_view) { return disk_fails ? ENOSPC : 0; }};
    Router router;
};

TEST_F(IdentityRoutes, BodiesThatAreNotWhatIsWanted) {
    const struct {
        Method method;
        const char *target, *body, *sentence;
    } kWrong[] = {
        {Method::put, "/v1/trust/ssh/corp", "", "a JSON object of texts is wanted"},
        {Method::put, "/v1/trust/ssh/corp", "{", "a JSON object of texts is wanted"},
        {Method::put, "/v1/trust/ssh/corp", "[]", "a JSON object of texts is wanted"},
        {Method::put, "/v1/trust/ssh/corp", R"({"key":[["x"]]})", "a JSON object of texts is wanted"},
        {Method::put, "/v1/trust/ssh/corp", "{}", "key: is missing"},
        {Method::put, "/v1/trust/ssh/corp", R"({"key":3})", "key: a text is wanted"},
        {Method::put, "/v1/trust/ssh/corp", R"({"key":"x","kry":"y"})", "'kry' is not known here"},
        {Method::put, "/v1/trust/ssh/corp", R"({"key":"x","krl":"***"})", "krl: base64 is wanted"},
        {Method::put, "/v1/trust/ssh/corp", R"({"key":"x","krl":""})", "krl: base64 is wanted"},
        {Method::put, "/v1/trust/ssh/corp", R"({"key":"x","principals":[]})", "principals: a text is wanted"},
        {Method::put, "/v1/trust/ssh/corp", R"({"key":"x","groups":"g"})",
         "groups: a list of texts is wanted"},
        {Method::put, "/v1/trust/ssh/corp", R"({"key":"x","groups":["g",1]})",
         "groups: a list of texts is wanted"},
        {Method::put, "/v1/trust/x509/corp", "{}", "certificates: is missing"},
        {Method::put, "/v1/trust/x509/corp", R"({"certificates":"x","crls":["*"]})",
         "crls: base64 is wanted"},
        {Method::put, "/v1/trust/x509/corp", R"({"certificates":"x","crls":"AAAA"})",
         "crls: a list of texts is wanted"},
        {Method::put, "/v1/trust/x509/corp", R"({"certificates":"x","krl":"AAAA"})",
         "'krl' is not known here"},
        {Method::post, "/v1/identities", "", "a JSON object of texts is wanted"},
        {Method::post, "/v1/identities", "{}", "one proof is wanted"},
        {Method::post, "/v1/identities", R"({"cms":null})", "one proof is wanted"},
        {Method::post, "/v1/identities", R"({"statement":"x"})", "one proof is wanted"},
        {Method::post, "/v1/identities", R"({"signature":"x"})", "one proof is wanted"},
        {Method::post, "/v1/identities", R"({"statement":"x","cms":"y"})", "one proof is wanted"},
        {Method::post, "/v1/identities", R"({"cms":"x","certificate":"y"})", "one proof is wanted"},
        {Method::post, "/v1/identities", R"({"statement":"x","signature":"y","cms":"z"})",
         "one proof is wanted"},
        {Method::post, "/v1/identities", R"({"cms":"x","peer":"y"})", "'peer' is not known here"}};
    for (const auto& wrong : kWrong) {
        const Response response = ask(wrong.method, wrong.target, wrong.body);
        EXPECT_EQ(told(response), "400 bad-body") << wrong.target << " " << wrong.body;
        EXPECT_TRUE(body_of(response)["error"].get<std::string>().starts_with(wrong.sentence))
            << wrong.body << " " << response.body;
    }
    // Brackets in texts nest nothing.
    EXPECT_EQ(told(ask(Method::put, "/v1/trust/ssh/corp", R"({"key":"[[{\"[["})")), "422 malformed");
    EXPECT_TRUE(identities.store().empty());
    EXPECT_EQ(identities.registry().size(), 0u);
}

TEST_F(IdentityRoutes, TooManyListsAreNotEvenDecoded) {
    const json body{{"certificates", "x"}, {"crls", std::vector<std::string>(trust::kCrlsMax + 1, "*")}};
    EXPECT_EQ(told(ask(Method::put, "/v1/trust/x509/corp", body.dump())), "422 too-large");
}

TEST_F(IdentityRoutes, AMisspeltParameterChangesNothing) {
    NEEDS_SSH_KEYGEN();
    const json body{{"key", Workshop::get().public_line(ca())}};
    EXPECT_EQ(told(ask(Method::put, "/v1/trust/ssh/corp?group=x", body.dump())), "400 unknown-parameter");
    EXPECT_TRUE(identities.store().empty());
    trust();
    EXPECT_EQ(told(ask(Method::remove, "/v1/trust/ssh/corp?dry_run=true")), "400 unknown-parameter");
    EXPECT_EQ(told(ask(Method::post, "/v1/identities?until=1", proof().dump())), "400 unknown-parameter");
    EXPECT_EQ(identities.store().entries().size(), 1u);
    EXPECT_EQ(identities.registry().size(), 0u);
}

TEST_F(IdentityRoutes, WhatIsNotBelievedIsRefusedWithItsCode) {
    EXPECT_EQ(told(ask(Method::put, "/v1/trust/ssh/corp", R"({"key":"ssh-ed25519 AAAA"})")), "422 malformed");
    EXPECT_EQ(told(ask(Method::put, "/v1/trust/ssh/a%20b", R"({"key":"ssh-ed25519 AAAA"})")),
              "422 malformed");
    EXPECT_EQ(told(ask(Method::put, "/v1/trust/x509/corp", R"({"certificates":"x"})")), "422 malformed");
    EXPECT_EQ(told(ask(Method::post, "/v1/identities", R"({"certificate":"x"})")), "422 malformed");
    EXPECT_EQ(told(ask(Method::post, "/v1/identities", R"({"cms":"x"})")), "422 malformed");
    EXPECT_EQ(told(ask(Method::post, "/v1/identities", R"({"statement":"x","signature":"y"})")),
              "422 malformed");
    peers.own.reset();
    EXPECT_EQ(told(ask(Method::post, "/v1/identities", R"({"cms":"x"})")), "422 audience");
    EXPECT_TRUE(identities.store().empty());
}

TEST_F(IdentityRoutes, NothingIsThereToBeRemoved) {
    EXPECT_EQ(told(ask(Method::remove, "/v1/trust/ssh/corp")), "404 unknown-authority");
    EXPECT_EQ(told(ask(Method::remove, "/v1/trust/x509/corp")), "404 unknown-authority");
    for (const char* id : {"1", "0", "x", "-1", "18446744073709551616"})
        EXPECT_EQ(told(ask(Method::remove, std::string("/v1/identities/") + id)), "404 unknown-identity")
            << id;
}

TEST_F(IdentityRoutes, WhoisOfNobody) {
    EXPECT_EQ(told(ask(Method::get, "/v1/whois?addr=10.9.9.9")), "404 no-peer");
    // nginx's auth_request makes an error of anything but 401 and 403.
    EXPECT_EQ(told(ask(Method::get, "/v1/whois?addr=10.9.9.9&require=ssh:principal%3Ddba")), "403 no-peer");
    for (const char* query :
         {"", "?addr=", "?addr=x", "?addr=10.100.0.2:", "?addr=10.100.0.2:65536", "?addr=10.100.0.0/24",
          "?addr=example.org:80", "?addr=10.100.0.2&require=", "?addr=10.100.0.2&require=dba",
          "?addr=10.100.0.2&require=ssh:", "?addr=10.100.0.2&require=ssh:no%3Ddba",
          "?require=ssh:serial%3D1"})
        EXPECT_EQ(told(ask(Method::get, std::string("/v1/whois") + query)), "400 bad-parameter") << query;
}

TEST_F(IdentityRoutes, WhoisOfWhoHasProvenNothing) {
    const Response response = ask(Method::get, "/v1/whois?addr=10.100.0.3");
    EXPECT_EQ(response.status, 200u);
    EXPECT_EQ(
        body_of(response),
        json({{"address", "10.100.0.3"}, {"peer", to_base64(kOther.bytes)}, {"identities", json::array()}}));
    EXPECT_EQ(header(response, "X-Vern-Peer"), to_base64(kOther.bytes));
    EXPECT_EQ(header(response, "X-Vern-Identity"), "(none)");
    const Response wanted = ask(Method::get, "/v1/whois?addr=10.100.0.3&require=ssh:principal%3Ddba");
    EXPECT_EQ(told(wanted), "403 not-proven");
    EXPECT_TRUE(wanted.headers.empty());
}

TEST_F(IdentityRoutes, FromTrustToWhoisAndBack) {
    NEEDS_SSH_KEYGEN();
    EXPECT_EQ(told(ask(Method::post, "/v1/identities", proof().dump())), "422 unknown-ca");
    trust();
    const json authority = body_of(ask(Method::get, "/v1/trust"))["authorities"][0];
    EXPECT_EQ(authority["name"], "corp");
    EXPECT_EQ(authority["groups"], json({"staff"}));
    EXPECT_EQ(authority["usable"], true);

    const Response bound = ask(Method::post, "/v1/identities", proof().dump());
    ASSERT_EQ(bound.status, 201u) << bound.body;
    const json ada = body_of(bound);
    EXPECT_EQ(ada["peer_name"], "laptop");
    EXPECT_EQ(ada["label"], "ssh:alice@laptop@corp (dba, web)");
    EXPECT_EQ(ada["serial"], "4711");
    EXPECT_EQ(ada["means"], "statement-ssh");
    EXPECT_EQ(ada["ends"], date_text(kNow + 60));

    for (const char* query : {"addr=10.100.0.2", "addr=10.100.0.2:43210", "addr=::ffff:10.100.0.2",
                              "addr=10.100.0.2&require=ssh:principal%3Ddba",
                              "addr=10.100.0.2&require=ssh:serial%3D4711;ca%3Dcorp;group%3Dstaff"}) {
        const Response who = ask(Method::get, std::string("/v1/whois?") + query);
        ASSERT_EQ(who.status, 200u) << query << who.body;
        EXPECT_EQ(body_of(who)["identities"], json::array({ada}));
        EXPECT_EQ(body_of(who)["peer_name"], "laptop");
        EXPECT_EQ(header(who, "X-Vern-Peer"), to_base64(kLaptop.bytes));
        EXPECT_EQ(header(who, "X-Vern-Identity"), "ssh:alice@laptop@corp (dba, web)");
    }
    for (const char* require : {"ssh:principal%3Dadmin", "ssh:principal%3Ddba;serial%3D1", "x509:cn%3Ddba"})
        EXPECT_EQ(told(ask(Method::get, std::string("/v1/whois?addr=10.100.0.2&require=") + require)),
                  "403 not-proven");

    const auto listed = [&](std::string_view peer) {
        const json all =
            body_of(ask(Method::get, with_query("/v1/identities", {{"peer", std::string(peer)}})));
        EXPECT_EQ(all["bound"], 1);
        return all["identities"].size();
    };
    EXPECT_EQ(listed("laptop"), 1u);
    EXPECT_EQ(listed(to_base64(kLaptop.bytes)), 1u);
    EXPECT_EQ(listed(to_base64(kOther.bytes)), 0u);
    EXPECT_EQ(listed("lap"), 0u);
    EXPECT_EQ(told(ask(Method::get, "/v1/identities?limit=0")), "400 bad-parameter");

    const std::string id = std::to_string(ada["id"].get<std::uint64_t>());
    EXPECT_EQ(body_of(ask(Method::remove, "/v1/identities/" + id)), json({{"removed", ada["id"]}}));
    EXPECT_EQ(told(ask(Method::remove, "/v1/identities/" + id)), "404 unknown-identity");
    EXPECT_EQ(told(ask(Method::get, "/v1/whois?addr=10.100.0.2&require=ssh:principal%3Ddba")),
              "403 not-proven");

    // Trust that is taken back takes what it proved along.
    ASSERT_EQ(ask(Method::post, "/v1/identities", proof().dump()).status, 201u);
    EXPECT_EQ(body_of(ask(Method::remove, "/v1/trust/ssh/corp"))["authorities"], json::array());
    EXPECT_EQ(body_of(ask(Method::get, "/v1/identities"))["bound"], 0);
}

TEST_F(IdentityRoutes, MoreThanWasAskedForIsSaid) {
    NEEDS_SSH_KEYGEN();
    trust();
    ASSERT_EQ(ask(Method::post, "/v1/identities", proof().dump()).status, 201u);
    (void)std::filesystem::remove(Workshop::get().path("ed25519-routes-user"));
    (void)std::filesystem::remove(Workshop::get().path("ed25519-routes-user.pub"));
    ASSERT_EQ(ask(Method::post, "/v1/identities", proof().dump()).status, 201u);
    const json one = body_of(ask(Method::get, "/v1/identities?limit=1"));
    EXPECT_EQ(one["identities"].size(), 1u);
    EXPECT_EQ(one["more"], true);
    EXPECT_EQ(one["bound"], 2);
    EXPECT_EQ(body_of(ask(Method::get, "/v1/identities?limit=2"))["more"], false);
}

// With rules that take long, each of these has its answer when they are in force.
TEST_F(IdentityRoutes, WhatIsSaidIsInForce) {
    NEEDS_SSH_KEYGEN();
    slow = std::chrono::milliseconds(100);
    trust();
    const Response added = settled(ask(Method::post, "/v1/identities", proof().dump()));
    ASSERT_EQ(added.status, 201u) << added.body;
    EXPECT_FALSE(body_of(added).contains("kept"));
    const json body{{"key", Workshop::get().public_line(ca())}};
    EXPECT_EQ(settled(ask(Method::put, "/v1/trust/ssh/corp", body.dump())).status, 200u);
    const std::string target = "/v1/identities/" + std::to_string(body_of(added)["id"].get<std::uint64_t>());
    EXPECT_EQ(settled(ask(Method::remove, target)).status, 200u);
    EXPECT_EQ(settled(ask(Method::remove, "/v1/trust/ssh/corp")).status, 200u);
}

TEST_F(IdentityRoutes, WhoEndsWhileHisAnswerWaitsIsToldThat) {
    NEEDS_SSH_KEYGEN();
    slow = std::chrono::milliseconds(100);
    trust();
    const Response bound = ask(Method::post, "/v1/identities", proof().dump());
    ASSERT_TRUE(bound.later);
    Response said;
    identities.on_settled([&] { said = bound.later(); });
    EXPECT_TRUE(ask(Method::remove, "/v1/trust/ssh/corp").later);
    peers.clock.boot += std::chrono::milliseconds(500);
    identities.tick();
    EXPECT_EQ(told(said), "403 ended");
    EXPECT_TRUE(said.body.find("unknown-ca") != std::string::npos) << said.body;
}

TEST_F(IdentityRoutes, WithAFullDiskNobodyWaitsAndAllAreToldWhatIsSo) {
    NEEDS_SSH_KEYGEN();
    trust();
    disk_fails = true;
    const Response added = ask(Method::post, "/v1/identities", proof().dump());
    ASSERT_EQ(added.status, 201u) << added.body;
    EXPECT_EQ(body_of(added)["kept"], false);
    const std::string target = "/v1/identities/" + std::to_string(body_of(added)["id"].get<std::uint64_t>());
    EXPECT_EQ(told(ask(Method::remove, target)), "500 not-kept");
    EXPECT_EQ(identities.registry().size(), 0u);
    disk_fails = false;
    peers.clock.boot += std::chrono::seconds(5);
    identities.tick();
    const Response again = ask(Method::post, "/v1/identities", proof().dump());
    ASSERT_EQ(again.status, 201u);
    EXPECT_FALSE(body_of(again).contains("kept"));
}

TEST_F(IdentityRoutes, RulesThatCannotBeCompiledAreAnError) {
    NEEDS_SSH_KEYGEN();
    trust();
    rules_fit = false;
    EXPECT_EQ(told(ask(Method::post, "/v1/identities", proof().dump())), "500 not-in-force");
    EXPECT_EQ(told(ask(Method::remove, "/v1/trust/ssh/corp")), "500 not-in-force");
    rules_fit = true;
}

TEST_F(IdentityRoutes, ADiskThatFailsLeavesTrustAsItWas) {
    NEEDS_SSH_KEYGEN();
    trust();
    disk_fails = true;
    EXPECT_EQ(told(ask(Method::remove, "/v1/trust/ssh/corp")), "500 trust-failed");
    EXPECT_EQ(identities.store().entries().size(), 1u);
    disk_fails = false;
}

}  // namespace
}  // namespace vern::api
