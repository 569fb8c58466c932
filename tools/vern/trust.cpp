// vern trust: whose certificates prove who a peer is.
#include <fmt/format.h>

#include <algorithm>

#include "control/api/target.h"
#include "control/text.h"
#include "control/trust/store.h"
#include "policy.h"
#include "public_file.h"

namespace vern::cli {
namespace {

namespace po = boost::program_options;
using nlohmann::json;

constexpr std::size_t kCertificatesBytesMax = std::size_t{1} << 20;  // 32 of 16 KiB, in PEM

std::vector<std::string> all_of(const Invocation& invocation, const char* option) {
    return invocation.has(option) ? invocation.options[option].as<std::vector<std::string>>()
                                  : std::vector<std::string>();
}

// "ssh/user_ca.pub" is trusted as "user_ca" unless another name is given.
Result<std::string> authority_name(const Invocation& invocation, const std::string& file) {
    std::string name;
    if (invocation.has("name")) {
        name = invocation.options["name"].as<std::string>();
    } else if (file == "-") {
        return fail("--name is wanted with standard input");
    } else {
        name = file.substr(file.rfind('/') + 1);
        if (const auto dot = name.rfind('.'); dot != std::string::npos && dot > 0) name.erase(dot);
        std::ranges::replace_if(
            name,
            [](char c) {
                return c != '.' && !trust::is_authority_name({&c, 1});
            },
            '-');
        name.resize(std::min(name.size(), trust::kAuthorityNameBytesMax));
    }
    if (trust::is_authority_name(name)) return name;
    return fail("'" + printable(name) +
                "' cannot name a CA: up to 64 letters, digits and any of -_. (--name)");
}

Result<json> ssh_body(const Invocation& invocation, const std::string& file) {
    auto key = read_public_file(file, trust::kSshKeyLineBytesMax);
    if (!key) return tl::unexpected(key.error());
    json body{{"key", std::move(*key)}, {"groups", all_of(invocation, "group")}};
    if (invocation.has("krl")) {
        const auto& path = invocation.options["krl"].as<std::string>();
        auto krl = read_public_file(path, trust::kKrlBytesMax);
        if (!krl) return tl::unexpected(krl.error());
        body["krl_file"] = path;
        body["krl"] = trust::encode_base64(*krl);
    }
    if (invocation.has("principals")) {
        const auto& path = invocation.options["principals"].as<std::string>();
        auto principals = read_public_file(path, trust::kPrincipalsFileBytesMax);
        if (!principals) return tl::unexpected(principals.error());
        body["principals"] = std::move(*principals);
        body["principals_file"] = path;
    }
    return body;
}

Result<json> x509_body(const Invocation& invocation, const std::string& file) {
    auto certificates = read_public_file(file, kCertificatesBytesMax, Form::pem);
    if (!certificates) return tl::unexpected(certificates.error());
    json crls = json::array();
    for (const std::string& path : all_of(invocation, "crl")) {
        auto crl = read_public_file(path, trust::kCrlBytesMax);
        if (!crl) return tl::unexpected(crl.error());
        crls.push_back(trust::encode_base64(*crl));
    }
    return json{{"certificates", std::move(*certificates)},
                {"crls", std::move(crls)},
                {"crl_files", all_of(invocation, "crl")},
                {"groups", all_of(invocation, "group")}};
}

void print_authority(const json& authority) {
    std::string line = fmt::format("{:<4} {}: {}", text_of(authority, "kind"), text_of(authority, "name"),
                                   text_of(authority, "subject"));
    if (const auto lists = text_of(authority, "revocations"); !lists.empty()) line += ", " + lists;
    if (authority.contains("principals"))
        line += fmt::format(", {} principals", number_of(authority, "principals"));
    if (const auto groups = joined(authority, "groups"); !groups.empty()) line += ", in " + groups;
    if (const auto error = text_of(authority, "error"); !error.empty()) line += ", NOT USED: " + error;
    fmt::print("{}\n", line);
}

int print_trust(const Invocation& invocation, const Result<json>& answer) {
    if (!answer) return refuse(invocation, answer.error());
    if (invocation.has("json")) return print_done(*answer);
    const auto all = answer->find("authorities");
    if (all == answer->end() || !all->is_array() || all->empty()) {
        fmt::print("nobody is trusted: identities cannot be proven\n");
        return kSuccess;
    }
    for (const json& authority : *all) print_authority(authority);
    return kSuccess;
}

int add(const Invocation& invocation, const std::string& kind, const std::string& file) {
    const auto name = authority_name(invocation, file);
    if (!name) {
        print_error(name.error().message);
        return kUsage;
    }
    const auto body = kind == "ssh" ? ssh_body(invocation, file) : x509_body(invocation, file);
    if (!body) return refuse(invocation, body.error());
    auto answer = ask_daemon(invocation, api::Method::put, "/v1/trust/" + kind + "/" + *name,
                             body->dump(-1, ' ', false, json::error_handler_t::replace));
    std::vector<std::string> others = all_of(invocation, "crl");
    for (const char* other : {"krl", "principals"}) {
        if (invocation.has(other)) others.push_back(invocation.options[other].as<std::string>());
    }
    return print_trust(invocation, about_file(std::move(answer), file, others));
}

int remove(const Invocation& invocation, const std::string& kind, const std::string& name) {
    if (!trust::is_authority_name(name)) {
        print_error("'" + printable(name) + "' cannot name a CA");
        return kUsage;
    }
    return print_trust(invocation,
                       ask_daemon(invocation, api::Method::remove, "/v1/trust/" + kind + "/" + name));
}

// What is being done, in the words of the help; empty: nothing that is known.
std::string what_of(const std::vector<std::string>& operands) {
    const auto is_kind = [](const std::string& word) { return word == "ssh" || word == "x509"; };
    if (operands.size() == 1 && operands[0] == "list") return "list";
    if (operands.size() != 3) return "";
    if (is_kind(operands[0]) && operands[1] == "add") return operands[0] + " add";
    return operands[0] == "remove" && is_kind(operands[1]) ? "remove" : "";
}

int run_trust(const Invocation& invocation) {
    const auto& operands = invocation.operands;
    const std::string what = what_of(operands);
    if (what.empty()) {
        print_error(
            "trust: list, ssh add FILE, x509 add FILE, remove ssh NAME or remove x509 NAME (vern help "
            "trust)");
        return kUsage;
    }
    constexpr std::pair<const char*, std::string_view> kOwners[] = {{"name", " add"},
                                                                    {"group", " add"},
                                                                    {"krl", "ssh add"},
                                                                    {"principals", "ssh add"},
                                                                    {"crl", "x509 add"}};
    for (const auto& [option, owner] : kOwners) {
        if (!invocation.has(option) || what.ends_with(owner)) continue;
        print_error(fmt::format("--{} does not belong to trust {}", option, what));
        return kUsage;
    }
    if (what == "list") return print_trust(invocation, ask_daemon(invocation, api::Method::get, "/v1/trust"));
    return what == "remove" ? remove(invocation, operands[1], operands[2])
                            : add(invocation, operands[0], operands[2]);
}

void declare_trust(po::options_description& options) {
    declare_interface(options);
    const auto text = [] { return po::value<std::string>(); };
    const auto texts = [] { return po::value<std::vector<std::string>>()->composing(); };
    options.add_options()(
        "name", text()->value_name("NAME"),
        "add: under which it is trusted here; otherwise the file's name without its ending")(
        "group", texts()->value_name("GROUP"), "add: everybody whom it certifies is in it; may come again")(
        "krl", text()->value_name("FILE"), "ssh add: what the CA took back (ssh-keygen -k)")(
        "principals", text()->value_name("FILE"),
        "ssh add: which principals are accepted, as sshd's AuthorizedPrincipalsFile; otherwise all")(
        "crl", texts()->value_name("FILE"), "x509 add: what a CA took back, PEM or DER; may come again")(
        "json,j", "print JSON");
}

}  // namespace

const Command kTrust{"trust",
                     "list | ssh add FILE | x509 add FILE | remove ssh|x509 NAME",
                     "the CAs whose certificates prove who a peer is",
                     "list               whom the interface trusts\n"
                     "ssh add FILE       trust an SSH CA: its public key, as in sshd's TrustedUserCAKeys\n"
                     "x509 add FILE      trust X.509 CAs: certificates in PEM\n"
                     "remove KIND NAME   trust it no longer; identities that it certified end at once\n\n"
                     "add replaces what is trusted under that name, with its principals and groups: what is "
                     "not given again is gone.\n"
                     "Revocation lists have to be given again, and none that is older. Identities are proven "
                     "anew, and end at once if\n"
                     "they are taken back. '-' is standard input.",
                     1,
                     3,
                     declare_trust,
                     run_trust};

}  // namespace vern::cli
