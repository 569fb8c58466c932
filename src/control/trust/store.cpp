#include "control/trust/store.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/json.h"
#include "control/log.h"
#include "control/text.h"

namespace vern::trust {
namespace {

using nlohmann::json;

constexpr std::string_view kFile = "trust.json";

Verdict<void> check_names(std::string_view name, const std::vector<std::string>& groups) {
    constexpr std::string_view kRule = ": up to 64 letters, digits and any of -_.";
    if (!is_authority_name(name))
        return refuse(Refusal::malformed, "'" + printable(name) + "' cannot name a CA" + std::string(kRule));
    if (groups.size() > kGroupsMax) return refuse(Refusal::too_large, "more than 64 groups of one CA");
    for (const std::string& group : groups) {
        if (!is_authority_name(group))
            return refuse(Refusal::malformed,
                          "'" + printable(group) + "' cannot name a group" + std::string(kRule));
    }
    return {};
}

Verdict<SshCa> read(const SshSource& source) {
    if (auto fine = check_names(source.name, source.groups); !fine) return tl::unexpected(fine.error());
    auto key = parse_ssh_key_line(source.key);
    if (!key) return tl::unexpected(key.error());
    SshCa ca{
        .key = std::move(*key), .krl = {}, .principals = {}, .groups = source.groups, .name = source.name};
    if (source.krl) {
        auto krl = parse_krl(as_bytes(*source.krl));
        if (!krl) return tl::unexpected(in_file(source.krl_file, krl.error()));
        ca.krl.emplace(std::move(*krl));
    }
    if (source.principals) {
        auto principals = parse_principals(*source.principals, source.principals_file);
        if (!principals) return tl::unexpected(principals.error());
        ca.principals.emplace(std::move(*principals));
    }
    return ca;
}

// Why `next` may not take the place of `known`; empty: it may. `number` is what theirs is called.
std::string why_older(const Edition& known, const Edition& next, const std::string& list,
                      std::string_view number) {
    if (!goes_back(known, next)) return {};
    if (known.number.empty() || known.number == next.number)
        return fmt::format("{}: it was made at {}, and one made at {} was here already", list,
                           date_text(next.made), date_text(known.made));
    return fmt::format("{}: its {} is {}, and {} was here already", list, number,
                       next.number.empty() ? "none" : next.number, known.number);
}

std::string floor_of(const SshCa& ca) { return "ssh " + ca.key.fingerprint(); }
std::string floor_of(const Crl& crl) { return "x509 " + key_fingerprint(crl.signer.get()); }

Refused disk_error(const Error& error) {
    return {Refusal::limit, "nothing was changed: trust cannot be kept: " + error.message};
}

}  // namespace

bool is_authority_name(std::string_view text) {
    // It is a segment of a path in the API.
    if (text == "." || text == "..") return false;
    return !text.empty() && text.size() <= kAuthorityNameBytesMax && std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
               c == '_' || c == '.';
    });
}

Verdict<void> TrustStore::put(SshSource source) {
    auto ca = read(source);
    if (!ca) return tl::unexpected(ca.error());
    SshSources ssh = ssh_sources_;
    Floors floors = floors_;
    if (const auto before = floors.find(floor_of(*ca)); before != floors.end()) {
        if (!ca->krl)
            return refuse(Refusal::krl_invalid, "this CA had a KRL (version " + before->second.number +
                                                    "): without one everything would be valid again");
        if (std::string older = why_older(before->second, ca->krl->edition(), "the KRL", "version");
            !older.empty())
            return tl::unexpected(in_file(source.krl_file, {Refusal::krl_invalid, std::move(older)}));
    }
    if (ca->krl) floors[floor_of(*ca)] = ca->krl->edition();
    std::string name = source.name;
    ssh.insert_or_assign(std::move(name), SshEntry{std::move(source), std::move(*ca), {}});
    return commit(std::move(ssh), x509_sources_, std::move(floors));
}

Verdict<void> TrustStore::put(X509CaText source, UnixSeconds now) {
    if (auto fine = check_names(source.name, source.groups); !fine) return fine;
    auto ca = load_x509_ca(source, now);
    if (!ca) return tl::unexpected(ca.error());
    X509Sources x509 = x509_sources_;
    Floors floors = floors_;
    for (const Certificate& anchor : (*ca)->certificates) {
        const std::string key = "x509 " + key_fingerprint(anchor.x509.get());
        if (floors.contains(key) && !crl_of(**ca, issuer_of(anchor.x509.get())))
            return refuse(Refusal::crl_invalid,
                          subject_text(anchor.x509.get()) +
                              ": had a CRL, and without one everything would be valid again");
    }
    // Of its intermediate CAs, too.
    if (const auto before = x509.find(source.name); before != x509.end() && before->second.ca) {
        for (const Crl& crl : before->second.ca->crls) {
            if (!crl_of(**ca, crl.speaks_for))
                return refuse(Refusal::crl_invalid,
                              crl.issuer + ": had a CRL, and without one everything would be valid again");
        }
    }
    for (const Crl& crl : (*ca)->crls) {
        Edition& floor = floors[floor_of(crl)];
        if (std::string older = why_older(floor, crl.edition, "the CRL of " + crl.issuer, "number");
            !older.empty())
            return tl::unexpected(in_file(crl.file, {Refusal::crl_invalid, std::move(older)}));
        floor = crl.edition;
    }
    std::string name = source.name;
    x509.insert_or_assign(std::move(name), X509Source{std::move(source), std::move(*ca), {}});
    if (x509.size() > kX509CasMax) return refuse(Refusal::limit, "more than 64 X.509 CAs");
    return commit(ssh_sources_, std::move(x509), std::move(floors));
}

Result<bool> TrustStore::remove(Identity::Kind kind, std::string_view name) {
    SshSources ssh = ssh_sources_;
    X509Sources x509 = x509_sources_;
    const bool was = kind == Identity::Kind::ssh
                         ? std::erase_if(ssh, [&](auto& e) { return e.first == name; }) > 0
                         : std::erase_if(x509, [&](auto& e) { return e.first == name; }) > 0;
    if (!was) return false;
    if (auto done = commit(std::move(ssh), std::move(x509), floors_); !done)
        return fail(done.error().sentence, EIO);
    return true;
}

// First on disk, then in force.
Verdict<void> TrustStore::commit(SshSources ssh, X509Sources x509, Floors floors) {
    if (!unread_.empty())
        return refuse(Refusal::limit, "nothing was changed: " + unread_ +
                                          ": mend the file, or move it away to begin without one (older "
                                          "lists of revocations would be taken then), and start vernd again");
    std::vector<SshCa> cas;
    for (const auto& [name, entry] : ssh) {
        if (entry.ca) cas.push_back(*entry.ca);
    }
    auto trusted = SshTrust::make(std::move(cas));
    if (!trusted) return tl::unexpected(trusted.error());
    auto chains = std::make_shared<X509Trust>();
    json file{{"version", 1}, {"ssh", json::array()}, {"x509", json::array()}, {"floors", json::object()}};
    for (const auto& [ca, floor] : floors)
        file["floors"][ca] = {{"number", floor.number}, {"made", floor.made}};
    for (const auto& [name, entry] : ssh) {
        json one{{"name", name}, {"key", entry.source.key}, {"groups", entry.source.groups}};
        if (entry.source.krl) one["krl"] = encode_base64(*entry.source.krl);
        if (entry.source.principals) {
            one["principals"] = *entry.source.principals;
            one["principals_file"] = entry.source.principals_file;
        }
        file["ssh"].push_back(std::move(one));
    }
    for (const auto& [name, entry] : x509) {
        if (entry.ca) chains->cas.push_back(entry.ca);
        json crls = json::array();
        for (const std::string& crl : entry.text.crls) crls.push_back(encode_base64(crl));
        file["x509"].push_back({{"name", name},
                                {"certificates", entry.text.certificates},
                                {"crls", std::move(crls)},
                                {"groups", entry.text.groups}});
    }
    const std::string text = file.dump(-1, ' ', true, json::error_handler_t::replace) + "\n";
    if (text.size() > kTrustBytesMax) return refuse(Refusal::too_large, "more than 96 MiB of CAs and lists");
    if (auto kept = files_.replace(kFile, text); !kept) return tl::unexpected(disk_error(kept.error()));
    ssh_sources_ = std::move(ssh);
    x509_sources_ = std::move(x509);
    floors_ = std::move(floors);
    ssh_ = std::make_shared<const SshTrust>(std::move(*trusted));
    x509_ = std::move(chains);
    return {};
}

namespace {

std::string bytes_of(const json& text) {
    auto bytes = decode_base64(text.get_ref<const std::string&>(), "", kFile);
    if (!bytes) throw json::other_error::create(501, bytes.error().sentence, &text);
    return std::move(*bytes);
}

SshSource ssh_source(const json& from) {
    SshSource source{.name = from.at("name"),
                     .key = from.at("key"),
                     .krl = {},
                     .principals = {},
                     .principals_file = {},
                     .groups = from.at("groups")};
    if (from.contains("krl")) source.krl = bytes_of(from.at("krl"));
    if (from.contains("principals")) {
        source.principals = from.at("principals").get<std::string>();
        source.principals_file = from.at("principals_file");
    }
    return source;
}

X509CaText x509_source(const json& from) {
    X509CaText text{.certificates = from.at("certificates"),
                    .crls = {},
                    .groups = from.at("groups"),
                    .name = from.at("name")};
    for (const json& crl : from.at("crls")) text.crls.push_back(bytes_of(crl));
    return text;
}

}  // namespace

Result<void> TrustStore::load(UnixSeconds now) {
    auto loaded = read_file(now);
    if (!loaded) unread_ = loaded.error().message;
    return loaded;
}

Result<void> TrustStore::read_file(UnixSeconds now) {
    const auto stored = files_.read(kFile, kTrustBytesMax);
    if (!stored) return tl::unexpected(stored.error());
    if (!*stored) return {};
    try {
        const json file = json::parse((*stored)->text);
        if (file.at("version") != 1)
            return fail(files_.path_of(kFile) + ": of a version that is not known here");
        SshSources ssh;
        X509Sources x509;
        std::vector<SshCa> cas;
        auto chains = std::make_shared<X509Trust>();
        for (const json& from : file.at("ssh")) {
            SshEntry entry{ssh_source(from), {}, {}};
            if (auto ca = read(entry.source))
                cas.push_back(entry.ca.emplace(std::move(*ca)));
            else
                entry.unusable = ca.error().sentence;
            const std::string name = entry.source.name;
            ssh.insert_or_assign(name, std::move(entry));
        }
        for (const json& from : file.at("x509")) {
            X509Source entry{x509_source(from), nullptr, {}};
            if (auto ca = load_x509_ca(entry.text, now))
                chains->cas.push_back(entry.ca = std::move(*ca));
            else
                entry.unusable = ca.error().sentence;
            const std::string name = entry.text.name;
            x509.insert_or_assign(name, std::move(entry));
        }
        auto trusted = SshTrust::make(std::move(cas));
        if (!trusted) return fail(files_.path_of(kFile) + ": " + trusted.error().sentence);
        Floors floors;
        for (const auto& [ca, floor] : file.at("floors").items()) {
            // Files of before have the number alone.
            if (floor.is_string())
                floors[ca] = {.number = floor, .made = 0};
            else
                floors[ca] = {.number = floor.at("number"), .made = floor.at("made")};
        }
        floors_ = std::move(floors);
        ssh_sources_ = std::move(ssh);
        x509_sources_ = std::move(x509);
        ssh_ = std::make_shared<const SshTrust>(std::move(*trusted));
        x509_ = std::move(chains);
    } catch (const json::exception& wrong) {
        return fail(files_.path_of(kFile) + ": " + printable(wrong.what(), 200));
    }
    return {};
}

std::vector<TrustStore::Entry> TrustStore::entries() const {
    std::vector<Entry> all;
    for (const auto& [name, entry] : ssh_sources_) {
        Entry one{.kind = Identity::Kind::ssh,
                  .name = name,
                  .subject = {},
                  .groups = entry.source.groups,
                  .revocations = {},
                  .principals = {},
                  .unusable = entry.unusable};
        if (entry.ca) {
            one.subject = std::string(entry.ca->key.type()) + " " + entry.ca->key.fingerprint();
            if (entry.ca->krl) one.revocations = fmt::format("KRL version {}", entry.ca->krl->version());
            if (entry.ca->principals) one.principals = entry.ca->principals->principals().size();
        }
        all.push_back(std::move(one));
    }
    for (const auto& [name, entry] : x509_sources_) {
        Entry one{.kind = Identity::Kind::x509,
                  .name = name,
                  .subject = {},
                  .groups = entry.text.groups,
                  .revocations = {},
                  .principals = {},
                  .unusable = entry.unusable};
        if (entry.ca) {
            one.subject = subject_text(entry.ca->certificates.front().x509.get());
            if (!entry.ca->crls.empty()) one.revocations = fmt::format("{} CRLs", entry.ca->crls.size());
        }
        all.push_back(std::move(one));
    }
    return all;
}

}  // namespace vern::trust
