// Keys, certificates, signatures and revocation lists by the real ssh-keygen, in a directory of the test's
// own; and certificates by hand, for what ssh-keygen would not make.
#pragma once

#include <gtest/gtest.h>
#include <sodium.h>

#include <array>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../temporary_directory.h"
#include "control/process.h"
#include "control/trust/ssh_certificate.h"
#include "control/trust/ssh_reader.h"
#include "control/trust/ssh_trust.h"

namespace vern::test {

using namespace vern::trust;

inline constexpr UnixSeconds kBegin = 1'000'000'000, kNow = 1'500'000'000, kEnd = 2'000'000'000;
inline const std::string kValidity = "0x3b9aca00:0x77359400";  // the same

#define NEEDS_SSH_KEYGEN() \
    if (find_program("ssh-keygen").empty()) GTEST_SKIP() << "ssh-keygen is not installed"

class Workshop {
  public:
    // One for all tests of the process, since RSA keys take their time.
    static Workshop& get() {
        static Workshop workshop;
        return workshop;
    }

    std::string path(const std::string& name) const { return directory_.path() + "/" + name; }
    std::string write(const std::string& name, const std::string& text) const {
        return directory_.write(name, text);
    }
    std::string read(const std::string& name) const { return read_file(path(name)); }

    bool keygen(std::vector<std::string> arguments) const {
        arguments.insert(arguments.begin(), {"ssh-keygen", "-q"});
        const auto result = run_process(arguments);
        if (!result || !result->ok()) ADD_FAILURE() << (result ? result->errors : result.error().message);
        return result && result->ok();
    }

    // "ed25519", "ecdsa-384", "rsa-2048"; the file's name is that and `suffix`.
    std::string key(const std::string& type, const std::string& suffix = "") const {
        std::string name = type + suffix;
        if (!read(name).empty()) return name;
        const auto dash = type.find('-');
        std::vector<std::string> arguments{"-t", type.substr(0, dash), "-N", "", "-C", "", "-f", path(name)};
        if (dash != std::string::npos) arguments.insert(arguments.end(), {"-b", type.substr(dash + 1)});
        keygen(arguments);
        return name;
    }
    std::string public_line(const std::string& name) const { return read(name + ".pub"); }
    SshPublicKey public_key(const std::string& name) const {
        return parse_ssh_key_line(public_line(name)).value();
    }

    // The line of a certificate for user alice, valid from kBegin to kEnd; later options win.
    std::string certify(const std::string& ca, const std::string& key, std::vector<std::string> options = {},
                        const std::string& principals = "alice") const {
        std::vector<std::string> arguments{"-s", path(ca), "-I", "alice@laptop", "-V", kValidity, "-z", "7"};
        if (!principals.empty()) arguments.insert(arguments.end(), {"-n", principals});
        arguments.insert(arguments.end(), options.begin(), options.end());
        arguments.push_back(path(key + ".pub"));
        return keygen(arguments) ? read(key + "-cert.pub") : "";
    }

    // Armoured, by the key or by the certificate ("-cert") that was made last.
    std::string sign(const std::string& key, const std::string& namespace_, const std::string& message,
                     std::vector<std::string> options = {}) const {
        const std::string file = write("message", message);
        (void)std::filesystem::remove(file + ".sig");
        std::vector<std::string> arguments{"-Y", "sign", "-n", namespace_, "-f", path(key + ".pub")};
        arguments.insert(arguments.end(), options.begin(), options.end());
        arguments.push_back(file);
        return keygen(arguments) ? read("message.sig") : "";
    }

    std::string krl(const std::string& specification, const std::string& ca = "",
                    std::vector<std::string> options = {}) const {
        std::vector<std::string> arguments{"-k", "-f", path("krl")};
        if (!ca.empty()) arguments.insert(arguments.end(), {"-s", path(ca + ".pub")});
        arguments.insert(arguments.end(), options.begin(), options.end());
        arguments.push_back(write("specification", specification));
        return keygen(arguments) ? read("krl") : "";
    }

  private:
    TemporaryDirectory directory_;
};

// An Ed25519 key of the test's own.
class Signer {
  public:
    explicit Signer(unsigned char seed) {
        std::array<unsigned char, crypto_sign_SEEDBYTES> seeds;
        seeds.fill(seed);
        crypto_sign_seed_keypair(public_.data(), secret_.data(), seeds.data());
    }
    std::string point() const { return {reinterpret_cast<const char*>(public_.data()), public_.size()}; }
    std::string blob() const { return SshWriter().string("ssh-ed25519").string(point()).written(); }
    SshPublicKey key() const { return SshPublicKey::parse(as_bytes(blob())).value(); }
    std::string raw_signature(std::string_view message) const {
        std::string signature(crypto_sign_BYTES, '\0');
        crypto_sign_detached(reinterpret_cast<unsigned char*>(signature.data()), nullptr,
                             reinterpret_cast<const unsigned char*>(message.data()), message.size(),
                             secret_.data());
        return signature;
    }
    std::string signature(std::string_view message) const {
        return SshWriter().string("ssh-ed25519").string(raw_signature(message)).written();
    }

  private:
    std::array<unsigned char, crypto_sign_PUBLICKEYBYTES> public_;
    std::array<unsigned char, crypto_sign_SECRETKEYBYTES> secret_;
};

inline std::string strings(std::initializer_list<std::string_view> texts) {
    SshWriter writer;
    for (const std::string_view text : texts) writer.string(text);
    return std::move(writer).written();
}

// A good certificate, until a field is changed.
struct HandMade {
    Signer ca{1};
    Signer holder{2};
    std::string type = "ssh-ed25519-cert-v01@openssh.com";
    std::string key_fields = SshWriter().string(holder.point()).written();
    std::uint64_t serial = 7;
    std::uint32_t role = 1;
    std::string key_id = "alice@laptop";
    std::string principals = strings({"alice"});
    std::uint64_t valid_after = kBegin;
    std::uint64_t valid_before = kEnd;
    std::string critical_options;
    std::string extensions;
    std::string ca_blob = ca.blob();
    std::string after;  // the end

    std::string bytes() const {
        SshWriter writer;
        writer.string(type).string(std::string(32, 'n')).raw(key_fields).u64(serial).u32(role).string(key_id);
        writer.string(principals).u64(valid_after).u64(valid_before).string(critical_options);
        writer.string(extensions).string("").string(ca_blob);
        const std::string signature = ca.signature(writer.written());
        return writer.string(signature).raw(after).written();
    }
    Verdict<SshCertificate> parsed() const { return parse_ssh_certificate(as_bytes(bytes())); }
};

inline SshTrust trusting(SshPublicKey ca) {
    return SshTrust::make(
               {SshCa{.key = std::move(ca), .krl = {}, .principals = {}, .groups = {}, .name = {}}})
        .value();
}

template <typename T>
testing::AssertionResult is_refused(const Verdict<T>& verdict, Refusal code, std::string_view sentence = "") {
    if (verdict) return testing::AssertionFailure() << "taken";
    if (verdict.error().code == code && verdict.error().sentence.find(sentence) != std::string::npos &&
        !verdict.error().sentence.empty())
        return testing::AssertionSuccess();
    return testing::AssertionFailure()
           << refusal_code(verdict.error().code) << ": " << verdict.error().sentence;
}

}  // namespace vern::test
