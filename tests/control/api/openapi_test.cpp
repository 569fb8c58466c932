// docs/openapi.json and the server say the same: every route is there with its method and right, every
// parameter is known, and every answer is what its schema says.
#include <gtest/gtest.h>

#include <fstream>

#include "../identity/fake_peers.h"
#include "../policy/fake_plane.h"
#include "../temporary_directory.h"
#include "../trust/openssl_pki.h"
#include "../trust/ssh_workshop.h"
#include "control/api/identity_routes.h"
#include "control/api/interface_routes.h"
#include "control/api/policy_routes.h"
#include "control/api/target.h"
#include "control/log.h"
#include "control/trust/statement.h"

namespace vern::api {
namespace {

using nlohmann::json;

// The part of JSON Schema that the document uses. A word that is not known here is an error: it would check
// nothing.
class Schema {
  public:
    explicit Schema(const json& document) : document_(document) {}

    // What is wrong, each with its place; nothing if the value fits.
    std::vector<std::string> check(const json& value, const json& schema) {
        wrong_.clear();
        visit(value, schema, "");
        return wrong_;
    }
    const json& resolve(const json& node) const {
        const auto reference = node.find("$ref");
        if (reference == node.end()) return node;
        return resolve(document_.at(json::json_pointer(reference->get<std::string>().substr(1))));
    }

  private:
    void say(const std::string& at, const std::string& what) { wrong_.push_back(at + ": " + what); }

    void visit(const json& value, const json& unresolved, const std::string& at) {
        const json& schema = resolve(unresolved);
        if (value.is_null() && schema.value("nullable", false)) return;
        for (const auto& [word, argument] : schema.items()) {
            if (word == "type") {
                if (!has_type(value, argument)) return say(at, "not of type " + argument.get<std::string>());
            } else if (word == "allOf") {
                for (const json& part : argument) visit(value, part, at);
            } else if (word == "properties") {
                for (const auto& [name, part] : argument.items())
                    if (value.is_object() && value.contains(name)) visit(value[name], part, at + "/" + name);
            } else if (word == "required") {
                for (const json& name : argument)
                    if (!value.contains(name.get<std::string>()))
                        say(at, "without " + name.get<std::string>());
            } else if (word == "additionalProperties") {
                others(value, schema, argument, at);
            } else if (word == "items") {
                for (std::size_t i = 0; i < value.size(); ++i)
                    visit(value[i], argument, at + "/" + std::to_string(i));
            } else if (word == "enum") {
                if (std::find(argument.begin(), argument.end(), value) == argument.end())
                    say(at, value.dump() + " is none of " + argument.dump());
            } else if (word == "minimum") {
                if (value < argument) say(at, "too small");
            } else if (word == "maxItems") {
                if (value.size() > argument.get<std::size_t>()) say(at, "too many");
            } else if (word != "description" && word != "format" && word != "nullable") {
                say(at, "unknown word " + word);
            }
        }
    }
    void others(const json& value, const json& schema, const json& argument, const std::string& at) {
        for (const auto& [name, part] : value.items()) {
            if (schema.contains("properties") && schema["properties"].contains(name)) continue;
            if (argument.is_object())
                visit(part, argument, at + "/" + name);
            else if (argument == false)
                say(at, "with " + name);
        }
    }
    static bool has_type(const json& value, const std::string& type) {
        if (type == "object") return value.is_object();
        if (type == "array") return value.is_array();
        if (type == "string") return value.is_string();
        if (type == "boolean") return value.is_boolean();
        return type == "integer" && value.is_number_integer();
    }

    const json& document_;
    std::vector<std::string> wrong_;
};

class FakeSource final : public InterfaceSource {
  public:
    json interface_facts() override { return facts; }
    DeviceStatus device_status() override {
        DeviceStatus status;
        status.private_key.emplace();
        status.private_key->writable()[0] = std::byte{8};
        status.peers.resize(2);
        status.peers[0].allowed_ips.push_back({IpAddress::v4(std::array<std::byte, 4>{}), 24});
        status.peers[1].public_key.bytes[0] = std::byte{1};
        status.peers[1].endpoint = Endpoint{};
        status.peers[1].latest_handshake = WallTime(std::chrono::seconds(1'800'000'000));
        return status;
    }
    Measured measured() override { return {}; }
    json facts;
};

class OpenApi : public testing::Test {
  protected:
    OpenApi() {
        set_log_level(LogLevel::silent);
        add_interface_routes(router, "wg0", source);
        add_policy_routes(router, control);
        first_identity_route = router.routes().size();
        add_identity_routes(router,
                            {identities, peers, [](const PublicKey&) { return std::string("laptop"); }});
        router.add_events("/v1/events", Role::read);
        std::ifstream file(VERN_SOURCE_DIRECTORY "/docs/openapi.json");
        document = json::parse(file, nullptr, false);
        source.facts = {{"version", "1"},
                        {"engine", {{"name", "epoll"}, {"reason", ""}}},
                        {"aead", {{"name", "portable"}, {"reason", ""}}},
                        {"workers", 1},
                        {"hand_over", {{"tasks", 0}, {"calls", 0}, {"stalls", 0}}},
                        {"helpers", 0},
                        {"mtu", 1420},
                        {"offloads", {{"gso", {{"on", false}, {"reason", "so"}}}}},
                        {"counters", {{"bad_tag", 1}}},
                        {"policy", control.summary()}};
    }
    void SetUp() override {
        ASSERT_TRUE(document.is_object());
        ASSERT_TRUE(control.start(""));
    }

    static std::string lower(Method method) {
        std::string name(name_of(method));
        std::transform(name.begin(), name.end(), name.begin(),
                       [](char c) { return static_cast<char>(c | 0x20); });
        return name;
    }
    const json& operation(const Route& route) {
        return document["paths"][route.pattern][lower(route.method)];
    }

    // Asks, and holds the answer to its schema.
    Response ask(Method method, std::string_view target, std::string body = {}) {
        Request request{.method = method,
                        .target = parse_target(target).value(),
                        .body = std::move(body),
                        .caller = {.role = Role::write, .name = "uid 0", .unix_peer = {}}};
        const Route* route = router.find(method, request.target.path).route;
        EXPECT_NE(route, nullptr) << target;
        if (!route) return {};
        Response response = route->handler(request);
        const json& responses = operation(*route)["responses"];
        const std::string status = std::to_string(response.status);
        EXPECT_TRUE(responses.contains(status)) << target << " " << status << " " << response.body;
        if (!responses.contains(status)) return response;
        Schema schema(document);
        const json& content = schema.resolve(responses[status])["content"];
        EXPECT_TRUE(content.contains(std::string(response.content_type)))
            << target << " " << response.content_type;
        for (const auto& [name, value] : response.headers) {
            EXPECT_TRUE(schema.resolve(responses[status])
                            .value("headers", json::object())
                            .contains(std::string(name)))
                << target << " " << name;
        }
        if (!content.contains(std::string(response.content_type))) return response;
        if (response.content_type != "application/json") return response;
        const auto wrong = schema.check(json::parse(response.body), content["application/json"]["schema"]);
        EXPECT_TRUE(wrong.empty()) << target << " " << response.status << " " << wrong.front() << "\n"
                                   << response.body;
        answered.insert(route->pattern + " " + lower(method) + " " + status);
        return response;
    }

    // A path of the route's, whatever it has for its names.
    static std::string path_of(const Route& route) {
        std::string path;
        for (const std::string& segment : route.segments)
            path += "/" + (segment == "{name}" ? "corp" : segment == "{id}" ? "1" : segment);
        return path;
    }
    // A success of these routes was held to its schema.
    void expect_answers(std::size_t from, std::size_t to) {
        for (std::size_t i = from; i < to; ++i) {
            const Route& route = router.routes()[i];
            const std::string asked = route.pattern + " " + lower(route.method);
            EXPECT_TRUE(!route.handler || route.pattern == "/metrics" || answered.contains(asked + " 200") ||
                        answered.contains(asked + " 201"))
                << asked;
        }
    }

    // A list that is one longer than its schema allows is refused for that; each list has such an end.
    void expect_limits(const std::string& target, const char* schema, const json& good) {
        for (const auto& [name, part] : document["components"]["schemas"][schema]["properties"].items()) {
            if (part["type"] != "array") continue;
            ASSERT_TRUE(part.contains("maxItems")) << schema << " " << name;
            json body = good;
            body[name] = json::array();
            for (std::size_t i = 0; i <= part["maxItems"].get<std::size_t>(); ++i)
                body[name].push_back(name == "crls" ? good[name][0].get<std::string>()
                                                    : "n" + std::to_string(i));
            const Response response = ask(Method::put, target, body.dump());
            EXPECT_EQ(response.status, 422u) << schema << " " << name;
            EXPECT_EQ(json::parse(response.body)["code"], "too-large") << response.body;
        }
    }

    vern::test::TemporaryDirectory directory;
    policy::test::FakePlane plane;
    policy::Control control{policy::Store(directory.path() + "/wg0"), plane};
    FakeSource source;
    identity::test::FakePeers peers;
    identity::test::SeededRandom random;
    identity::Identities identities{directory.path() + "/identities", peers, random,
                                    [](const identity::IdentityEvent&) {}, [] { return true; }};
    Router router;
    std::size_t first_identity_route = 0;
    json document;
    std::set<std::string> answered;
};

TEST_F(OpenApi, HasEveryRouteAndNoOther) {
    std::set<std::string> served, described;
    for (const Route& route : router.routes()) served.insert(route.pattern + " " + lower(route.method));
    for (const auto& [path, operations] : document["paths"].items()) {
        for (const auto& [method, what] : operations.items()) described.insert(path + " " + method);
    }
    EXPECT_EQ(served, described);
    for (const Route& route : router.routes()) {
        EXPECT_EQ(operation(route)["x-role"], route.role == Role::write ? "write" : "read") << route.pattern;
        if (const json& what = operation(route); what.contains("requestBody")) {
            const json& body = what["requestBody"];
            EXPECT_EQ(body.contains("x-bytes-max")
                          ? body["x-bytes-max"]
                          : body["content"]["application/toml"]["schema"]["maxLength"],
                      route.body_bytes_max)
                << route.pattern;
        }
    }
}

TEST_F(OpenApi, HasEveryParameterAndNoOther) {
    for (const Route& route : router.routes()) {
        if (!route.handler) continue;
        EXPECT_EQ(ask(route.method, path_of(route) + "?no_such_parameter=1").status, 400u) << route.pattern;
        for (const json& parameter : operation(route).value("parameters", json::array())) {
            const std::string name = parameter["name"];
            if (parameter["in"] == "path") {
                EXPECT_NE(route.pattern.find("{" + name + "}"), std::string::npos) << name;
                continue;
            }
            const Response response = ask(route.method, path_of(route) + "?" + name + "=");
            EXPECT_EQ(response.body.find("unknown-parameter"), std::string::npos) << response.body;
        }
    }
}

TEST_F(OpenApi, HasEveryErrorCode) {
    // Those of the sources: a code that is in one place only is a mistake.
    std::set<std::string> described, used;
    for (const json& code : document["components"]["schemas"]["Error"]["properties"]["code"]["enum"])
        described.insert(code.get<std::string>());
    for (const auto& file : std::filesystem::directory_iterator(VERN_SOURCE_DIRECTORY "/src/control/api")) {
        const std::string text = vern::test::read_file(file.path());
        constexpr std::string_view kCall = "error_response(";
        for (auto at = text.find(kCall); at != std::string::npos; at = text.find(kCall, at + 1)) {
            const auto quote = text.find('"', at), end = text.find('"', quote + 1);
            const auto first = text.find_first_not_of(" \n", at + kCall.size());
            if (first != std::string::npos && text[first] >= '4' && text[first] <= '5')
                used.insert(text.substr(quote + 1, end - quote - 1));
        }
    }
    for (unsigned i = 0; i <= static_cast<unsigned>(trust::Refusal::limit); ++i)
        used.emplace(trust::refusal_code(static_cast<trust::Refusal>(i)));
    EXPECT_EQ(used, described);
}

TEST_F(OpenApi, AnswersAreWhatTheSchemasSay) {
    const std::string policy =
        "version = 1\nname = \"a\"\n[[rule]]\nid = \"r\"\nin = {}\nallow = [\"tcp/22\"]\n";
    const std::string other =
        "version = 1\n[defaults]\nobserve = true\n[[rule]]\nid = \"s\"\nin = {}\nallow = [\"tcp/22\"]\n"
        "[[rule]]\nid = \"d\"\nout = {}\ndeny = [\"udp/1\"]\nobserve = true\n";
    const std::string question = with_query("/v1/explain", {{"q", "in - tcp 10.0.0.2:1 > 10.0.0.1:22"}});
    for (const char* target :
         {"/v1/interface", "/v1/peers", "/v1/peers?limit=1", "/v1/peers?offset=7", "/metrics", "/v1/policy",
          "/v1/policy?text=true", "/v1/flows", "/v1/policy/counters"})
        ask(Method::get, target);
    ask(Method::get, question);
    EXPECT_EQ(ask(Method::post, "/v1/policy/confirm").status, 409u);
    EXPECT_EQ(ask(Method::post, "/v1/policy/rollback").status, 409u);
    EXPECT_EQ(ask(Method::remove, "/v1/policy").status, 409u);
    EXPECT_EQ(ask(Method::post, "/v1/policy/diff?file=f", policy).status, 200u);
    EXPECT_EQ(ask(Method::put, "/v1/policy?file=f", policy).status, 200u);
    EXPECT_EQ(ask(Method::post, "/v1/policy/check", other).status, 200u);
    EXPECT_EQ(ask(Method::post, "/v1/policy/diff", other).status, 200u);
    EXPECT_EQ(ask(Method::put, "/v1/policy?confirm=60s", other).status, 200u);
    EXPECT_EQ(ask(Method::put, "/v1/policy", policy).status, 409u);
    EXPECT_EQ(json::parse(ask(Method::get, "/v1/policy?text=true").body)["text"], other);
    source.facts["policy"] = control.summary();
    for (const char* target :
         {"/v1/interface", "/v1/policy/counters", "/v1/flows?peer=x&port=1&limit=1", "/metrics"})
        EXPECT_EQ(ask(Method::get, target).status, 200u);
    EXPECT_EQ(ask(Method::get, question).status, 200u);
    EXPECT_EQ(ask(Method::get, "/v1/explain?q=what").status, 400u);
    EXPECT_EQ(ask(Method::get, "/v1/explain").status, 400u);
    EXPECT_EQ(ask(Method::post, "/v1/policy/confirm").status, 200u);
    EXPECT_EQ(ask(Method::post, "/v1/policy/rollback").status, 200u);
    EXPECT_EQ(ask(Method::remove, "/v1/policy").status, 200u);
    EXPECT_EQ(ask(Method::post, "/v1/policy/rollback").status, 200u);
    const Response wrong = ask(Method::put, "/v1/policy?file=f.toml", "version = 1\nx = 1\ny = 2\n");
    EXPECT_EQ(wrong.status, 422u);
    EXPECT_TRUE(json::parse(wrong.body)["errors"][0].get<std::string>().starts_with("f.toml:2:1: "))
        << wrong.body;
    ask(Method::post, "/v1/policy/check", "x");
    ask(Method::post, "/v1/policy/diff", "x");
    plane.refuse = true;
    EXPECT_EQ(ask(Method::put, "/v1/policy", policy).status, 500u);
    expect_answers(0, first_identity_route);
}

TEST_F(OpenApi, AnswersAboutIdentitiesAreWhatTheSchemasSay) {
    NEEDS_SSH_KEYGEN();
    auto& workshop = vern::test::Workshop::get();
    const std::string ca = workshop.key("ed25519", "-openapi-ca"),
                      user = workshop.key("ed25519", "-openapi-user");
    workshop.certify(ca, user);
    const json ssh{{"key", workshop.public_line(ca)},
                   {"krl", trust::encode_base64(workshop.krl("serial: 1\n", ca, {"-z", "5"}))},
                   {"principals", "alice\n"},
                   {"principals_file", "principals"},
                   {"groups", {"staff"}}};
    EXPECT_EQ(ask(Method::put, "/v1/trust/ssh/corp", ssh.dump()).status, 200u);
    const trust::test::Pki pki;
    pki.root("ca");
    pki.issue("ada", "ca", {.subject = "/OU=DBA/CN=ada", .arguments = {}});
    peers.clock.wall = WallTime(std::chrono::seconds(trust::test::kNow));
    const json x509{{"certificates", pki.read("ca.pem")},
                    {"crls", {trust::encode_base64(pki.crl("ca"))}},
                    {"groups", json::array()}};
    EXPECT_EQ(ask(Method::put, "/v1/trust/x509/pki", x509.dump()).status, 200u);
    expect_limits("/v1/trust/ssh/corp", "SshAuthority", ssh);
    expect_limits("/v1/trust/x509/pki", "X509Authority", x509);

    const std::string statement = trust::encode_statement({.wg = identity::test::kLaptop,
                                                           .audience = identity::test::kDaemon,
                                                           .nonce = {},
                                                           .not_after = trust::test::kNow + 3600});
    const json by_ssh{
        {"statement", statement},
        {"signature", workshop.sign(user + "-cert", std::string(identity::kNamespace), statement)}};
    EXPECT_EQ(ask(Method::post, "/v1/identities", by_ssh.dump()).status, 201u);
    pki.write("statement", statement);
    pki.openssl({"cms", "-sign", "-binary", "-nodetach", "-md", "sha256", "-signer", pki.path("ada.pem"),
                 "-inkey", pki.path("ada.key"), "-in", pki.path("statement"), "-outform", "PEM", "-out",
                 pki.path("cms.pem")});
    EXPECT_EQ(ask(Method::post, "/v1/identities", json{{"cms", pki.read("cms.pem")}}.dump()).status, 201u);

    EXPECT_EQ(json::parse(ask(Method::get, "/v1/trust").body)["authorities"].size(), 2u);
    EXPECT_EQ(json::parse(ask(Method::get, "/v1/identities?limit=1").body)["more"], true);
    EXPECT_EQ(json::parse(ask(Method::get, "/v1/whois?addr=10.100.0.2").body)["identities"].size(), 2u);
    EXPECT_EQ(ask(Method::get, "/v1/whois?addr=10.100.0.2&require=x509:ou%3DDBA").status, 200u);
    EXPECT_EQ(ask(Method::get, "/v1/whois?addr=10.100.0.2&require=x509:ou%3Dweb").status, 403u);
    EXPECT_EQ(ask(Method::get, "/v1/whois?addr=10.9.9.9").status, 404u);
    EXPECT_EQ(ask(Method::put, "/v1/trust/ssh/corp", R"({"key":"x"})").status, 422u);
    EXPECT_EQ(ask(Method::post, "/v1/identities", R"({"cms":"x"})").status, 422u);
    EXPECT_EQ(ask(Method::remove, "/v1/identities/1").status, 200u);
    EXPECT_EQ(ask(Method::remove, "/v1/identities/1").status, 404u);
    // A CA whose list went stale is said to be of no use when it is read again.
    peers.pass(std::chrono::hours(48));
    identities.start();
    const json stale = json::parse(ask(Method::get, "/v1/trust").body)["authorities"][1];
    EXPECT_EQ(stale["usable"], false);
    EXPECT_TRUE(stale.contains("error")) << stale;
    EXPECT_EQ(ask(Method::remove, "/v1/trust/ssh/corp").status, 200u);
    EXPECT_EQ(ask(Method::remove, "/v1/trust/x509/pki").status, 200u);
    EXPECT_EQ(ask(Method::remove, "/v1/trust/x509/pki").status, 404u);
    expect_answers(first_identity_route, router.routes().size());
}

TEST_F(OpenApi, FlowsAndExplanationsOfALivePlane) {
    ask(Method::put, "/v1/policy", "version = 1\n[[rule]]\nid = \"r\"\nin = {}\nallow = [\"tcp/22\"]\n");
    policy::Flow flow;
    flow.key.protocol = 6;
    flow.generation = 1;
    flow.last_seen = plane.clock.boot;
    plane.flows.push_back({flow, PublicKey{}});
    plane.explanation = policy::Explanation{.rule = 0, .reason = Counter::policy_denied, .live = flow};
    const json flows = json::parse(ask(Method::get, "/v1/flows").body);
    EXPECT_EQ(flows["flows"].size(), 1u);
    EXPECT_EQ(flows["flows"][0]["rule"], "r");
    const json explained = json::parse(
        ask(Method::get, with_query("/v1/explain", {{"q", "in - tcp 10.0.0.2:1 > 10.0.0.1:22"}})).body);
    EXPECT_TRUE(explained.contains("live"));
    EXPECT_EQ(explained["rule"]["id"], "r");
}

}  // namespace
}  // namespace vern::api
