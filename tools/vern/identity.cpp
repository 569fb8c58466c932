// vern identity, vern whois: who the peers have proven to be, and until when.
#include <fmt/format.h>

#include "control/api/target.h"
#include "control/audit/record.h"
#include "control/text.h"
#include "control/trust/cms_statement.h"
#include "control/trust/sshsig.h"
#include "control/trust/statement.h"
#include "policy.h"
#include "public_file.h"

namespace vern::cli {
namespace {

namespace po = boost::program_options;
using nlohmann::json;

constexpr std::size_t kCertificateBytesMax = 128 << 10;  // with its intermediates, in PEM

// "2026-11-22T20:00:00Z, in 7 h 59 min"
std::string until_text(const std::string& ends) {
    const auto time = audit::parse_time(ends);
    if (!time) return ends;
    const auto left =
        std::chrono::duration_cast<std::chrono::seconds>(*time - std::chrono::system_clock::now()).count();
    if (left <= 0) return ends + ", over by this host's clock";
    if (left < 60) return fmt::format("{}, in {} s", ends, left);
    if (left < 3600) return fmt::format("{}, in {} min", ends, left / 60);
    if (left < 86400) return fmt::format("{}, in {} h {} min", ends, left / 3600, left / 60 % 60);
    return fmt::format("{}, in {} d {} h", ends, left / 86400, left / 3600 % 24);
}

std::string peer_text(const json& object) {
    const auto name = text_of(object, "peer_name");
    return name.empty() ? text_of(object, "peer") : name;
}

void print_identity(const json& identity, std::string_view whose) {
    fmt::print("{}{}\n", whose, text_of(identity, "label"));
    fmt::print("  id {}, CA {}, serial {}, by {}\n", number_of(identity, "id"), text_of(identity, "ca"),
               text_of(identity, "serial"), text_of(identity, "means"));
    if (const auto groups = joined(identity, "groups"); !groups.empty()) fmt::print("  in {}\n", groups);
    fmt::print("  until {}\n", until_text(text_of(identity, "ends")));
}

const json& identities_of(const json& answer) {
    static const json none = json::array();
    const auto found = answer.find("identities");
    return found != answer.end() && found->is_array() ? *found : none;
}

int list(const Invocation& invocation) {
    std::vector<std::pair<std::string, std::string>> query;
    if (invocation.has("peer")) query.emplace_back("peer", invocation.options["peer"].as<std::string>());
    const auto answer = ask_daemon(invocation, api::Method::get, api::with_query("/v1/identities", query));
    if (!answer) return refuse(invocation, answer.error());
    if (invocation.has("json")) return print_done(*answer);
    const json& all = identities_of(*answer);
    for (const json& identity : all) print_identity(identity, peer_text(identity) + " is ");
    if (all.empty() && invocation.has("peer"))
        fmt::print(stderr, "vern: nobody called '{}' has proven anything\n",
                   printable(invocation.options["peer"].as<std::string>()));
    if (answer->contains("more") && (*answer)["more"] == json(true))
        fmt::print(stderr, "vern: of {} identities only {} are shown (--peer)\n", number_of(*answer, "bound"),
                   all.size());
    return kSuccess;
}

// What is handed in: the member of the request, the option that names its file, and how large it may be.
struct Part {
    const char* name;
    std::size_t bytes_max;
    Form form;
};
constexpr Part kParts[] = {{"statement", trust::kStatementBytesMax, Form::any},
                           {"signature", trust::kSshsigTextBytesMax, Form::pem},
                           {"cms", trust::kCmsBytesMax, Form::pem},
                           {"certificate", kCertificateBytesMax, Form::pem}};

int add(const Invocation& invocation) {
    const bool statement = invocation.has("statement"), signature = invocation.has("signature");
    if (statement != signature || statement + invocation.has("cms") + invocation.has("certificate") != 1) {
        print_error("identity add: --statement with --signature, or --cms, or --certificate");
        return kUsage;
    }
    json body;
    std::string proof;  // the file that refusals are about
    for (const Part& part : kParts) {
        if (!invocation.has(part.name)) continue;
        proof = invocation.options[part.name].as<std::string>();
        auto text = read_public_file(proof, part.bytes_max, part.form);
        if (!text) return refuse(invocation, text.error());
        body[part.name] = std::move(*text);
    }
    const auto answer = about_file(ask_daemon(invocation, api::Method::post, "/v1/identities",
                                              body.dump(-1, ' ', false, json::error_handler_t::replace)),
                                   proof);
    if (!answer) return refuse(invocation, answer.error());
    if (invocation.has("json")) return print_done(*answer);
    print_identity(*answer, peer_text(*answer) + " is ");
    if (const auto kept = answer->find("kept"); kept != answer->end() && *kept == json(false))
        print_error("the daemon's disk did not take it: a restart forgets it, unless the disk does before");
    return kSuccess;
}

int remove(const Invocation& invocation) {
    const auto id = parse_decimal<std::uint64_t>(invocation.operands[1]);
    if (!id) {
        print_error("identity remove: a number is wanted (vern identity list)");
        return kUsage;
    }
    const auto answer = ask_daemon(invocation, api::Method::remove, "/v1/identities/" + std::to_string(*id));
    if (!answer) return refuse(invocation, answer.error());
    return invocation.has("json") ? print_done(*answer) : kSuccess;
}

int run_identity(const Invocation& invocation) {
    const std::string& what = invocation.operands[0];
    const std::size_t operands = invocation.operands.size() - 1;
    for (const auto& [option, command] :
         {std::pair("peer", "list"), std::pair("statement", "add"), std::pair("signature", "add"),
          std::pair("cms", "add"), std::pair("certificate", "add")}) {
        if (!invocation.has(option) || what == command) continue;
        print_error(fmt::format("--{} belongs to identity {}", option, command));
        return kUsage;
    }
    if (what == "list" && operands == 0) return list(invocation);
    if (what == "add" && operands == 0) return add(invocation);
    if (what == "remove" && operands == 1) return remove(invocation);
    print_error("identity: list, add or remove ID (vern help identity)");
    return kUsage;
}

int run_whois(const Invocation& invocation) {
    std::vector<std::pair<std::string, std::string>> query{{"addr", invocation.operands[0]}};
    if (invocation.has("require"))
        query.emplace_back("require", invocation.options["require"].as<std::string>());
    const auto answer = ask_daemon(invocation, api::Method::get, api::with_query("/v1/whois", query));
    if (!answer) return refuse(invocation, answer.error());
    if (invocation.has("json")) return print_done(*answer);
    fmt::print("{} is peer {}\n", text_of(*answer, "address"), peer_text(*answer));
    const json& all = identities_of(*answer);
    for (const json& identity : all) print_identity(identity, "");
    if (all.empty()) fmt::print("no identity is proven\n");
    return kSuccess;
}

void declare_identity(po::options_description& options) {
    declare_interface(options);
    const auto file = [] { return po::value<std::string>()->value_name("FILE"); };
    options.add_options()("peer", po::value<std::string>()->value_name("PEER"),
                          "list: of this peer only: its name in the policy, or its key")(
        "statement", file(), "add: the statement, a line of JSON, with --signature")(
        "signature", file(), "add: what ssh-keygen -Y sign -n wg-binding@vern made of it")(
        "cms", file(), "add: a statement that openssl cms -sign -nodetach -outform PEM signed")(
        "certificate", file(),
        "add: a certificate of the peer's own key (RFC 8410), in PEM, with intermediates")("json,j",
                                                                                           "print JSON");
}

void declare_whois(po::options_description& options) {
    declare_interface(options);
    options.add_options()("require", po::value<std::string>()->value_name("SELECTOR"),
                          "fail unless this is proven: ssh:principal=dba, x509:ou=DBA;ca=corp")("json,j",
                                                                                                "print JSON");
}

}  // namespace

const Command kIdentity{
    "identity",
    "list | add | remove ID",
    "who peers have proven to be: list, hand in a proof, end",
    "list        who is who, by which certificate, and until when\n"
    "add         hand in a proof: --statement FILE --signature FILE, or --cms FILE, or --certificate FILE;\n"
    "            it is kept over a restart of the daemon, and proven again then\n"
    "remove ID   end one, at once; who still has the certificate can present it again, so revoke it too\n\n"
    "A proof is believed if a CA that is trusted (vern trust) signed its certificate. '-' is standard input.",
    1,
    2,
    declare_identity,
    run_identity};

const Command kWhois{"whois",
                     "ADDRESS[:PORT] [--require SELECTOR]",
                     "whose an address in the tunnel is",
                     "Tells which peer has an address, and the identities that it has proven. The exit "
                     "status is 0 if there is such\n"
                     "a peer and what --require names is proven now, otherwise 1.\n\n"
                     "  vern whois 10.100.0.2\n"
                     "  vern whois '[fd00::2]:43210' --require 'ssh:principal=dba;ca=corp'",
                     1,
                     1,
                     declare_whois,
                     run_whois};

}  // namespace vern::cli
