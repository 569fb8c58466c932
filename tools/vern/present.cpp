// vern present, vern statement: who I am, said to a daemon on the other side of a tunnel.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iostream>

#include "command.h"
#include "control/api/parameters.h"
#include "control/api/tunnel_client.h"
#include "control/api/tunnel_server.h"
#include "control/identity/identities.h"
#include "control/identity/proof.h"
#include "control/json.h"
#include "control/process.h"
#include "control/text.h"
#include "control/trust/ssh_key.h"
#include "control/trust/statement.h"
#include "control/trust/tls_trust.h"
#include "control/uapi_client.h"
#include "crypto/noise.h"

namespace vern::cli {
namespace {

namespace po = boost::program_options;
using nlohmann::json;
using trust::Statement;
using trust::UnixSeconds;

constexpr std::chrono::seconds kLifeMax{365L * 24 * 3600};
constexpr std::chrono::seconds kUsualLife{8 * 3600};
constexpr std::chrono::seconds kRenewedLife{600};
constexpr std::chrono::seconds kRetry{10};
// Refusals that may pass: tried again.
constexpr std::string_view kPasses[] = {"nonce", "limit", "no-peer"};

UnixSeconds now() {
    return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now())
        .time_since_epoch()
        .count();
}

std::string text(const Invocation& invocation, const char* option) {
    return invocation.has(option) ? invocation.options[option].as<std::string>() : std::string();
}

Result<PublicKey> read_key(const std::string& text, const char* option) {
    PublicKey key;
    if (!from_base64(text, key.bytes)) return fail(std::string(option) + ": not a public key (base64)");
    return key;
}

Result<std::chrono::seconds> read_life(const Invocation& invocation, std::chrono::seconds usual) {
    if (!invocation.has("for")) return usual;
    const auto life = parse_duration(text(invocation, "for"), kLifeMax);
    if (!life) return fail("--for: a time as 10m, 8h or 3600 is wanted, a year at most");
    return *life;
}

struct Wanted {
    IpAddress address;
    std::uint16_t port = api::kTunnelPort;
    std::string ssh;       // the certificate's file
    trust::TlsFiles x509;  // or these
    std::optional<PublicKey> wg, audience;
    std::chrono::seconds life{};
    bool renew = false, json = false;
};

// What a daemon asks to be signed.
struct Invitation {
    Statement statement;
    std::string tls_key;
};

struct Bound {
    std::string identity;
    UnixSeconds ends = 0;
};

// What the other side said, of 2xx; else its refusal. `code` is the refusal's.
Result<json> post(const Wanted& wanted, std::string_view target, const std::string& body, SSL_CTX* tls,
                  std::string& code) {
    auto answer = api::post_through_tunnel(wanted.address, wanted.port, target, body, tls);
    if (!answer) return tl::unexpected(answer.error());
    const json said = json::parse(answer->body, nullptr, false);
    if (!said.is_object()) return fail("the answer is not understood: is that a vernd?", EPROTO);
    if (answer->status / 100 == 2) return said;
    const auto member = [&](const char* name) {
        const auto found = said.find(name);
        return found != said.end() && found->is_string() ? printable(found->get<std::string>(), 300)
                                                         : std::string("?");
    };
    code = member("code");
    return fail(member("error") + " (" + code + ")", EACCES);
}

std::string member(const json& said, const char* name) {
    const auto found = said.find(name);
    return found != said.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// Whose tunnel leads there: ours to sign for, and the daemon's to be signed for. By the interfaces of this
// host, or by what the options say.
Result<void> find_keys(Wanted& wanted) {
    if (wanted.wg && wanted.audience) return {};
    bool forbidden = false;
    for (const std::string& name : uapi_interfaces()) {
        auto client = UapiClient::connect(name);
        auto status = client ? client->get() : Result<DeviceStatus>(tl::unexpected(client.error()));
        if (!status) {
            forbidden |= status.error().code == EACCES || status.error().code == EPERM;
            continue;
        }
        if (status->public_key.is_zero()) continue;
        const PeerStatus* best = nullptr;
        unsigned length = 0;
        for (const PeerStatus& peer : status->peers) {
            for (const Prefix& prefix : peer.allowed_ips) {
                if (contains(prefix, wanted.address) && (best == nullptr || prefix.length >= length)) {
                    best = &peer;
                    length = prefix.length;
                }
            }
        }
        if (best == nullptr) continue;
        if (!wanted.wg) wanted.wg = status->public_key;
        if (!wanted.audience) wanted.audience = best->public_key;
        return {};
    }
    if (wanted.wg) return {};
    return fail(forbidden ? "which key to sign for is root's to see: run as root, or give --wg (wg show "
                            "INTERFACE public-key)"
                          : "no interface of this host leads to " + to_text(wanted.address) +
                                ": give --wg, the public key of the one that does");
}

// A nonce; and nothing is signed that names another key than ours: it would make us somebody else.
Result<Invitation> invite(const Wanted& wanted, std::string& code) {
    auto said = post(wanted, "/v1/invitation", "", nullptr, code);
    if (!said) return tl::unexpected(said.error());
    Invitation invitation;
    Statement& statement = invitation.statement;
    const auto nonce = trust::decode_base64(member(*said, "nonce"), "", "the nonce");
    if (!from_base64(member(*said, "wg"), statement.wg.bytes) ||
        !from_base64(member(*said, "audience"), statement.audience.bytes) || !nonce ||
        nonce->size() != statement.nonce.size())
        return fail("the invitation is not understood", EPROTO);
    if (statement.wg != *wanted.wg)
        return fail("the daemon there takes us for another peer (" + to_base64(statement.wg.bytes) +
                    "): nothing is signed");
    if (wanted.audience && statement.audience != *wanted.audience)
        return fail("the daemon there has another key than the tunnel's other end (" +
                    to_base64(statement.audience.bytes) + "): nothing is signed");
    std::ranges::copy(std::as_bytes(std::span(*nonce)), statement.nonce.begin());
    statement.not_after = now() + wanted.life.count();
    invitation.tls_key = member(*said, "tls_key");
    return invitation;
}

// By the agent, or by the key file beside the certificate; ssh-keygen asks for passphrases and touches.
Result<std::string> sign(const std::string& certificate, const std::string& statement) {
    if (::access(certificate.c_str(), R_OK) != 0) return fail_errno(certificate, errno);
    const auto signed_by =
        run_process({"ssh-keygen", "-Y", "sign", "-n", std::string(identity::kNamespace), "-f", certificate},
                    {.input = statement});
    if (!signed_by)
        return fail(signed_by.error().code == ENOENT ? "there is no ssh-keygen here (package openssh-client)"
                                                     : signed_by.error().message);
    if (signed_by->ok()) return signed_by->output;
    return fail(certificate + ": ssh-keygen does not sign: " +
                printable(signed_by->errors.substr(0, signed_by->errors.find('\n')), 300));
}

Result<Bound> present(const Wanted& wanted, std::string& code) {
    const auto invitation = invite(wanted, code);
    if (!invitation) return tl::unexpected(invitation.error());
    Result<json> said = json();
    if (!wanted.ssh.empty()) {
        const std::string statement = encode_statement(invitation->statement);
        const auto signature = sign(wanted.ssh, statement);
        if (!signature) return tl::unexpected(signature.error());
        said = post(wanted, "/v1/present", json{{"statement", statement}, {"signature", *signature}}.dump(),
                    nullptr, code);
    } else {
        const auto context = trust::make_tls_client({.files = wanted.x509,
                                                     .passphrase = [] { return std::nullopt; },
                                                     .ca_file = {},
                                                     .server_name = {},
                                                     .server_key = invitation->tls_key});
        if (!context) return tl::unexpected(context.error());
        // Whom we take both ends for, inside TLS: who passes the connection on cannot have it bound to
        // himself.
        said = post(wanted, "/v1/present",
                    json{{"wg", to_base64(invitation->statement.wg.bytes)},
                         {"audience", to_base64(invitation->statement.audience.bytes)},
                         {"not_after", invitation->statement.not_after}}
                        .dump(),
                    context->get(), code);
    }
    if (!said) return tl::unexpected(said.error());
    Bound bound{.identity = printable(member(*said, "identity"), 300)};
    if (const auto ends = said->find("ends_s"); ends != said->end() && ends->is_number_integer())
        bound.ends = ends->get<UnixSeconds>();
    return bound;
}

void print(const Wanted& wanted, const Bound& bound) {
    if (wanted.json)
        fmt::print("{}\n", json{{"identity", bound.identity}, {"ends", date_text(bound.ends)}}.dump());
    else
        fmt::print("{} is {} until {}\n", to_text(wanted.address), "told that this peer is " + bound.identity,
                   date_text(bound.ends));
    std::fflush(stdout);
}

void pause(std::chrono::seconds time) {
    ::poll(nullptr, 0, static_cast<int>(std::chrono::milliseconds(time).count()));
}

// Until the certificate ends, or is refused for good. It is read anew each time: somebody may renew it too.
int keep_presenting(const Wanted& wanted) {
    UnixSeconds ends = 0;
    for (;;) {
        std::string code;
        const auto bound = present(wanted, code);
        if (!bound) {
            print_error(bound.error().message);
            const bool passes = code.empty() || std::ranges::find(kPasses, code) != std::end(kPasses);
            if (!passes || (ends == 0 && code.empty())) return kFailure;
            pause(kRetry);
            continue;
        }
        if (ends == 0) print(wanted, *bound);
        ends = bound->ends;
        // With a third of the time left there is some to try again.
        pause(std::chrono::seconds(std::clamp<UnixSeconds>((ends - now()) * 2 / 3, 1, 3600)));
    }
}

Result<Wanted> read_wanted(const Invocation& invocation) {
    Wanted wanted;
    const auto address = parse_address(text(invocation, "to"));
    if (!address) return fail("--to: the daemon's address inside the tunnel is wanted");
    wanted.address = *address;
    if (invocation.has("port")) {
        const auto port = parse_port(text(invocation, "port"));
        if (!port || *port == 0) return fail("--port: a number from 1 to 65535 is wanted");
        wanted.port = *port;
    }
    wanted.ssh = text(invocation, "ssh");
    wanted.x509 = {text(invocation, "x509"), text(invocation, "key")};
    if (wanted.ssh.empty() == wanted.x509.certificate.empty())
        return fail("one of --ssh and --x509 is wanted");
    if (!wanted.x509.certificate.empty() && wanted.x509.key.empty())
        return fail("--x509: its --key is wanted too");
    for (const auto& [option, key] : {std::pair("wg", &wanted.wg), std::pair("audience", &wanted.audience)}) {
        if (!invocation.has(option)) continue;
        const auto read = read_key(text(invocation, option), option);
        if (!read) return tl::unexpected(read.error());
        *key = *read;
    }
    wanted.renew = invocation.has("renew");
    wanted.json = invocation.has("json");
    const auto life = read_life(invocation, wanted.renew ? kRenewedLife : kUsualLife);
    if (!life) return tl::unexpected(life.error());
    wanted.life = *life;
    return wanted;
}

int run_present(const Invocation& invocation) {
    auto wanted = read_wanted(invocation);
    if (!wanted) {
        print_error(wanted.error().message);
        return kUsage;
    }
    if (auto found = find_keys(*wanted); !found) return failed(found.error());
    if (wanted->renew) return keep_presenting(*wanted);
    std::string code;
    const auto bound = present(*wanted, code);
    if (!bound) return failed(bound.error());
    print(*wanted, *bound);
    return kSuccess;
}

void declare_keys(po::options_description& options, const char* wg) {
    options.add_options()("wg", po::value<std::string>()->value_name("KEY"), wg)(
        "audience", po::value<std::string>()->value_name("KEY"), "the daemon's public key")(
        "for", po::value<std::string>()->value_name("TIME"), "how long it is to hold, at most: 10m, 8h");
}

void declare_present(po::options_description& options) {
    options.add_options()("to", po::value<std::string>()->value_name("ADDRESS"),
                          "the daemon's address inside the tunnel")(
        "port", po::value<std::string>()->value_name("PORT"), "of its listener; 51821 if not given")(
        "ssh", po::value<std::string>()->value_name("FILE"), "an OpenSSH certificate (id_ed25519-cert.pub)")(
        "x509", po::value<std::string>()->value_name("FILE"),
        "an X.509 certificate and its intermediates, PEM")(
        "key", po::value<std::string>()->value_name("FILE"), "the X.509 certificate's key, PEM")(
        "renew", "stay, and say it again before it ends, for as long as the certificate allows")(
        "json,j", "print JSON");
    declare_keys(options, "this peer's public key, where its interface cannot be asked");
}

// For a proof that is handed in by somebody who may: the line to be signed.
int run_statement(const Invocation& invocation) {
    const auto wg = read_key(text(invocation, "wg"), "--wg"),
               audience = read_key(text(invocation, "audience"), "--audience");
    const auto life = read_life(invocation, kUsualLife);
    if (!wg || !audience || !life) {
        print_error((!wg ? wg.error() : !audience ? audience.error() : life.error()).message);
        return kUsage;
    }
    Statement statement{.wg = *wg, .audience = *audience, .nonce = {}, .not_after = now() + life->count()};
    std::ifstream random("/dev/urandom", std::ios::binary);
    if (!random.read(reinterpret_cast<char*>(statement.nonce.data()),
                     static_cast<std::streamsize>(statement.nonce.size())))
        return failed(Error{"/dev/urandom cannot be read", EIO});
    fmt::print("{}", encode_statement(statement));
    return kSuccess;
}

void declare_statement(po::options_description& options) { declare_keys(options, "the peer's public key"); }

}  // namespace

const Command kPresent{"present",
                       "--to ADDRESS (--ssh CERT-PUB | --x509 CERT --key KEY) [--renew]",
                       "prove who you are, through a tunnel",
                       "Tells the daemon at the other end of a tunnel who this peer is, by a certificate of "
                       "a CA that it trusts:\n"
                       "an OpenSSH one, which ssh-keygen signs with (by agent or key file), or an X.509 one, "
                       "by TLS. What the daemon's\n"
                       "policy allows to that identity is allowed until the certificate or --for ends.",
                       0,
                       0,
                       declare_present,
                       run_present};
const Command kStatement{
    "statement",
    "--wg KEY --audience KEY [--for TIME]",
    "print what is to be signed to hand in a proof",
    "Prints a binding statement. Sign it with\n"
    "  ssh-keygen -Y sign -n wg-binding@vern -f id-cert.pub FILE\n"
    "  openssl cms -sign -binary -nodetach -signer CERT -inkey KEY -in FILE -outform PEM\n"
    "and hand it in with `vern identity add`.",
    0,
    0,
    declare_statement,
    run_statement};

}  // namespace vern::cli
