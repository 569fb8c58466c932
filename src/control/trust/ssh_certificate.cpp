#include "control/trust/ssh_certificate.h"

#include <algorithm>
#include <limits>

#include "control/text.h"
#include "control/trust/ssh_trust.h"

namespace vern::trust {
namespace {

constexpr std::size_t kSourceNetworksMax = 256;

// The end of time is where our count of seconds ends.
UnixSeconds clamped(std::uint64_t seconds) {
    return static_cast<UnixSeconds>(
        std::min(seconds, std::uint64_t{std::numeric_limits<UnixSeconds>::max()}));
}

tl::unexpected<Refused> malformed(const std::string& why) {
    return refuse(Refusal::malformed, "the certificate is malformed: " + why);
}

Verdict<std::vector<std::string>> read_principals(Bytes bytes) {
    std::vector<std::string> principals;
    SshReader reader(bytes);
    while (!reader.at_end()) {
        const std::string_view principal = reader.text();
        if (principal.empty() && !reader.failed()) return malformed("a principal has no name");
        if (principals.size() == kSshPrincipalsMax)
            return refuse(Refusal::too_large, "the certificate has more than 256 principals");
        principals.emplace_back(principal);
    }
    if (auto done = reader.finish("the certificate"); !done) return tl::unexpected(done.error());
    return principals;
}

Verdict<std::vector<SshOption>> read_options(Bytes bytes) {
    std::vector<SshOption> options;
    SshReader reader(bytes);
    while (!reader.at_end()) {
        SshOption option{.name = std::string(reader.text()), .data = std::string(as_text(reader.string()))};
        if (reader.failed()) break;
        if (option.name.empty()) return malformed("an option has no name");
        if (!options.empty() && option.name <= options.back().name)
            return malformed("the option '" + shown(option.name) + "' is repeated or out of order");
        if (options.size() == kSshOptionsMax)
            return refuse(Refusal::too_large, "the certificate has more than 256 options");
        options.push_back(std::move(option));
    }
    if (auto done = reader.finish("the certificate"); !done) return tl::unexpected(done.error());
    return options;
}

Verdict<SshPublicKey> read_certified_key(SshReader& reader) {
    std::string_view type = reader.name();
    if (reader.failed()) return tl::unexpected(reader.finish("the certificate").error());
    if (!type.ends_with(kSshCertificateSuffix))
        return refuse(Refusal::cert_type, "'" + shown(type) + "' is not a type of certificate");
    type.remove_suffix(kSshCertificateSuffix.size());
    reader.string();  // the nonce, of any length: it makes what the CA signs unforeseeable
    return SshPublicKey::read(type, reader);
}

// Comma-separated networks, as sshd reads them.
Verdict<std::vector<Prefix>> source_networks(const SshOption& option) {
    SshReader reader(as_bytes(option.data));
    std::string_view list = reader.text();
    if (auto done = reader.finish("the option source-address"); !done) return tl::unexpected(done.error());
    std::vector<Prefix> networks;
    while (true) {
        const auto comma = list.find(',');
        const std::string_view text = list.substr(0, comma);
        const auto network = parse_prefix(text);
        if (!network || network != parse_interface_address(text))
            return malformed("'" + shown(text) + "' in source-address is not a network");
        if (networks.size() == kSourceNetworksMax)
            return refuse(Refusal::too_large, "source-address has more than 256 networks");
        networks.push_back(*network);
        if (comma == std::string_view::npos) return networks;
        list.remove_prefix(comma + 1);
    }
}

Verdict<void> check_source(const SshOption& option, const std::optional<IpAddress>& source) {
    const auto networks = source_networks(option);
    if (!networks) return tl::unexpected(networks.error());
    if (!source)
        return refuse(Refusal::source_address,
                      "the certificate is good for some addresses only (source-address), and none is known");
    if (std::none_of(networks->begin(), networks->end(),
                     [&](const Prefix& network) { return contains(network, *source); }))
        return refuse(Refusal::source_address, "the certificate is not good for the address " +
                                                   to_text(*source) + " (source-address)");
    return {};
}

Verdict<void> check_critical_options(const SshCertificate& certificate,
                                     const std::optional<IpAddress>& source) {
    for (const SshOption& option : certificate.critical_options) {
        if (option.name != "source-address")
            return refuse(Refusal::unknown_critical, "the certificate's critical option '" +
                                                         shown(option.name) + "' cannot be enforced here");
    }
    for (const SshOption& option : certificate.critical_options) {
        if (auto allowed = check_source(option, source); !allowed) return allowed;
    }
    return {};
}

Verdict<void> check_time(const SshCertificate& certificate, UnixSeconds now, UnixSeconds skew) {
    if (now < certificate.valid_after - std::max<UnixSeconds>(skew, 0))
        return refuse(Refusal::not_yet_valid, "the certificate is not valid yet");
    if (now >= certificate.valid_before) return refuse(Refusal::expired, "the certificate has expired");
    return {};
}

Verdict<std::vector<std::string>> accepted_principals(const SshCertificate& certificate, const SshCa& ca) {
    std::vector<std::string> accepted = certificate.principals;
    if (accepted.empty())
        return refuse(Refusal::empty_principals, "the certificate names no principal, so it is nobody's");
    if (!ca.principals) return accepted;
    std::erase_if(accepted, [&](const std::string& principal) { return !ca.principals->accepts(principal); });
    if (accepted.empty())
        return refuse(Refusal::principal,
                      "no principal of the certificate is in " + shown(ca.principals->file_name(), 256));
    return accepted;
}

Verdict<Identity> identity_by(const SshCa* ca, const SshCertificate& certificate, UnixSeconds now,
                              const std::optional<IpAddress>& source, UnixSeconds skew) {
    if (certificate.role != SshCertificate::Role::user)
        return refuse(Refusal::cert_type, "a host's certificate, not a user's");
    if (auto allowed = check_critical_options(certificate, source); !allowed)
        return tl::unexpected(allowed.error());
    if (auto in_time = check_time(certificate, now, skew); !in_time) return tl::unexpected(in_time.error());
    if (ca->krl && ca->krl->revokes(certificate))
        return refuse(Refusal::revoked, "the certificate, its key or its CA is revoked");
    auto principals = accepted_principals(certificate, *ca);
    if (!principals) return tl::unexpected(principals.error());
    Identity identity;
    identity.kind = Identity::Kind::ssh;
    identity.issuer = ca->key.fingerprint();
    identity.serial = std::to_string(certificate.serial);
    identity.key = certificate.key.fingerprint();
    identity.not_before = certificate.valid_after;
    identity.not_after = certificate.valid_before;
    identity.key_id = certificate.key_id;
    identity.principals = std::move(*principals);
    identity.groups = ca->groups;
    identity.authority = ca->name;
    return identity;
}

Verdict<const SshCa*> ca_of(const SshCertificate& certificate, const SshTrust& trust) {
    const SshCa* ca = trust.find(certificate.ca);
    if (ca != nullptr) return ca;
    return refuse(Refusal::unknown_ca, "the CA " + certificate.ca.fingerprint() + " is not trusted here");
}

}  // namespace

Verdict<Identity> verify_ssh_certificate(const SshCertificate& certificate, const SshTrust& trust,
                                         UnixSeconds now, const std::optional<IpAddress>& source,
                                         UnixSeconds skew) {
    const auto ca = ca_of(certificate, trust);
    if (!ca) return tl::unexpected(ca.error());
    // First the signature: until then everything in it is only what somebody wrote.
    if (auto good = (*ca)->key.verify(as_bytes(certificate.signed_bytes), as_bytes(certificate.signature));
        !good)
        return refuse(good.error().code, "the certificate: " + good.error().sentence);
    return identity_by(*ca, certificate, now, source, skew);
}

Verdict<Identity> verify_ssh_certificate_again(const SshCertificate& certificate, const SshTrust& trust,
                                               UnixSeconds now, const std::optional<IpAddress>& source) {
    const auto ca = ca_of(certificate, trust);
    if (!ca) return tl::unexpected(ca.error());
    return identity_by(*ca, certificate, now, source, kSshSkewSeconds);
}

Verdict<SshCertificate> parse_ssh_certificate(Bytes bytes) {
    if (bytes.size() > kSshCertificateBytesMax)
        return refuse(Refusal::too_large, "the certificate is larger than 64 KiB");
    SshReader reader(bytes);
    auto key = read_certified_key(reader);
    if (!key) return tl::unexpected(key.error());
    const std::uint64_t serial = reader.u64();
    const std::uint32_t role = reader.u32();
    const std::string_view key_id = reader.text();
    auto principals = read_principals(reader.string());
    const std::uint64_t valid_after = reader.u64(), valid_before = reader.u64();
    auto critical_options = read_options(reader.string());
    auto extensions = read_options(reader.string());
    reader.string();  // reserved: to be ignored
    const Bytes ca_blob = reader.string();
    const Bytes signed_bytes = reader.since(bytes);
    const Bytes signature = reader.string();
    if (auto done = reader.finish("the certificate"); !done) return tl::unexpected(done.error());
    if (!principals) return tl::unexpected(principals.error());
    if (!critical_options) return tl::unexpected(critical_options.error());
    if (!extensions) return tl::unexpected(extensions.error());
    if (role != 1 && role != 2) return malformed("it is neither a user's nor a host's");
    if (valid_after >= valid_before) return malformed("it ends before it begins");
    auto ca = SshPublicKey::parse(ca_blob);
    if (!ca) return refuse(ca.error().code, "the CA's key in the certificate: " + ca.error().sentence);
    return SshCertificate{.key = std::move(*key),
                          .serial = serial,
                          .role = static_cast<SshCertificate::Role>(role),
                          .key_id = std::string(key_id),
                          .principals = std::move(*principals),
                          .valid_after = clamped(valid_after),
                          .valid_before = clamped(valid_before),
                          .critical_options = std::move(*critical_options),
                          .extensions = std::move(*extensions),
                          .ca = std::move(*ca),
                          .signed_bytes = std::string(as_text(signed_bytes)),
                          .signature = std::string(as_text(signature))};
}

Verdict<SshCertificate> parse_ssh_certificate_line(std::string_view line) {
    if (line.size() > 2 * kSshCertificateBytesMax)
        return refuse(Refusal::too_large, "the certificate's line is too long");
    auto bytes = decode_ssh_line(line, kSshCertificateBytesMax, "the certificate");
    if (!bytes) return tl::unexpected(bytes.error());
    return parse_ssh_certificate(as_bytes(*bytes));
}

}  // namespace vern::trust
